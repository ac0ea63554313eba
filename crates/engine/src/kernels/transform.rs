//! Squares of a convolution: inputs to what is multiplied, products to outputs
//! ([`crate::weights::winograd`]).

use super::args::{InputTransformArgs, OutputTransformArgs, SQUARES, STRIP, TILE};
use super::simd::Simd;

/// Of the inputs of a row or column.
#[inline(always)]
fn transformed<S: Simd>(s: S, d: [S::V; 4]) -> [S::V; 4] {
    [s.sub(d[0], d[2]), s.add(d[1], d[2]), s.sub(d[2], d[1]), s.sub(d[1], d[3])]
}

/// Of the products of a row or column.
#[inline(always)]
fn summed<S: Simd>(s: S, m: [S::V; 4]) -> [S::V; 2] {
    [s.add(s.add(m[0], m[1]), m[2]), s.sub(s.sub(m[1], m[2]), m[3])]
}

/// # Safety
/// As of [`super::Kernels::input_transform`].
#[inline(always)]
pub unsafe fn input_transform<S: Simd>(s: S, a: &InputTransformArgs) {
    // Safety: inputs and `out` are good for whole blocks, in which each vector lies.
    unsafe {
        for p in 0..a.n {
            let mut c = 0;
            while c < a.depth {
                let mut rows = [[s.splat(0.0); 4]; 4];
                for x in 0..4 {
                    let mut column = [s.splat(0.0); 4];
                    for (y, seen) in column.iter_mut().enumerate() {
                        *seen = s.load((*a.inputs.add((y * 4 + x) * TILE + p)).add(c));
                    }
                    for (row, value) in rows.iter_mut().zip(transformed(s, column)) {
                        row[x] = value;
                    }
                }
                for (y, row) in rows.iter().enumerate() {
                    for (x, value) in transformed(s, *row).iter().enumerate() {
                        s.store(a.out.add(((y * 4 + x) * SQUARES + p) * a.stride + c), *value);
                    }
                }
                c += S::LANES;
            }
        }
    }
}

/// # Safety
/// As of [`super::Kernels::output_transform`].
#[inline(always)]
pub unsafe fn output_transform<S: Simd>(s: S, a: &OutputTransformArgs<'_>) {
    // Safety: products and rows are good for whole blocks, in which each vector lies.
    unsafe {
        for (p, rows) in a.rows.chunks_exact(4).enumerate().take(a.n) {
            let mut c = 0;
            while c < a.width {
                let mut sums = [[s.splat(0.0); 4]; 2];
                for x in 0..4 {
                    let mut column = [s.splat(0.0); 4];
                    for (y, product) in column.iter_mut().enumerate() {
                        *product = s.load(a.products.add(((y * 4 + x) * SQUARES + p) * STRIP + c));
                    }
                    for (row, sum) in sums.iter_mut().zip(summed(s, column)) {
                        row[x] = sum;
                    }
                }
                for (rows, sums) in rows.chunks_exact(2).zip(sums) {
                    for (row, sum) in rows.iter().zip(summed(s, sums)) {
                        if !row.is_null() {
                            s.store(row.add(a.column + c), sum);
                        }
                    }
                }
                c += S::LANES;
            }
        }
    }
}
