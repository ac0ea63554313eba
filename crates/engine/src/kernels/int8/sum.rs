//! Products of two maps, summed over cells, four cells at once: the gradient of a convolution's weights.

use super::dot::Dot;
use super::product::by_shape;
use crate::kernels::args::{BLOCK, SumArgs, strips};

/// `P` inputs from `first`, `V` times [`Dot::SUMS`] outputs from `column`.
///
/// # Safety
/// As of [`super::table::Int8Kernels::sum`]; these are inputs and outputs of the arguments.
#[inline(always)]
unsafe fn block<D: Dot, const P: usize, const V: usize>(d: D, a: &SumArgs<'_>, first: usize, column: usize) {
    // Safety: runs are good for their cells, in whole blocks; sums for whole blocks, in which each vector lies.
    unsafe {
        let mut begin = [0i32; 16];
        let mut sums = [[d.load(begin.as_ptr()); V]; P];
        for v in 0..V {
            for (i, begin) in begin.iter_mut().enumerate().take(D::SUMS) {
                *begin = (*a.grad_sums.add(column + v * D::SUMS + i)).wrapping_mul(D::SHIFT - a.zero);
            }
            let begin = d.load(begin.as_ptr());
            sums.iter_mut().for_each(|sums| sums[v] = begin);
        }
        let row = a.n_blocks * BLOCK * 4;
        for run in a.runs {
            let mut grads = run.grads.add(column * 4);
            let mut x = [std::ptr::null::<u8>(); P];
            for (p, x) in x.iter_mut().enumerate() {
                *x = run.inputs.add((first + p) * a.input_step);
            }
            for quad in 0..a.n_quads {
                let mut many = [d.many(grads); V];
                for (v, many) in many.iter_mut().enumerate().skip(1) {
                    *many = d.many(grads.add(v * 4 * D::SUMS));
                }
                for (x, sums) in x.iter().zip(&mut sums) {
                    let one = d.one(x.add(4 * quad));
                    for (sums, many) in sums.iter_mut().zip(many) {
                        *sums = d.dot(*sums, one, many);
                    }
                }
                grads = grads.add(row);
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (v, sums) in sums.iter().enumerate() {
                d.store(a.sums.add((first + p) * a.stride + column + v * D::SUMS), *sums);
            }
        }
    }
}

/// # Safety
/// As of [`super::table::Int8Kernels::sum`].
#[inline(always)]
pub unsafe fn run<D: Dot>(d: D, a: &SumArgs<'_>) {
    // Safety: as of this function; blocks of the strips, inputs from the first to the last.
    unsafe {
        for strip in strips(a.n_blocks) {
            let (most, at_once) = D::MOST[strip.n - 1];
            for part in (0..strip.n * BLOCK).step_by(at_once * D::SUMS) {
                let column = strip.first * BLOCK + part;
                for p in (0..a.n_inputs).step_by(most) {
                    let n = (a.n_inputs - p).min(most);
                    by_shape!(block, n, at_once, D, (d, a, p, column));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Int8Kernels;
    use super::*;
    use crate::buffer::Buffer;
    use crate::kernels::DotRun;

    #[test]
    fn every_kernel_sums_over_cells_as_the_definition_does() {
        let mut random = fastrand::Rng::with_seed(10);
        for (n_inputs, n_out, n_quads) in
            [(1, 1, 1), (3, 12, 5), (12, 16, 2), (12, 24, 7), (7, 48, 3), (24, 48, 20), (11, 80, 4)]
        {
            for ends in [false, true] {
                let zero = if ends { 255 } else { random.i32(0..256) };
                let mut byte = || if ends { [0, 127, 128, 255][random.usize(0..4)] } else { random.u8(..) };
                let n_blocks = crate::weights::packed::blocks(n_out);
                let (n_runs, cells, width) = (3, 4 * n_quads, n_blocks * BLOCK);
                let inputs: Vec<u8> = (0..n_runs * n_inputs * cells).map(|_| byte()).collect();
                let grads: Vec<i8> = (0..n_runs * cells * width).map(|_| byte() as i8).collect();
                let grad = |run: usize, cell: usize, o: usize| {
                    i32::from(grads[((run * n_quads + cell / 4) * width + o) * 4 + cell % 4])
                };
                let all = || (0..n_runs).flat_map(|r| (0..cells).map(move |c| (r, c)));
                let grad_sums: Vec<i32> = (0..width).map(|o| all().map(|(r, c)| grad(r, c, o)).sum()).collect();
                let runs: Vec<DotRun> = (0..n_runs)
                    .map(|r| DotRun {
                        inputs: inputs[r * n_inputs * cells..].as_ptr(),
                        grads: grads[r * cells * width..].as_ptr(),
                    })
                    .collect();
                for kernels in Int8Kernels::all() {
                    let mut sums = Buffer::new(n_inputs * width, i32::MIN);
                    let args = SumArgs {
                        runs: &runs,
                        n_quads,
                        input_step: cells,
                        n_inputs,
                        n_blocks,
                        zero,
                        grad_sums: grad_sums.as_ptr(),
                        sums: sums.as_mut_ptr(),
                        stride: width,
                    };
                    // Safety: runs of so many cells, in whole blocks.
                    unsafe { kernels.sum(&args) }
                    for (c, o) in (0..n_inputs).flat_map(|c| (0..n_out).map(move |o| (c, o))) {
                        let x = |r: usize, cell: usize| i32::from(inputs[(r * n_inputs + c) * cells + cell]) - zero;
                        let wanted: i32 = all().map(|(r, cell)| x(r, cell) * grad(r, cell, o)).sum();
                        assert_eq!(sums[c * width + o], wanted, "{kernels:?} {n_inputs} {n_out} {n_quads}");
                    }
                }
            }
        }
    }
}
