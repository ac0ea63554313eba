//! Activations of rows, where they are or on their way to a map.

use super::Rows;
use super::math::{GUESS, LOG2_E, POWER_POLY, SHIFT, SIGMOID_END};
use super::rows::load_part;
use super::simd::Simd;
use crate::engine::graph::Act;

/// Rows that are activated side by side: each step of a recipe waits for the one before, and rows by themselves would
/// take half as long again.
const ABREAST: usize = 4;

/// An activation, as [`super::math::act`] does it, step by step. Traits and loops, because closures would not be compiled
/// for the instruction set of the function around them.
pub trait Activation<S: Simd>: Copy {
    /// Of `N` vectors that begin at number `i` of their rows.
    unsafe fn of<const N: usize>(self, x: [S::V; N], i: usize) -> [S::V; N];
}

/// What becomes of rows that are activated.
pub trait Fate<S: Simd> {
    /// Rows `p..p + N`.
    unsafe fn take<const N: usize>(&mut self, act: impl Activation<S>, rows: Rows, p: usize);
}

/// Activates rows, wherever they go.
#[inline(always)]
pub unsafe fn activate<S: Simd>(act: &Act, rows: Rows, fate: &mut impl Fate<S>) {
    unsafe {
        match act {
            Act::Identity => all(Identity, rows, fate),
            Act::Relu => all(Relu, rows, fate),
            Act::Leaky(slope) => all(Leaky(*slope), rows, fate),
            Act::PRelu(slopes) => all(PRelu(slopes), rows, fate),
            Act::Clip(low, high) => all(Clip(*low, *high), rows, fate),
            Act::Sigmoid => all(Sigmoid, rows, fate),
            Act::Silu => all(Silu, rows, fate),
            Act::HardSigmoid(alpha, beta) => all(HardSigmoid(*alpha, *beta), rows, fate),
            Act::HardSwish => all(HardSwish, rows, fate),
            Act::Tanh => all(Tanh, rows, fate),
        }
    }
}

#[inline(always)]
unsafe fn all<S: Simd>(act: impl Activation<S>, rows: Rows, fate: &mut impl Fate<S>) {
    unsafe {
        let mut p = 0;
        while p + ABREAST <= rows.n {
            fate.take::<ABREAST>(act, rows, p);
            p += ABREAST;
        }
        while p < rows.n {
            fate.take::<1>(act, rows, p);
            p += 1;
        }
    }
}

/// The first number of each of `N` rows.
#[inline(always)]
pub unsafe fn firsts<const N: usize>(rows: Rows, p: usize) -> [*mut f32; N] {
    let mut firsts = [rows.first; N];
    for (k, first) in firsts.iter_mut().enumerate() {
        *first = unsafe { rows.first.add((p + k) * rows.stride) };
    }
    firsts
}

/// The vectors that begin at number `i` of some rows.
#[inline(always)]
pub unsafe fn load_all<S: Simd, const N: usize>(rows: [*mut f32; N], i: usize) -> [S::V; N] {
    unsafe {
        let mut x = [S::splat(0.0); N];
        for (x, row) in x.iter_mut().zip(rows) {
            *x = S::load(row.add(i));
        }
        x
    }
}

/// Rows stay where they are.
struct InPlace;

impl<S: Simd> Fate<S> for InPlace {
    #[inline(always)]
    unsafe fn take<const N: usize>(&mut self, act: impl Activation<S>, rows: Rows, p: usize) {
        unsafe {
            let firsts = firsts::<N>(rows, p);
            // The last vector in whole.
            let mut i = 0;
            while i < rows.width {
                let x = act.of(load_all::<S, N>(firsts, i), i);
                for (row, x) in firsts.into_iter().zip(x) {
                    S::store(row.add(i), x);
                }
                i += S::LANES;
            }
        }
    }
}

/// Activates rows where they are.
#[inline(always)]
pub unsafe fn act<S: Simd>(act: &Act, rows: Rows) {
    if !matches!(act, Act::Identity) {
        unsafe { activate::<S>(act, rows, &mut InPlace) }
    }
}

#[derive(Clone, Copy)]
struct Identity;

impl<S: Simd> Activation<S> for Identity {
    #[inline(always)]
    unsafe fn of<const N: usize>(self, x: [S::V; N], _: usize) -> [S::V; N] {
        x
    }
}

