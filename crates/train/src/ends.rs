//! Where losses begin: what a model makes of its last numbers (sigmoids, softmaxes) is taken away, because losses of scores
//! are steep and exact where they are told from logits.

use engine::graph::{Act, Graph, Op, ValueId};

/// A graph whose outputs' last activations of scores are left out, and the maps that hold its numbers.
#[derive(Debug, Clone)]
pub struct Ends {
    pub graph: Graph,
    /// For each of the maps that were asked for, those whose channels are its channels, one after another.
    pub pieces: Vec<Vec<ValueId>>,
}

impl Ends {
    /// Of maps of a graph of [`engine::passes::simplify`]: through what joins channels, back to the maps in which they are made.
    pub fn of(mut graph: Graph, maps: &[ValueId]) -> Self {
        let pieces = maps.iter().map(|map| pieces(&graph, *map)).collect::<Vec<_>>();
        let pieces = pieces.into_iter().map(|all| all.into_iter().map(|map| bare(&mut graph, map)).collect());
        Self { pieces: pieces.collect(), graph }
    }

    /// All maps, each once, in order: the outputs of a plan.
    pub fn outputs(&self) -> Vec<ValueId> {
        let mut all = Vec::new();
        for map in self.pieces.iter().flatten() {
            if !all.contains(map) {
                all.push(*map);
            }
        }
        all
    }
}

fn pieces(graph: &Graph, map: ValueId) -> Vec<ValueId> {
    match graph.makers()[map.0 as usize].map(|node| &graph.nodes[node]) {
        Some(node) if node.op == Op::Concat => node.inputs.iter().flat_map(|input| pieces(graph, *input)).collect(),
        _ => vec![map],
    }
}

/// The map before a sigmoid or a softmax that makes `map`; itself if there is none.
fn bare(graph: &mut Graph, map: ValueId) -> ValueId {
    let Some(maker) = graph.makers()[map.0 as usize] else { return map };
    let n_uses = graph.n_uses()[map.0 as usize];
    let node = &mut graph.nodes[maker];
    match &mut node.op {
        Op::Act(Act::Sigmoid) | Op::Softmax { .. } => node.inputs[0],
        // Who else reads the map wants it as it is.
        Op::Conv(conv) if conv.act == Act::Sigmoid && conv.post == Act::Identity && n_uses == 1 => {
            conv.act = Act::Identity;
            map
        }
        _ => map,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::graph::view::View;
    use engine::graph::{Conv, MapShape, Node, Output, Window};

    /// A head as YOLOX exports it: boxes, and scores through sigmoids, joined.
    #[test]
    fn sigmoids_at_the_end_are_taken_away() {
        let mut graph =
            Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
        let picture = graph.add_value("picture", MapShape::new(2, 2, 3));
        let mut conv = |name: &str, n: usize, act: Act| {
            let output = graph.add_value(name, MapShape::new(2, 2, n));
            let conv = Conv {
                window: Window::POINT,
                groups: 1,
                weights: vec![0.5; n * 3],
                bias: vec![0.0; n],
                act,
                post: Act::Identity,
                transposed: false,
            };
            graph.nodes.push(Node { op: Op::Conv(Box::new(conv)), inputs: vec![picture], output });
            output
        };
        let (boxes, score, logits) =
            (conv("boxes", 4, Act::Identity), conv("score", 1, Act::Sigmoid), conv("logits", 2, Act::Identity));
        let classes = graph.add_value("classes", MapShape::new(2, 2, 2));
        graph.nodes.push(Node { op: Op::Act(Act::Sigmoid), inputs: vec![logits], output: classes });
        let joined = graph.add_value("joined", MapShape::new(2, 2, 7));
        graph.nodes.push(Node { op: Op::Concat, inputs: vec![boxes, score, classes], output: joined });
        let part = View::whole(joined, graph.shape(joined));
        graph.outputs.push(Output { name: "out".into(), dims: vec![1, 7, 2, 2], axis: 1, parts: vec![part] });
        let ends = Ends::of(graph, &[joined]);
        assert_eq!(ends.pieces, [vec![boxes, score, logits]]);
        assert_eq!(ends.outputs(), [boxes, score, logits]);
        assert!(ends.graph.nodes.iter().all(|n| !matches!(&n.op, Op::Conv(c) if c.act != Act::Identity)));
    }
}
