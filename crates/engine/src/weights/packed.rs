//! One convolution's weights in the order in which the kernels read them, and back.

use super::winograd::{self, N_PRODUCTS, N_TAPS};
use crate::buffer::{Buffer, Element};
use crate::kernels::{BLOCK, Strip, strips};
use std::sync::Arc;

/// Rounds up to whole blocks.
pub fn blocks(n: usize) -> usize {
    n.div_ceil(BLOCK)
}

/// How weights `[out][tap][in]` lie in memory; zeros stand for channels that fill blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// `[strip][tap][in][channels of the strip]`, in [`strips`] of blocks: for sums over taps and channels.
    Gemm { n_taps: usize, depth: usize },
    /// The same of the products of [`winograd`], for convolutions of 3x3.
    Winograd { depth: usize },
    /// `[tap][channels in whole blocks]`, one input channel an output: each channel is seen by itself.
    Depthwise { n_taps: usize },
}

impl Packing {
    /// Taps, or products in their place, that are in memory.
    fn n_taps(self) -> usize {
        match self {
            Self::Gemm { n_taps, .. } | Self::Depthwise { n_taps } => n_taps,
            Self::Winograd { .. } => N_PRODUCTS,
        }
    }

    /// Input channels that an output sees.
    fn depth(self) -> usize {
        match self {
            Self::Gemm { depth, .. } | Self::Winograd { depth } => depth,
            Self::Depthwise { .. } => 1,
        }
    }

    /// Calls `f` with where each number stands in `[out][tap][in]`, and where it is packed.
    fn each(self, n_out: usize, mut f: impl FnMut(usize, usize)) {
        let (n_taps, depth) = (self.n_taps(), self.depth());
        match self {
            Self::Gemm { .. } | Self::Winograd { .. } => {
                let k = n_taps * depth;
                for strip in strips(blocks(n_out)) {
                    let (first, width) = (strip.first * BLOCK, strip.n * BLOCK);
                    for o in first..n_out.min(first + width) {
                        (0..k).for_each(|at| f(o * k + at, first * k + at * width + o - first));
                    }
                }
            }
            Self::Depthwise { .. } => {
                let width = blocks(n_out) * BLOCK;
                (0..n_out).for_each(|o| (0..n_taps).for_each(|tap| f(o * n_taps + tap, tap * width + o)));
            }
        }
    }
}

/// The weights of a convolution, or of one of its groups or phases, and a bias an output channel.
///
/// Convolutions of equal weights share them: a head that stands on every level of a pyramid.
#[derive(Debug, Clone, PartialEq)]
pub struct Packed<T: Element = f32> {
    packing: Packing,
    n_out: usize,
    n_blocks: usize,
    weights: Arc<Buffer<T>>,
    bias: Arc<Buffer>,
}

impl<T: Element> Packed<T> {
    /// Lays out numbers `[out][tap or product][in]`.
    ///
    /// # Panics
    /// There are not as many as the packing and the biases say.
    pub fn lay(packing: Packing, numbers: &[T], bias: &[f32]) -> Self {
        let (n_out, n_blocks) = (bias.len(), blocks(bias.len()));
        let each = packing.n_taps() * packing.depth();
        assert_eq!(numbers.len(), n_out * each, "so many numbers an output");
        let mut weights = Buffer::zeros(n_blocks * BLOCK * each);
        packing.each(n_out, |from, to| weights[to] = numbers[from]);
        Self { packing, n_out, n_blocks, weights: Arc::new(weights), bias: Arc::new(bias.into()) }
    }

    /// The numbers as they were before they were laid out.
    pub fn numbers(&self) -> Vec<T> {
        let mut numbers = vec![T::default(); self.n_out * self.packing.n_taps() * self.packing.depth()];
        self.packing.each(self.n_out, |to, from| numbers[to] = self.weights[from]);
        numbers
    }

    /// A number an output channel.
    pub fn bias(&self) -> &[f32] {
        &self.bias[..self.n_out]
    }

    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Output channels.
    pub fn n_out(&self) -> usize {
        self.n_out
    }

