//! NEON with the dot product of Armv8.2: four products and their sum in one instruction.

use super::dot::Dot;
use super::neon::signed;
use std::arch::aarch64::*;

/// NEON is there, and the dot product.
#[derive(Clone, Copy)]
struct NeonDot(());

impl NeonDot {
    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    fn here() -> Self {
        Self(())
    }
}

/// These kernels, where the machine can run them.
pub fn kernels() -> Option<super::table::Int8Kernels> {
    (std::arch::is_aarch64_feature_detected!("neon") && std::arch::is_aarch64_feature_detected!("dotprod"))
        .then_some(KERNELS)
}

impl Dot for NeonDot {
    type Many = int8x16_t;
    type One = int8x16_t;
    type Sums = int32x4_t;
    const SUMS: usize = 4;
    const MOST: [(usize, usize); 3] = [(5, 4), (5, 4), (5, 4)];
    const SHIFT: i32 = 128;

    #[inline(always)]
    unsafe fn load(self, p: *const i32) -> int32x4_t {
        // Safety: the token; the caller's pointer.
        unsafe { vld1q_s32(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut i32, sums: int32x4_t) {
        // Safety: the token; the caller's pointer.
        unsafe { vst1q_s32(p, sums) }
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
    fn dot(self, mut sums: int32x4_t, one: int8x16_t, many: int8x16_t) -> int32x4_t {
        // Safety: the token. (The intrinsic is not in stable Rust.)
        unsafe {
            std::arch::asm!(
                ".arch_extension dotprod",
                "sdot {sums:v}.4s, {one:v}.16b, {many:v}.16b",
                sums = inout(vreg) sums, one = in(vreg) one, many = in(vreg) many,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sums
    }
}

super::table::functions!("neon-dotprod", NeonDot, "neon,dotprod");
