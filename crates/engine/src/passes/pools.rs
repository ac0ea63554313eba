//! Max pools of one map with windows that grow (spatial pyramid pooling) become
//! a chain: a window of 9 is a window of 5 over windows of 5. A maximum rounds
//! nothing, so that this is exact.

use crate::graph::{Graph, Op, PoolKind, ValueId, Window};
use std::collections::HashMap;

pub fn run(graph: &mut Graph) -> usize {
    let mut n = 0;
    for i in 0..graph.nodes.len() {
        let Some(size) = centred(&graph.nodes[i].op) else { continue };
        // The largest smaller window over the same map, made before.
        let smaller = windows_over(graph, graph.nodes[i].inputs[0], i)
            .into_iter()
            .filter(|(_, reach)| *reach > 1 && *reach < size)
            .max_by_key(|(_, reach)| *reach);
        if let Some((output, reach)) = smaller {
            let side = size - reach + 1;
            let window = Window { kernel: [side; 2], pad: [side / 2; 2], pad_end: [side / 2; 2], ..Window::POINT };
            graph.nodes[i].op = Op::Pool(PoolKind::Max, window);
            graph.nodes[i].inputs = vec![output];
            n += 1;
        }
    }
    n
}

/// The side of a centred square max pool that keeps the map's size.
fn centred(op: &Op) -> Option<usize> {
    let Op::Pool(PoolKind::Max, w) = op else { return None };
    let side = w.kernel[0];
    let same = Window { kernel: [side; 2], pad: [side / 2; 2], pad_end: [side / 2; 2], ..Window::POINT };
    (side % 2 == 1 && *w == same).then_some(side)
}

/// The values among the first `n` nodes that hold maxima over `origin`, and the side of
/// their window, directly or through a chain of pools.
fn windows_over(graph: &Graph, origin: ValueId, n: usize) -> Vec<(ValueId, usize)> {
    let mut reaches = HashMap::from([(origin, 1)]);
    let mut found = Vec::new();
    for node in &graph.nodes[..n] {
        if let (Some(side), Some(reach)) = (centred(&node.op), reaches.get(&node.inputs[0]).copied()) {
            reaches.insert(node.output, reach + side - 1);
            found.push((node.output, reach + side - 1));
        }
    }
    found
}
