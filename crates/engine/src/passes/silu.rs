//! `x * sigmoid(x)` is SiLU, `x * hard_sigmoid(x)` with a sixth and a half is HardSwish.

use crate::graph::{Act, Binary, Graph, Op};

pub fn run(graph: &mut Graph) -> usize {
    let makers = graph.makers();
    let mut n = 0;
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        if node.op != Op::Binary(Binary::Mul) {
            continue;
        }
        for (x, gate) in [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])] {
            let Some(maker) = makers[gate.0 as usize].map(|m| &graph.nodes[m]) else { continue };
            let fused = match &maker.op {
                _ if maker.inputs != [x] => continue,
                Op::Act(Act::Sigmoid) => Act::Silu,
                Op::Act(Act::HardSigmoid(a, b)) if (a * 6.0 - 1.0).abs() < 1e-6 && *b == 0.5 => Act::HardSwish,
                _ => continue,
            };
            let node = &mut graph.nodes[i];
            node.op = Op::Act(fused);
            node.inputs = vec![x];
            n += 1;
            break;
        }
    }
    // The gates have no reader any more, and would keep activations from being fused.
    super::dead::run(graph);
    n
}
