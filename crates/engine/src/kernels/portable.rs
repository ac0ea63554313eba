//! Plain Rust: runs everywhere, and says what the others must compute.

use super::gemm;
use super::simd::{Simd, tree};

/// Nothing has to be there.
#[derive(Clone, Copy)]
struct Portable;

impl Portable {
    fn here() -> Self {
        Self
    }
}

/// These kernels, which every machine can run.
pub fn kernels() -> super::table::Kernels {
    KERNELS
}

type V = [f32; 16];

fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type V = V;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, v: f32) -> V {
        [v; 16]
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> V {
        // Safety: the caller's pointer.
        unsafe { p.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: V) {
        // Safety: the caller's pointer.
        unsafe { p.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    fn add(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    fn sub(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    fn mul(self, a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    fn fma(self, a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    fn max(self, a: V, b: V) -> V {
        zip(a, b, super::math::max)
    }
    #[inline(always)]
    fn min(self, a: V, b: V) -> V {
        zip(a, b, super::math::min)
    }
    #[inline(always)]
    #[allow(clippy::neg_cmp_op_on_partial_ord)]
    fn exceeds(self, a: V, b: V) -> u64 {
        (0..16).fold(0, |bits, i| bits | u64::from(!(a[i] <= b[i])) << i)
    }
    #[inline(always)]
    unsafe fn load_even(self, p: *const f32) -> V {
        // Safety: the caller's pointer.
        std::array::from_fn(|i| unsafe { *p.add(2 * i) })
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> V {
        // Safety: the caller's pointer.
        unsafe { p.cast::<[u8; 16]>().read_unaligned().map(f32::from) }
    }
    #[inline(always)]
    fn select(self, bits: u64, a: V, b: V) -> V {
        std::array::from_fn(|i| if bits >> i & 1 == 1 { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn shift_to_exponent(self, a: V) -> V {
        a.map(|v| f32::from_bits(v.to_bits() << 23))
    }
    #[inline(always)]
    fn sub_bits(self, a: V, b: V) -> V {
        zip(a, b, |a, b| f32::from_bits(a.to_bits().wrapping_sub(b.to_bits())))
    }
    #[inline(always)]
    fn sum16(self, v: &[V]) -> f32 {
        tree(v[0])
    }
}

super::table::functions!("portable", Portable, gemm::sixes::<Portable, 1>);
