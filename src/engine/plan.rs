//! The graph laid out for running: maps in buffers, weights packed, steps in order.
//!
//! A map lives in a buffer of its own, or as some channels of a wider one: the
//! parts of a concatenation are written where the whole is read, and a run of
//! channels is read where it stands. A plan is shared by all streams; what a
//! stream remembers is in [`super::state`].

use super::buffer::{Buffer, Room};
use super::changes::Spread;
use super::demand::{Branches, Given};
use super::foresight::Foresight;
use super::graph::{Conv, Graph, MapShape, Op, Output, PoolKind, Separable, Source, ValueId, Window};
use super::kernels::BLOCK;
use super::pack::{Packed, pack, pack_depthwise};
use super::passes;
use super::resample::{self, Taps};
use super::verify::Broken;
use super::winograd::Squares;
use crate::leeway;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Where a map lives.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    pub name: String,
    pub shape: MapShape,
    pub buffer: usize,
    /// First channel inside the buffer's cells.
    pub offset: usize,
    /// Channels of the buffer: from cell to cell.
    pub stride: usize,
    /// Whose change set is this map's: its own, or that of the map it is a part of.
    pub changes: usize,
}

impl Map {
    /// Where a cell begins in its buffer.
    #[inline(always)]
    pub fn at(&self, y: usize, x: usize) -> usize {
        (y * self.shape.w + x) * self.stride + self.offset
    }

    /// The numbers of a cell.
    pub fn cell<'a>(&self, buffers: &'a [Buffer], y: usize, x: usize) -> &'a [f32] {
        &buffers[self.buffer][self.at(y, x)..][..self.shape.c]
    }
}

/// The taps of a convolution from an output cell, as cells of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// One a group.
    pub packed: Vec<Packed>,
    /// Input channels of a group.
    pub depth: usize,
    pub window: Window,
}

/// The output cells of a transposed convolution with one remainder of row and
/// column, which all see the same taps.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    pub packed: Packed,
    /// Kernel row and column of each tap.
    pub taps: Vec<[usize; 2]>,
}

/// What a step computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Conv {
        conv: Box<Conv>,
        how: ConvKind,
    },
    Separable(Box<Pair>),
    Elementwise(Op),
    Pool(PoolKind, Window),
    GlobalAverage,
    Resize(Taps),
    Rearrange {
        stride: [usize; 2],
        runs: Vec<Run>,
    },
    Pad {
        before: [usize; 2],
        value: f32,
    },
    Softmax {
        group: usize,
    },
    /// The parts are in place: only their change sets are joined.
    Join,
}

/// Channels that a rearrangement copies at once: `n` from `from` of the cell at `(dy, dx)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub dy: usize,
    pub dx: usize,
    pub from: usize,
    pub n: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ConvKind {
    Gemm(Dense),
    Squares(Squares),
    Depthwise(Packed),
    /// `[row remainder][column remainder]`.
    Transposed {
        phases: Vec<Phase>,
        window: Window,
        depth: usize,
    },
}

/// A depthwise convolution and the pointwise one that reads it, packed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Without their weights and biases.
    pub convs: Separable,
    pub depthwise: Packed,
    pub pointwise: Packed,
}

/// One operation with its maps.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub kind: Kind,
    pub inputs: Vec<usize>,
    pub output: usize,
    /// One an input.
    pub spread: Vec<Spread>,
    pub macs_per_cell: u64,
    /// Whether a threshold may hold back small changes of the output; else only equal bits do.
    pub is_gated: bool,
}

