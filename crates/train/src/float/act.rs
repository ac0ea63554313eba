//! Slopes of activations.

use crate::batch::Batch;
use engine::graph::Act;
use engine::kernels::math::sigmoid;

/// Whether the slope is told from what an activation was given, else from what it gave.
pub fn reads_before(act: &Act) -> bool {
    match act {
        Act::Identity | Act::Relu | Act::Sigmoid | Act::Tanh | Act::Clip(..) | Act::HardSigmoid(..) => false,
        // What a falling one gave does not tell which side it came from.
        Act::Leaky(slope) => *slope < 0.0,
        Act::PRelu(slopes) => slopes.iter().any(|s| *s < 0.0),
        Act::Silu | Act::HardSwish => true,
    }
}

/// The slope where the activation was given `v`, or gave it ([`reads_before`]). At a corner it is that of the flat side.
#[inline(always)]
pub fn slope(act: &Act, v: f32, channel: usize) -> f32 {
    let leaky = |slope: f32| if v > 0.0 { 1.0 } else { slope };
    let inside = |low: f32, high: f32| if v > low && v < high { 1.0 } else { 0.0 };
    match act {
        Act::Identity => 1.0,
        Act::Relu => leaky(0.0),
        Act::Leaky(s) => leaky(*s),
        Act::PRelu(slopes) => leaky(slopes[channel]),
        Act::Clip(low, high) => inside(*low, *high),
        Act::Sigmoid => v * (1.0 - v),
        Act::Tanh => 1.0 - v * v,
        Act::HardSigmoid(alpha, _) => alpha * inside(0.0, 1.0),
        Act::Silu => {
            let s = sigmoid(v);
            s + v * s * (1.0 - s)
        }
        Act::HardSwish => {
            if v <= -3.0 {
                0.0
            } else if v >= 3.0 {
                1.0
            } else {
                v / 3.0 + 0.5
            }
        }
    }
}

/// From the gradient of what an activation gave to that of what it was given, in place.
pub fn scale_by_slope(act: &Act, seen: &Batch, grad: &mut Batch) {
    let c = grad.shape().c;
    grad.for_rows(
        || (),
        |(), picture, y, row| {
            let seen = seen.row(picture, y);
            match act {
                Act::Relu => row.iter_mut().zip(seen).for_each(|(g, v)| *g = if *v > 0.0 { *g } else { 0.0 }),
                _ => {
                    for (row, seen) in row.chunks_exact_mut(c).zip(seen.chunks_exact(c)) {
                        for (channel, (g, v)) in row.iter_mut().zip(seen).enumerate() {
                            *g *= slope(act, *v, channel);
                        }
                    }
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::kernels::math;

    #[test]
    fn slopes_are_those_of_the_activations() {
        for act in [
            Act::Relu,
            Act::Leaky(0.1),
            Act::Leaky(-0.2),
            Act::PRelu(vec![0.3]),
            Act::Clip(-0.5, 0.75),
            Act::Sigmoid,
            Act::Tanh,
            Act::HardSigmoid(0.2, 0.5),
            Act::Silu,
            Act::HardSwish,
        ] {
            for x in [-4.0, -2.7, -0.6, -0.3, 0.2, 0.9, 2.6, 3.5f32] {
                let h = 1e-2;
                let wanted = (math::act(&act, x + h, 0) - math::act(&act, x - h, 0)) / (2.0 * h);
                let seen = if reads_before(&act) { x } else { math::act(&act, x, 0) };
                let found = slope(&act, seen, 0);
                assert!((found - wanted).abs() < 2e-4, "{act:?} at {x}: {found}, not {wanted}");
            }
        }
    }
}
