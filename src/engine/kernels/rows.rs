//! Number by number along a row: sums, and the greatest.

use super::simd::Simd;
use super::{Pooled, Rows};

/// A vector of a row that may end inside it.
#[inline(always)]
pub unsafe fn load_part<S: Simd>(row: *const f32, i: usize, n: usize) -> S::V {
    unsafe {
        if i + S::LANES <= n {
            return S::load(row.add(i));
        }
        S::load_first(row.add(i), n - i)
    }
}

#[inline(always)]
pub unsafe fn store_part<S: Simd>(row: *mut f32, v: S::V, i: usize, n: usize) {
    unsafe {
        if i + S::LANES <= n {
            return S::store(row.add(i), v);
        }
        S::store_first(row.add(i), v, n - i);
    }
}

#[inline(always)]
pub unsafe fn add<S: Simd>(rows: Rows, others: &[*const f32]) {
    unsafe {
        for (p, other) in others.iter().enumerate().take(rows.n) {
            let row = rows.first.add(p * rows.stride);
            for i in (0..rows.width).step_by(S::LANES) {
                S::store(row.add(i), S::add(S::load(row.add(i)), load_part::<S>(*other, i, rows.width)));
            }
        }
    }
}

/// Vectors of a row that stay in registers over all taps.
const POOLED: usize = 4;

#[inline(always)]
pub unsafe fn pool<S: Simd>(how: Pooled, taps: &[*const f32], row: &mut [f32]) {
    unsafe {
        let mut i = 0;
        while i + POOLED * S::LANES <= row.len() {
            pool_part::<S, POOLED>(how, taps, row, i);
            i += POOLED * S::LANES;
        }
        while i < row.len() {
            pool_part::<S, 1>(how, taps, row, i);
            i += S::LANES;
        }
    }
}

/// `N` vectors from number `i` on; the last may be part of one.
#[inline(always)]
unsafe fn pool_part<S: Simd, const N: usize>(how: Pooled, taps: &[*const f32], row: &mut [f32], i: usize) {
    unsafe {
        let n = row.len();
        let none = match how {
            Pooled::Greatest => f32::NEG_INFINITY,
            Pooled::Sum => 0.0,
        };
        let mut pooled = [S::splat(none); N];
        for tap in taps {
            for (k, pooled) in pooled.iter_mut().enumerate() {
                let value = load_part::<S>(*tap, i + k * S::LANES, n);
                *pooled = match how {
                    Pooled::Greatest => S::max(*pooled, value),
                    Pooled::Sum => S::add(*pooled, value),
                };
            }
        }
        for (k, pooled) in pooled.into_iter().enumerate() {
            store_part::<S>(row.as_mut_ptr(), pooled, i + k * S::LANES, n);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::kernels::{Kernels, Pooled, bits};

    #[test]
    fn pools_are_the_same_on_every_instruction_set() {
        let mut random = fastrand::Rng::with_seed(5);
        for width in (1..40).chain([64, 72, 130]) {
            for n_taps in [0, 1, 4, 25] {
                let cells: Vec<f32> = (0..n_taps * width).map(|_| random.f32() - 0.5).collect();
                let taps: Vec<*const f32> = (0..n_taps).map(|t| cells[t * width..].as_ptr()).collect();
                let of = |i: usize| (0..n_taps).map(move |t| t * width + i);
                for how in [Pooled::Greatest, Pooled::Sum] {
                    let wanted: Vec<f32> = (0..width)
                        .map(|i| match how {
                            Pooled::Greatest => of(i).map(|at| cells[at]).fold(f32::NEG_INFINITY, f32::max),
                            Pooled::Sum => of(i).fold(0.0, |sum, at| sum + cells[at]),
                        })
                        .collect();
                    for kernels in Kernels::all() {
                        let mut row = vec![f32::NAN; width];
                        // Safety: each tap has as many numbers behind it.
                        unsafe { kernels.pool(how, &taps, &mut row) };
                        assert_eq!(bits(&row), bits(&wanted), "{kernels:?}, {how:?}, {n_taps} taps, {width} wide");
                    }
                }
            }
        }
    }
}
