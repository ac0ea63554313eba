//! 3x3 convolutions of stride 1, two by two cells at a time: 16 multiplications a channel instead of 36.
//!
//! Winograd's F(2x2, 3x3) as in Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"
//! (arXiv:1509.09308). A square of 2x2 outputs sees 4x4 inputs. Inputs and weights become 16 numbers each
//! (for a row: `[d0 - d2, d1 + d2, d2 - d1, d1 - d3]` and `[g0, (g0 + g1 + g2) / 2, (g0 - g1 + g2) / 2, g2]`), which
//! are multiplied and summed over channels, and become outputs (`[m0 + m1 + m2, m1 - m2 - m3]`). No output reads a
//! number that its own window does not hold, so that a cell's bits do not depend on its neighbours'; where the squares
//! lie is fixed. Against sums over taps the result is off by some units of 1e-7 of the largest input.

use crate::graph::Conv;

/// Numbers of a square.
pub const N_PRODUCTS: usize = 16;
/// Weights between two channels.
pub const N_TAPS: usize = 9;
/// The product that is in all four outputs once: the bias is added to it.
pub const BIASED: usize = 5;
/// Fewer input or output channels are not worth turning inputs and products around.
const LEAST_CHANNELS: usize = 8;

/// Sums of greater weights could overflow where the weights do not.
pub const MOST_WEIGHT: f32 = 1e30;

/// Input channels of a convolution that is computed so; `None`: it is not.
pub fn depth_of(conv: &Conv) -> Option<usize> {
    let w = &conv.window;
    let is_plain = w.kernel == [3; 2] && w.stride == [1; 2] && w.dilation == [1; 2] && !conv.transposed;
    let depth = conv.weights.len() / (N_TAPS * conv.bias.len()).max(1);
    let is_wide = depth >= LEAST_CHANNELS && conv.bias.len() >= LEAST_CHANNELS;
    let is_tame = || conv.weights.iter().all(|w| w.abs() <= MOST_WEIGHT);
    (is_plain && is_wide && conv.groups == 1 && is_tame()).then_some(depth)
}

/// What nine weights become.
pub fn transformed(weights: [f32; N_TAPS]) -> [f32; N_PRODUCTS] {
    let row = |[a, b, c]: [f64; 3]| [a, (a + b + c) / 2.0, (a - b + c) / 2.0, c];
    let weight = |tap: usize| f64::from(weights[tap]);
    let columns: [[f64; 4]; 3] = std::array::from_fn(|x| row([0, 1, 2].map(|y| weight(y * 3 + x))));
    let rows: [[f64; 4]; 4] = std::array::from_fn(|y| row([0, 1, 2].map(|x| columns[x][y])));
    std::array::from_fn(|k| rows[k / 4][k % 4] as f32)
}

/// The weights that became these.
pub fn restored(u: [f32; N_PRODUCTS]) -> [f32; N_TAPS] {
    let back = |[a, b, c, d]: [f32; 4]| [a, b - c, d];
    let rows: [[f32; 3]; 4] = std::array::from_fn(|y| back([0, 1, 2, 3].map(|x| u[y * 4 + x])));
    let columns: [[f32; 3]; 3] = std::array::from_fn(|x| back([0, 1, 2, 3].map(|y| rows[y][x])));
    std::array::from_fn(|tap| columns[tap % 3][tap / 3])
}

/// What the weights of a convolution that is computed so become, `[output][channel]`; `None`: it is not.
pub fn multipliers(conv: &Conv) -> Option<Vec<[f32; N_PRODUCTS]>> {
    let depth = depth_of(conv)?;
    let of = |output: usize, channel: usize| {
        transformed(std::array::from_fn(|tap| conv.weights[(output * N_TAPS + tap) * depth + channel]))
    };
    Some((0..conv.bias.len() * depth).map(|i| of(i / depth, i % depth)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Act, Window};

    #[test]
    fn weights_come_back() {
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..100 {
            let weights: [f32; N_TAPS] = std::array::from_fn(|_| random.f32() - 0.5);
            let found = restored(transformed(weights));
            assert!(found.iter().zip(weights).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?} {weights:?}");
        }
    }

    #[test]
    fn some_convolutions_are_computed_so_and_others_are_not() {
        let conv = Conv {
            window: Window { kernel: [3; 2], pad: [1; 2], pad_end: [1; 2], ..Window::POINT },
            groups: 1,
            weights: vec![0.1; 9 * 10 * 40],
            bias: vec![0.5; 40],
            act: Act::Relu,
            post: Act::Identity,
            transposed: false,
        };
        assert_eq!(depth_of(&conv), Some(10));
        for other in [
            Conv { groups: 2, ..conv.clone() },
            Conv { transposed: true, ..conv.clone() },
            Conv { window: Window { stride: [1, 2], ..conv.window }, ..conv.clone() },
            Conv { window: Window { dilation: [2, 1], ..conv.window }, ..conv.clone() },
            Conv { weights: vec![0.0; 9 * 3 * 40], ..conv.clone() },
            Conv { weights: vec![3e38; 9 * 10 * 40], ..conv },
        ] {
            assert_eq!(depth_of(&other), None);
        }
    }
}
