//! Weights in the order in which the kernels read them.

use crate::buffer::Buffer;
use crate::graph::Conv;
use crate::kernels::{BLOCK, strips};
use std::sync::Arc;

/// Rounds up to whole blocks.
pub fn blocks(n: usize) -> usize {
    n.div_ceil(BLOCK)
}

/// One group of a convolution for the indirect GEMM.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed {
    /// `[strip][tap][c][channels of the strip]`, in [`strips`] of blocks; zeros beyond the channels.
    /// Convolutions of equal weights share them: a head that stands on every level of a pyramid.
    pub weights: Arc<Buffer>,
    pub bias: Buffer,
    pub n_blocks: usize,
}

/// Packs the given taps of one group.
pub fn pack(conv: &Conv, group: usize, depth: usize, taps: &[usize]) -> Packed {
    let n_taps = conv.window.n_taps();
    let n_out = conv.bias.len() / conv.groups;
    let n_blocks = blocks(n_out);
    let k = taps.len() * depth;
    let mut weights = Buffer::zeros(n_blocks * BLOCK * k);
    for strip in strips(n_blocks) {
        let (first, width) = (strip.first * BLOCK, strip.n * BLOCK);
        for o in first..n_out.min(first + width) {
            for (t, tap) in taps.iter().enumerate() {
                for c in 0..depth {
                    let from = ((group * n_out + o) * n_taps + tap) * depth + c;
                    weights[first * k + (t * depth + c) * width + o - first] = conv.weights[from];
                }
            }
        }
    }
    let weights = Arc::new(weights);
    Packed { weights, bias: conv.bias[group * n_out..][..n_out].into(), n_blocks }
}

/// A depthwise convolution: `[tap][channels in whole blocks]`.
pub fn pack_depthwise(conv: &Conv) -> Packed {
    let n_taps = conv.window.n_taps();
    let c = conv.bias.len();
    let width = blocks(c) * BLOCK;
    let mut weights = Buffer::zeros(n_taps * width);
    for channel in 0..c {
        for t in 0..n_taps {
            weights[t * width + channel] = conv.weights[channel * n_taps + t];
        }
    }
    let weights = Arc::new(weights);
    Packed { weights, bias: conv.bias[..].into(), n_blocks: blocks(c) }
}
