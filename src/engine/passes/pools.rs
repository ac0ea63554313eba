//! Max pools of one map with windows that grow (spatial pyramid pooling) become
//! a chain: a window of 9 is a window of 5 over windows of 5. A maximum rounds
//! nothing, so that this is exact.

use crate::engine::graph::{Graph, Op, PoolKind, Window};

pub fn run(graph: &mut Graph) -> usize {
    let mut n = 0;
    for i in 0..graph.nodes.len() {
        let Some(size) = centred(&graph.nodes[i].op) else { continue };
        // The largest smaller window over the same map, made before.
        let input = graph.nodes[i].inputs[0];
        let smaller = graph.nodes[..i]
            .iter()
            .filter(|other| reach_from(graph, other.output, input).is_some())
            .filter_map(|other| Some((reach_from(graph, other.output, input)?, other.output)))
            .filter(|(reach, _)| *reach > 1 && *reach < size)
            .max_by_key(|(reach, _)| *reach);
        if let Some((reach, output)) = smaller {
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

/// The window over `origin` whose maxima `value` holds, through a chain of pools.
fn reach_from(
    graph: &Graph,
    value: crate::engine::graph::ValueId,
    origin: crate::engine::graph::ValueId,
) -> Option<usize> {
    let mut at = value;
    let mut reach = 1;
    while at != origin {
        let node = graph.nodes.iter().find(|n| n.output == at)?;
        reach += centred(&node.op)? - 1;
        at = node.inputs[0];
    }
    Some(reach)
}
