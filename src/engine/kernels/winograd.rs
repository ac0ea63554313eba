//! Squares of a convolution: inputs to what is multiplied, products to outputs
//! ([`crate::engine::winograd`]).

use super::simd::Simd;
use super::{GatherArgs, SQUARES, STRIP, SpreadArgs, TILE};

/// Of the inputs of a row or column.
#[inline(always)]
unsafe fn turned<S: Simd>(d: [S::V; 4]) -> [S::V; 4] {
    unsafe { [S::sub(d[0], d[2]), S::add(d[1], d[2]), S::sub(d[2], d[1]), S::sub(d[1], d[3])] }
}

/// Of the products of a row or column.
#[inline(always)]
unsafe fn summed<S: Simd>(m: [S::V; 4]) -> [S::V; 2] {
    unsafe { [S::add(S::add(m[0], m[1]), m[2]), S::sub(S::sub(m[1], m[2]), m[3])] }
}

#[inline(always)]
pub unsafe fn spread<S: Simd>(a: &SpreadArgs) {
    unsafe {
        for p in 0..a.n {
            let mut c = 0;
            while c < a.depth {
                let mut rows = [[S::splat(0.0); 4]; 4];
                for x in 0..4 {
                    let mut column = [S::splat(0.0); 4];
                    for (y, seen) in column.iter_mut().enumerate() {
                        *seen = S::load((*a.inputs.add((y * 4 + x) * TILE + p)).add(c));
                    }
                    for (row, value) in rows.iter_mut().zip(turned::<S>(column)) {
                        row[x] = value;
                    }
                }
                for (y, row) in rows.iter().enumerate() {
                    for (x, value) in turned::<S>(*row).iter().enumerate() {
                        S::store(a.out.add(((y * 4 + x) * SQUARES + p) * a.stride + c), *value);
                    }
                }
                c += S::LANES;
            }
        }
    }
}

#[inline(always)]
pub unsafe fn gather<S: Simd>(a: &GatherArgs<'_>) {
    unsafe {
        for (p, rows) in a.rows.chunks_exact(4).enumerate().take(a.n) {
            let mut c = 0;
            while c < a.width {
                let mut sums = [[S::splat(0.0); 4]; 2];
                for x in 0..4 {
                    let mut column = [S::splat(0.0); 4];
                    for (y, product) in column.iter_mut().enumerate() {
                        *product = S::load(a.products.add(((y * 4 + x) * SQUARES + p) * STRIP + c));
                    }
                    for (row, sum) in sums.iter_mut().zip(summed::<S>(column)) {
                        row[x] = sum;
                    }
                }
                for (rows, sums) in rows.chunks_exact(2).zip(sums) {
                    for (row, sum) in rows.iter().zip(summed::<S>(sums)) {
                        if !row.is_null() {
                            S::store(row.add(a.column + c), sum);
                        }
                    }
                }
                c += S::LANES;
            }
        }
    }
}
