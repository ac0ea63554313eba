//! AVX-512 (F and DQ): 16 numbers a vector, 32 registers.

use super::simd::Simd;
use super::{ConvArgs, Kernels, Rows, TILE, depthwise, gemm, rows};
use crate::engine::graph::Act;
use std::arch::x86_64::*;

#[derive(Clone, Copy)]
struct Avx512;

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
    unsafe fn div(a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
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
    unsafe fn round(a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    unsafe fn power_of_two(a: __m512) -> __m512 {
        unsafe {
            let n = _mm512_add_epi32(_mm512_cvtps_epi32(a), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(n))
        }
    }
    #[inline(always)]
    unsafe fn sum16(v: &[__m512]) -> f32 {
        unsafe {
            let s = _mm256_add_ps(_mm512_castps512_ps256(v[0]), _mm512_extractf32x8_ps::<1>(v[0]));
            super::avx2::tree8(s)
        }
    }
}

#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn run_gemm(args: &ConvArgs) {
    unsafe { gemm::twelves::<Avx512>(args) }
}
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn run_depthwise(args: &ConvArgs) {
    unsafe { depthwise::run::<Avx512>(args) }
}
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn act(act: &Act, rows: Rows) {
    unsafe { rows::act::<Avx512>(act, rows) }
}
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn add(row: *mut f32, other: *const f32, n: usize) {
    unsafe { rows::add::<Avx512>(row, other, n) }
}
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn max(row: *mut f32, other: *const f32, n: usize) {
    unsafe { rows::max::<Avx512>(row, other, n) }
}
#[target_feature(enable = "avx512f,avx512dq")]
unsafe fn distance(new: Rows, old: &[*const f32; TILE], weight: *const f32, out: &mut [f32; TILE]) {
    unsafe { rows::distance::<Avx512, 1>(new, old, weight, out) }
}

pub const KERNELS: Kernels =
    Kernels { name: "avx512", gemm: run_gemm, depthwise: run_depthwise, act, add, max, distance };
