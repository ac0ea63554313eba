//! A sum of a convolution that nobody else reads and another map: the convolution adds it.
//! An activation after the sum comes along.

use crate::graph::{Binary, Graph, Op};

pub fn run(graph: &mut Graph) -> usize {
    let mut n = 0;
    let mut i = 0;
    while i < graph.nodes.len() {
        if let Some(maker) = fusable(graph, i) {
            let add = graph.nodes.remove(i);
            // The convolution moves to where both of its inputs are there.
            let mut conv = graph.nodes.remove(maker);
            let other = add.inputs.into_iter().find(|v| *v != conv.output).expect("its two inputs differ");
            conv.inputs.push(other);
            conv.output = add.output;
            graph.nodes.insert(i - 1, conv);
            n += 1;
        } else {
            i += 1;
        }
    }
    n += super::activation::run(graph);
    n
}

/// The convolution that can take in the addition at `i`. The later of two: the other one is ready then.
fn fusable(graph: &Graph, i: usize) -> Option<usize> {
    let node = &graph.nodes[i];
    let [a, b] = *node.inputs.as_slice() else { return None };
    if node.op != Op::Binary(Binary::Add) || a == b || graph.shape(a) != graph.shape(b) {
        return None;
    }
    let (uses, makers) = (graph.n_uses(), graph.makers());
    [a, b]
        .into_iter()
        .filter(|v| uses[v.0 as usize] == 1)
        .filter_map(|v| makers[v.0 as usize])
        .filter(|m| matches!(&graph.nodes[*m].op, Op::Conv(_)) && graph.nodes[*m].inputs.len() == 1)
        .max()
}
