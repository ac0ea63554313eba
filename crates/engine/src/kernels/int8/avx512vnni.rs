//! AVX-512 VNNI: four products and their sum in one instruction, 16 sums a vector.

use super::dot::Dot;
use std::arch::x86_64::*;

/// AVX-512 F and VNNI are there.
#[derive(Clone, Copy)]
struct Avx512Vnni(());

impl Avx512Vnni {
    #[target_feature(enable = "avx512f,avx512vnni")]
    #[inline]
    fn here() -> Self {
        Self(())
    }
}

/// These kernels, where the machine can run them.
pub fn kernels() -> Option<super::table::Int8Kernels> {
    (is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")).then_some(KERNELS)
}

impl Dot for Avx512Vnni {
    type Many = __m512i;
    type One = __m512i;
    type Sums = __m512i;
    const SUMS: usize = 16;
    const MOST: [(usize, usize); 3] = [(12, 1), (12, 2), (8, 3)];
    const SHIFT: i32 = 0;

    #[inline(always)]
    unsafe fn load(self, p: *const i32) -> __m512i {
        // Safety: the token; the caller's pointer.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut i32, sums: __m512i) {
        // Safety: the token; the caller's pointer.
        unsafe { _mm512_storeu_si512(p.cast(), sums) }
    }
    #[inline(always)]
    unsafe fn many(self, p: *const i8) -> __m512i {
        // Safety: the token; the caller's pointer.
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn one(self, p: *const u8) -> __m512i {
        // Safety: the token; the caller's pointer.
        unsafe { _mm512_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    fn dot(self, sums: __m512i, one: __m512i, many: __m512i) -> __m512i {
        // Safety: the token.
        unsafe { _mm512_dpbusd_epi32(sums, one, many) }
    }
}

super::table::functions!("avx512-vnni", Avx512Vnni, "avx512f,avx512vnni");
