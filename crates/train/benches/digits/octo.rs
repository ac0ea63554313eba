//! Octo as its code does it: a baseline, built after the public demonstration code of Octo (USENIX ATC 2021), which computes
//! in floats what eight bits would hold.
//!
//! | | |
//! |---|---|
//! | forwards | input and weights, each by the least and the greatest number of this call, to 511 steps, rounded by chance |
//! | LAC | `alpha * mu + offset` is added to the product, three numbers for each number of the whole batch, trained with Adam |
//! | PRC | input, weights and gradient are clipped at 0.95 of their greatest and of their least number, for the way back only |
//! | backwards | these to the nearest of steps of (greatest - least) / 254; one-sided ones need codes up to 254, and get them |
//! | in `f32` | everything else; the classifier too, as the fully connected layers are there |
//!
//! There a batch normalisation follows LAC. The networks here have none, in no arm.

use engine::graph::{Op, ValueId};
use engine::kernels::Kernels;
use fastrand::Rng;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use train::batch::Batch;
use train::float::{FloatTrainer, Hook};
use train::optimise::Adam;
use train::params::{LayerParams, Params};
use train::plan::{LayerId, TrainPlan};
use train::trainer::Trainer;

/// Pull of mu and offset towards 0.
const PULL: f32 = 0.1;
/// What of the ends of a range PRC keeps.
const KEEP: f32 = 0.95;

/// What becomes of the code that stands for 0, forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZeroPoint {
    /// It is taken off before the product is scaled.
    TakenOff,
    /// It is not, which shifts all inputs and weights. The code does this.
    LeftIn,
}

/// Training as Octo's code does it. The plan's activations are nodes of their own: LAC stands before them.
pub struct Octo {
    float: FloatTrainer,
    lac: Lac,
    adam: Adam,
}

impl Octo {
    pub fn new(plan: &Arc<TrainPlan>, n: usize, kernels: Kernels, seed: u64, zero_point: ZeroPoint) -> Self {
        let mut random = Rng::with_seed(seed);
        let (mut layers, mut compensation) = (BTreeMap::new(), Params(Vec::new()));
        for (i, layer) in plan.layers().iter().enumerate() {
            let node = &plan.graph().nodes[layer.node];
            assert!(
                matches!(&node.op, Op::Conv(conv) if conv.act == engine::graph::Act::Identity),
                "activations apart"
            );
            if plan.outputs().contains(&node.output) {
                continue;
            }
            let size = n * plan.graph().shape(node.output).n_values();
            let mut small = || (0..size).map(|_| 1e-3 * normal(&mut random)).collect::<Vec<f32>>();
            let (weights, bias) = (small(), small());
            layers.insert(layer.node, (compensation.0.len(), LayerId(i)));
            compensation.0.push(LayerParams { weights, bias, gain: vec![1.0; size] });
        }
        let adam = Adam::new(&compensation, 0.0);
        let grads = compensation.zeros();
        let lac = Lac { zero_point, random, layers, compensation, grads, bias_grads: BTreeMap::new() };
        Self { float: FloatTrainer::new(plan, n, kernels), lac, adam }
    }

    /// Trains the compensation by the gradients of the last [`Trainer::backward`].
    pub fn step(&mut self, rate: f32) {
        self.adam.step(&mut self.lac.compensation, &self.lac.grads, rate);
    }
}

impl Trainer for Octo {
    fn plan(&self) -> &Arc<TrainPlan> {
        self.float.plan()
    }

    fn n(&self) -> usize {
        self.float.n()
    }

    fn fill_source(&mut self, value: ValueId, numbers: &[f32]) {
        Trainer::fill_source(&mut self.float, value, numbers);
    }

    fn forward(&mut self, params: &Params) {
        self.float.forward_with(params, &mut self.lac);
    }

    fn output(&self, value: ValueId) -> &Batch {
        Trainer::output(&self.float, value)
    }

    fn backward(&mut self, params: &Params, output_grads: &[&[f32]]) -> Params {
        let mut grads = self.float.backward_with(params, output_grads, &mut self.lac);
        for (layer, bias) in std::mem::take(&mut self.lac.bias_grads) {
            grads.0[layer.0].bias = bias;
        }
        grads
    }
}

/// What is done at the products.
struct Lac {
    zero_point: ZeroPoint,
    random: Rng,
    /// By node: its place in `compensation`, and among the plan's layers.
    layers: BTreeMap<usize, (usize, LayerId)>,
    /// mu as weights, offset as bias, alpha as gain: `[picture][row][column][channel]` each.
    compensation: Params,
    grads: Params,
    bias_grads: BTreeMap<LayerId, Vec<f32>>,
}

