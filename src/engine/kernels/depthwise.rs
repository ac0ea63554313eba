//! Depthwise convolution: each channel has taps of its own.

use super::simd::Simd;
use super::{BLOCK, ConvArgs, TILE};

#[inline(always)]
pub unsafe fn run<S: Simd>(a: &ConvArgs) {
    unsafe {
        match a.n_taps {
            9 => nine::<S, false>(a, [0; 2]),
            _ => any::<S>(a),
        }
    }
}

/// Windows of three by three that lie inside the map: no tap but the first has to be looked up.
#[inline(always)]
pub unsafe fn inside<S: Simd>(a: &ConvArgs, apart: [usize; 2]) {
    unsafe { nine::<S, true>(a, apart) }
}

/// The weights of a vector of channels stay in registers over all cells.
#[inline(always)]
unsafe fn nine<S: Simd, const INSIDE: bool>(a: &ConvArgs, [down, along]: [usize; 2]) {
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
                let first = (*a.inputs.add(p)).add(c);
                let mut sum = bias;
                for (t, w) in w.iter().enumerate() {
                    let from = if INSIDE {
                        first.add(t / 3 * down + t % 3 * along)
                    } else {
                        (*a.inputs.add(t * TILE + p)).add(c)
                    };
                    sum = S::fma(S::load(from), *w, sum);
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
