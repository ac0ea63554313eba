//! A border of zeros before a convolution is part of its window.

use crate::graph::{Graph, Op};

pub fn run(graph: &mut Graph) -> usize {
    let makers = graph.makers();
    let mut n = 0;
    for i in 0..graph.nodes.len() {
        let input = graph.nodes[i].inputs[0];
        let Some(maker) = makers[input.0 as usize].map(|m| &graph.nodes[m]) else { continue };
        let Op::Pad { before, value: 0.0 } = maker.op else { continue };
        let (source, padded) = (maker.inputs[0], graph.shape(input));
        let s = graph.shape(source);
        let after = [padded.h - s.h - before[0], padded.w - s.w - before[1]];
        let node = &mut graph.nodes[i];
        if let Op::Conv(conv) = &mut node.op
            && !conv.transposed
        {
            for k in 0..2 {
                conv.window.pad[k] += before[k];
                conv.window.pad_end[k] += after[k];
            }
            node.inputs[0] = source;
            n += 1;
        }
    }
    n
}
