//! Plain Rust: runs everywhere, and says what the others must compute.

use super::gemm;
use super::simd::{Simd, tree};

#[derive(Clone, Copy)]
struct Portable;

type V = [f32; 16];

fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type V = V;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(v: f32) -> V {
        [v; 16]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        unsafe { p.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: V) {
        unsafe { p.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        zip(a, b, super::math::max)
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        zip(a, b, super::math::min)
    }
    #[inline(always)]
    #[allow(clippy::neg_cmp_op_on_partial_ord)]
    unsafe fn exceeds(a: V, b: V) -> u64 {
        (0..16).fold(0, |bits, i| bits | u64::from(!(a[i] <= b[i])) << i)
    }
    #[inline(always)]
    unsafe fn load_even(p: *const f32) -> V {
        std::array::from_fn(|i| unsafe { *p.add(2 * i) })
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> V {
        unsafe { p.cast::<[u8; 16]>().read_unaligned().map(f32::from) }
    }
    #[inline(always)]
    unsafe fn select(bits: u64, a: V, b: V) -> V {
        std::array::from_fn(|i| if bits >> i & 1 == 1 { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn shift_to_exponent(a: V) -> V {
        a.map(|v| f32::from_bits(v.to_bits() << 23))
    }
    #[inline(always)]
    unsafe fn sub_bits(a: V, b: V) -> V {
        zip(a, b, |a, b| f32::from_bits(a.to_bits().wrapping_sub(b.to_bits())))
    }
    #[inline(always)]
    unsafe fn sum16(v: &[V]) -> f32 {
        tree(v[0])
    }
}

super::functions!("portable", Portable, gemm::sixes::<Portable, 1>);
