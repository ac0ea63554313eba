//! Depthwise convolution: each channel has taps of its own.

use super::args::{BLOCK, ConvArgs, TILE};
use super::simd::Simd;

/// # Safety
/// As of [`super::Kernels::depthwise`].
#[inline(always)]
pub unsafe fn run<S: Simd>(s: S, a: &ConvArgs) {
    // Safety: as of this function.
    unsafe {
        match a.n_taps {
            9 => nine::<S, false>(s, a, [0; 2]),
            _ => any(s, a),
        }
    }
}

/// Windows of three by three that lie inside the map: no tap but the first has to be looked up.
///
/// # Safety
/// As of [`super::Kernels::depthwise_inside`].
#[inline(always)]
pub unsafe fn inside<S: Simd>(s: S, a: &ConvArgs, apart: [usize; 2]) {
    // Safety: as of this function.
    unsafe { nine::<S, true>(s, a, apart) }
}

/// The weights of a vector of channels stay in registers over all cells.
///
/// # Safety
/// As of [`run`], or with `INSIDE` as of [`inside`].
#[inline(always)]
unsafe fn nine<S: Simd, const INSIDE: bool>(s: S, a: &ConvArgs, [down, along]: [usize; 2]) {
    // Safety: inputs, weights, bias and rows are good for whole blocks, in which each vector lies.
    unsafe {
        let width = a.n_blocks * BLOCK;
        let mut c = 0;
        while c < width {
            let bias = s.load(a.bias.add(c));
            let mut w = [bias; 9];
            for (t, w) in w.iter_mut().enumerate() {
                *w = s.load(a.weights.add(t * width + c));
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
                    sum = s.fma(s.load(from), *w, sum);
                }
                s.store(a.rows.add(p * a.stride + c), sum);
            }
            c += S::LANES;
        }
    }
}

/// # Safety
/// As of [`run`].
#[inline(always)]
unsafe fn any<S: Simd>(s: S, a: &ConvArgs) {
    // Safety: inputs, weights, bias and rows are good for whole blocks, in which each vector lies.
    unsafe {
        let width = a.n_blocks * BLOCK;
        let mut c = 0;
        while c < width {
            let bias = s.load(a.bias.add(c));
            for p in 0..a.n {
                let mut sum = bias;
                for t in 0..a.n_taps {
                    let w = s.load(a.weights.add(t * width + c));
                    sum = s.fma(s.load((*a.inputs.add(t * TILE + p)).add(c)), w, sum);
                }
                s.store(a.rows.add(p * a.stride + c), sum);
            }
            c += S::LANES;
        }
    }
}
