//! AVX-512 (F and DQ): 16 numbers a vector, 32 registers.

use super::avx2::Avx2;
use super::gemm;
use super::simd::Simd;
use std::arch::x86_64::*;

/// AVX-512 F and DQ are there, and with them what AVX2 needs.
#[derive(Clone, Copy)]
struct Avx512(Avx2);

impl Avx512 {
    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    fn here() -> Self {
        Self(Avx2::here())
    }
}

/// These kernels, where the machine can run them.
pub fn kernels() -> Option<super::table::Kernels> {
    // The compiler takes AVX-512 for all that it builds on, which a virtual machine may hide.
    let is_there = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("f16c")
        && super::avx2::kernels().is_some();
    is_there.then_some(KERNELS)
}

/// The first `n` of 16 lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    fn splat(self, v: f32) -> __m512 {
        // Safety: the token.
        unsafe { _mm512_set1_ps(v) }
    }
    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> __m512 {
        // Safety: the token; the caller's pointer.
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, v: __m512) {
        // Safety: the token; the caller's pointer.
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m512 {
        // Safety: the token; the caller's pointer.
        unsafe { _mm512_maskz_loadu_ps(first(n), p) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, v: __m512, n: usize) {
        // As there, not under a mask.
        // Safety: the token; the caller's pointer.
        unsafe {
            let (mut p, mut rest) = (p, _mm512_castps512_ps256(v));
            if n & 8 != 0 {
                _mm256_storeu_ps(p, rest);
                (p, rest) = (p.add(8), _mm512_extractf32x8_ps::<1>(v));
            }
            self.0.store_first(p, rest, n & 7);
        }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        // Safety: the token.
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        // Safety: the token.
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        // Safety: the token.
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn fma(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        // Safety: the token.
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        // Safety: the token.
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        // Safety: the token.
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn exceeds(self, a: __m512, b: __m512) -> u64 {
        // Safety: the token.
        unsafe { u64::from(_mm512_cmp_ps_mask::<_CMP_NLE_UQ>(a, b)) }
    }
    #[inline(always)]
    unsafe fn load_even(self, p: *const f32) -> __m512 {
        // Safety: the token; the caller's pointer.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            _mm512_permutex2var_ps(_mm512_loadu_ps(p), even, _mm512_loadu_ps(p.add(16)))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> __m512 {
        // Safety: the token; the caller's pointer.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    fn select(self, bits: u64, a: __m512, b: __m512) -> __m512 {
        // Safety: the token.
        unsafe { _mm512_mask_blend_ps(bits as __mmask16, b, a) }
    }
    #[inline(always)]
    fn shift_to_exponent(self, a: __m512) -> __m512 {
        // Safety: the token.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))) }
    }
    #[inline(always)]
    fn sub_bits(self, a: __m512, b: __m512) -> __m512 {
        // Safety: the token.
        unsafe { _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b))) }
    }
    #[inline(always)]
    fn sum16(self, v: &[__m512]) -> f32 {
        // Safety: the token.
        unsafe {
            let s = _mm256_add_ps(_mm512_castps512_ps256(v[0]), _mm512_extractf32x8_ps::<1>(v[0]));
            self.0.tree8(s)
        }
    }
}

super::table::functions!("avx512", Avx512, gemm::twelves::<Avx512>, "avx512f,avx512dq");
