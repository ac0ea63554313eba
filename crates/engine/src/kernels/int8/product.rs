//! Any cells of a map times packed weights: as [`crate::kernels::gemm`], four terms at once.
//!
//! Cells are given by where they begin, what a tap sees of each by one offset: maps have borders, so that no tap asks
//! where it is.

use super::dot::Dot;
use crate::kernels::args::{BLOCK, ProductArgs, strips};

/// `P` cells from `first`, `V` times [`Dot::SUMS`] outputs from `column`. `row` is how many bytes the weights of four
/// terms take, `weights` where they begin.
///
/// # Safety
/// As of [`super::table::Int8Kernels::product`]; these are cells, outputs and weights of the arguments.
#[inline(always)]
unsafe fn block<D: Dot, const P: usize, const V: usize>(
    d: D,
    a: &ProductArgs<'_>,
    first: usize,
    column: usize,
    weights: *const i8,
    row: usize,
) {
    // Safety: each cell is good for all taps' channels; weights and sums for whole blocks, in which each vector lies.
    unsafe {
        let mut begin = [0i32; 16];
        let mut sums = [[d.load(begin.as_ptr()); V]; P];
        if a.zero != D::SHIFT {
            for v in 0..V {
                for (i, begin) in begin.iter_mut().enumerate().take(D::SUMS) {
                    let column_sum = *a.column_sums.add(column + v * D::SUMS + i);
                    *begin = column_sum.wrapping_mul(D::SHIFT - a.zero);
                }
                let begin = d.load(begin.as_ptr());
                sums.iter_mut().for_each(|sums| sums[v] = begin);
            }
        }
        let mut w = weights;
        for &tap in a.taps {
            let mut x = [std::ptr::null::<u8>(); P];
            for (p, x) in x.iter_mut().enumerate() {
                *x = a.cells[first + p].offset(tap);
            }
            for quad in 0..a.n_quads {
                let mut many = [d.many(w); V];
                for (v, many) in many.iter_mut().enumerate().skip(1) {
                    *many = d.many(w.add(v * 4 * D::SUMS));
                }
                for (x, sums) in x.iter().zip(&mut sums) {
                    let one = d.one(x.add(4 * quad));
                    for (sums, many) in sums.iter_mut().zip(many) {
                        *sums = d.dot(*sums, one, many);
                    }
                }
                w = w.add(row);
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (v, sums) in sums.iter().enumerate() {
                d.store(a.sums.add((first + p) * a.stride + column + v * D::SUMS), *sums);
            }
        }
    }
}

/// Calls `$f` with the numbers of cells, and of sums side by side, as constants.
macro_rules! by_shape {
    ($f:ident, $n:expr, $at_once:expr, $D:ty, $args:tt) => {
        match ($at_once, <$D>::SUMS) {
            (1, _) => by_shape!(@ $f, $n, $D, 1, $args, 1 2 3 4 5 6 7 8 9 10 11 12),
            (2, 16) => by_shape!(@ $f, $n, $D, 2, $args, 1 2 3 4 5 6 7 8 9 10 11 12),
            (2, _) => by_shape!(@ $f, $n, $D, 2, $args, 1 2 3 4 5 6),
            (3, _) => by_shape!(@ $f, $n, $D, 3, $args, 1 2 3 4 5 6 7 8),
            _ => by_shape!(@ $f, $n, $D, 4, $args, 1 2 3 4 5),
        }
    };
    (@ $f:ident, $n:expr, $D:ty, $V:literal, $args:tt, $($P:literal)*) => {
        match $n {
            $($P => $f::<$D, $P, $V> $args,)*
            _ => unreachable!("at most as many as registers hold"),
        }
    };
}
pub(super) use by_shape;

/// # Safety
/// As of [`super::table::Int8Kernels::product`].
#[inline(always)]
pub unsafe fn run<D: Dot>(d: D, a: &ProductArgs<'_>) {
    // Safety: as of this function; blocks of the strips, in which the weights lie side by side.
    unsafe {
        let k = a.taps.len() * a.n_quads;
        for strip in strips(a.n_blocks) {
            let (weights, row) = (a.weights.add(strip.first * BLOCK * 4 * k), strip.n * BLOCK * 4);
            let (most, at_once) = D::MOST[strip.n - 1];
            let evenly = a.n.div_ceil(a.n.div_ceil(most));
            for part in (0..strip.n * BLOCK).step_by(at_once * D::SUMS) {
                let (column, weights) = (strip.first * BLOCK + part, weights.add(part * 4));
                for p in (0..a.n).step_by(evenly) {
                    let n = (a.n - p).min(evenly);
                    by_shape!(block, n, at_once, D, (d, a, p, column, weights, row));
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
    use crate::kernels::TILE;
    use crate::weights::int8::PackedInt8;

    #[test]
    fn every_kernel_equals_the_definition_at_every_size_and_at_the_ends_of_the_range() {
        let mut random = fastrand::Rng::with_seed(9);
        for (n_out, n_taps, depth) in
            [(1, 1, 1), (12, 9, 3), (16, 1, 24), (24, 9, 12), (33, 4, 7), (48, 2, 5), (80, 1, 48), (100, 3, 9)]
        {
            for ends in [false, true] {
                let zero = if ends { [0, 255][random.usize(0..2)] } else { random.i32(0..256) };
                let mut byte = || if ends { [0, 127, 128, 255][random.usize(0..4)] } else { random.u8(..) };
                let weights: Vec<i8> = (0..n_out * n_taps * depth).map(|_| byte() as i8).collect();
                // Cells of one tap after another, and of each cell four bytes more than it has.
                let cells: Vec<u8> = (0..TILE * n_taps * depth + 4).map(|_| byte()).collect();
                let packed = PackedInt8::new(n_taps, depth, &weights);
                let stride = packed.n_blocks() * BLOCK;
                let at: [*const u8; TILE] = std::array::from_fn(|p| cells[p * depth..].as_ptr());
                let taps: Vec<isize> = (0..n_taps).map(|t| (t * TILE * depth) as isize).collect();
                for kernels in Int8Kernels::all() {
                    for n in 1..=TILE {
                        let mut sums = Buffer::new(TILE * stride, i32::MIN);
                        let args = ProductArgs {
                            n,
                            cells: &at,
                            taps: &taps,
                            n_quads: packed.n_quads(),
                            zero,
                            weights: packed.weights().as_ptr(),
                            column_sums: packed.column_sums().as_ptr(),
                            n_blocks: packed.n_blocks(),
                            sums: sums.as_mut_ptr(),
                            stride,
                        };
                        // Safety: packed for these taps and this depth; sums have room for whole blocks.
                        unsafe { kernels.product(&args) }
                        for p in 0..n {
                            for o in 0..n_out {
                                let term = |tap: usize, c: usize| {
                                    let x = i32::from(cells[(tap * TILE + p) * depth + c]) - zero;
                                    x * i32::from(weights[(o * n_taps + tap) * depth + c])
                                };
                                let wanted: i32 = (0..n_taps)
                                    .flat_map(|t| (0..depth).map(move |c| (t, c)))
                                    .map(|(t, c)| term(t, c))
                                    .sum();
                                assert_eq!(sums[p * stride + o], wanted, "{kernels:?} {n} of {n_out} {n_taps} {depth}");
                            }
                        }
                        assert!(
                            sums[n * stride..TILE * stride].iter().all(|v| *v == i32::MIN),
                            "no other row is written"
                        );
                    }
                }
            }
        }
    }
}
