//! Depthwise convolution: each channel has taps of its own.

use super::simd::Simd;
use super::{BLOCK, ConvArgs, TILE};

#[inline(always)]
pub unsafe fn run<S: Simd>(a: &ConvArgs) {
    unsafe {
        match a.n_taps {
            9 => fixed::<S, 9>(a),
            _ => any::<S>(a),
        }
    }
}

/// The weights of a vector of channels stay in registers over all cells.
#[inline(always)]
unsafe fn fixed<S: Simd, const TAPS: usize>(a: &ConvArgs) {
    unsafe {
        let width = a.n_blocks * BLOCK;
        let mut c = 0;
        while c < width {
            let bias = S::load(a.bias.add(c));
            let mut w = [bias; TAPS];
            for (t, w) in w.iter_mut().enumerate() {
                *w = S::load(a.weights.add(t * width + c));
            }
            for p in 0..a.n {
                let mut sum = bias;
                for (t, w) in w.iter().enumerate() {
                    sum = S::fma(S::load((*a.inputs.add(t * TILE + p)).add(c)), *w, sum);
                }
                S::store(a.rows.add(p * a.stride + c), sum);
            }
            c += S::LANES;
        }
    }
}

#[inline(always)]
unsafe fn any<S: Simd>(a: &ConvArgs) {
    unsafe {
        let width = a.n_blocks * BLOCK;
        let mut c = 0;
        while c < width {
            let bias = S::load(a.bias.add(c));
            for p in 0..a.n {
                let mut sum = bias;
                for t in 0..a.n_taps {
                    let w = S::load(a.weights.add(t * width + c));
                    sum = S::fma(S::load((*a.inputs.add(t * TILE + p)).add(c)), w, sum);
                }
                S::store(a.rows.add(p * a.stride + c), sum);
            }
            c += S::LANES;
        }
    }
}
