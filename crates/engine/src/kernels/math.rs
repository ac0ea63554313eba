//! Activations, number by number, as exact recipes: every instruction set
//! follows the same steps with the same roundings, so that all agree bit by bit.

use crate::graph::Act;

/// `exp` is computed for arguments in this range, and constant beyond.
const EXP_RANGE: (f32, f32) = (-87.0, 88.0);
pub const LOG2_E: f32 = std::f32::consts::LOG2_E;
/// ln 2 in two parts: the first has few bits, so that its multiples are exact.
const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
/// Minimax polynomial of `exp` on ±ln(2)/2 beyond `1 + r` (Cephes, `expf`): from r^7 down to r^2.
const EXP_POLY: [f32; 6] = [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// Beyond ± this, [`sigmoid`] is constant: 2^-120 and what is next to 1.
pub const SIGMOID_END: f32 = 83.0;
/// Added to a small number it rounds it to whole ones, and leaves `256 + 127 + n` in the lowest
/// nine bits: sign and exponent of `-2^n`.
pub const SHIFT: f32 = (3 << 22) as f32 + 383.0;
/// Minimax polynomial of `2^f` on ±1/2 beyond 1, relative error 1e-7 (fitted here): from f^5 down to f.
pub const POWER_POLY: [f32; 5] = [1.326_472_7e-3, 9.671_513e-3, 5.550_733_6e-2, 2.402_224_2e-1, std::f32::consts::LN_2];
/// Less the bits of `-d` these are the bits of about `1 / d`, within 5.1 % (searched for here).
pub const GUESS: u32 = 0xfef3_1000;

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

/// `1 / (1 + exp(-x))` within 3e-7 of itself near 0 and 3e-6 far below. Without a division,
/// which takes as long as all of this on most machines: a guess at the reciprocal is made
/// better by a step of third order and one of second.
pub fn sigmoid(x: f32) -> f32 {
    let x = min(max(x, -SIGMOID_END), SIGMOID_END);
    let shifted = x.mul_add(-LOG2_E, SHIFT);
    let f = x.mul_add(-LOG2_E, SHIFT - shifted);
    let mut p = POWER_POLY[0];
    for k in &POWER_POLY[1..] {
        p = p.mul_add(f, *k);
    }
    let p = p.mul_add(f, 1.0);
    // d is -(1 + exp(-x)).
    let d = p.mul_add(f32::from_bits(shifted.to_bits() << 23), -1.0);
    let r = f32::from_bits(GUESS.wrapping_sub(d.to_bits()));
    let e = d.mul_add(r, 1.0);
    let r = r.mul_add(e.mul_add(e, e), r);
    r.mul_add(d.mul_add(r, 1.0), r)
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
        Act::Silu => x * sigmoid(x),
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
    }

    #[test]
    fn sigmoid_is_close_everywhere_and_ends_softly() {
        let mut x = -82.9f32;
        while x < 83.0 {
            let (found, wanted) = (f64::from(sigmoid(x)), 1.0 / (1.0 + (-f64::from(x)).exp()));
            assert!(
                (found / wanted - 1.0).abs() < 3e-7 + f64::from(x.abs()) * 3e-8,
                "sigmoid({x}) = {found}, not {wanted}"
            );
            x += 0.00137;
        }
        assert!((sigmoid(0.0), sigmoid(f32::INFINITY)) == (0.5, 1.0) && sigmoid(-1e30) < 1e-35);
        let silu = |x| act(&Act::Silu, x, 0);
        assert!(silu(-200.0).abs() < 1e-30 && silu(1e30) == 1e30 && silu(f32::NAN).is_nan());
    }

    #[test]
    fn softmax_sums_to_one() {
        let mut out = [0.0; 3];
        softmax(&[1000.0, 1000.0, -1000.0], &mut out);
        assert_eq!(out[..2], [0.5, 0.5]);
    }
}