impl Step {
    pub fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Conv { how: ConvKind::Gemm(_), .. } => "conv",
            Kind::Conv { how: ConvKind::Squares(_), .. } => "conv-winograd",
            Kind::Conv { how: ConvKind::Depthwise(_), .. } => "depthwise",
            Kind::Conv { .. } => "conv-transpose",
            Kind::Separable(_) => "separable",
            Kind::Elementwise(op) => op.name(),
            Kind::Pool(..) => "pool",
            Kind::GlobalAverage => "global-average",
            Kind::Resize(_) => "resize",
            Kind::Rearrange { .. } => "rearrange",
            Kind::Pad { .. } => "pad",
            Kind::Softmax { .. } => "softmax",
            Kind::Join => "concat",
        }
    }

    /// Whether the kernel reads, beside the input's channels, some that this step writes: it
    /// takes whole blocks, which end in the next part of a concatenation. What it reads
    /// there is not used, but another thread may be writing it.
    pub fn reads_beside(&self, plan: &Plan) -> bool {
        let (input, output) = (&plan.maps[self.inputs[0]], &plan.maps[self.output]);
        matches!(self.kind, Kind::Conv { how: ConvKind::Depthwise(_) | ConvKind::Squares(_), .. } | Kind::Separable(_))
            && !input.shape.c.is_multiple_of(BLOCK)
            && input.buffer == output.buffer
    }
}

/// A model, ready to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    pub maps: Vec<Map>,
    pub steps: Vec<Step>,
    /// Numbers in each buffer.
    pub buffers: Vec<usize>,
    pub input: usize,
    /// Bases are indices of `maps`.
    pub outputs: Vec<Output>,
    /// Maps of which is kept what was computed in a frame, changed or not: those of the outputs.
    pub watched: Vec<bool>,
    /// Steps of which only some cells may be asked for, and the order in which all run.
    pub branches: Branches,
    /// Widest cell of any map.
    pub max_channels: usize,
    pub done: Vec<passes::Done>,
}

/// Numbers after the last cell of a buffer, so that whole blocks can be read everywhere.
const SLACK: usize = BLOCK;

impl Plan {
    /// Optimises and lays out a graph.
    ///
    /// # Errors
    /// The verifier's: a mistake of a pass.
    pub fn new(mut graph: Graph) -> Result<Self, Broken> {
        let done = passes::optimise(&mut graph)?;
        copy_where_places_clash(&mut graph);
        super::verify::verify(&graph)?;
        let maps = place(&graph);
        let mut buffers = Vec::new();
        for map in &maps {
            let n = map.shape.n_cells() * map.stride + SLACK;
            if buffers.len() <= map.buffer {
                buffers.resize(map.buffer + 1, 0);
            }
            buffers[map.buffer] = buffers[map.buffer].max(n);
        }
        let is_alias = aliases(&graph);
        let mut watched = vec![false; maps.len()];
        for part in graph.outputs.iter().flat_map(|o| &o.parts) {
            watched[maps[part.base.0 as usize].changes] = true;
        }
        for node in graph.nodes.iter().rev().filter(|n| n.op == Op::Concat) {
            if watched[node.output.0 as usize] {
                node.inputs.iter().for_each(|v| watched[maps[v.0 as usize].changes] = true);
            }
        }
        let mut steps: Vec<Step> = (0..graph.nodes.len()).filter(|i| !is_alias[*i]).map(|i| step(&graph, i)).collect();
        // What leaves the network has no reader that a threshold could spare.
        steps.iter_mut().for_each(|s| s.is_gated &= !watched[s.output]);
        gather(&mut steps);
        Ok(Self {
            max_channels: maps.iter().map(|m| m.shape.c).max().unwrap_or(0),
            watched,
            maps,
            branches: Branches::none(steps.len()),
            steps,
            buffers,
            input: graph.input.0 as usize,
            outputs: graph.outputs,
            done,
        })
    }

    /// Says which numbers of the outputs count only where others are large enough: what leads only to them can be left
    /// out where they are not ([`super::state::Stream::ask`]).
    #[must_use]
    pub fn given(mut self, givens: &[Given]) -> Self {
        self.branches = Branches::of(&self, givens);
        self
    }

