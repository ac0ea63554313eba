//! Activations of rows, where they are or on their way to a map.

use super::args::Rows;
use super::math::{GUESS, LOG2_E, POWER_POLY, SHIFT, SIGMOID_END};
use super::rows::load_rest;
use super::simd::Simd;
use crate::graph::Act;

/// Rows that are activated side by side: each step of a recipe waits for the one before, and rows by themselves would
/// take half as long again.
const ABREAST: usize = 4;

/// An activation, as [`super::math::act`] does it, step by step. Traits and loops, because closures would not be compiled
/// for the instruction set of the function around them.
pub trait Activation<S: Simd>: Copy {
    /// Of `N` vectors that begin at number `i` of their rows.
    fn of<const N: usize>(self, s: S, x: [S::V; N], i: usize) -> [S::V; N];
}

/// What becomes of rows that are activated.
pub trait Fate<S: Simd> {
    /// Rows `p..p + N`.
    ///
    /// # Safety
    /// These can be read and written in whole blocks; a fate may ask for more.
    unsafe fn take<const N: usize>(&mut self, s: S, act: impl Activation<S>, rows: Rows, p: usize);
}

/// Activates rows, wherever they go.
///
/// # Safety
/// The fate can take all of the rows.
#[inline(always)]
pub unsafe fn activate<S: Simd>(s: S, act: &Act, rows: Rows, fate: &mut impl Fate<S>) {
    // Safety: as of this function.
    unsafe {
        match act {
            Act::Identity => all(s, Identity, rows, fate),
            Act::Relu => all(s, Relu, rows, fate),
            Act::Leaky(slope) => all(s, Leaky(*slope), rows, fate),
            Act::PRelu(slopes) => all(s, PRelu(slopes), rows, fate),
            Act::Clip(low, high) => all(s, Clip(*low, *high), rows, fate),
            Act::Sigmoid => all(s, Sigmoid, rows, fate),
            Act::Silu => all(s, Silu, rows, fate),
            Act::HardSigmoid(alpha, beta) => all(s, HardSigmoid(*alpha, *beta), rows, fate),
            Act::HardSwish => all(s, HardSwish, rows, fate),
            Act::Tanh => all(s, Tanh, rows, fate),
        }
    }
}

/// # Safety
/// As of [`activate`].
#[inline(always)]
unsafe fn all<S: Simd>(s: S, act: impl Activation<S>, rows: Rows, fate: &mut impl Fate<S>) {
    // Safety: as of this function.
    unsafe {
        let mut p = 0;
        while p + ABREAST <= rows.n {
            fate.take::<ABREAST>(s, act, rows, p);
            p += ABREAST;
        }
        while p < rows.n {
            fate.take::<1>(s, act, rows, p);
            p += 1;
        }
    }
}

/// The first number of each of `N` rows.
#[inline(always)]
pub fn firsts<const N: usize>(rows: Rows, p: usize) -> [*mut f32; N] {
    let mut firsts = [rows.first; N];
    for (k, first) in firsts.iter_mut().enumerate() {
        *first = rows.first.wrapping_add((p + k) * rows.stride);
    }
    firsts
}

/// The vectors that begin at number `i` of some rows.
///
/// # Safety
/// The rows can be read in whole vectors.
#[inline(always)]
pub unsafe fn load_all<S: Simd, const N: usize>(s: S, rows: [*mut f32; N], i: usize) -> [S::V; N] {
    let mut x = [s.splat(0.0); N];
    for (x, row) in x.iter_mut().zip(rows) {
        // Safety: as of this function.
        *x = unsafe { s.load(row.add(i)) };
    }
    x
}

/// Rows stay where they are.
struct InPlace;

impl<S: Simd> Fate<S> for InPlace {
    #[inline(always)]
    unsafe fn take<const N: usize>(&mut self, s: S, act: impl Activation<S>, rows: Rows, p: usize) {
        let firsts = firsts::<N>(rows, p);
        let mut i = 0;
        while i < rows.width {
            // Safety: rows of whole blocks; the last vector lies in one.
            unsafe {
                let x = act.of(s, load_all(s, firsts, i), i);
                for (row, x) in firsts.into_iter().zip(x) {
                    s.store(row.add(i), x);
                }
            }
            i += S::LANES;
        }
    }
}

/// Activates rows where they are.
///
/// # Safety
/// They can be read and written in whole blocks.
#[inline(always)]
pub unsafe fn act<S: Simd>(s: S, act: &Act, rows: Rows) {
    if !matches!(act, Act::Identity) {
        // Safety: as of this function.
        unsafe { activate(s, act, rows, &mut InPlace) }
    }
}

#[derive(Clone, Copy)]
struct Identity;

impl<S: Simd> Activation<S> for Identity {
    #[inline(always)]
    fn of<const N: usize>(self, _: S, x: [S::V; N], _: usize) -> [S::V; N] {
        x
    }
}

/// An activation of each vector by itself.
macro_rules! each {
    ($Act:ty, |$s:ident, $act:ident, $x:ident, $i:ident| $value:expr) => {
        impl<S: Simd> Activation<S> for $Act {
            #[inline(always)]
            fn of<const N: usize>(self, $s: S, mut x: [S::V; N], $i: usize) -> [S::V; N] {
                let $act = self;
                for value in &mut x {
                    let $x = *value;
                    *value = $value;
                }
                x
            }
        }
    };
}

