//! 3x3 convolutions of stride 1, two by two cells at a time: 16 multiplications a channel instead of 36.
//!
//! Winograd's F(2x2, 3x3) as in Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
//! (arXiv:1509.09308). A square of 2x2 outputs sees 4x4 inputs. Inputs and weights become 16 numbers each
//! (for a row: `[d0 - d2, d1 + d2, d2 - d1, d1 - d3]` and `[g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2]`), which
//! are multiplied and summed over channels, and become outputs (`[m0 + m1 + m2, m1 - m2 - m3]`). No output reads a
//! number that its own window does not hold, so that a cell's bits do not depend on its neighbours'; where the squares
//! lie is fixed. Against sums over taps the result is off by some units of 1e-7 of the largest input.

use crate::graph::{Conv, Window};
use crate::kernels::{BLOCK, Strip, strips};
use crate::weights::packed::{Packed, pack};

/// Numbers of a square.
pub const N_PRODUCTS: usize = 16;
/// The product that is in all four outputs once: the bias is added to it.
pub const BIASED: usize = 5;
/// Fewer input or output channels are not worth turning inputs and products around.
const LEAST_CHANNELS: usize = 8;

/// Sums of greater weights could overflow where the weights do not.
const MOST_WEIGHT: f32 = 1e30;

/// Weights of a convolution by squares.
#[derive(Debug, Clone, PartialEq)]
pub struct Squares {
    /// A product is a tap.
    pub packed: Packed,
    /// Input channels.
    pub depth: usize,
    /// What a square sees.
    pub window: Window,
}

/// Input channels of a convolution that is computed by squares; `None`: it is not.
fn depth_in_squares(conv: &Conv) -> Option<usize> {
    let w = &conv.window;
    let is_plain = w.kernel == [3; 2] && w.stride == [1; 2] && w.dilation == [1; 2] && !conv.transposed;
    let depth = conv.weights.len() / (9 * conv.bias.len()).max(1);
    let is_wide = depth >= LEAST_CHANNELS && conv.bias.len() >= LEAST_CHANNELS;
    let is_tame = || conv.weights.iter().all(|w| w.abs() <= MOST_WEIGHT);
    (is_plain && is_wide && conv.groups == 1 && is_tame()).then_some(depth)
}

impl Squares {
    /// `None` where a convolution is not computed so.
    pub fn of(conv: &Conv) -> Option<Self> {
        let depth = depth_in_squares(conv)?;
        let window = Window { kernel: [4; 2], stride: [2; 2], ..conv.window };
        let multipliers = multipliers(conv)?;
        let taps = multipliers.chunks_exact(depth).flat_map(|output| (0..N_PRODUCTS).map(move |k| (output, k)));
        let weights = taps.flat_map(|(output, k)| output.iter().map(move |m| m[k])).collect();
        let turned = Conv { window, weights, ..conv.clone() };
        let products: Vec<usize> = (0..N_PRODUCTS).collect();
        Some(Self { packed: pack(&turned, 0, depth, &products), depth, window })
    }

    /// The weights of a product and some output channels, `[c][channels of the strip]`.
    pub fn weights(&self, product: usize, strip: Strip) -> &[f32] {
        let n = strip.n * BLOCK * self.depth;
        &self.packed.weights[strip.first * BLOCK * N_PRODUCTS * self.depth + product * n..][..n]
    }

    /// Calls `f` with every input channel and output, those that fill blocks included, and the nine weights between them.
    pub fn each_weight(&self, mut f: impl FnMut(usize, usize, [f32; 9])) {
        for strip in strips(self.packed.n_blocks) {
            let products: [&[f32]; N_PRODUCTS] = std::array::from_fn(|k| self.weights(k, strip));
            let (first, width) = (strip.first * BLOCK, strip.n * BLOCK);
            for i in 0..self.depth * width {
                f(i / width, first + i % width, taps(products.map(|weights| weights[i])));
            }
        }
    }
}

/// What the weights of a convolution that is computed by squares become, `[output][channel]`; `None`: it is not.
pub fn multipliers(conv: &Conv) -> Option<Vec<[f32; N_PRODUCTS]>> {
    let depth = depth_in_squares(conv)?;
    let turn = |[a, b, c]: [f64; 3]| [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c];
    let of = |output: usize, channel: usize| {
        let weight = |tap: usize| f64::from(conv.weights[(output * 9 + tap) * depth + channel]);
        let columns: [[f64; 4]; 3] = std::array::from_fn(|x| turn([0, 1, 2].map(|y| weight(y * 3 + x))));
        let rows: [[f64; 4]; 4] = std::array::from_fn(|y| turn([0, 1, 2].map(|x| columns[x][y])));
        std::array::from_fn(|k| rows[k / 4][k % 4] as f32)
    };
    Some((0..conv.bias.len() * depth).map(|i| of(i / depth, i % depth)).collect())
}

/// The weights that became these.
fn taps(u: [f32; N_PRODUCTS]) -> [f32; 9] {
    let back = |[a, b, c, d]: [f32; 4]| [a, b - c, d];
    let rows: [[f32; 3]; 4] = std::array::from_fn(|y| back([0, 1, 2, 3].map(|x| u[y * 4 + x])));
    let columns: [[f32; 3]; 3] = std::array::from_fn(|x| back([0, 1, 2, 3].map(|y| rows[y][x])));
    std::array::from_fn(|tap| columns[tap % 3][tap / 3])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Act, Window};

    #[test]
    fn weights_come_back() {
        let mut random = fastrand::Rng::with_seed(1);
        let conv = Conv {
            window: Window { kernel: [3; 2], pad: [1; 2], pad_end: [1; 2], ..Window::POINT },
            groups: 1,
            weights: (0..9 * 10 * 40).map(|_| random.f32() - 0.5).collect(),
            bias: vec![0.5; 40],
            act: Act::Relu,
            post: Act::Identity,
            transposed: false,
        };
        let squares = Squares::of(&conv).unwrap();
        let mut n = 0;
        squares.each_weight(|c, o, found| {
            for (tap, found) in found.iter().enumerate() {
                let wanted = if o < 40 { conv.weights[(o * 9 + tap) * 10 + c] } else { 0.0 };
                assert!((found - wanted).abs() < 1e-6, "{o} {c} {tap}");
            }
            n += 1;
        });
        assert_eq!((n, squares.depth), (10 * 48, 10));
        for other in [
            Conv { groups: 2, ..conv.clone() },
            Conv { transposed: true, ..conv.clone() },
            Conv { window: Window { stride: [1, 2], ..conv.window }, ..conv.clone() },
            Conv { window: Window { dilation: [2, 1], ..conv.window }, ..conv.clone() },
            Conv { weights: vec![0.0; 9 * 3 * 40], ..conv.clone() },
            Conv { weights: vec![3e38; 9 * 10 * 40], ..conv },
        ] {
            assert_eq!(Squares::of(&other), None);
        }
    }
}
