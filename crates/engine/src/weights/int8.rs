//! One convolution's weights in eight bits, in the order in which the kernels read them.

use super::packed::blocks;
use crate::buffer::Buffer;
use crate::kernels::{BLOCK, strips};

/// `[strip][tap][four inputs][output of the strip][input]`, in [`strips`] of blocks; zeros stand for channels that fill them.
#[derive(Debug, Clone, PartialEq)]
pub struct PackedInt8 {
    n_taps: usize,
    depth: usize,
    n_out: usize,
    weights: Buffer<i8>,
    column_sums: Buffer<i32>,
}

impl PackedInt8 {
    /// Lays out weights `[out][tap][in]`.
    ///
    /// # Panics
    /// They are not a whole number of outputs.
    pub fn new(n_taps: usize, depth: usize, weights: &[i8]) -> Self {
        let n_out = weights.len() / (n_taps * depth).max(1);
        let mut packed = Self::zeros(n_taps, depth, n_out);
        packed.lay(|o, tap, c| weights[(o * n_taps + tap) * depth + c]);
        packed
    }

    /// Room for so many.
    pub fn zeros(n_taps: usize, depth: usize, n_out: usize) -> Self {
        let width = blocks(n_out) * BLOCK;
        let weights = Buffer::zeros(width * n_taps * depth.next_multiple_of(4));
        Self { n_taps, depth, n_out, weights, column_sums: Buffer::zeros(width) }
    }

    /// Lays out other weights in the same room: `weight(out, tap, in)`.
    pub fn lay(&mut self, weight: impl Fn(usize, usize, usize) -> i8) {
        let n_quads = self.n_quads();
        for strip in strips(self.n_blocks()) {
            let (first, width) = (strip.first * BLOCK, strip.n * BLOCK);
            let strip = &mut self.weights[first * 4 * self.n_taps * n_quads..];
            for o in first..self.n_out.min(first + width) {
                let mut sum = 0;
                for tap in 0..self.n_taps {
                    for c in 0..self.depth {
                        let w = weight(o, tap, c);
                        sum += i32::from(w);
                        strip[((tap * n_quads + c / 4) * width + o - first) * 4 + c % 4] = w;
                    }
                }
                self.column_sums[o] = sum;
            }
        }
    }

    /// Input channels of a tap, in fours.
    pub fn n_quads(&self) -> usize {
        self.depth.div_ceil(4)
    }

    /// Output channels.
    pub fn n_out(&self) -> usize {
        self.n_out
    }

    /// Blocks of output channels.
    pub fn n_blocks(&self) -> usize {
        blocks(self.n_out)
    }

    /// The weights as they lie.
    pub fn weights(&self) -> &Buffer<i8> {
        &self.weights
    }

    /// The sum of each output channel's weights, in whole blocks.
    pub fn column_sums(&self) -> &Buffer<i32> {
        &self.column_sums
    }
}