#[derive(Clone, Copy)]
struct Relu;
each!(Relu, |s, _act, x, _i| s.max(x, s.splat(0.0)));

#[derive(Clone, Copy)]
struct Leaky(f32);
each!(Leaky, |s, act, x, _i| leaky(s, x, s.splat(act.0)));

#[derive(Clone, Copy)]
struct PRelu<'a>(&'a [f32]);
each!(PRelu<'_>, |s, act, x, i| leaky(s, x, load_rest(s, &act.0[i..])));

#[derive(Clone, Copy)]
struct Clip(f32, f32);
each!(Clip, |s, act, x, _i| between(s, x, act.0, act.1));

#[derive(Clone, Copy)]
struct HardSigmoid(f32, f32);
each!(HardSigmoid, |s, act, x, _i| between(s, s.fma(x, s.splat(act.0), s.splat(act.1)), 0.0, 1.0));

#[derive(Clone, Copy)]
struct HardSwish;
each!(HardSwish, |s, _act, x, _i| s.mul(x, between(s, s.fma(x, s.splat(1.0 / 6.0), s.splat(0.5)), 0.0, 1.0)));

#[derive(Clone, Copy)]
struct Sigmoid;

impl<S: Simd> Activation<S> for Sigmoid {
    #[inline(always)]
    fn of<const N: usize>(self, s: S, x: [S::V; N], _: usize) -> [S::V; N] {
        sigmoid(s, x)
    }
}

#[derive(Clone, Copy)]
struct Silu;

impl<S: Simd> Activation<S> for Silu {
    #[inline(always)]
    fn of<const N: usize>(self, s: S, mut x: [S::V; N], _: usize) -> [S::V; N] {
        let sigmoids = sigmoid(s, x);
        for (x, sigmoid) in x.iter_mut().zip(sigmoids) {
            *x = s.mul(*x, sigmoid);
        }
        x
    }
}

#[derive(Clone, Copy)]
struct Tanh;

impl<S: Simd> Activation<S> for Tanh {
    #[inline(always)]
    fn of<const N: usize>(self, s: S, mut x: [S::V; N], _: usize) -> [S::V; N] {
        for x in &mut x {
            *x = s.mul(s.splat(2.0), *x);
        }
        x = sigmoid(s, x);
        for x in &mut x {
            *x = s.fma(s.splat(2.0), *x, s.splat(-1.0));
        }
        x
    }
}

#[inline(always)]
fn between<S: Simd>(s: S, x: S::V, low: f32, high: f32) -> S::V {
    s.min(s.max(x, s.splat(low)), s.splat(high))
}

#[inline(always)]
fn leaky<S: Simd>(s: S, x: S::V, slope: S::V) -> S::V {
    let zero = s.splat(0.0);
    s.add(s.max(x, zero), s.mul(slope, s.min(x, zero)))
}

/// As [`super::math::sigmoid`], step by step, of `N` vectors side by side.
#[inline(always)]
fn sigmoid<S: Simd, const N: usize>(s: S, mut x: [S::V; N]) -> [S::V; N] {
    let (one, steep, shift) = (s.splat(1.0), s.splat(-LOG2_E), s.splat(SHIFT));
    for x in &mut x {
        *x = between(s, *x, -SIGMOID_END, SIGMOID_END);
    }
    let mut shifted = x;
    for (shifted, x) in shifted.iter_mut().zip(x) {
        *shifted = s.fma(x, steep, shift);
    }
    let mut f = x;
    for (f, shifted) in f.iter_mut().zip(shifted) {
        *f = s.fma(*f, steep, s.sub(shift, shifted));
    }
    let mut p = [s.splat(POWER_POLY[0]); N];
    for k in [POWER_POLY[1], POWER_POLY[2], POWER_POLY[3], POWER_POLY[4], 1.0] {
        for (p, f) in p.iter_mut().zip(f) {
            *p = s.fma(*p, f, s.splat(k));
        }
    }
    let mut d = p;
    for (d, shifted) in d.iter_mut().zip(shifted) {
        *d = s.fma(*d, s.shift_to_exponent(shifted), s.splat(-1.0));
    }
    let mut r = d;
    for (r, d) in r.iter_mut().zip(d) {
        *r = s.sub_bits(s.splat(f32::from_bits(GUESS)), d);
    }
    let mut e = d;
    for (e, r) in e.iter_mut().zip(r) {
        *e = s.fma(*e, r, one);
    }
    for (r, e) in r.iter_mut().zip(e) {
        *r = s.fma(*r, s.fma(e, e, e), *r);
    }
    for (d, r) in d.iter_mut().zip(r) {
        *d = s.fma(*d, r, one);
    }
    for (r, d) in r.iter_mut().zip(d) {
        *r = s.fma(*r, d, *r);
    }
    r
}

#[cfg(test)]
mod tests {
    use crate::graph::Act;
    use crate::kernels::{BLOCK, Kernels, Rows, bits, math};

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
}
