//! AVX-VNNI: as AVX-512 VNNI, 8 sums a vector and 16 registers.

use super::dot::Dot;
use std::arch::x86_64::*;

/// AVX2 and AVX-VNNI are there.
#[derive(Clone, Copy)]
struct AvxVnni(());

impl AvxVnni {
    #[target_feature(enable = "avx2,avxvnni")]
    #[inline]
    fn here() -> Self {
        Self(())
    }
}

/// These kernels, where the machine can run them.
pub fn kernels() -> Option<super::table::Int8Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("avxvnni")).then_some(KERNELS)
}

impl Dot for AvxVnni {
    type Many = __m256i;
    type One = __m256i;
    type Sums = __m256i;
    const SUMS: usize = 8;
    const MOST: [(usize, usize); 3] = [(6, 2), (6, 2), (6, 2)];
    const SHIFT: i32 = 0;

    #[inline(always)]
    unsafe fn load(self, p: *const i32) -> __m256i {
        // Safety: the token; the caller's pointer.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut i32, sums: __m256i) {
        // Safety: the token; the caller's pointer.
        unsafe { _mm256_storeu_si256(p.cast(), sums) }
    }
    #[inline(always)]
    unsafe fn many(self, p: *const i8) -> __m256i {
        // Safety: the token; the caller's pointer.
        unsafe { _mm256_loadu_si256(p.cast()) }
    }
    #[inline(always)]
    unsafe fn one(self, p: *const u8) -> __m256i {
        // Safety: the token; the caller's pointer.
        unsafe { _mm256_set1_epi32(p.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    fn dot(self, sums: __m256i, one: __m256i, many: __m256i) -> __m256i {
        // Safety: the token.
        unsafe { _mm256_dpbusd_avx_epi32(sums, one, many) }
    }
}

super::table::functions!("avx-vnni", AvxVnni, "avx2,avxvnni");
