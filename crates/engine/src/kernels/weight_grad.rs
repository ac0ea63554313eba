//! The gradient of a convolution's weights: products of inputs and of the outputs' gradients, summed over cells.
//!
//! A block of `P` input channels by `V` vectors of output channels stays in registers while cells stream by. Each sum runs
//! over cells, one after another, whatever the block's shape: the same bits on every instruction set.

use super::args::{BLOCK, WeightGradArgs, strips};
use super::simd::Simd;

/// `P` inputs from `first`, `V` vectors of outputs from `column`.
///
/// # Safety
/// As of [`super::Kernels::weight_grad`]; these are inputs and outputs of the arguments.
#[inline(always)]
unsafe fn block<S: Simd, const P: usize, const V: usize>(s: S, a: &WeightGradArgs<'_>, first: usize, column: usize) {
    // Safety: inputs are good for the channels, gradients and sums for whole blocks.
    unsafe {
        let out = a.sums.add(first * a.stride + column);
        let mut sums = [[s.splat(0.0); V]; P];
        for (p, sums) in sums.iter_mut().enumerate() {
            for (v, sum) in sums.iter_mut().enumerate() {
                *sum = s.load(out.add(p * a.stride + v * S::LANES));
            }
        }
        for run in a.runs {
            let (mut x, mut dy) = (run.inputs.add(first), run.grads.add(column));
            for _ in 0..a.n {
                let mut d = [s.splat(0.0); V];
                for (v, d) in d.iter_mut().enumerate() {
                    *d = s.load(dy.add(v * S::LANES));
                }
                for (p, sums) in sums.iter_mut().enumerate() {
                    let x = s.splat(*x.add(p));
                    for (sum, d) in sums.iter_mut().zip(d) {
                        *sum = s.fma(x, d, *sum);
                    }
                }
                (x, dy) = (x.add(a.input_step), dy.add(a.grad_step));
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                s.store(out.add(p * a.stride + v * S::LANES), *sum);
            }
        }
    }
}

/// Calls [`block`] with the number of inputs as a constant.
macro_rules! by_inputs {
    ($n:expr, $S:ty, $V:literal, $args:tt, $($P:literal)*) => {
        match $n {
            $($P => block::<$S, $P, $V> $args,)*
            _ => unreachable!("at most a tile of inputs"),
        }
    };
}

/// # Safety
/// As of [`super::Kernels::weight_grad`].
#[inline(always)]
pub unsafe fn run<S: Simd>(s: S, a: &WeightGradArgs<'_>) {
    // Safety: as of this function; blocks of the strips, inputs from the first to the last.
    unsafe {
        for strip in strips(a.n_blocks) {
            let column = strip.first * BLOCK;
            // As many sums as registers hold beside a vector of each block and an input.
            let most = match (S::LANES, strip.n) {
                (16, 3) => 7,
                (16, _) => 12,
                _ => 6,
            };
            for p in (0..a.n_inputs).step_by(most) {
                let n = (a.n_inputs - p).min(most);
                match (S::LANES, strip.n) {
                    (16, 1) => by_inputs!(n, S, 1, (s, a, p, column), 1 2 3 4 5 6 7 8 9 10 11 12),
                    (16, 2) => by_inputs!(n, S, 2, (s, a, p, column), 1 2 3 4 5 6 7 8 9 10 11 12),
                    (16, _) => by_inputs!(n, S, 3, (s, a, p, column), 1 2 3 4 5 6 7),
                    _ => {
                        for column in (0..strip.n).map(|block| column + block * BLOCK) {
                            match S::LANES {
                                8 => by_inputs!(n, S, 2, (s, a, p, column), 1 2 3 4 5 6),
                                _ => by_inputs!(n, S, 4, (s, a, p, column), 1 2 3 4 5 6),
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CellRun, Kernels, bits};
    use super::*;
    use crate::buffer::Buffer;

    #[test]
    fn every_kernel_sums_over_cells_as_the_definition_does() {
        let mut random = fastrand::Rng::with_seed(8);
        for (n_inputs, n_out) in [(1, 1), (3, 12), (12, 16), (12, 24), (7, 48), (12, 48), (11, 80)] {
            let n_blocks = crate::weights::packed::blocks(n_out);
            let (n, input_step, grad_step) = (5, n_inputs + 2, n_out);
            let mut some = |n: usize| (0..n).map(|_| random.f32() - 0.5).collect::<Vec<f32>>();
            let inputs: Vec<_> = (0..3).map(|_| some(n * input_step)).collect();
            // Room for whole blocks behind the last cell.
            let grads: Vec<_> = (0..3).map(|_| some(n * grad_step + n_blocks * BLOCK)).collect();
            let runs: Vec<CellRun> =
                inputs.iter().zip(&grads).map(|(x, dy)| CellRun { inputs: x.as_ptr(), grads: dy.as_ptr() }).collect();
            for kernels in Kernels::all() {
                let mut sums = Buffer::new(n_inputs * n_blocks * BLOCK, 0.25f32);
                let (sums_at, stride) = (sums.as_mut_ptr(), n_blocks * BLOCK);
                let args =
                    WeightGradArgs { runs: &runs, n, input_step, grad_step, n_inputs, n_blocks, sums: sums_at, stride };
                // Safety: runs of `n` cells, with whole blocks behind the last one's gradient.
                unsafe { kernels.weight_grad(&args) }
                for (c, row) in sums.chunks_exact(stride).take(n_inputs).enumerate() {
                    let wanted: Vec<f32> = (0..n_out)
                        .map(|o| {
                            let cells = inputs.iter().zip(&grads).flat_map(|pair| (0..n).map(move |i| (pair, i)));
                            cells.fold(0.25, |sum, ((x, dy), i)| {
                                x[i * input_step + c].mul_add(dy[i * grad_step + o], sum)
                            })
                        })
                        .collect();
                    assert_eq!(bits(&row[..n_out]), bits(&wanted), "{kernels:?} {n_inputs} {n_out}");
                }
            }
        }
    }
}
