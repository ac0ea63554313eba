//! The numbers that are trained: as they are, or a gradient of each.

use crate::plan::{LayerId, TrainPlan};
use engine::graph::{Conv, Graph, Op};

/// Of one layer. What the layer computes is `gain * (weights x) + bias`, an output channel.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerParams {
    /// `[out][tap][in of the group]`.
    pub weights: Vec<f32>,
    pub bias: Vec<f32>,
    /// What makes up for the loss of a coarse product, folded into the weights where they are used.
    pub gain: Vec<f32>,
}

impl LayerParams {
    fn of(conv: &Conv) -> Self {
        Self { weights: conv.weights.clone(), bias: conv.bias.clone(), gain: vec![1.0; conv.bias.len()] }
    }

    /// Weights of one output channel.
    fn per_out(&self) -> usize {
        self.weights.len() / self.bias.len().max(1)
    }

    /// `gain * weights`.
    pub fn folded(&self) -> Vec<f32> {
        let rows = self.weights.chunks_exact(self.per_out().max(1));
        rows.zip(&self.gain).flat_map(|(row, gain)| row.iter().map(move |w| w * gain)).collect()
    }

    /// From the gradient of the folded weights, which this holds, to those of weights and gain.
    pub fn unfold_grad(&mut self, params: &Self) {
        let n = self.per_out().max(1);
        for ((grad, weights), (gain_grad, gain)) in self
            .weights
            .chunks_exact_mut(n)
            .zip(params.weights.chunks_exact(n))
            .zip(self.gain.iter_mut().zip(&params.gain))
        {
            *gain_grad = grad.iter().zip(weights).map(|(g, w)| g * w).sum();
            grad.iter_mut().for_each(|g| *g *= gain);
        }
    }
}

/// Of all trained layers, in the plan's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Params(pub Vec<LayerParams>);

impl Params {
    /// As they stand in the plan's graph.
    pub fn of(plan: &TrainPlan) -> Self {
        Self((0..plan.layers().len()).map(|i| LayerParams::of(plan.conv(LayerId(i)))).collect())
    }

    /// As many zeros.
    pub fn zeros(&self) -> Self {
        let zeros = |v: &Vec<f32>| vec![0.0; v.len()];
        let of =
            |l: &LayerParams| LayerParams { weights: zeros(&l.weights), bias: zeros(&l.bias), gain: zeros(&l.gain) };
        Self(self.0.iter().map(of).collect())
    }

    /// All numbers, tensor by tensor: weights, bias and gain of each layer.
    pub fn tensors(&self) -> impl Iterator<Item = &[f32]> {
        self.0.iter().flat_map(|l| [&l.weights[..], &l.bias, &l.gain])
    }

    /// The same, to change.
    pub fn tensors_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.0.iter_mut().flat_map(|l| [&mut l.weights[..], &mut l.bias, &mut l.gain])
    }

    /// Whether all are finite.
    pub fn are_finite(&self) -> bool {
        self.tensors().all(|t| t.iter().all(|v| v.is_finite()))
    }

    /// The plan's graph with these numbers in their places, gains folded.
    pub fn write_to(&self, plan: &TrainPlan) -> Graph {
        let mut graph = plan.graph().clone();
        for (layer, params) in plan.layers().iter().zip(&self.0) {
            if let Op::Conv(conv) = &mut graph.nodes[layer.node].op {
                (conv.weights, conv.bias) = (params.folded(), params.bias.clone());
            }
        }
        graph
    }
}
