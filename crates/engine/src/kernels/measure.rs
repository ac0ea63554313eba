//! The gate's measure: rows are stored over others, and it is told how far they moved.

use super::act::{Activation, Fate, activate, firsts, load_all};
use super::args::{Cells, Distances, Measure, Rows};
use super::rows::{load_part, store_part};
use super::simd::Simd;

/// Rows are stored over others. What is stored over comes from far away: it is waited for while others are activated.
struct Measured<'a> {
    how: Measure<'a>,
    /// Become the sums over each row of `((new - old) * inverse_scale)^2`. A sum has 16 parts, of every 16th number, whatever the
    /// vectors.
    distances: &'a mut Distances,
}

impl<S: Simd> Fate<S> for Measured<'_> {
    #[inline(always)]
    unsafe fn take<const N: usize>(&mut self, s: S, act: impl Activation<S>, rows: Rows, p: usize) {
        // Safety: rows of whole blocks, in which each vector lies; of scales, residuals and cells only as many numbers are touched
        // as rows are wide.
        unsafe {
            let (firsts, width, how) = (firsts::<N>(rows, p), rows.width, &self.how);
            let mut old = firsts;
            old.copy_from_slice(&how.old[p..p + N]);
            let residuals = how.residuals.and_then(|all| all[p..].first_chunk::<N>());
            let inverse_scales = how.inverse_scales.as_ptr();
            let mut sums = [[s.splat(0.0); N]; 4];
            let sums = &mut sums[..16 / S::LANES];
            let mut i = 0;
            while i + 16 <= width {
                for sums in &mut *sums {
                    let x = act.of(s, add(s, load_all(s, firsts, i), residuals, i, width), i);
                    let inverse_scale = s.load(inverse_scales.add(i));
                    for ((x, old), sum) in x.into_iter().zip(old).zip(sums) {
                        let old = old.add(i);
                        let scaled = s.mul(s.sub(x, s.load(old)), inverse_scale);
                        s.store(old, x);
                        *sum = s.fma(scaled, scaled, *sum);
                    }
                    i += S::LANES;
                }
            }
            for sums in &mut *sums {
                if i < width {
                    let x = act.of(s, add(s, load_all(s, firsts, i), residuals, i, width), i);
                    let inverse_scale = load_part(s, inverse_scales, i, width);
                    for (((x, old), row), sum) in x.into_iter().zip(old).zip(firsts).zip(sums) {
                        // What is behind the row means nothing.
                        s.store(row.add(i), x);
                        let x = load_part(s, row, i, width);
                        let scaled = s.mul(s.sub(x, load_part(s, old, i, width)), inverse_scale);
                        store_part(s, old, x, i, width);
                        *sum = s.fma(scaled, scaled, *sum);
                    }
                    i += S::LANES;
                }
            }
            for (k, distance) in self.distances[p..p + N].iter_mut().enumerate() {
                let mut parts = [s.splat(0.0); 4];
                for (part, sums) in parts.iter_mut().zip(&*sums) {
                    *part = sums[k];
                }
                *distance = s.sum16(&parts[..sums.len()]);
            }
        }
    }
}

/// Adds to vectors that begin at number `i` of their rows what there is to add.
///
/// # Safety
/// `i` lies in rows of `width` numbers; residuals can be read as far.
#[inline(always)]
unsafe fn add<S: Simd, const N: usize>(
    s: S,
    mut x: [S::V; N],
    residuals: Option<&[*const f32; N]>,
    i: usize,
    width: usize,
) -> [S::V; N] {
    if let Some(residuals) = residuals {
        for (x, residual) in x.iter_mut().zip(residuals) {
            // Safety: as of this function.
            *x = s.add(*x, unsafe { load_part(s, *residual, i, width) });
        }
    }
    x
}

/// # Safety
/// As of [`super::Kernels::measure`].
#[inline(always)]
pub unsafe fn measure<S: Simd>(s: S, new: Rows, how: Measure<'_>, distances: &mut Distances) -> [u64; 2] {
    // Safety: as of this function; there are distances for more vectors than rows fill.
    unsafe {
        activate(s, how.act, new, &mut Measured { how, distances });
        let mut exceeds = [0; 2];
        let mut p = 0;
        while p < new.n {
            let distances = s.load(distances.as_ptr().add(p));
            for (bits, limit) in exceeds.iter_mut().zip([0.0, how.limit]) {
                *bits |= s.exceeds(distances, s.splat(limit)) << p;
            }
            p += S::LANES;
        }
        exceeds.map(|bits| bits & (u64::MAX >> (u64::BITS as usize - new.n)))
    }
}

/// # Safety
/// So many numbers can be read, and written.
#[inline(always)]
unsafe fn copy<S: Simd>(s: S, from: *const f32, to: *mut f32, n: usize) {
    // Safety: as of this function.
    unsafe {
        let mut i = 0;
        while i + S::LANES <= n {
            s.store(to.add(i), s.load(from.add(i)));
            i += S::LANES;
        }
        if i < n {
            s.store_first(to.add(i), s.load_first(from.add(i), n - i), n - i);
        }
    }
}

