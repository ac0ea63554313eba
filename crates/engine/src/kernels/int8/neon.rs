//! NEON of Armv8.0: widened to 16 bits.

use super::dot::Dot;
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

/// Four bytes less 128, again and again.
#[inline(always)]
pub(super) unsafe fn signed(p: *const u8) -> int8x16_t {
    // Safety: the caller's pointer; NEON is part of every aarch64 that this is built for.
    unsafe {
        let one = vreinterpretq_u8_u32(vdupq_n_u32(p.cast::<u32>().read_unaligned()));
        vreinterpretq_s8_u8(veorq_u8(one, vdupq_n_u8(0x80)))
    }
}

impl Dot for Neon {
    type Many = int8x16_t;
    type One = int8x16_t;
    /// Of the first two sums, of the last two, each in two halves.
    type Sums = [int32x4_t; 2];
    const SUMS: usize = 4;
    const MOST: [(usize, usize); 3] = [(3, 4), (3, 4), (3, 4)];
    const SHIFT: i32 = 128;

    #[inline(always)]
    unsafe fn load(self, p: *const i32) -> [int32x4_t; 2] {
        // Safety: the token; the caller's pointer.
        unsafe {
            let (sums, zero) = (vld1q_s32(p), vdupq_n_s32(0));
            [vzip1q_s32(sums, zero), vzip2q_s32(sums, zero)]
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut i32, sums: [int32x4_t; 2]) {
        // Safety: the token; the caller's pointer.
        unsafe { vst1q_s32(p, vpaddq_s32(sums[0], sums[1])) }
    }
    #[inline(always)]
    unsafe fn many(self, p: *const i8) -> int8x16_t {
        // Safety: the token; the caller's pointer.
        unsafe { vld1q_s8(p) }
    }
    #[inline(always)]
    unsafe fn one(self, p: *const u8) -> int8x16_t {
        // Safety: the caller's pointer.
        unsafe { signed(p) }
    }
    #[inline(always)]
    fn dot(self, sums: [int32x4_t; 2], one: int8x16_t, many: int8x16_t) -> [int32x4_t; 2] {
        // Safety: the token.
        unsafe {
            let first = vmull_s8(vget_low_s8(one), vget_low_s8(many));
            let last = vmull_high_s8(one, many);
            [vpadalq_s16(sums[0], first), vpadalq_s16(sums[1], last)]
        }
    }
}

super::table::functions!("neon", Neon, "neon");

/// These kernels, where the machine can run them.
pub fn kernels() -> Option<super::table::Int8Kernels> {
    std::arch::is_aarch64_feature_detected!("neon").then_some(KERNELS)
}