    /// Bytes that one stream needs for its maps, change sets, foresight and leeway.
    pub fn state_bytes(&self) -> usize {
        // Changed and owed cells of every map, computed ones of those that are watched.
        let n_sets = |watched: bool| 2 + usize::from(watched);
        let set = |m: &Map| m.shape.h * m.shape.w.div_ceil(64) * 8;
        let sets: usize = self.maps.iter().zip(&self.watched).map(|(m, w)| set(m) * n_sets(*w)).sum();
        let demand: usize = self.branches.sets().map(|map| set(&self.maps[map])).sum();
        let s = self.maps[self.input].shape;
        let leeway = s.h.div_ceil(leeway::CELL) * s.w.div_ceil(leeway::CELL) * 4;
        let foresight = Foresight::n_values(self) * 4;
        self.buffers.iter().sum::<usize>() * 4 + sets + demand + foresight + leeway
    }

    /// Multiply-accumulates of one whole picture.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(|s| s.macs_per_cell * self.maps[s.output].shape.n_cells() as u64).sum()
    }
}

/// The run of channels that a rearrangement takes without moving any cell.
fn channel_run(graph: &Graph, node: usize) -> Option<Range<usize>> {
    let node = &graph.nodes[node];
    let Op::Rearrange { stride: [1, 1], sources } = &node.op else { return None };
    let (from, to) = (graph.shape(node.inputs[0]), graph.shape(node.output));
    let first = sources.first()?;
    let straight = sources.iter().enumerate().all(|(i, s)| *s == Source { dy: 0, dx: 0, c: first.c + i });
    (straight && (from.h, from.w) == (to.h, to.w)).then(|| first.c..first.c + sources.len())
}

/// Nodes whose output is read inside their input's buffer.
fn aliases(graph: &Graph) -> Vec<bool> {
    (0..graph.nodes.len()).map(|i| channel_run(graph, i).is_some()).collect()
}

/// Each concatenation wants its parts in its own buffer. Where a part is wanted
/// twice, is the picture, or lives inside another map, a copy is put between.
fn copy_where_places_clash(graph: &mut Graph) {
    let makers = graph.makers();
    let is_alias = aliases(graph);
    let mut taken = vec![false; graph.values.len()];
    taken[graph.input.0 as usize] = true;
    for (value, maker) in makers.iter().enumerate() {
        taken[value] |= maker.is_none_or(|m| is_alias[m]);
    }
    let mut i = 0;
    while i < graph.nodes.len() {
        if graph.nodes[i].op == Op::Concat {
            for k in 0..graph.nodes[i].inputs.len() {
                let part = graph.nodes[i].inputs[k];
                if std::mem::replace(&mut taken[part.0 as usize], true) {
                    let shape = graph.shape(part);
                    let name = format!("{}/copy", graph.name(part));
                    let copy = graph.add_value(name, shape);
                    taken.push(true);
                    // Not a rearrangement of channels in a row: that would be read in place again.
                    let node = super::graph::Node {
                        op: Op::Act(super::graph::Act::Identity),
                        inputs: vec![part],
                        output: copy,
                    };
                    graph.nodes.insert(i, node);
                    i += 1;
                    graph.nodes[i].inputs[k] = copy;
                }
            }
        }
        i += 1;
    }
}