/// # Safety
/// As of [`super::Kernels::replace`].
#[inline(always)]
pub unsafe fn replace<S: Simd>(s: S, new: Rows, old: &Cells) -> u64 {
    // Safety: as of this function.
    unsafe {
        let mut stored = 0;
        for (p, old) in old.iter().take(new.n).enumerate() {
            let row = new.first.add(p * new.stride);
            let mut differs = 0;
            for i in 0..new.width {
                differs |= (*row.add(i)).to_bits() ^ (*old.add(i)).to_bits();
            }
            if differs != 0 {
                copy(s, row, *old, new.width);
                stored |= 1 << p;
            }
        }
        stored
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::Act;
    use crate::kernels::{BLOCK, Kernels, Measure, ROWS, Rows, bits, math};

    /// A squared distance that some cells exceed.
    const LIMIT: f32 = 0.5;

    /// How rows are compared.
    #[derive(Debug, Clone, Copy)]
    enum How<'a> {
        Exact,
        /// With residuals, or without.
        Measured(&'a Act, bool),
    }

    /// What the cells hold afterwards, which differed (and by more than [`LIMIT`]), the distances: of cells of `width`
    /// numbers that differ from the finished rows a little, the first not at all.
    fn run(kernels: &Kernels, width: usize, n: usize, how: How) -> (Vec<f32>, [u64; 2], [f32; ROWS]) {
        let mut random = fastrand::Rng::with_seed((width * 31 + n) as u64);
        let stride = width + BLOCK;
        let mut some = |spread: f32| (0..ROWS * stride).map(|_| (random.f32() - 0.5) * spread).collect::<Vec<f32>>();
        let (mut rows, others, moves) = (some(1.0), some(1.0), some(0.1));
        rows[stride + width - 1] = f32::NAN;
        let finished: Vec<f32> = match how {
            How::Exact => rows.clone(),
            How::Measured(act, adds) => {
                let added = rows.iter().zip(&others).map(|(row, other)| if adds { row + other } else { *row });
                added.enumerate().map(|(i, x)| math::act(act, x, (i % stride).min(width - 1))).collect()
            }
        };
        let mut cells: Vec<f32> = finished.iter().zip(&moves).map(|(new, moved)| new + moved).collect();
        cells[..width].copy_from_slice(&finished[..width]);
        cells[stride + width - 1] = 0.0;
        let inverse_scales: Vec<f32> = (0..width).map(|_| random.f32() * 9.0).collect();
        let first = cells.as_mut_ptr();
        let old = std::array::from_fn(|p| first.wrapping_add(p * stride));
        let residuals = std::array::from_fn(|p| others[p * stride..].as_ptr());
        let new = Rows { first: rows.as_mut_ptr(), stride, n, width };
        let mut distances = [0.0; ROWS];
        // Safety: a tile of rows, residuals and cells of `stride` numbers each.
        let exceed = unsafe {
            match how {
                How::Exact => [kernels.replace(new, &old); 2],
                How::Measured(act, adds) => {
                    let residuals = adds.then_some(&residuals);
                    let how = Measure { residuals, act, old: &old, inverse_scales: &inverse_scales, limit: LIMIT };
                    kernels.measure(new, how, &mut distances)
                }
            }
        };
        let exact = matches!(how, How::Exact);
        for (p, distance) in distances.iter().enumerate().take(n) {
            let exceeds = [0.0, LIMIT].map(|limit| *distance > limit || distance.is_nan());
            assert!(exact || exceed.map(|b| b >> p & 1 == 1) == exceeds, "{kernels:?}, row {p}: {distance}");
            let stored = &cells[p * stride..][..width];
            assert_eq!(bits(stored), bits(&finished[p * stride..][..width]), "{kernels:?} stores row {p}, {how:?}");
            assert!(exact || p != 0 || *distance == 0.0, "equal rows");
            let has_none = finished[p * stride..][..width].iter().any(|v| v.is_nan());
            assert!(exact || distance.is_nan() == has_none, "NaN");
        }
        (cells, exceed, distances)
    }

    #[test]
    fn changes_are_the_same_on_every_instruction_set() {
        let prelu = Act::PRelu((0..70).map(|i| i as f32 / 70.0).collect());
        for width in 1..70 {
            for n in [1, 5, ROWS] {
                let acts = [&Act::Identity, &Act::Leaky(0.1), &Act::Silu, &prelu];
                let measured = acts.into_iter().flat_map(|act| [How::Measured(act, false), How::Measured(act, true)]);
                for how in measured.chain([How::Exact]) {
                    let wanted = run(Kernels::all().last().unwrap(), width, n, how);
                    assert!(!matches!(how, How::Exact) || wanted.1[0] == (1 << n) - 2, "all but the first differ");
                    for kernels in Kernels::all() {
                        let found = run(kernels, width, n, how);
                        assert_eq!(found.1, wanted.1, "{kernels:?}, {width} wide, {n} rows, {how:?}");
                        assert_eq!(bits(&found.0), bits(&wanted.0), "{kernels:?}, {width} wide, {n} rows, {how:?}");
                        assert_eq!(bits(&found.2), bits(&wanted.2), "{kernels:?}, {width} wide, {n} rows, {how:?}");
                    }
                }
            }
        }
    }
}
