//! From gradients to steps: SGD with momentum, Adam, and a slow mean of what was reached.

use crate::params::Params;

/// Stochastic gradient descent with momentum: `v = momentum * v + g + decay * w; w -= rate * v`.
#[derive(Debug, Clone)]
pub struct Sgd {
    pub momentum: f32,
    /// Pull of the weights towards 0, not of biases and gains.
    pub decay: f32,
    velocity: Params,
}

impl Sgd {
    pub fn new(params: &Params, momentum: f32, decay: f32) -> Self {
        Self { momentum, decay, velocity: params.zeros() }
    }

    pub fn step(&mut self, params: &mut Params, grads: &Params, rate: f32) {
        let tensors = params.tensors_mut().zip(grads.tensors()).zip(self.velocity.tensors_mut());
        for (i, ((w, g), v)) in tensors.enumerate() {
            let decay = if i % 3 == 0 { self.decay } else { 0.0 };
            for ((w, g), v) in w.iter_mut().zip(g).zip(v) {
                *v = self.momentum * *v + g + decay * *w;
                *w -= rate * *v;
            }
        }
    }
}

/// Adam (Kingma and Ba, arXiv:1412.6980), its decay of weights apart from the gradient (arXiv:1711.05101).
#[derive(Debug, Clone)]
pub struct Adam {
    /// Shares of the old means of gradients and of their squares that stay.
    pub keep: [f32; 2],
    pub epsilon: f32,
    /// As [`Sgd::decay`].
    pub decay: f32,
    n_steps: i32,
    means: Params,
    squares: Params,
}

impl Adam {
    pub fn new(params: &Params, decay: f32) -> Self {
        let (means, squares) = (params.zeros(), params.zeros());
        Self { keep: [0.9, 0.999], epsilon: 1e-8, decay, n_steps: 0, means, squares }
    }

    pub fn step(&mut self, params: &mut Params, grads: &Params, rate: f32) {
        self.n_steps = self.n_steps.saturating_add(1);
        let [a, b] = self.keep;
        // The means begin at 0: early ones are too small.
        let [early_a, early_b] = self.keep.map(|keep| 1.0 - keep.powi(self.n_steps));
        let tensors = params.tensors_mut().zip(grads.tensors());
        let states = self.means.tensors_mut().zip(self.squares.tensors_mut());
        for (i, ((w, g), (mean, square))) in tensors.zip(states).enumerate() {
            let decay = if i % 3 == 0 { rate * self.decay } else { 0.0 };
            for (((w, g), mean), square) in w.iter_mut().zip(g).zip(mean).zip(square) {
                *mean = a * *mean + (1.0 - a) * g;
                *square = b * *square + (1.0 - b) * g * g;
                *w -= decay * *w;
                *w -= rate * (*mean / early_a) / ((*square / early_b).sqrt() + self.epsilon);
            }
        }
    }
}

/// A mean of the numbers of all steps so far, late ones counting most.
#[derive(Debug, Clone)]
pub struct Ema {
    keep: f32,
    n_steps: f32,
    mean: Params,
}

impl Ema {
    /// `keep` of the old mean stays at a step, less in the first ones.
    pub fn new(params: &Params, keep: f32) -> Self {
        Self { keep, n_steps: 0.0, mean: params.clone() }
    }

    pub fn step(&mut self, params: &Params) {
        self.n_steps += 1.0;
        let keep = self.keep.min(self.n_steps / (9.0 + self.n_steps));
        for (mean, w) in self.mean.tensors_mut().zip(params.tensors()) {
            mean.iter_mut().zip(w).for_each(|(mean, w)| *mean = keep * *mean + (1.0 - keep) * w);
        }
    }

    pub fn mean(&self) -> &Params {
        &self.mean
    }
}

/// What of a rate stays where the directions of gradients are off by `deviation`, 1 less the cosine (Zhu et al., "Towards
/// Unified INT8 Training", CVPR 2020: the exponential and its two numbers).
pub fn rate_share(deviation: f32) -> f32 {
    (-20.0 * deviation).exp().max(0.1)
}

/// Scales gradients down to a length of `most`; their length before.
pub fn clip_length(grads: &mut Params, most: f32) -> f32 {
    let squares: f64 = grads.tensors().flatten().map(|g| f64::from(*g) * f64::from(*g)).sum();
    let length = squares.sqrt() as f32;
    if length > most {
        grads.tensors_mut().flatten().for_each(|g| *g *= most / length);
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::LayerParams;

    fn some(w: f32) -> Params {
        Params(vec![LayerParams { weights: vec![w, -w], bias: vec![w], gain: vec![w] }])
    }

    /// By hand: three steps of each rule on constant gradients.
    #[test]
    fn steps_are_what_the_rules_say() {
        let grads = some(0.5);
        let (mut params, mut sgd) = (some(1.0), Sgd::new(&some(1.0), 0.9, 0.1));
        sgd.step(&mut params, &grads, 0.1);
        assert_eq!(params.0[0].weights, [1.0 - 0.1 * 0.6, -1.0 + 0.1 * 0.6]);
        assert_eq!(params.0[0].bias, [1.0 - 0.1 * 0.5]);
        sgd.step(&mut params, &grads, 0.1);
        let bias = 0.95 - 0.1 * (0.9 * 0.5 + 0.5);
        assert!((params.0[0].bias[0] - bias).abs() < 1e-6);

        // Adam's steps are of the rate's length, whatever the gradient's.
        let (mut params, mut adam) = (some(1.0), Adam::new(&some(1.0), 0.0));
        for n in 1..=3u8 {
            adam.step(&mut params, &grads, 0.01);
            assert!((params.0[0].gain[0] - (1.0 - 0.01 * f32::from(n))).abs() < 1e-5);
        }

        let mut ema = Ema::new(&some(0.0), 0.99);
        ema.step(&some(1.0));
        assert_eq!(ema.mean().0[0].gain, [0.9], "early steps count more");
        let mut grads = some(3.0);
        assert_eq!(clip_length(&mut grads, 1.0), 6.0);
        assert!((clip_length(&mut grads, 1.0) - 1.0).abs() < 1e-6);
    }
}