fn place(graph: &Graph) -> Vec<Map> {
    let mut maps: Vec<Map> = graph
        .values
        .iter()
        .enumerate()
        .map(|(i, v)| Map {
            name: v.name.clone(),
            shape: v.shape,
            buffer: usize::MAX,
            offset: 0,
            stride: v.shape.c,
            changes: i,
        })
        .collect();
    // Outer concatenations first: they come later in the graph.
    for node in graph.nodes.iter().rev().filter(|n| n.op == Op::Concat) {
        let whole = node.output.0 as usize;
        let mut from = 0;
        for part in &node.inputs {
            let part = part.0 as usize;
            // The buffer is named by its owner until all are known.
            let owner = if maps[whole].buffer == usize::MAX { whole } else { maps[whole].buffer };
            (maps[part].buffer, maps[part].offset) = (owner, maps[whole].offset + from);
            maps[part].stride = maps[whole].stride;
            from += maps[part].shape.c;
        }
    }
    let owners: Vec<usize> =
        (0..maps.len()).map(|i| if maps[i].buffer == usize::MAX { i } else { maps[i].buffer }).collect();
    let mut number = vec![usize::MAX; maps.len()];
    let mut n = 0;
    let mut aliased = vec![false; maps.len()];
    for (i, node) in graph.nodes.iter().enumerate() {
        aliased[node.output.0 as usize] = channel_run(graph, i).is_some();
    }
    for (i, &owner) in owners.iter().enumerate() {
        if aliased[i] {
            continue;
        }
        if number[owner] == usize::MAX {
            number[owner] = n;
            n += 1;
        }
        maps[i].buffer = number[owner];
    }
    // Aliases follow what they are a part of, in order.
    for (i, node) in graph.nodes.iter().enumerate() {
        if let Some(run) = channel_run(graph, i) {
            let base = maps[node.inputs[0].0 as usize].clone();
            let map = &mut maps[node.output.0 as usize];
            (map.buffer, map.stride, map.changes) = (base.buffer, base.stride, base.changes);
            map.offset = base.offset + run.start;
        }
    }
    maps
}

fn step(graph: &Graph, i: usize) -> Step {
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
    let gated = |conv: &Conv| conv.act != super::graph::Act::Identity || n_inputs == 2;
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
fn gather(steps: &mut [Step]) {
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

#[cfg(test)]
mod tests {
    use super::super::graph::{Act, MapShape, Node};
    use super::*;

    /// A depthwise convolution whose input and output are parts of one concatenation.
    fn beside(c: usize) -> Plan {
        let s = MapShape::new(4, 4, c);
        let mut graph = Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new() };
        let [picture, a, b] = ["picture", "a", "b"].map(|name| graph.add_value(name, s));
        let both = graph.add_value("both", MapShape::new(4, 4, 2 * c));
        let depthwise = |input, output| {
            let conv = Conv {
                weights: vec![1.0; c],
                bias: vec![0.0; c],
                groups: c,
                window: Window::POINT,
                transposed: false,
                act: Act::Relu,
                post: Act::Identity,
            };
            Node { op: Op::Conv(Box::new(conv)), inputs: vec![input], output }
        };
        graph.nodes =
            vec![depthwise(picture, a), depthwise(a, b), Node { op: Op::Concat, inputs: vec![a, b], output: both }];
        let view = super::super::view::View::whole(both, graph.shape(both));
        graph.outputs.push(Output { name: "both".into(), dims: view.shape(), axis: 0, parts: vec![view] });
        Plan::new(graph).unwrap()
    }

    #[test]
    fn equal_weights_are_kept_once() {
        let mut plan = beside(8);
        let weights = |plan: &Plan, step: usize| match &plan.steps[step].kind {
            Kind::Conv { how: ConvKind::Depthwise(packed), .. } => packed.weights.clone(),
            other => panic!("{other:?}"),
        };
        let [first, second] = [0, 1].map(|step| weights(&plan, step));
        assert!(Arc::ptr_eq(&first, &second));
        let Kind::Conv { how: ConvKind::Depthwise(packed), .. } = &mut plan.steps[1].kind else { panic!("depthwise") };
        let mut other = first.to_vec();
        other[3] = -1.0;
        packed.weights = Arc::new(other[..].into());
        gather(&mut plan.steps);
        let found = [0, 1].map(|step| weights(&plan, step));
        assert!(!Arc::ptr_eq(&found[0], &found[1]));
        assert_eq!((&found[0][..], &found[1][..]), (&first[..], &other[..]));
    }

    #[test]
    fn threads_stay_apart_where_a_kernel_reads_what_it_writes_beside() {
        let found = |c: usize| {
            let plan = beside(c);
            plan.steps.iter().map(|s| s.reads_beside(&plan)).collect::<Vec<_>>()
        };
        assert_eq!(found(8), [false, true, false]);
        assert_eq!(found(16), [false; 3]);
    }
}
