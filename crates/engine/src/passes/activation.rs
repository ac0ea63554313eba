//! An activation that is the only reader of a convolution becomes part of it.

use crate::graph::{Act, Graph, Op};

pub fn run(graph: &mut Graph) -> usize {
    let mut n = 0;
    let mut i = 0;
    while i < graph.nodes.len() {
        let (uses, makers) = (graph.n_uses(), graph.makers());
        let node = &graph.nodes[i];
        let input = node.inputs[0].0 as usize;
        if let (Op::Act(act), Some(maker), 1) = (&node.op, makers[input], uses[input]) {
            let (act, output) = (act.clone(), node.output);
            let maker = &mut graph.nodes[maker];
            let residual = maker.inputs.len() == 2;
            if let Op::Conv(conv) = &mut maker.op {
                let slot = if residual { &mut conv.post } else { &mut conv.act };
                if *slot == Act::Identity {
                    *slot = act;
                    maker.output = output;
                    graph.nodes.remove(i);
                    n += 1;
                    continue;
                }
            }
        }
        i += 1;
    }
    n
}