impl Hook for Lac {
    fn forward(&mut self, node: usize, x: &mut Cow<'_, Batch>, weights: &mut Cow<'_, [f32]>) {
        if !self.layers.contains_key(&node) {
            return;
        }
        let mut numbers = x.numbers();
        round_by_chance(&mut numbers, self.zero_point, &mut self.random);
        x.to_mut().fill(&numbers);
        round_by_chance(weights.to_mut(), self.zero_point, &mut self.random);
    }

    fn output(&mut self, node: usize, y: &mut Batch) {
        let Some((at, _)) = self.layers.get(&node) else { return };
        let LayerParams { weights: mu, bias: offset, gain: alpha } = &self.compensation.0[*at];
        let shape = y.shape();
        let width = shape.w * shape.c;
        y.for_rows(
            || (),
            |(), picture, j, row| {
                let here = (picture * shape.h + j) * width..(picture * shape.h + j + 1) * width;
                let rest = alpha[here.clone()].iter().zip(mu[here.clone()].iter().zip(&offset[here]));
                row.iter_mut().zip(rest).for_each(|(y, (alpha, (mu, offset)))| *y += alpha * mu + offset);
            },
        );
    }

    fn backward(&mut self, node: usize, x: &mut Cow<'_, Batch>, weights: &mut Cow<'_, [f32]>, dy: &mut Batch) {
        let Some((at, layer)) = self.layers.get(&node) else { return };
        let mut grad = dy.numbers();
        let LayerParams { weights: mu, bias: offset, gain: alpha } = &self.compensation.0[*at];
        let to = &mut self.grads.0[*at];
        // The pictures of a batch share the gradient of alpha, though each has an alpha of its own.
        let mut sums = vec![0.0; grad.len() / dy.n()];
        for (grad, mu) in grad.chunks_exact(sums.len()).zip(mu.chunks_exact(sums.len())) {
            sums.iter_mut().zip(grad.iter().zip(mu)).for_each(|(sum, (g, mu))| *sum += g * mu);
        }
        for ((to, g), (alpha, mu)) in to.weights.iter_mut().zip(&grad).zip(alpha.iter().zip(mu)) {
            *to = alpha * g + PULL * mu;
        }
        to.bias.iter_mut().zip(grad.iter().zip(offset)).for_each(|(to, (g, offset))| *to = g + PULL * offset);
        to.gain.chunks_exact_mut(sums.len()).for_each(|alpha| alpha.copy_from_slice(&sums));

        let mut bias = vec![0.0; dy.shape().c];
        grad.chunks_exact(bias.len()).for_each(|cell| bias.iter_mut().zip(cell).for_each(|(sum, g)| *sum += g));
        round_to_nearest(&mut bias);
        self.bias_grads.insert(*layer, bias);

        for numbers in [&mut grad, weights.to_mut()] {
            clip(numbers);
            round_to_nearest(numbers);
        }
        dy.fill(&grad);
        let mut numbers = x.numbers();
        clip(&mut numbers);
        round_to_nearest(&mut numbers);
        x.to_mut().fill(&numbers);
    }
}

fn ends(numbers: &[f32]) -> [f32; 2] {
    numbers.iter().fold([f32::INFINITY, f32::NEG_INFINITY], |[low, high], v| [low.min(*v), high.max(*v)])
}

/// To one of 511 steps between the least and the greatest.
pub fn round_by_chance(numbers: &mut [f32], zero_point: ZeroPoint, random: &mut Rng) {
    let [low, high] = ends(numbers);
    let (scale, zero) = match (high - low) / 510.0 {
        0.0 => (1.0, 0.0),
        scale => (scale, (255.0 - high / scale).clamp(-255.0, 255.0)),
    };
    let off = if zero_point == ZeroPoint::TakenOff { zero } else { 0.0 };
    numbers.iter_mut().for_each(|v| *v = ((*v / scale + zero + random.f32()).floor() - off) * scale);
}

/// To steps of a 254th of what lies between the least and the greatest, whatever codes that takes.
pub fn round_to_nearest(numbers: &mut [f32]) {
    let [low, high] = ends(numbers);
    let scale = if high > low { (high - low) / 254.0 } else { 1.0 };
    numbers.iter_mut().for_each(|v| *v = (*v / scale).round_ties_even() * scale);
}

/// At 0.95 of the least and of the greatest.
pub fn clip(numbers: &mut [f32]) {
    let [low, high] = ends(numbers).map(|end| KEEP * end);
    numbers.iter_mut().for_each(|v| *v = v.max(low).min(high));
}

/// A number of the normal distribution (Box and Muller).
fn normal(random: &mut Rng) -> f32 {
    let (a, b) = (1.0 - random.f32(), random.f32());
    (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos()
}
