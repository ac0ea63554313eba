//! Indirect GEMM: any cells of a map times the packed weights.
//!
//! A block of `P` cells by `V` vectors of output channels stays in registers
//! while the input channels stream by; each input number is broadcast once, each
//! vector of weights loaded once a block (Dukhan, "The Indirect Convolution
//! Algorithm", arXiv:1907.02129). Sums run over taps, then channels, one after
//! another: the same for every shape of block, so that a cell's result does not
//! depend on which others are computed with it.

use super::simd::Simd;
use super::{BLOCK, ConvArgs, PAIR, TILE, prefetch};

/// Input channels whose weights are asked for ahead: pages are shorter than weights, and no hardware looks beyond one.
/// 16 were 1 % slower and 64 as good (person-indoor on a Zen 5).
const AHEAD: usize = 32;

/// `P` cells from `first`, `V` vectors of outputs from `column`. `row` is how many
/// numbers the weights of one input channel take, `weights` where they begin.
#[inline(always)]
unsafe fn block<S: Simd, const P: usize, const V: usize>(
    a: &ConvArgs,
    first: usize,
    column: usize,
    weights: *const f32,
    row: usize,
) {
    unsafe {
        let mut sums = [[S::splat(0.0); V]; P];
        for v in 0..V {
            let bias = S::load(a.bias.add(column + v * S::LANES));
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
                let mut w0 = [S::splat(0.0); V];
                let mut w1 = [S::splat(0.0); V];
                for v in 0..V {
                    w0[v] = S::load(w.add(v * S::LANES));
                    w1[v] = S::load(w.add(row + v * S::LANES));
                }
                for (x, sums) in x.iter().zip(&mut sums) {
                    let (x0, x1) = (S::splat(*x.add(c)), S::splat(*x.add(c + 1)));
                    for (sum, w) in sums.iter_mut().zip(w0) {
                        *sum = S::fma(x0, w, *sum);
                    }
                    for (sum, w) in sums.iter_mut().zip(w1) {
                        *sum = S::fma(x1, w, *sum);
                    }
                }
                w = w.add(2 * row);
                c += 2;
            }
            if c < a.depth {
                for (x, sums) in x.iter().zip(&mut sums) {
                    let x0 = S::splat(*x.add(c));
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = S::fma(x0, S::load(w.add(v * S::LANES)), *sum);
                    }
                }
                w = w.add(row);
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (v, sum) in sums.iter().enumerate() {
                S::store(a.rows.add((first + p) * a.stride + column + v * S::LANES), *sum);
            }
        }
    }
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

/// Up to 12 cells by 2 vectors of 16: 24 sums of 32 registers.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub unsafe fn twelves<S: Simd>(a: &ConvArgs) {
    unsafe {
        let k = a.n_taps * a.depth;
        for b in (0..a.n_blocks).step_by(2) {
            let weights = a.weights.add(b * BLOCK * k);
            let column = b * BLOCK;
            if b + 1 < a.n_blocks {
                by_cells!(a.n, S, 2, (a, 0, column, weights, PAIR), 1 2 3 4 5 6 7 8 9 10 11 12);
            } else {
                by_cells!(a.n, S, 1, (a, 0, column, weights, BLOCK), 1 2 3 4 5 6 7 8 9 10 11 12);
            }
        }
    }
}

/// Blocks of 16 outputs, `V` vectors each; up to 6 cells stay in registers with them:
/// 12 sums of 16 registers with vectors of 8, 24 of 32 with vectors of 4.
#[inline(always)]
pub unsafe fn sixes<S: Simd, const V: usize>(a: &ConvArgs) {
    unsafe {
        let k = a.n_taps * a.depth;
        // Evenly: few cells have too few sums to keep the multipliers busy.
        let most = a.n.div_ceil(a.n.div_ceil(6));
        for b in 0..a.n_blocks {
            let pair = b & !1;
            let row = if pair + 1 < a.n_blocks { PAIR } else { BLOCK };
            let weights = a.weights.add(pair * BLOCK * k + (b - pair) * BLOCK);
            let mut p = 0;
            while p < a.n {
                let n = (a.n - p).min(most);
                by_cells!(n, S, V, (a, p, b * BLOCK, weights, row), 1 2 3 4 5 6);
                p += n;
            }
        }
    }
}
