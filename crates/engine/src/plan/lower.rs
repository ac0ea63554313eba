//! From a graph's nodes to steps with packed weights.

use super::step::{ConvKind, Gemm, Kind, Run, Step, TransposedPhase, Winograd2x2};
use crate::changes::Spread;
use crate::graph::resample::{self, Taps};
use crate::graph::{Act, ChannelSource, Conv, Graph, MapShape, Op, Separable, ValueId, Window};
use crate::weights::packed::{Packed, Packing};
use crate::weights::winograd;

/// A node as a step, and its weights.
pub(super) fn step(graph: &Graph, i: usize) -> (Step, Vec<Packed>) {
    let node = &graph.nodes[i];
    let out = graph.shape(node.output);
    let first = graph.shape(node.inputs[0]);
    let n_inputs = node.inputs.len();
    // What a convolution adds may be a coarser map.
    let how = |v: &ValueId| match resample::repeats(graph.shape(*v), out) {
        Some(by) if by != [1; 2] => Spread::Repeat(by),
        _ => Spread::Same,
    };
    let mut spread: Vec<Spread> = node.inputs.iter().map(how).collect();
    let mut is_gated = false;
    let mut weights = Vec::new();
    let gated = |conv: &Conv| conv.act != Act::Identity || n_inputs == 2;
    let kind = match &node.op {
        Op::Conv(conv) => {
            is_gated = gated(conv);
            spread[0] = if conv.transposed { Spread::Scatter(conv.window) } else { Spread::Window(conv.window) };
            let how;
            (how, weights) = conv_kind(conv, first);
            Kind::Conv { conv: Box::new(without_weights(conv)), how }
        }
        Op::Separable(pair) => {
            is_gated = gated(&pair.pointwise);
            spread[0] = Spread::Window(pair.depthwise.window);
            let Separable { depthwise, pointwise } = &**pair;
            weights = vec![
                Packed::new(
                    Packing::Depthwise { n_taps: depthwise.window.n_taps() },
                    &depthwise.weights,
                    &depthwise.bias,
                ),
                Packed::new(Packing::Gemm { n_taps: 1, depth: first.c }, &pointwise.weights, &pointwise.bias),
            ];
            let [depthwise, pointwise] = [depthwise, pointwise].map(without_weights);
            Kind::Separable(Box::new(Separable { depthwise, pointwise }))
        }
        Op::Act(_) | Op::Affine { .. } => Kind::Elementwise(node.op.clone()),
        Op::Binary(_) => {
            if graph.shape(node.inputs[1]) != out {
                spread[1] = Spread::All;
            }
            Kind::Elementwise(node.op.clone())
        }
        Op::Pool(kind, window) => {
            spread[0] = Spread::Window(*window);
            is_gated = true;
            Kind::Pool(*kind, *window)
        }
        Op::GlobalAverage => {
            spread[0] = Spread::All;
            Kind::GlobalAverage
        }
        Op::Resize(how) => {
            let taps = Taps::new(*how, first, out);
            spread[0] = match taps.repeats(first, out) {
                Some(by) => Spread::Repeat(by),
                None => Spread::Resample(taps.clone()),
            };
            Kind::Resize(taps)
        }
        Op::Concat => Kind::Join,
        Op::Rearrange { stride, sources } => {
            let reach = |f: fn(&ChannelSource) -> usize| sources.iter().map(f).max().unwrap_or(0) + 1;
            let kernel = [reach(|s| s.dy), reach(|s| s.dx)];
            spread[0] = Spread::Window(Window { kernel, stride: *stride, ..Window::POINT });
            Kind::Rearrange { stride: *stride, runs: runs(sources) }
        }
        Op::Pad { before, value } => {
            spread[0] = Spread::Window(Window { pad: *before, ..Window::POINT });
            Kind::Pad { before: *before, value: *value }
        }
        Op::Softmax { group } => Kind::Softmax { group: *group },
    };
    let index = |v: &ValueId| v.0 as usize;
    let step = Step {
        kind,
        inputs: node.inputs.iter().map(index).collect(),
        output: index(&node.output),
        spread,
        macs_per_cell: graph.macs_per_cell(node),
        is_gated,
    };
    (step, weights)
}

/// The packed weights are what is read: the others need no memory.
fn without_weights(conv: &Conv) -> Conv {
    Conv { weights: Vec::new(), bias: Vec::new(), ..conv.clone() }
}

fn conv_kind(conv: &Conv, input: MapShape) -> (ConvKind, Vec<Packed>) {
    let window = conv.window;
    let ([kh, kw], n_taps) = (window.kernel, window.n_taps());
    let depth = input.c / conv.groups;
    if conv.transposed {
        let mut phases = Vec::new();
        let mut weights = Vec::new();
        for py in 0..window.stride[0] {
            for px in 0..window.stride[1] {
                let hits = |i: usize, p: usize, k: usize| {
                    // (at + pad - k * dilation) is a multiple of the stride for every `at` of this remainder.
                    let s = window.stride[i] as i64;
                    (p as i64 + window.pad[i] as i64 - (k * window.dilation[i]) as i64).rem_euclid(s) == 0
                };
                let taps: Vec<[usize; 2]> = (0..kh)
                    .flat_map(|ky| (0..kw).map(move |kx| [ky, kx]))
                    .filter(|[ky, kx]| hits(0, py, *ky) && hits(1, px, *kx))
                    .collect();
                let rows = conv.weights.chunks_exact(n_taps * depth);
                let own = rows.flat_map(|out| taps.iter().flat_map(|[ky, kx]| &out[(ky * kw + kx) * depth..][..depth]));
                let own: Vec<f32> = own.copied().collect();
                weights.push(Packed::new(Packing::Gemm { n_taps: taps.len(), depth }, &own, &conv.bias));
                phases.push(TransposedPhase { taps });
            }
        }
        return (ConvKind::Transposed { phases, window, depth }, weights);
    }
    if conv.is_depthwise() {
        return (ConvKind::Depthwise, vec![Packed::new(Packing::Depthwise { n_taps }, &conv.weights, &conv.bias)]);
    }
    if let Some(depth) = winograd::depth_of(conv) {
        let window = Window { kernel: [4; 2], stride: [2; 2], ..window };
        let weights = Packed::new(Packing::Winograd { depth }, &conv.weights, &conv.bias);
        return (ConvKind::Winograd2x2(Winograd2x2 { depth, window }), vec![weights]);
    }
    let n_out = conv.bias.len() / conv.groups;
    let groups = conv.weights.chunks_exact(n_out * n_taps * depth).zip(conv.bias.chunks_exact(n_out));
    let weights = groups.map(|(weights, bias)| Packed::new(Packing::Gemm { n_taps, depth }, weights, bias)).collect();
    (ConvKind::Gemm(Gemm { n_groups: conv.groups, depth, window }), weights)
}

/// Neighbouring sources as runs.
fn runs(sources: &[ChannelSource]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for s in sources {
        match runs.last_mut() {
            Some(run) if (run.dy, run.dx) == (s.dy, s.dx) && run.from + run.n == s.c => run.n += 1,
            _ => runs.push(Run { dy: s.dy, dx: s.dx, from: s.c, n: 1 }),
        }
    }
    runs
}
