//! Rearrangements of one map that are joined again are one rearrangement: four
//! strided slices and a concatenation are a space-to-depth.

use crate::graph::{ChannelSource, Graph, Op};

pub fn run(graph: &mut Graph) -> usize {
    let mut n = 0;
    for i in 0..graph.nodes.len() {
        if graph.nodes[i].op != Op::Concat {
            continue;
        }
        let makers = graph.makers();
        let mut joined: Vec<ChannelSource> = Vec::new();
        let mut from = None;
        let all = graph.nodes[i].inputs.iter().all(|input| {
            let Some(maker) = makers[input.0 as usize].map(|m| &graph.nodes[m]) else { return false };
            let Op::Rearrange { stride, sources } = &maker.op else { return false };
            joined.extend(sources);
            let this = (maker.inputs[0], *stride);
            *from.get_or_insert(this) == this
        });
        if let (true, Some((base, stride))) = (all, from) {
            let node = &mut graph.nodes[i];
            node.op = Op::Rearrange { stride, sources: joined };
            node.inputs = vec![base];
            n += 1;
        }
    }
    n
}