/// An activation of each vector by itself.
macro_rules! each {
    ($Act:ty, |$act:ident, $x:ident, $i:ident| $value:expr) => {
        impl<S: Simd> Activation<S> for $Act {
            #[inline(always)]
            unsafe fn of<const N: usize>(self, mut x: [S::V; N], $i: usize) -> [S::V; N] {
                let $act = self;
                for value in &mut x {
                    let $x = *value;
                    *value = unsafe { $value };
                }
                x
            }
        }
    };
}

#[derive(Clone, Copy)]
struct Relu;
each!(Relu, |_act, x, _i| S::max(x, S::splat(0.0)));

#[derive(Clone, Copy)]
struct Leaky(f32);
each!(Leaky, |act, x, _i| leaky::<S>(x, S::splat(act.0)));

#[derive(Clone, Copy)]
struct PRelu<'a>(&'a [f32]);
each!(PRelu<'_>, |act, x, i| leaky::<S>(x, load_part::<S>(act.0.as_ptr(), i, act.0.len())));

#[derive(Clone, Copy)]
struct Clip(f32, f32);
each!(Clip, |act, x, _i| between::<S>(x, act.0, act.1));

#[derive(Clone, Copy)]
struct HardSigmoid(f32, f32);
each!(HardSigmoid, |act, x, _i| between::<S>(S::fma(x, S::splat(act.0), S::splat(act.1)), 0.0, 1.0));

#[derive(Clone, Copy)]
struct HardSwish;
each!(HardSwish, |_act, x, _i| S::mul(x, between::<S>(S::fma(x, S::splat(1.0 / 6.0), S::splat(0.5)), 0.0, 1.0)));

#[derive(Clone, Copy)]
struct Sigmoid;

impl<S: Simd> Activation<S> for Sigmoid {
    #[inline(always)]
    unsafe fn of<const N: usize>(self, x: [S::V; N], _: usize) -> [S::V; N] {
        unsafe { sigmoid::<S, N>(x) }
    }
}

#[derive(Clone, Copy)]
struct Silu;

impl<S: Simd> Activation<S> for Silu {
    #[inline(always)]
    unsafe fn of<const N: usize>(self, mut x: [S::V; N], _: usize) -> [S::V; N] {
        unsafe {
            let sigmoids = sigmoid::<S, N>(x);
            for (x, sigmoid) in x.iter_mut().zip(sigmoids) {
                *x = S::mul(*x, sigmoid);
            }
        }
        x
    }
}

#[derive(Clone, Copy)]
struct Tanh;

impl<S: Simd> Activation<S> for Tanh {
    #[inline(always)]
    unsafe fn of<const N: usize>(self, mut x: [S::V; N], _: usize) -> [S::V; N] {
        unsafe {
            for x in &mut x {
                *x = S::mul(S::splat(2.0), *x);
            }
            x = sigmoid::<S, N>(x);
            for x in &mut x {
                *x = S::fma(S::splat(2.0), *x, S::splat(-1.0));
            }
        }
        x
    }
}

#[inline(always)]
unsafe fn between<S: Simd>(x: S::V, low: f32, high: f32) -> S::V {
    unsafe { S::min(S::max(x, S::splat(low)), S::splat(high)) }
}

#[inline(always)]
unsafe fn leaky<S: Simd>(x: S::V, slope: S::V) -> S::V {
    unsafe {
        let zero = S::splat(0.0);
        S::add(S::max(x, zero), S::mul(slope, S::min(x, zero)))
    }
}

/// As [`super::math::sigmoid`], step by step, of `N` vectors side by side.
#[inline(always)]
unsafe fn sigmoid<S: Simd, const N: usize>(mut x: [S::V; N]) -> [S::V; N] {
    unsafe {
        let (one, steep, shift) = (S::splat(1.0), S::splat(-LOG2_E), S::splat(SHIFT));
        for x in &mut x {
            *x = between::<S>(*x, -SIGMOID_END, SIGMOID_END);
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

#[cfg(test)]
mod tests {
    use crate::engine::graph::Act;
    use crate::engine::kernels::{BLOCK, Kernels, Rows, bits, math};

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
