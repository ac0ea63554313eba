//! Drops nodes whose output nobody reads, and values that nobody makes.

use crate::graph::{Graph, ValueId};

pub fn run(graph: &mut Graph) -> usize {
    let mut uses = graph.n_uses();
    let before = graph.nodes.len();
    // Backwards, so that a chain goes at once.
    for i in (0..graph.nodes.len()).rev() {
        if uses[graph.nodes[i].output.0 as usize] == 0 {
            for input in graph.nodes.remove(i).inputs {
                uses[input.0 as usize] -= 1;
            }
        }
    }
    compact(graph);
    before - graph.nodes.len()
}

/// Renumbers the values that are left.
fn compact(graph: &mut Graph) {
    let mut made = vec![false; graph.values.len()];
    made[graph.input.0 as usize] = true;
    for node in &graph.nodes {
        made[node.output.0 as usize] = true;
    }
    let mut number = vec![ValueId(0); graph.values.len()];
    let mut kept = Vec::new();
    for (i, value) in std::mem::take(&mut graph.values).into_iter().enumerate() {
        if made[i] {
            number[i] = ValueId(kept.len() as u32);
            kept.push(value);
        }
    }
    graph.values = kept;
    let renumber = |v: &mut ValueId| *v = number[v.0 as usize];
    renumber(&mut graph.input);
    for node in &mut graph.nodes {
        node.inputs.iter_mut().for_each(renumber);
        renumber(&mut node.output);
    }
    graph.outputs.iter_mut().flat_map(|o| &mut o.parts).for_each(|p| renumber(&mut p.base));
    graph.kept.iter_mut().for_each(renumber);
}
