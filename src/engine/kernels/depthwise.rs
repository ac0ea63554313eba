//! Depthwise convolution: each channel has taps of its own.

use super::simd::Simd;
use super::{BLOCK, ConvArgs, InsideArgs, TILE};

#[inline(always)]
pub unsafe fn run<S: Simd>(a: &ConvArgs) {
    unsafe {
        match a.n_taps {
            9 => fixed::<S, 9>(a),
            _ => any::<S>(a),
        }
    }
}

/// Windows of three by three that lie inside the map: no tap has to be looked up.
#[inline(always)]
pub unsafe fn inside<S: Simd>(a: &InsideArgs) {
    unsafe {
        let width = a.n_blocks * BLOCK;
        let mut c = 0;
        while c < width {
            let bias = S::load(a.bias.add(c));
            let mut w = [bias; 9];
            for (t, w) in w.iter_mut().enumerate() {
                *w = S::load(a.weights.add(t * width + c));
            }
            for p in 0..a.n {
                let first = (*a.firsts.add(p)).add(c);
                let mut sum = bias;
                for (t, w) in w.iter().enumerate() {
                    sum = S::fma(S::load(first.add(t / 3 * a.down + t % 3 * a.along)), *w, sum);
                }
                S::store(a.rows.add(p * a.stride + c), sum);
            }
            c += S::LANES;
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
