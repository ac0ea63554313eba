//! Plain Rust: runs everywhere, and says what the others must compute.

use super::simd::{Simd, tree};
use super::{ConvArgs, Kernels, Rows, TILE, depthwise, gemm, rows};
use crate::engine::graph::Act;

#[derive(Clone, Copy)]
struct Portable;

type V = [f32; 16];

fn zip(a: V, b: V, f: impl Fn(f32, f32) -> f32) -> V {
    std::array::from_fn(|i| f(a[i], b[i]))
}

impl Simd for Portable {
    type V = V;
    const LANES: usize = 16;

    #[inline(always)]
    unsafe fn splat(v: f32) -> V {
        [v; 16]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> V {
        unsafe { p.cast::<V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: V) {
        unsafe { p.cast::<V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: V, b: V) -> V {
        zip(a, b, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(a: V, b: V) -> V {
        zip(a, b, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(a: V, b: V) -> V {
        zip(a, b, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(a: V, b: V) -> V {
        zip(a, b, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn fma(a: V, b: V, c: V) -> V {
        std::array::from_fn(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn max(a: V, b: V) -> V {
        zip(a, b, super::math::max)
    }
    #[inline(always)]
    unsafe fn min(a: V, b: V) -> V {
        zip(a, b, super::math::min)
    }
    #[inline(always)]
    unsafe fn round(a: V) -> V {
        a.map(f32::round_ties_even)
    }
    #[inline(always)]
    unsafe fn power_of_two(a: V) -> V {
        a.map(|v| f32::from_bits(((v as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    unsafe fn sum16(v: &[V]) -> f32 {
        tree(v[0])
    }
}

unsafe fn run_gemm(args: &ConvArgs) {
    unsafe { gemm::sixes::<Portable, 1>(args) }
}
unsafe fn run_depthwise(args: &ConvArgs) {
    unsafe { depthwise::run::<Portable>(args) }
}
unsafe fn act(act: &Act, rows: Rows) {
    unsafe { rows::act::<Portable>(act, rows) }
}
unsafe fn add(row: *mut f32, other: *const f32, n: usize) {
    unsafe { rows::add::<Portable>(row, other, n) }
}
unsafe fn max(row: *mut f32, other: *const f32, n: usize) {
    unsafe { rows::max::<Portable>(row, other, n) }
}
unsafe fn distance(new: Rows, old: &[*const f32; TILE], weight: *const f32, out: &mut [f32; TILE]) {
    unsafe { rows::distance::<Portable, 1>(new, old, weight, out) }
}

pub const KERNELS: Kernels =
    Kernels { name: "portable", gemm: run_gemm, depthwise: run_depthwise, act, add, max, distance };
