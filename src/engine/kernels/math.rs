//! Activations, number by number, as exact recipes: every instruction set
//! follows the same steps with the same roundings, so that all agree bit by bit.

use crate::engine::graph::Act;

/// `exp` is computed for arguments in this range, and constant beyond.
pub const EXP_RANGE: (f32, f32) = (-87.0, 88.0);
pub const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts: the first has few bits, so that its multiples are exact.
pub const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
/// Minimax polynomial of `exp` on ±ln(2)/2 beyond `1 + r` (Cephes, `expf`): from r^7 down to r^2.
pub const EXP_POLY: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// The exponential within 2 ulps, for finite arguments.
pub fn exp(x: f32) -> f32 {
    let x = min(max(x, EXP_RANGE.0), EXP_RANGE.1);
    let n = (x * LOG2_E).round_ties_even();
    let r = n.mul_add(-LN_2.0, x);
    let r = n.mul_add(-LN_2.1, r);
    let mut p = EXP_POLY[0];
    for k in &EXP_POLY[1..] {
        p = p.mul_add(r, *k);
    }
    let p = p.mul_add(r * r, r) + 1.0;
    p * f32::from_bits(((n as i32 + 127) as u32) << 23)
}

/// As the vector instructions do it: the second where either is no number.
pub fn max(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

/// As [`max`].
pub fn min(a: f32, b: f32) -> f32 {
    if a < b { a } else { b }
}

pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `channel` picks the slope of a PRelu.
pub fn act(act: &Act, x: f32, channel: usize) -> f32 {
    match act {
        Act::Identity => x,
        Act::Relu => max(x, 0.0),
        Act::Leaky(slope) => leaky(x, *slope),
        Act::PRelu(slopes) => leaky(x, slopes[channel]),
        Act::Clip(low, high) => min(max(x, *low), *high),
        Act::Sigmoid => sigmoid(x),
        Act::Silu => x / (1.0 + exp(-x)),
        Act::HardSigmoid(alpha, beta) => min(max(x.mul_add(*alpha, *beta), 0.0), 1.0),
        Act::HardSwish => x * min(max(x.mul_add(1.0 / 6.0, 0.5), 0.0), 1.0),
        Act::Tanh => 2.0f32.mul_add(sigmoid(2.0 * x), -1.0),
    }
}

fn leaky(x: f32, slope: f32) -> f32 {
    max(x, 0.0) + slope * min(x, 0.0)
}

/// Exponentials that sum to 1.
pub fn softmax(from: &[f32], to: &mut [f32]) {
    let top = from.iter().copied().fold(f32::NEG_INFINITY, max);
    let mut sum = 0.0;
    for (to, from) in to.iter_mut().zip(from) {
        *to = exp(from - top);
        sum += *to;
    }
    for to in to {
        *to /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close_everywhere_and_ends_softly() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let (found, wanted) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / wanted - 1.0).abs() < 2.5e-7, "exp({x}) = {found}, not {wanted}");
            x += 0.0137;
        }
        assert!(exp(-1e30) < 1e-37 && exp(1e30).is_finite());
        assert_eq!(exp(0.0), 1.0);
        assert_eq!((sigmoid(200.0), act(&Act::Silu, -200.0, 0).abs() < 1e-30), (1.0, true));
    }

    #[test]
    fn softmax_sums_to_one() {
        let mut out = [0.0; 3];
        softmax(&[1000.0, 1000.0, -1000.0], &mut out);
        assert_eq!(out[..2], [0.5, 0.5]);
    }
}
