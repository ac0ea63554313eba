//! From a graph's nodes to steps with packed weights.

use super::step::{ConvKind, Dense, Kind, Pair, Phase, Run, Step};
use crate::buffer::Room;
use crate::changes::Spread;
use crate::graph::resample::{self, Taps};
use crate::graph::{Act, Conv, Graph, MapShape, Op, Separable, Source, ValueId, Window};
use crate::weights::packed::{Packed, pack, pack_depthwise};
use crate::weights::winograd::Squares;
use std::collections::HashMap;
use std::sync::Arc;

pub(super) fn step(graph: &Graph, i: usize) -> Step {
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
    let gated = |conv: &Conv| conv.act != Act::Identity || n_inputs == 2;
    let kind = match &node.op {
        Op::Conv(conv) => {
            is_gated = gated(conv);
            spread[0] = if conv.transposed { Spread::Scatter(conv.window) } else { Spread::Window(conv.window) };
            Kind::Conv { conv: Box::new(without_weights(conv)), how: conv_kind(conv, first) }
        }
        Op::Separable(pair) => {
            is_gated = gated(&pair.pointwise);
            spread[0] = Spread::Window(pair.depthwise.window);
            let convs =
                Separable { depthwise: without_weights(&pair.depthwise), pointwise: without_weights(&pair.pointwise) };
            let pointwise = pack(&pair.pointwise, 0, first.c, &[0]);
            Kind::Separable(Box::new(Pair { convs, depthwise: pack_depthwise(&pair.depthwise), pointwise }))
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
            let reach = |f: fn(&Source) -> usize| sources.iter().map(f).max().unwrap_or(0) + 1;
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
    Step {
        kind,
        inputs: node.inputs.iter().map(index).collect(),
        output: index(&node.output),
        spread,
        macs_per_cell: graph.macs_per_cell(node),
        is_gated,
    }
}

/// Lays the weights of all steps side by side, equal ones once: the cache then holds them once.
pub(super) fn gather(steps: &mut [Step]) {
    let mut all: Vec<&mut Packed> = Vec::new();
    for step in steps {
        match &mut step.kind {
            Kind::Conv { how: ConvKind::Gemm(dense), .. } => all.extend(&mut dense.packed),
            Kind::Conv { how: ConvKind::Squares(squares), .. } => all.push(&mut squares.packed),
            Kind::Conv { how: ConvKind::Depthwise(packed), .. } => all.push(packed),
            Kind::Conv { how: ConvKind::Transposed { phases, .. }, .. } => {
                all.extend(phases.iter_mut().map(|phase| &mut phase.packed));
            }
            Kind::Separable(pair) => all.extend([&mut pair.depthwise, &mut pair.pointwise]),
            _ => {}
        }
    }
    let firsts = firsts(&all);
    let n_weights = |(i, first): (usize, &usize)| if *first == i { all[i].weights.len() } else { 0 };
    let weights = firsts.iter().enumerate().map(n_weights);
    let mut room = Room::of(weights.chain(all.iter().map(|p| p.bias.len())));
    for (i, first) in firsts.into_iter().enumerate() {
        all[i].weights = if first == i { Arc::new(room.copy(&all[i].weights)) } else { all[first].weights.clone() };
        all[i].bias = room.copy(&all[i].bias);
    }
}

/// For each the first that has the same weights, bit by bit.
fn firsts(all: &[&mut Packed]) -> Vec<usize> {
    let mut known: HashMap<Vec<u32>, usize> = HashMap::new();
    let bits = |p: &Packed| p.weights.iter().map(|w| w.to_bits()).collect();
    all.iter().enumerate().map(|(i, p)| *known.entry(bits(p)).or_insert(i)).collect()
}

/// The packed weights are what is read: the others need no memory.
fn without_weights(conv: &Conv) -> Conv {
    Conv { weights: Vec::new(), bias: Vec::new(), ..conv.clone() }
}

fn conv_kind(conv: &Conv, input: MapShape) -> ConvKind {
    let [kh, kw] = conv.window.kernel;
    let depth = input.c / conv.groups;
    if conv.transposed {
        let w = &conv.window;
        let mut phases = Vec::new();
        for py in 0..w.stride[0] {
            for px in 0..w.stride[1] {
                let hits = |i: usize, p: usize, k: usize| {
                    // (at + pad - k * dilation) is a multiple of the stride for every `at` of this remainder.
                    let s = w.stride[i] as i64;
                    (p as i64 + w.pad[i] as i64 - (k * w.dilation[i]) as i64).rem_euclid(s) == 0
                };
                let taps: Vec<[usize; 2]> = (0..kh)
                    .flat_map(|ky| (0..kw).map(move |kx| [ky, kx]))
                    .filter(|[ky, kx]| hits(0, py, *ky) && hits(1, px, *kx))
                    .collect();
                let flat: Vec<usize> = taps.iter().map(|[ky, kx]| ky * kw + kx).collect();
                phases.push(Phase { packed: pack(conv, 0, depth, &flat), taps });
            }
        }
        return ConvKind::Transposed { phases, window: *w, depth };
    }
    if conv.is_depthwise() {
        return ConvKind::Depthwise(pack_depthwise(conv));
    }
    if let Some(squares) = Squares::of(conv) {
        return ConvKind::Squares(squares);
    }
    let taps: Vec<usize> = (0..kh * kw).collect();
    let packed = (0..conv.groups).map(|g| pack(conv, g, depth, &taps)).collect();
    ConvKind::Gemm(Dense { packed, depth, window: conv.window })
}

/// Neighbouring sources as runs.
fn runs(sources: &[Source]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for s in sources {
        match runs.last_mut() {
            Some(run) if (run.dy, run.dx) == (s.dy, s.dx) && run.from + run.n == s.c => run.n += 1,
            _ => runs.push(Run { dy: s.dy, dx: s.dx, from: s.c, n: 1 }),
        }
    }
    runs
}
