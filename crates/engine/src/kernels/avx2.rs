//! AVX2 with FMA: 8 numbers a vector, 16 registers.

use super::gemm;
use super::simd::Simd;
use std::arch::x86_64::*;

/// AVX2 and FMA are there.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub fn here() -> Self {
        Self(())
    }

    /// The first `n` of 8 lanes.
    #[inline(always)]
    fn first(self, n: usize) -> __m256i {
        // Safety: the token.
        unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
    }

    /// Adds 8 numbers, halves onto halves.
    #[inline(always)]
    pub fn tree8(self, s: __m256) -> f32 {
        // Safety: the token.
        unsafe {
            let s = _mm_add_ps(_mm256_castps256_ps128(s), _mm256_extractf128_ps::<1>(s));
            let s = _mm_add_ps(s, _mm_movehl_ps(s, s));
            _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps::<1>(s, s)))
        }
    }
}

/// These kernels, where the machine can run them.
pub fn kernels() -> Option<super::table::Kernels> {
    (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(KERNELS)
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, v: f32) -> __m256 {
        // Safety: the token.
        unsafe { _mm256_set1_ps(v) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m256 {
        // Safety: the token; the caller's pointer.
        unsafe { _mm256_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m256) {
        // Safety: the token; the caller's pointer.
        unsafe { _mm256_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m256 {
        // Safety: the token; the caller's pointer.
        unsafe { _mm256_maskload_ps(p, self.first(n)) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: __m256, n: usize) {
        // In parts, not under a mask: what is read behind the end would wait for a masked store as if it overlapped.
        // Safety: the token; the caller's pointer.
        unsafe {
            let (mut p, mut rest) = (p, _mm256_castps256_ps128(v));
            if n & 4 != 0 {
                _mm_storeu_ps(p, rest);
                (p, rest) = (p.add(4), _mm256_extractf128_ps::<1>(v));
            }
            if n & 2 != 0 {
                _mm_storel_pd(p.cast(), _mm_castps_pd(rest));
                (p, rest) = (p.add(2), _mm_movehl_ps(rest, rest));
            }
            if n & 1 != 0 {
                _mm_store_ss(p, rest);
            }
        }
    }
    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        // Safety: the token.
        unsafe { _mm256_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m256, b: __m256) -> __m256 {
        // Safety: the token.
        unsafe { _mm256_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        // Safety: the token.
        unsafe { _mm256_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        // Safety: the token.
        unsafe { _mm256_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        // Safety: the token.
        unsafe { _mm256_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        // Safety: the token.
        unsafe { _mm256_min_ps(a, b) }
    }
    #[inline(always)]
    fn exceeds(self, a: __m256, b: __m256) -> u64 {
        // Safety: the token.
        unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLE_UQ>(a, b)) as u64 }
    }
    #[inline(always)]
    unsafe fn load_even(self, p: *const f32) -> __m256 {
        // Safety: the token; the caller's pointer.
        unsafe {
            let halves = _mm256_shuffle_ps::<0b10_00_10_00>(_mm256_loadu_ps(p), _mm256_loadu_ps(p.add(8)));
            _mm256_castpd_ps(_mm256_permute4x64_pd::<0b11_01_10_00>(_mm256_castps_pd(halves)))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> __m256 {
        // Safety: the token; the caller's pointer.
        unsafe { _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()))) }
    }
    #[inline(always)]
    fn select(self, bits: u64, a: __m256, b: __m256) -> __m256 {
        // Safety: the token.
        unsafe {
            let places = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let is_set = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32(bits as i32), places), places);
            _mm256_blendv_ps(b, a, _mm256_castsi256_ps(is_set))
        }
    }
    #[inline(always)]
    fn shift_to_exponent(self, a: __m256) -> __m256 {
        // Safety: the token.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a))) }
    }
    #[inline(always)]
    fn sub_bits(self, a: __m256, b: __m256) -> __m256 {
        // Safety: the token.
        unsafe { _mm256_castsi256_ps(_mm256_sub_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b))) }
    }
    #[inline(always)]
    fn sum16(self, v: &[__m256]) -> f32 {
        // Safety: the token.
        unsafe { self.tree8(_mm256_add_ps(v[0], v[1])) }
    }
}

super::table::functions!("avx2", Avx2, gemm::sixes::<Avx2, 2>, "avx2,fma");
