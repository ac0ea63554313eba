//! Number by number along a row: activations, sums, and the gate's measure.

use super::math::{GUESS, LOG2_E, POWER_POLY, SHIFT, SIGMOID_END};
use super::simd::Simd;
use super::{Cells, Distances, Rows};
use crate::engine::graph::Act;

/// Replaces every vector `x` of a row, which begins at number `i`; the last may be part of
/// one. A macro, because a closure would not be compiled for the instruction set of the
/// function around it.
macro_rules! each {
    ($S:ty, $row:expr, $n:expr, |$x:ident, $i:ident| $value:expr) => {{
        let (row, n) = ($row, $n);
        let whole = n / <$S>::LANES * <$S>::LANES;
        let mut $i = 0;
        while $i < whole {
            let $x = <$S>::load(row.add($i));
            <$S>::store(row.add($i), $value);
            $i += <$S>::LANES;
        }
        if $i < n {
            let $x = <$S>::load_first(row.add($i), n - $i);
            <$S>::store_first(row.add($i), $value, n - $i);
        }
    }};
}

/// A vector of a row that may end inside it.
#[inline(always)]
unsafe fn load_part<S: Simd>(row: *const f32, i: usize, n: usize) -> S::V {
    unsafe {
        if i + S::LANES <= n {
            return S::load(row.add(i));
        }
        S::load_first(row.add(i), n - i)
    }
}

#[inline(always)]
unsafe fn store_part<S: Simd>(row: *mut f32, v: S::V, i: usize, n: usize) {
    unsafe {
        if i + S::LANES <= n {
            return S::store(row.add(i), v);
        }
        S::store_first(row.add(i), v, n - i);
    }
}

#[inline(always)]
pub unsafe fn add<S: Simd>(row: *mut f32, other: *const f32, n: usize) {
    unsafe { each!(S, row, n, |v, i| S::add(v, load_part::<S>(other, i, n))) }
}

#[inline(always)]
pub unsafe fn max<S: Simd>(row: *mut f32, other: *const f32, n: usize) {
    unsafe { each!(S, row, n, |v, i| S::max(v, load_part::<S>(other, i, n))) }
}

/// As [`super::math::sigmoid`], step by step.
#[inline(always)]
unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    unsafe {
        let (one, steep) = (S::splat(1.0), S::splat(-LOG2_E));
        let x = S::min(S::max(x, S::splat(-SIGMOID_END)), S::splat(SIGMOID_END));
        let shifted = S::fma(x, steep, S::splat(SHIFT));
        let f = S::fma(x, steep, S::sub(S::splat(SHIFT), shifted));
        let mut p = S::splat(POWER_POLY[0]);
        p = S::fma(p, f, S::splat(POWER_POLY[1]));
        p = S::fma(p, f, S::splat(POWER_POLY[2]));
        p = S::fma(p, f, S::splat(POWER_POLY[3]));
        p = S::fma(p, f, S::splat(POWER_POLY[4]));
        p = S::fma(p, f, one);
        let d = S::fma(p, S::shift_to_exponent(shifted), S::splat(-1.0));
        let r = S::sub_bits(S::splat(f32::from_bits(GUESS)), d);
        let e = S::fma(d, r, one);
        let r = S::fma(r, S::fma(e, e, e), r);
        S::fma(r, S::fma(d, r, one), r)
    }
}

#[inline(always)]
unsafe fn leaky<S: Simd>(x: S::V, slope: S::V) -> S::V {
    unsafe {
        let zero = S::splat(0.0);
        S::add(S::max(x, zero), S::mul(slope, S::min(x, zero)))
    }
}

/// [`each`] for every row.
macro_rules! all {
    ($S:ty, $rows:expr, |$x:ident, $i:ident| $value:expr) => {{
        for p in 0..$rows.n {
            each!($S, $rows.first.add(p * $rows.stride), $rows.width, |$x, $i| $value);
        }
    }};
}

/// As [`super::math::act`], step by step.
#[inline(always)]
pub unsafe fn act<S: Simd>(act: &Act, rows: Rows) {
    unsafe {
        let one = S::splat(1.0);
        let zero = S::splat(0.0);
        match act {
            Act::Identity => {}
            Act::Relu => all!(S, rows, |x, i| S::max(x, zero)),
            Act::Leaky(slope) => {
                let slope = S::splat(*slope);
                all!(S, rows, |x, i| leaky::<S>(x, slope));
            }
            Act::PRelu(slopes) => {
                let slopes = slopes.as_ptr();
                all!(S, rows, |x, i| leaky::<S>(x, load_part::<S>(slopes, i, rows.width)));
            }
            Act::Clip(low, high) => {
                let (low, high) = (S::splat(*low), S::splat(*high));
                all!(S, rows, |x, i| S::min(S::max(x, low), high));
            }
            Act::Sigmoid => all!(S, rows, |x, i| sigmoid::<S>(x)),
            Act::Silu => all!(S, rows, |x, i| S::mul(x, sigmoid::<S>(x))),
            Act::HardSigmoid(alpha, beta) => {
                let (alpha, beta) = (S::splat(*alpha), S::splat(*beta));
                all!(S, rows, |x, i| S::min(S::max(S::fma(x, alpha, beta), zero), one));
            }
            Act::HardSwish => {
                let (sixth, half) = (S::splat(1.0 / 6.0), S::splat(0.5));
                all!(S, rows, |x, i| S::mul(x, S::min(S::max(S::fma(x, sixth, half), zero), one)));
            }
            Act::Tanh => {
                let two = S::splat(2.0);
                all!(S, rows, |x, i| S::fma(two, sigmoid::<S>(S::mul(two, x)), S::splat(-1.0)));
            }
        }
    }
}

