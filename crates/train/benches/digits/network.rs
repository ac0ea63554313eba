//! The small network that learns digits: two convolutions of 3x3 with max pools, and a convolution over all that is left.

use engine::graph::{Act, Conv, Graph, MapShape, Node, Op, PoolKind, ValueId, Window};
use fastrand::Rng;
use std::sync::Arc;
use train::plan::TrainPlan;

/// Channels of the maps between.
const CHANNELS: usize = 16;

/// Whether activations are parts of the convolutions before them, or nodes of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acts {
    Fused,
    Apart,
}

/// For pictures of `side` x `side`, with weights by `seed` (He et al., arXiv:1502.01852).
pub fn plan(side: usize, seed: u64, acts: Acts) -> Arc<TrainPlan> {
    let mut random = Rng::with_seed(seed);
    let mut graph =
        Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
    let mut x = graph.add_value("picture", MapShape::new(side, side, 1));
    for i in 0..2 {
        let shape = graph.shape(x);
        let window = Window { kernel: [3; 2], pad: [1; 2], pad_end: [1; 2], ..Window::POINT };
        let out = MapShape::new(shape.h, shape.w, CHANNELS);
        x = conv(&mut graph, &mut random, x, window, out, if acts == Acts::Fused { Act::Relu } else { Act::Identity });
        if acts == Acts::Apart {
            x = node(&mut graph, Op::Act(Act::Relu), x, out, format!("relu{i}"));
        }
        let window = Window { kernel: [2; 2], stride: [2; 2], ..Window::POINT };
        let half = MapShape::new(out.h / 2, out.w / 2, CHANNELS);
        x = node(&mut graph, Op::Pool(PoolKind::Max, window), x, half, format!("pool{i}"));
    }
    let window = Window { kernel: [graph.shape(x).h; 2], ..Window::POINT };
    let output = conv(&mut graph, &mut random, x, window, MapShape::new(1, 1, 10), Act::Identity);
    let input = graph.input;
    Arc::new(TrainPlan::new(graph, &[input], &[output], |_| true).expect("a graph that can be trained"))
}

fn conv(graph: &mut Graph, random: &mut Rng, x: ValueId, window: Window, out: MapShape, act: Act) -> ValueId {
    let n_inputs = window.n_taps() * graph.shape(x).c;
    let most = (6.0 / n_inputs as f32).sqrt();
    let conv = Conv {
        window,
        groups: 1,
        weights: (0..out.c * n_inputs).map(|_| (random.f32() * 2.0 - 1.0) * most).collect(),
        bias: vec![0.0; out.c],
        act,
        post: Act::Identity,
        transposed: false,
    };
    let name = format!("conv{}", graph.nodes.len());
    node(graph, Op::Conv(Box::new(conv)), x, out, name)
}

fn node(graph: &mut Graph, op: Op, x: ValueId, shape: MapShape, name: String) -> ValueId {
    let output = graph.add_value(name, shape);
    graph.nodes.push(Node { op, inputs: vec![x], output });
    output
}
