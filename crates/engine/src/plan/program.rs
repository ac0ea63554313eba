//! The steps of a model in order, and where their maps live.

use super::layout;
use super::lower;
use super::map::Map;
use super::step::{Kind, Step};
use crate::graph::verify::{Broken, verify};
use crate::graph::{Graph, Op, Output};
use crate::weights::Weights;
use std::ops::Range;

/// What is computed, one step after another.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    pub maps: Vec<Map>,
    pub steps: Vec<Step>,
    /// Numbers in each buffer.
    pub buffers: Vec<usize>,
    pub input: usize,
    /// Bases are indices of `maps`.
    pub outputs: Vec<Output>,
    /// Maps of which is kept what was computed in a frame, changed or not: those of the outputs.
    pub watched: Vec<bool>,
    /// Widest cell of any map.
    pub max_channels: usize,
}

impl Program {
    /// Lays out a graph as it is, and packs its weights.
    ///
    /// # Errors
    /// The verifier's.
    pub fn new(mut graph: Graph) -> Result<(Self, Weights), Broken> {
        layout::copy_where_places_clash(&mut graph);
        verify(&graph)?;
        let maps = layout::place(&graph);
        let is_alias = layout::aliases(&graph);
        let mut watched = vec![false; maps.len()];
        for part in graph.outputs.iter().flat_map(|o| &o.parts) {
            watched[maps[part.base.0 as usize].changes] = true;
        }
        for node in graph.nodes.iter().rev().filter(|n| n.op == Op::Concat) {
            if watched[node.output.0 as usize] {
                node.inputs.iter().for_each(|v| watched[maps[v.0 as usize].changes] = true);
            }
        }
        let steps = (0..graph.nodes.len()).filter(|i| !is_alias[*i]).map(|i| lower::step(&graph, i));
        let (mut steps, weights): (Vec<Step>, Vec<_>) = steps.unzip();
        // What leaves the network has no reader that a threshold could spare.
        steps.iter_mut().for_each(|s| s.is_gated &= !watched[s.output]);
        let program = Self {
            max_channels: maps.iter().map(|m| m.shape.c).max().unwrap_or(0),
            buffers: layout::buffers(&maps),
            watched,
            maps,
            steps,
            input: graph.input.0 as usize,
            outputs: graph.outputs,
        };
        Ok((program, Weights::new(weights)))
    }

    /// Multiply-accumulates of one whole picture.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(|s| s.macs_per_cell * self.maps[s.output].shape.n_cells() as u64).sum()
    }

    /// The step that makes a map, if a step of its own does.
    pub fn maker(&self, map: usize) -> Option<usize> {
        self.steps.iter().position(|s| s.output == map)
    }

    /// Calls `f` with the maps that make up some channels of a map, the channels in each, and where they begin,
    /// counted from `at` on.
    pub fn parts(&self, map: usize, channels: Range<usize>, at: usize, f: &mut dyn FnMut(usize, Range<usize>, usize)) {
        let m = &self.maps[map];
        if m.changes != map {
            let first = m.offset - self.maps[m.changes].offset;
            return self.parts(m.changes, channels.start + first..channels.end + first, at, f);
        }
        let Some(join) = self.steps.iter().find(|s| s.output == map && matches!(s.kind, Kind::Join)) else {
            return f(map, channels, at);
        };
        let mut first = 0;
        for part in &join.inputs {
            let last = first + self.maps[*part].shape.c;
            let (from, to) = (channels.start.max(first), channels.end.min(last));
            if from < to {
                self.parts(*part, from - first..to - first, at + from - channels.start, f);
            }
            first = last;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::view::View;
    use crate::graph::{Act, Conv, MapShape, Node, ValueId, Window};

    /// A depthwise convolution whose input and output are parts of one concatenation.
    fn beside(c: usize) -> Program {
        let s = MapShape::new(4, 4, c);
        let mut graph =
            Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
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
        let view = View::whole(both, graph.shape(both));
        graph.outputs.push(Output { name: "both".into(), dims: view.shape(), axis: 0, parts: vec![view] });
        Program::new(graph).unwrap().0
    }

    #[test]
    fn threads_stay_apart_where_a_kernel_reads_what_it_writes_beside() {
        let found = |c: usize| {
            let plan = beside(c);
            plan.steps.iter().map(|s| s.reads_beside(&plan.maps)).collect::<Vec<_>>()
        };
        assert_eq!(found(8), [false, true, false]);
        assert_eq!(found(16), [false; 3]);
    }
}
