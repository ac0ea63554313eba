//! AVX2: widened to 16 bits, where two products and their sum are exact in `i32`. (`vpmaddubsw` saturates.)

use super::dot::Dot;
use std::arch::x86_64::*;

/// AVX2 is there.
#[derive(Clone, Copy)]
struct Avx2(());

impl Avx2 {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn here() -> Self {
        Self(())
    }
}

/// These kernels, where the machine can run them.
pub fn kernels() -> Option<super::table::Int8Kernels> {
    is_x86_feature_detected!("avx2").then_some(KERNELS)
}

impl Dot for Avx2 {
    /// Of the first four sums, of the last four.
    type Many = [__m256i; 2];
    type One = __m256i;
    /// The same, each sum in two halves.
    type Sums = [__m256i; 2];
    const SUMS: usize = 8;
    const MOST: [(usize, usize); 3] = [(6, 1), (6, 1), (6, 1)];
    const SHIFT: i32 = 0;

    #[inline(always)]
    unsafe fn load(self, p: *const i32) -> [__m256i; 2] {
        // Safety: the token; the caller's pointer.
        unsafe {
            [_mm256_cvtepu32_epi64(_mm_loadu_si128(p.cast())), _mm256_cvtepu32_epi64(_mm_loadu_si128(p.add(4).cast()))]
        }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut i32, sums: [__m256i; 2]) {
        // Safety: the token; the caller's pointer.
        unsafe {
            // Halves added, in the order 0 1 4 5 2 3 6 7.
            let sums = _mm256_hadd_epi32(sums[0], sums[1]);
            _mm256_storeu_si256(p.cast(), _mm256_permute4x64_epi64::<0b11_01_10_00>(sums));
        }
    }
    #[inline(always)]
    unsafe fn many(self, p: *const i8) -> [__m256i; 2] {
        // Safety: the token; the caller's pointer.
        unsafe {
            [_mm256_cvtepi8_epi16(_mm_loadu_si128(p.cast())), _mm256_cvtepi8_epi16(_mm_loadu_si128(p.add(16).cast()))]
        }
    }
    #[inline(always)]
    unsafe fn one(self, p: *const u8) -> __m256i {
        // Safety: the token; the caller's pointer.
        unsafe { _mm256_cvtepu8_epi16(_mm_set1_epi32(p.cast::<i32>().read_unaligned())) }
    }
    #[inline(always)]
    fn dot(self, sums: [__m256i; 2], one: __m256i, many: [__m256i; 2]) -> [__m256i; 2] {
        // Safety: the token.
        unsafe {
            [
                _mm256_add_epi32(sums[0], _mm256_madd_epi16(one, many[0])),
                _mm256_add_epi32(sums[1], _mm256_madd_epi16(one, many[1])),
            ]
        }
    }
}

super::table::functions!("avx2", Avx2, "avx2");
