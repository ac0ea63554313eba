//! NEON: 4 numbers a vector, 32 registers. Part of every 64-bit Arm.

use super::gemm;
use super::simd::Simd;
use std::arch::aarch64::*;

#[derive(Clone, Copy)]
struct Neon;

impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(v: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(v) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    // By comparison, so that signed zeros and numbers that are none come out as elsewhere.
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcgtq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vcltq_f32(a, b), a, b) }
    }
    #[inline(always)]
    unsafe fn exceeds(a: float32x4_t, b: float32x4_t) -> u64 {
        unsafe {
            let places = vld1q_u32([1, 2, 4, 8].as_ptr());
            u64::from(vaddvq_u32(vbicq_u32(places, vcleq_f32(a, b))))
        }
    }
    #[inline(always)]
    unsafe fn load_even(p: *const f32) -> float32x4_t {
        unsafe { vld2q_f32(p).0 }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> float32x4_t {
        unsafe {
            let four = vcreate_u8(u64::from(p.cast::<u32>().read_unaligned()));
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(four))))
        }
    }
    #[inline(always)]
    unsafe fn select(bits: u64, a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vbslq_f32(vtstq_u32(vdupq_n_u32(bits as u32), vld1q_u32([1, 2, 4, 8].as_ptr())), a, b) }
    }
    #[inline(always)]
    unsafe fn shift_to_exponent(a: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vshlq_n_u32::<23>(vreinterpretq_u32_f32(a))) }
    }
    #[inline(always)]
    unsafe fn sub_bits(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_u32(vsubq_u32(vreinterpretq_u32_f32(a), vreinterpretq_u32_f32(b))) }
    }
    #[inline(always)]
    unsafe fn sum16(v: &[float32x4_t]) -> f32 {
        unsafe {
            let s = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
            let s = vadd_f32(vget_low_f32(s), vget_high_f32(s));
            vget_lane_f32::<0>(s) + vget_lane_f32::<1>(s)
        }
    }
}

super::functions!("neon", Neon, gemm::sixes::<Neon, 4>, "neon");
