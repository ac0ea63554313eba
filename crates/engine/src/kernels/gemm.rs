//! Indirect GEMM: any cells of a map times the packed weights.
//!
//! A block of `P` cells by `V` vectors of output channels stays in registers
//! while the input channels stream by; each input number is broadcast once, each
//! vector of weights loaded once a block (Dukhan, "The Indirect Convolution
//! Algorithm", arXiv:1907.02129). Sums run over taps, then channels, one after
//! another: the same for every shape of block, so that a cell's result does not
//! depend on which others are computed with it.

use super::args::{BLOCK, ConvArgs, TILE, prefetch, strips};
use super::simd::Simd;

/// Input channels whose weights are fetched ahead: pages are shorter than weights, and no hardware looks beyond one.
/// 16 were 1 % slower and 64 as good (person-indoor on a Zen 5).
const AHEAD: usize = 32;

/// `P` cells from `first`, `V` vectors of outputs from `column`. `row` is how many
/// numbers the weights of one input channel take, `weights` where they begin.
///
/// # Safety
/// As of [`super::Kernels::gemm`]; these are cells, outputs and weights of the arguments.
#[inline(always)]
unsafe fn block<S: Simd, const P: usize, const V: usize>(
    s: S,
    a: &ConvArgs,
    first: usize,
    column: usize,
    weights: *const f32,
    row: usize,
) {
    // Safety: inputs are good for the channels of a tap; weights, bias and rows for whole blocks, in which each vector lies.
    unsafe {
        let mut sums = [[s.splat(0.0); V]; P];
        for v in 0..V {
            let bias = s.load(a.bias.add(column + v * S::LANES));
            for sum in &mut sums {
                sum[v] = bias;
            }
        }
        let mut w = weights;
        for tap in 0..a.n_taps {
            let inputs = a.inputs.add(tap * TILE + first);
            let mut x = [std::ptr::null::<f32>(); P];
            for (p, x) in x.iter_mut().enumerate() {
                *x = *inputs.add(p);
            }
            let mut c = 0;
            while c + 2 <= a.depth {
                // Other cells of the tile find them near.
                if a.is_cold && first == 0 {
                    for ahead in AHEAD..AHEAD + 2 {
                        prefetch(w.wrapping_add(ahead * row), V * S::LANES);
                    }
                }
                let mut w0 = [s.splat(0.0); V];
                let mut w1 = [s.splat(0.0); V];
                for v in 0..V {
                    w0[v] = s.load(w.add(v * S::LANES));
                    w1[v] = s.load(w.add(row + v * S::LANES));
                }
                for (x, sums) in x.iter().zip(&mut sums) {
                    let (x0, x1) = (s.splat(*x.add(c)), s.splat(*x.add(c + 1)));
                    for (sum, w) in sums.iter_mut().zip(w0) {
                        *sum = s.fma(x0, w, *sum);
                    }
                    for (sum, w) in sums.iter_mut().zip(w1) {
                        *sum = s.fma(x1, w, *sum);
                    }
                }
                w = w.add(2 * row);
                c += 2;
            }
            if c < a.depth {
                for (x, sums) in x.iter().zip(&mut sums) {
                    let x0 = s.splat(*x.add(c));
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = s.fma(x0, s.load(w.add(v * S::LANES)), *sum);
                    }
                }
                w = w.add(row);
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                s.store(a.rows.add((first + p) * a.stride + column + v * S::LANES), *sum);
            }
        }
    }
}

/// How many cells at once, if so many are the most: few have too few sums to keep the multipliers busy.
#[inline(always)]
fn evenly(n: usize, most: usize) -> usize {
    n.div_ceil(n.div_ceil(most))
}

/// Calls [`block`] with the number of cells as a constant.
macro_rules! by_cells {
    ($n:expr, $S:ty, $V:tt, $args:tt, $($P:literal)*) => {
        match $n {
            $($P => block::<$S, $P, $V> $args,)*
            _ => unreachable!("at most a tile of cells"),
        }
    };
}

/// Up to 12 cells by 2 vectors of 16, or 7 by 3: 24 or 21 sums of 32 registers.
///
/// # Safety
/// As of [`super::Kernels::gemm`].
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn twelves<S: Simd>(s: S, a: &ConvArgs) {
    // Safety: as of this function; blocks of the strips, in which the weights lie side by side.
    unsafe {
        let k = a.n_taps * a.depth;
        for strip in strips(a.n_blocks) {
            let column = strip.first * BLOCK;
            let weights = a.weights.add(column * k);
            match strip.n {
                1 => by_cells!(a.n, S, 1, (s, a, 0, column, weights, BLOCK), 1 2 3 4 5 6 7 8 9 10 11 12),
                2 => by_cells!(a.n, S, 2, (s, a, 0, column, weights, 2 * BLOCK), 1 2 3 4 5 6 7 8 9 10 11 12),
                _ => {
                    let most = evenly(a.n, 7);
                    for p in (0..a.n).step_by(most) {
                        by_cells!((a.n - p).min(most), S, 3, (s, a, p, column, weights, 3 * BLOCK), 1 2 3 4 5 6 7);
                    }
                }
            }
        }
    }
}

