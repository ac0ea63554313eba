//! Number by number along a row: activations, sums, and the gate's measure.

use super::math::{GUESS, LOG2_E, POWER_POLY, SHIFT, SIGMOID_END};
use super::simd::Simd;
use super::{Cells, Distances, Pooled, Rows};
use crate::engine::graph::Act;

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

/// Replaces every vector `x` of all rows, which begins at number `i`, the last in whole. A macro, because a closure would
/// not be compiled for the instruction set of the function around it.
macro_rules! each {
    ($S:ty, $rows:expr, |$x:ident, $p:ident, $i:ident| $value:expr) => {{
        for $p in 0..$rows.n {
            let row = $rows.first.add($p * $rows.stride);
            let mut $i = 0;
            while $i < $rows.width {
                let $x = <$S>::load(row.add($i));
                <$S>::store(row.add($i), $value);
                $i += <$S>::LANES;
            }
        }
    }};
}

#[inline(always)]
pub unsafe fn add<S: Simd>(rows: Rows, others: &[*const f32]) {
    unsafe { each!(S, rows, |x, p, i| S::add(x, load_part::<S>(others[p], i, rows.width))) }
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

/// As [`super::math::sigmoid`], step by step, of `N` vectors side by side: each step waits for the one before, and
/// by themselves they would take half as long again. Loops, because closures would not be compiled for the instruction
/// set of the function around them.
#[inline(always)]
unsafe fn sigmoid<S: Simd, const N: usize>(mut x: [S::V; N]) -> [S::V; N] {
    unsafe {
        let (one, steep, shift) = (S::splat(1.0), S::splat(-LOG2_E), S::splat(SHIFT));
        for x in &mut x {
            *x = S::min(S::max(*x, S::splat(-SIGMOID_END)), S::splat(SIGMOID_END));
        }
        let mut shifted = x;
        for (shifted, x) in shifted.iter_mut().zip(x) {
            *shifted = S::fma(x, steep, shift);
        }
        let mut f = x;
        for (f, shifted) in f.iter_mut().zip(shifted) {
            *f = S::fma(*f, steep, S::sub(shift, shifted));
        }
        let mut p = [S::splat(POWER_POLY[0]); N];
        for k in [POWER_POLY[1], POWER_POLY[2], POWER_POLY[3], POWER_POLY[4], 1.0] {
            for (p, f) in p.iter_mut().zip(f) {
                *p = S::fma(*p, f, S::splat(k));
            }
        }
        let mut d = p;
        for (d, shifted) in d.iter_mut().zip(shifted) {
            *d = S::fma(*d, S::shift_to_exponent(shifted), S::splat(-1.0));
        }
        let mut r = d;
        for (r, d) in r.iter_mut().zip(d) {
            *r = S::sub_bits(S::splat(f32::from_bits(GUESS)), d);
        }
        let mut e = d;
        for (e, r) in e.iter_mut().zip(r) {
            *e = S::fma(*e, r, one);
        }
        for (r, e) in r.iter_mut().zip(e) {
            *r = S::fma(*r, S::fma(e, e, e), *r);
        }
        for (d, r) in d.iter_mut().zip(r) {
            *d = S::fma(*d, r, one);
        }
        for (r, d) in r.iter_mut().zip(d) {
            *r = S::fma(*r, d, *r);
        }
        r
    }
}

#[inline(always)]
unsafe fn leaky<S: Simd>(x: S::V, slope: S::V) -> S::V {
    unsafe {
        let zero = S::splat(0.0);
        S::add(S::max(x, zero), S::mul(slope, S::min(x, zero)))
    }
}

/// Rows whose sigmoids are computed side by side.
const ABREAST: usize = 4;

/// [`each`], with the sigmoid of what `steep` makes of `x`: of [`ABREAST`] rows at once.
macro_rules! sigmoids {
    ($S:ty, $rows:expr, |$x:ident, $sigmoid:ident| $value:expr, of $steep:expr) => {{
        let rows = $rows;
        let mut p = 0;
        while p + ABREAST <= rows.n {
            let first = rows.first.add(p * rows.stride);
            let mut i = 0;
            while i < rows.width {
                let mut xs = [<$S>::splat(0.0); ABREAST];
                let mut steep = xs;
                for k in 0..ABREAST {
                    let $x = <$S>::load(first.add(k * rows.stride + i));
                    (xs[k], steep[k]) = ($x, $steep);
                }
                let sigmoids = sigmoid::<$S, ABREAST>(steep);
                for k in 0..ABREAST {
                    let $sigmoid = sigmoids[k];
                    #[allow(unused_variables)]
                    let $x = xs[k];
                    <$S>::store(first.add(k * rows.stride + i), $value);
                }
                i += <$S>::LANES;
            }
            p += ABREAST;
        }
        let rest = Rows { first: rows.first.add(p * rows.stride), n: rows.n - p, ..rows };
        each!($S, rest, |$x, p, i| {
            let [$sigmoid] = sigmoid::<$S, 1>([$steep]);
            $value
        });
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
            Act::Relu => each!(S, rows, |x, _p, i| S::max(x, zero)),
            Act::Leaky(slope) => {
                let slope = S::splat(*slope);
                each!(S, rows, |x, _p, i| leaky::<S>(x, slope));
            }
            Act::PRelu(slopes) => {
                let slopes = slopes.as_ptr();
                each!(S, rows, |x, _p, i| leaky::<S>(x, load_part::<S>(slopes, i, rows.width)));
            }
            Act::Clip(low, high) => {
                let (low, high) = (S::splat(*low), S::splat(*high));
                each!(S, rows, |x, _p, i| S::min(S::max(x, low), high));
            }
            Act::Sigmoid => sigmoids!(S, rows, |x, sigmoid_x| sigmoid_x, of x),
            Act::Silu => sigmoids!(S, rows, |x, sigmoid_x| S::mul(x, sigmoid_x), of x),
            Act::HardSigmoid(alpha, beta) => {
                let (alpha, beta) = (S::splat(*alpha), S::splat(*beta));
                each!(S, rows, |x, _p, i| S::min(S::max(S::fma(x, alpha, beta), zero), one));
            }
            Act::HardSwish => {
                let (sixth, half) = (S::splat(1.0 / 6.0), S::splat(0.5));
                each!(S, rows, |x, _p, i| S::mul(x, S::min(S::max(S::fma(x, sixth, half), zero), one)));
            }
            Act::Tanh => {
                let (two, less) = (S::splat(2.0), S::splat(-1.0));
                sigmoids!(S, rows, |x, sigmoid_2x| S::fma(two, sigmoid_2x, less), of S::mul(two, x));
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
pub unsafe fn measure<S: Simd>(new: Rows, old: &Cells, weights: &[f32], limit: f32, out: &mut Distances) -> [u64; 2] {
    unsafe {
        for (p, (old, out)) in old.iter().zip(&mut *out).take(new.n).enumerate() {
            *out = distance::<S>(new.first.add(p * new.stride), *old, weights.as_ptr(), new.width);
        }
        let mut exceeds = [0; 2];
        let mut p = 0;
        while p < new.n {
            let distances = S::load(out.as_ptr().add(p));
            for (bits, limit) in exceeds.iter_mut().zip([0.0, limit]) {
                *bits |= S::exceeds(distances, S::splat(limit)) << p;
            }
            p += S::LANES;
        }
        exceeds.map(|bits| bits & (u64::MAX >> (u64::BITS as usize - new.n)))
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
    use crate::engine::graph::Act;
    use crate::engine::kernels::{BLOCK, Kernels, Pooled, ROWS, Rows, math};

    /// Everything that this machine can run, against the portable ones.
    fn pairs() -> impl Iterator<Item = (&'static Kernels, &'static Kernels)> {
        let (oracle, others) = Kernels::all().split_last().unwrap();
        others.iter().map(move |kernels| (oracle, kernels))
    }

    /// The sign of a NaN is not promised.
    fn bits(v: &[f32]) -> Vec<u32> {
        v.iter().map(|v| if v.is_nan() { f32::INFINITY } else { *v }.to_bits()).collect()
    }

    /// A squared distance that some cells exceed.
    const LIMIT: f32 = 0.5;

    /// What the cells hold afterwards, which differed (and by more than [`LIMIT`]), the distances: of cells of `width`
    /// numbers that differ from the rows a little, the first not at all.
    fn run(kernels: &Kernels, width: usize, n: usize, exact: bool) -> (Vec<f32>, [u64; 2], [f32; ROWS]) {
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
        // Safety: a tile of rows and cells of `stride` numbers each.
        let exceed = unsafe {
            if exact {
                [kernels.replace(new, &old); 2]
            } else {
                kernels.measure(new, &old, &weights, LIMIT, &mut distances)
            }
        };
        for (p, distance) in distances.iter().enumerate().take(n) {
            let exceeds = [0.0, LIMIT].map(|limit| *distance > limit || distance.is_nan());
            assert!(exact || exceed.map(|b| b >> p & 1 == 1) == exceeds, "{kernels:?}, row {p}: {distance}");
            let stored = &cells[p * stride..][..width];
            assert_eq!(bits(stored), bits(&rows[p * stride..][..width]), "{kernels:?} stores row {p}");
            assert!(exact || p != 0 || *distance == 0.0, "equal rows");
            assert!(exact || p != 1 || distance.is_nan(), "numbers that are none");
        }
        (cells, exceed, distances)
    }

    #[test]
    fn changes_are_the_same_on_every_instruction_set() {
        for (oracle, kernels) in pairs() {
            for width in 1..70 {
                for n in [1, 5, ROWS] {
                    for exact in [true, false] {
                        let (wanted, found) = (run(oracle, width, n, exact), run(kernels, width, n, exact));
                        assert_eq!(found.1, wanted.1, "{kernels:?}, {width} wide, {n} rows");
                        assert!(!exact || wanted.1[0] == (1 << n) - 2, "all but the first differ");
                        assert_eq!(bits(&found.0), bits(&wanted.0), "{kernels:?}, {width} wide, {n} rows");
                        assert_eq!(bits(&found.2), bits(&wanted.2), "{kernels:?}, {width} wide, {n} rows");
                    }
                }
            }
        }
    }

    #[test]
    fn activations_follow_the_recipe_on_every_instruction_set() {
        let mut random = fastrand::Rng::with_seed(4);
        for width in (1..40usize).chain([64, 72]) {
            let slopes = (0..width).map(|_| random.f32()).collect();
            let (leaky, hard) = (Act::Leaky(0.1), Act::HardSigmoid(0.2, 0.5));
            let (clip, prelu) = (Act::Clip(0.0, 6.0), Act::PRelu(slopes));
            for act in [Act::Relu, leaky, prelu, clip, Act::Sigmoid, Act::Silu, hard, Act::HardSwish, Act::Tanh] {
                for n in [1, 4, 7, 12] {
                    let stride = width.next_multiple_of(BLOCK) + 3;
                    let mut before: Vec<f32> = (0..n * stride).map(|_| random.f32() * 40.0 - 20.0).collect();
                    (before[0], before[width - 1]) = (f32::INFINITY, f32::NEG_INFINITY);
                    let wanted: Vec<f32> = before
                        .iter()
                        .enumerate()
                        .map(|(i, x)| if i % stride < width { math::act(&act, *x, i % stride) } else { *x })
                        .collect();
                    for kernels in Kernels::all() {
                        let mut rows = before.clone();
                        // Safety: so many rows.
                        unsafe { kernels.act(&act, Rows { first: rows.as_mut_ptr(), stride, n, width }) };
                        for (row, wanted) in rows.chunks(stride).zip(wanted.chunks(stride)) {
                            assert_eq!(
                                bits(&row[..width]),
                                bits(&wanted[..width]),
                                "{kernels:?}, {act:?}, {n} of {width}"
                            );
                            let behind = width.next_multiple_of(BLOCK);
                            assert_eq!(row[behind..], wanted[behind..], "{kernels:?}, {act:?}, {n} of {width}");
                        }
                    }
                }
            }
        }
    }

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
