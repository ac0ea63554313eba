//! Number by number along a row: sums, and the greatest.

use super::args::{Pooled, Rows};
use super::simd::Simd;

/// A vector of a row of `n` numbers that may end inside it.
///
/// # Safety
/// The row can be read; `i` lies in it.
#[inline(always)]
pub unsafe fn load_part<S: Simd>(s: S, row: *const f32, i: usize, n: usize) -> S::V {
    // Safety: no more than the row has.
    unsafe {
        if i + S::LANES <= n {
            return s.load(row.add(i));
        }
        s.load_first(row.add(i), n - i)
    }
}

/// A vector of the first of some numbers, zeros behind the last.
#[inline(always)]
pub fn load_rest<S: Simd>(s: S, rest: &[f32]) -> S::V {
    if rest.is_empty() {
        return s.splat(0.0);
    }
    // Safety: there are so many, and the first lies among them.
    unsafe { load_part(s, rest.as_ptr(), 0, rest.len()) }
}

/// Stores a vector into a row of `n` numbers that may end inside it.
///
/// # Safety
/// The row can be written; `i` lies in it.
#[inline(always)]
pub unsafe fn store_part<S: Simd>(s: S, row: *mut f32, v: S::V, i: usize, n: usize) {
    // Safety: no more than the row has.
    unsafe {
        if i + S::LANES <= n {
            return s.store(row.add(i), v);
        }
        s.store_first(row.add(i), v, n - i);
    }
}

/// # Safety
/// As of [`super::Kernels::add`].
#[inline(always)]
pub unsafe fn add<S: Simd>(s: S, rows: Rows, others: &[*const f32]) {
    for (p, other) in others.iter().enumerate().take(rows.n) {
        let row = rows.first.wrapping_add(p * rows.stride);
        for i in (0..rows.width).step_by(S::LANES) {
            // Safety: rows of whole blocks, the last vector lies in one; as many numbers as they are wide behind the pointer.
            unsafe { s.store(row.add(i), s.add(s.load(row.add(i)), load_part(s, *other, i, rows.width))) }
        }
    }
}

/// Vectors of a row that stay in registers over all taps.
const POOLED: usize = 4;

/// # Safety
/// As of [`super::Kernels::pool`].
#[inline(always)]
pub unsafe fn pool<S: Simd>(s: S, how: Pooled, taps: &[*const f32], row: &mut [f32]) {
    let mut i = 0;
    while i + POOLED * S::LANES <= row.len() {
        // Safety: so many vectors of the row.
        unsafe { pool_part::<S, POOLED>(s, how, taps, row, i) };
        i += POOLED * S::LANES;
    }
    while i < row.len() {
        // Safety: the vector begins in the row.
        unsafe { pool_part::<S, 1>(s, how, taps, row, i) };
        i += S::LANES;
    }
}

/// `N` vectors from number `i` on; the last may be part of one.
///
/// # Safety
/// As of [`pool`]; each vector begins in the row.
#[inline(always)]
unsafe fn pool_part<S: Simd, const N: usize>(s: S, how: Pooled, taps: &[*const f32], row: &mut [f32], i: usize) {
    // Safety: as of this function.
    unsafe {
        let n = row.len();
        let none = match how {
            Pooled::Greatest => f32::NEG_INFINITY,
            Pooled::Sum => 0.0,
        };
        let mut pooled = [s.splat(none); N];
        for tap in taps {
            for (k, pooled) in pooled.iter_mut().enumerate() {
                let value = load_part(s, *tap, i + k * S::LANES, n);
                *pooled = match how {
                    Pooled::Greatest => s.max(*pooled, value),
                    Pooled::Sum => s.add(*pooled, value),
                };
            }
        }
        for (k, pooled) in pooled.into_iter().enumerate() {
            store_part(s, row.as_mut_ptr(), pooled, i + k * S::LANES, n);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::kernels::{Kernels, Pooled, bits};

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