#[inline(always)]
unsafe fn copy<S: Simd>(from: *const f32, to: *mut f32, n: usize) {
    unsafe {
        let mut i = 0;
        while i + S::LANES <= n {
            S::store(to.add(i), S::load(from.add(i)));
            i += S::LANES;
        }
        if i < n {
            S::store_first(to.add(i), S::load_first(from.add(i), n - i), n - i);
        }
    }
}

/// Stores a row over another; the sum over it of `((new - old) * weight)^2`. The sum has 16 parts, of every 16th
/// number, whatever the vectors.
#[inline(always)]
unsafe fn distance<S: Simd>(new: *const f32, old: *mut f32, weight: *const f32, n: usize) -> f32 {
    unsafe {
        let n_vectors = 16 / S::LANES;
        let whole = n / 16 * 16;
        let mut sums = [S::splat(0.0); 4];
        let sums = &mut sums[..n_vectors];
        let mut i = 0;
        while i < whole {
            for sum in &mut *sums {
                let value = S::load(new.add(i));
                let delta = S::sub(value, S::load(old.add(i)));
                S::store(old.add(i), value);
                let scaled = S::mul(delta, S::load(weight.add(i)));
                *sum = S::fma(scaled, scaled, *sum);
                i += S::LANES;
            }
        }
        for sum in &mut *sums {
            if i < n {
                let value = load_part::<S>(new, i, n);
                let delta = S::sub(value, load_part::<S>(old, i, n));
                let scaled = S::mul(delta, load_part::<S>(weight, i, n));
                *sum = S::fma(scaled, scaled, *sum);
                store_part::<S>(old, value, i, n);
                i += S::LANES;
            }
        }
        S::sum16(sums)
    }
}

#[inline(always)]
pub unsafe fn measure<S: Simd>(new: Rows, old: &Cells, weights: &[f32], out: &mut Distances) {
    unsafe {
        for (p, (old, out)) in old.iter().zip(out).take(new.n).enumerate() {
            *out = distance::<S>(new.first.add(p * new.stride), *old, weights.as_ptr(), new.width);
        }
    }
}

#[inline(always)]
pub unsafe fn replace<S: Simd>(new: Rows, old: &Cells) -> u64 {
    unsafe {
        let mut stored = 0;
        for (p, old) in old.iter().take(new.n).enumerate() {
            let row = new.first.add(p * new.stride);
            let mut differs = 0;
            for i in 0..new.width {
                differs |= (*row.add(i)).to_bits() ^ (*old.add(i)).to_bits();
            }
            if differs != 0 {
                copy::<S>(row, *old, new.width);
                stored |= 1 << p;
            }
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::kernels::{BLOCK, Kernels, ROWS, Rows};

    /// Everything that this machine can run, against the portable ones.
    fn pairs() -> impl Iterator<Item = (&'static Kernels, &'static Kernels)> {
        let (oracle, others) = Kernels::all().split_last().unwrap();
        others.iter().map(move |kernels| (oracle, kernels))
    }

    /// The sign of a NaN is not promised.
    fn bits(v: &[f32]) -> Vec<u32> {
        v.iter().map(|v| if v.is_nan() { f32::INFINITY } else { *v }.to_bits()).collect()
    }

    /// What the cells hold afterwards, which differed, the distances: of cells of `width` numbers that differ from
    /// the rows a little, the first not at all.
    fn run(kernels: &Kernels, width: usize, n: usize, exact: bool) -> (Vec<f32>, u64, [f32; ROWS]) {
        let mut random = fastrand::Rng::with_seed((width * 31 + n) as u64);
        let stride = width + BLOCK;
        let mut rows: Vec<f32> = (0..ROWS * stride).map(|_| random.f32() - 0.5).collect();
        let mut cells: Vec<f32> = rows.iter().map(|v| v + (random.f32() - 0.5) * 0.1).collect();
        cells[..width].copy_from_slice(&rows[..width]);
        rows[stride + width - 1] = f32::NAN;
        let weights: Vec<f32> = (0..width).map(|_| random.f32() * 9.0).collect();
        let first = cells.as_mut_ptr();
        let old = std::array::from_fn(|p| first.wrapping_add(p * stride));
        let new = Rows { first: rows.as_mut_ptr(), stride, n, width };
        let mut distances = [0.0; ROWS];
        let mut differs = 0;
        // Safety: a tile of rows and cells of `stride` numbers each.
        unsafe {
            if exact {
                differs = kernels.replace(new, &old);
            } else {
                kernels.measure(new, &old, &weights, &mut distances);
            }
        }
        for (p, distance) in distances.iter().enumerate().take(n) {
            let stored = &cells[p * stride..][..width];
            assert_eq!(bits(stored), bits(&rows[p * stride..][..width]), "{kernels:?} stores row {p}");
            assert!(exact || p != 0 || *distance == 0.0, "equal rows");
            assert!(exact || p != 1 || distance.is_nan(), "numbers that are none");
        }
        (cells, differs, distances)
    }

    #[test]
    fn changes_are_the_same_on_every_instruction_set() {
        for (oracle, kernels) in pairs() {
            for width in 1..70 {
                for n in [1, 5, ROWS] {
                    for exact in [true, false] {
                        let (wanted, found) = (run(oracle, width, n, exact), run(kernels, width, n, exact));
                        assert_eq!(found.1, wanted.1, "{kernels:?}, {width} wide, {n} rows");
                        assert!(!exact || wanted.1 == (1 << n) - 2, "all but the first differ");
                        assert_eq!(bits(&found.0), bits(&wanted.0), "{kernels:?}, {width} wide, {n} rows");
                        assert_eq!(bits(&found.2), bits(&wanted.2), "{kernels:?}, {width} wide, {n} rows");
                    }
                }
            }
        }
    }
}
