//! A depthwise convolution that only a 1x1 convolution reads is computed with it, cell by cell: the map between
//! them is neither stored nor compared, which saves most of what a depthwise layer costs where little changes.

use crate::graph::{Graph, Op, Separable};

pub fn run(graph: &mut Graph) -> usize {
    let (uses, makers) = (graph.n_uses(), graph.makers());
    let mut n = 0;
    for i in 0..graph.nodes.len() {
        let Op::Conv(pointwise) = &graph.nodes[i].op else { continue };
        let between = graph.nodes[i].inputs[0].0 as usize;
        let Some(maker) = makers[between].map(|m| &graph.nodes[m]) else { continue };
        let Op::Conv(depthwise) = &maker.op else { continue };
        // A sum is made of two maps, and only one of them can be looked at through a window.
        let is_alone = uses[between] == 1 && maker.inputs.len() == 1;
        if is_alone && pointwise.is_plain_point() && depthwise.is_depthwise() {
            let pair = Separable { depthwise: (**depthwise).clone(), pointwise: (**pointwise).clone() };
            let from = maker.inputs[0];
            let node = &mut graph.nodes[i];
            node.op = Op::Separable(Box::new(pair));
            node.inputs[0] = from;
            n += 1;
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Act, Conv, MapShape, Node, ValueId, Window};
    use crate::oracle;

    /// A picture, a depthwise convolution, a pointwise one that adds the picture.
    fn graph(groups: usize, stride: usize) -> Graph {
        let mut random = fastrand::Rng::with_seed(5);
        let mut graph =
            Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
        let [picture, between, out] = ["picture", "between", "out"].map(|v| graph.add_value(v, MapShape::new(7, 5, 6)));
        let mut conv = |groups: usize, side: usize, act: Act| {
            let window = Window { kernel: [side; 2], pad: [side / 2; 2], pad_end: [side / 2; 2], ..Window::POINT };
            let weights = (0..6 * side * side * 6 / groups).map(|_| random.f32() - 0.5).collect();
            let bias = (0..6).map(|_| random.f32()).collect();
            Conv { window, groups, weights, bias, act, post: Act::Relu, transposed: false }
        };
        let (depthwise, mut pointwise) = (conv(groups, 3, Act::Silu), conv(1, 1, Act::Tanh));
        pointwise.window.stride = [stride; 2];
        let node = |conv, inputs, output| Node { op: Op::Conv(Box::new(conv)), inputs, output };
        graph.nodes = vec![node(depthwise, vec![picture], between), node(pointwise, vec![between, picture], out)];
        graph
    }

    #[test]
    fn the_pair_computes_the_same_bits() {
        let (before, mut after) = (graph(6, 1), graph(6, 1));
        assert_eq!(run(&mut after), 1);
        let mut random = fastrand::Rng::with_seed(4);
        let picture: Vec<f32> = (0..7 * 5 * 6).map(|_| random.f32() - 0.5).collect();
        let out = |g: &Graph| oracle::run(g, &picture).get(ValueId(2)).to_vec();
        assert_eq!(out(&before), out(&after));
        let depthwise = before.macs_per_cell(&before.nodes[0]) * 35;
        assert_eq!(after.macs(), before.macs() + depthwise, "in the pair, and in the node that is dropped next");
    }

    #[test]
    fn what_is_read_elsewhere_or_is_no_such_pair_stays() {
        assert_eq!(run(&mut graph(3, 1)), 0, "groups of two channels");
        assert_eq!(run(&mut graph(6, 2)), 0, "not every cell is read");
        let mut shared = graph(6, 1);
        shared.nodes[1].inputs[1] = ValueId(1);
        assert_eq!(run(&mut shared), 0, "what is between is read twice");
    }
}