    /// Blocks of output channels.
    pub fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    /// The weights as they lie.
    pub fn weights(&self) -> &Buffer<T> {
        &self.weights
    }

    /// The biases, in whole blocks.
    pub fn biases(&self) -> &Buffer {
        &self.bias
    }

    /// The same numbers in other memory.
    pub(super) fn move_to(&mut self, weights: Arc<Buffer<T>>, bias: Buffer) {
        (self.weights, self.bias) = (weights, Arc::new(bias));
    }

    pub(super) fn shared_weights(&self) -> Arc<Buffer<T>> {
        self.weights.clone()
    }
}

impl Packed {
    /// Packs weights `[out][tap][in]`.
    ///
    /// # Panics
    /// As [`Packed::lay`].
    pub fn new(packing: Packing, weights: &[f32], bias: &[f32]) -> Self {
        let Packing::Winograd { depth } = packing else { return Self::lay(packing, weights, bias) };
        let mut products = vec![0.0; bias.len() * N_PRODUCTS * depth];
        for (from, to) in weights.chunks_exact(N_TAPS * depth).zip(products.chunks_exact_mut(N_PRODUCTS * depth)) {
            for c in 0..depth {
                let of = winograd::transformed(std::array::from_fn(|tap| from[tap * depth + c]));
                of.iter().enumerate().for_each(|(k, product)| to[k * depth + c] = *product);
            }
        }
        Self::lay(packing, &products, bias)
    }

    /// The weights `[out][tap][in]`; what was transformed comes back up to rounding.
    pub fn unpacked(&self) -> Vec<f32> {
        let numbers = self.numbers();
        let Packing::Winograd { depth } = self.packing else { return numbers };
        let mut weights = vec![0.0; self.n_weights()];
        for (from, to) in numbers.chunks_exact(N_PRODUCTS * depth).zip(weights.chunks_exact_mut(N_TAPS * depth)) {
            for c in 0..depth {
                let of = winograd::restored(std::array::from_fn(|k| from[k * depth + c]));
                of.iter().enumerate().for_each(|(tap, weight)| to[tap * depth + c] = *weight);
            }
        }
        weights
    }

    /// How many weights there are, without what fills blocks.
    pub fn n_weights(&self) -> usize {
        let n_taps = if matches!(self.packing, Packing::Winograd { .. }) { N_TAPS } else { self.packing.n_taps() };
        self.n_out * n_taps * self.packing.depth()
    }

    /// Of a product and some output channels, `[in][channels of the strip]`.
    pub(crate) fn product(&self, product: usize, strip: Strip) -> &[f32] {
        let depth = self.packing.depth();
        let n = strip.n * BLOCK * depth;
        &self.weights[strip.first * BLOCK * N_PRODUCTS * depth + product * n..][..n]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_come_back_as_they_were() {
        let mut random = fastrand::Rng::with_seed(1);
        let packings = [
            (Packing::Gemm { n_taps: 9, depth: 5 }, 45),
            (Packing::Gemm { n_taps: 1, depth: 1 }, 1),
            (Packing::Depthwise { n_taps: 9 }, 9),
            (Packing::Winograd { depth: 10 }, 90),
        ];
        for (packing, each) in packings {
            for n_out in [1, 15, 16, 33, 48, 70] {
                let weights: Vec<f32> = (0..n_out * each).map(|_| random.f32() - 0.5).collect();
                let bias: Vec<f32> = (0..n_out).map(|_| random.f32()).collect();
                let packed = Packed::new(packing, &weights, &bias);
                let found = packed.unpacked();
                let off = found.iter().zip(&weights).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                let most = if matches!(packing, Packing::Winograd { .. }) { 1e-6 } else { 0.0 };
                assert!(off <= most && found.len() == weights.len(), "{packing:?} {n_out}: {off}");
                assert_eq!((packed.n_weights(), packed.bias()), (weights.len(), &bias[..]));
                let bytes: Vec<i8> = (0..packed.numbers().len()).map(|_| random.i8(..)).collect();
                assert_eq!(Packed::lay(packing, &bytes, &bias).numbers(), bytes);
            }
        }
    }
}
