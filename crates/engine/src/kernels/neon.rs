//! NEON: 4 numbers a vector, 32 registers. Part of every 64-bit Arm.

use super::gemm;
use super::simd::Simd;
use std::arch::aarch64::*;

/// NEON is there.
#[derive(Clone, Copy)]
struct Neon(());

impl Neon {
    #[target_feature(enable = "neon")]
    #[inline]
    fn here() -> Self {
        Self(())
    }
}

/// These kernels; no 64-bit Arm is without them.
pub fn kernels() -> Option<super::table::Kernels> {
    std::arch::is_aarch64_feature_detected!("neon").then_some(KERNELS)
}

impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    fn splat(self, v: f32) -> float32x4_t {
        // Safety: the token.
        unsafe { vdupq_n_f32(v) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> float32x4_t {
        // Safety: the token; the caller's pointer.
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: float32x4_t) {
        // Safety: the token; the caller's pointer.
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    fn add(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Safety: the token.
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Safety: the token.
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Safety: the token.
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        // Safety: the token.
        unsafe { vfmaq_f32(c, a, b) }
    }
    // By comparison, so that signed zeros and NaN come out as elsewhere.
    #[inline(always)]
    fn max(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Safety: the token.
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn min(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Safety: the token.
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    fn exceeds(self, a: float32x4_t, b: float32x4_t) -> u64 {
        // Safety: the token.
        unsafe {
            let places = vld1q_u32([1, 2, 4, 8].as_ptr());
            u64::from(vaddvq_u32(vbicq_u32(places, vcleq_f32(a, b))))
        }
    }
    #[inline(always)]
    unsafe fn load_even(self, p: *const f32) -> float32x4_t {
        // Safety: the token; the caller's pointer.
        unsafe { vld2q_f32(p).0 }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> float32x4_t {
        // Safety: the token; the caller's pointer.
        unsafe {
            let four = vcreate_u8(u64::from(p.cast::<u32>().read_unaligned()));
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four))))
        }
    }
    #[inline(always)]
    fn select(self, bits: u64, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Safety: the token.
        unsafe { vbslq_f32(vtstq_u32(vdupq_n_u32(bits as u32), vld1q_u32([1, 2, 4, 8].as_ptr())), a, b) }
    }
    #[inline(always)]
    fn shift_to_exponent(self, a: float32x4_t) -> float32x4_t {
        // Safety: the token.
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(a))) }
    }
    #[inline(always)]
    fn sub_bits(self, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        // Safety: the token.
        unsafe { vreinterpretq_f32_u32(vsubq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))) }
    }
    #[inline(always)]
    fn sum16(self, v: &[float32x4_t]) -> f32 {
        // Safety: the token.
        unsafe {
            let s = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
            let s = vadd_f32(vget_low_f32(s), vget_high_f32(s));
            vget_lane_f32::<0>(s) + vget_lane_f32::<1>(s)
        }
    }
}

super::table::functions!("neon", Neon, gemm::sixes::<Neon, 4>, "neon");