/// Blocks of 16 outputs, `V` vectors each; up to 6 cells stay in registers with them:
/// 12 sums of 16 registers with vectors of 8, 24 of 32 with vectors of 4.
///
/// # Safety
/// As of [`super::Kernels::gemm`].
#[inline(always)]
pub unsafe fn sixes<S: Simd, const V: usize>(s: S, a: &ConvArgs) {
    // Safety: as of this function; blocks of the strips, in which the weights lie side by side.
    unsafe {
        let k = a.n_taps * a.depth;
        let most = evenly(a.n, 6);
        for strip in strips(a.n_blocks) {
            for block in 0..strip.n {
                let weights = a.weights.add(strip.first * BLOCK * k + block * BLOCK);
                let column = (strip.first + block) * BLOCK;
                for p in (0..a.n).step_by(most) {
                    by_cells!((a.n - p).min(most), S, V, (s, a, p, column, weights, strip.n * BLOCK), 1 2 3 4 5 6);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kernels, bits};
    use super::*;
    use crate::buffer::Buffer;
    use crate::graph::{Act, Conv, Window};
    use crate::weights::packed::{Packed, Packing};

    /// The definition, in the order of the sums.
    fn naive(conv: &Conv, depth: usize, seen: impl Fn(usize) -> f32) -> Vec<f32> {
        let n_terms = conv.window.n_taps() * depth;
        let sum =
            |o: usize| (0..n_terms).fold(conv.bias[o], |sum, i| seen(i).mul_add(conv.weights[o * n_terms + i], sum));
        (0..conv.bias.len()).map(sum).collect()
    }

    #[test]
    fn every_kernel_equals_the_definition_at_every_size() {
        let mut random = fastrand::Rng::with_seed(6);
        for (n_out, side, depth) in (1..=100).step_by(9).flat_map(|o| [(o, 1, 1), (o, 1, 24), (o, 3, 5), (o + 5, 2, 8)])
        {
            let mut some = |n: usize| (0..n).map(|_| random.f32() - 0.5).collect::<Vec<f32>>();
            let n_taps = side * side;
            let conv = Conv {
                window: Window { kernel: [side; 2], ..Window::POINT },
                groups: 1,
                weights: some(n_out * n_taps * depth),
                bias: some(n_out),
                act: Act::Identity,
                post: Act::Identity,
                transposed: false,
            };
            let packed = Packed::new(Packing::Gemm { n_taps, depth }, &conv.weights, &conv.bias);
            let stride = packed.n_blocks() * BLOCK;
            let cells: Vec<Vec<f32>> = (0..TILE).map(|_| some(n_taps * depth)).collect();
            let taps = (0..n_taps * TILE).map(|i| cells[i % TILE][i / TILE * depth..].as_ptr());
            let inputs: Vec<*const f32> = taps.collect();
            for (kernels, is_cold) in Kernels::all().iter().flat_map(|kernels| [(kernels, false), (kernels, true)]) {
                for n in 1..=TILE {
                    let mut rows = Buffer::new(TILE * stride, f32::NAN);
                    let args = ConvArgs {
                        n,
                        n_taps,
                        depth,
                        inputs: inputs.as_ptr(),
                        weights: packed.weights().as_ptr(),
                        bias: packed.biases().as_ptr(),
                        n_blocks: packed.n_blocks(),
                        rows: rows.as_mut_ptr(),
                        stride,
                        is_cold,
                    };
                    // Safety: packed for these taps and this depth; rows have room for whole blocks.
                    unsafe { kernels.gemm(&args) }
                    for (row, cell) in rows.chunks_exact(stride).zip(&cells).take(n) {
                        let wanted = naive(&conv, depth, |i| cell[i]);
                        assert_eq!(bits(&row[..n_out]), bits(&wanted), "{kernels:?} {n} of {n_out} {side} {depth}");
                    }
                    assert!(rows[n * stride..TILE * stride].iter().all(|v| v.is_nan()), "no other row is written");
                }
            }
        }
    }

    #[test]
    fn strips_are_all_blocks_once() {
        assert!(strips(0).next().is_none());
        for n_blocks in 1..20 {
            let ns: Vec<usize> = strips(n_blocks).map(|strip| strip.n).collect();
            assert_eq!(ns.iter().sum::<usize>(), n_blocks);
            assert!(strips(n_blocks).zip(0..).all(|(strip, i)| strip.first == 2 * i));
            assert!(ns.iter().all(|n| *n > 1 || n_blocks == 1), "{n_blocks}: {ns:?}");
        }
    }
}
