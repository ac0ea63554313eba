//! AVX-512 (F and DQ): 16 numbers a vector, 32 registers.

use super::avx2::Avx2;
use super::gemm;
use super::simd::Simd;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
struct Avx512;

/// The first `n` of 16 lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(v: f32) -> __m512 {
        unsafe { _mm512_set1_ps(v) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_first(p: *const f32, n: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(n), p) }
    }
    #[inline(always)]
    unsafe fn store_first(p: *mut f32, v: __m512, n: usize) {
        // As there, not under a mask.
        unsafe {
            let (mut p, mut rest) = (p, _mm512_castps512_ps256(v));
            if n & 8 != 0 {
                _mm256_storeu_ps(p, rest);
                (p, rest) = (p.add(8), _mm512_extractf32x8_ps::<1>(v));
            }
            Avx2::store_first(p, rest, n & 7);
        }
    }
    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    unsafe fn max(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    unsafe fn exceeds(a: __m512, b: __m512) -> u64 {
        unsafe { u64::from(_mm512_cmp_ps_mask::<_CMP_NLE_UQ>(a, b)) }
    }
    #[inline(always)]
    unsafe fn load_even(p: *const f32) -> __m512 {
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            _mm512_permutex2var_ps(_mm512_loadu_ps(p), even, _mm512_loadu_ps(p.add(16)))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(p: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    unsafe fn select(bits: u64, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(bits as __mmask16, b, a) }
    }
    #[inline(always)]
    unsafe fn shift_to_exponent(a: __m512) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))) }
    }
    #[inline(always)]
    unsafe fn sub_bits(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_castsi512_ps(_mm512_sub_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b))) }
    }
    #[inline(always)]
    unsafe fn sum16(v: &[__m512]) -> f32 {
        unsafe {
            let s = _mm256_add_ps(_mm512_castps512_ps256(v[0]), _mm512_extractf32x8_ps::<1>(v[0]));
            super::avx2::tree8(s)
        }
    }
}

super::functions!("avx512", Avx512, gemm::twelves::<Avx512>, "avx512f,avx512dq");
