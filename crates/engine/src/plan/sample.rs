//! A small detector for tests, with branches that count only here and there.

use super::Plan;
use crate::graph::view::View;
use crate::graph::{Act, Conv, Graph, MapShape, Node, Op, Output, ValueId, Window};

/// Classes by two convolutions of three by three and one that is read by the box, too; a box; what decides, last.
pub fn plan(box_reads: &str) -> Plan {
    let mut graph =
        Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
    let mut value = |name: &str, c: usize| graph.add_value(name, MapShape::new(6, 8, c));
    let names = [("picture", 3), ("trunk", 4), ("a", 4), ("b", 4), ("class", 5), ("box", 4), ("object", 1)];
    let [picture, trunk, a, b, class, bbox, object] = names.map(|(name, c)| value(name, c));
    let all = value("all", 10);
    let conv = |side: usize, n_in: usize, input: ValueId, n_out: usize, output: ValueId| {
        let window = Window { kernel: [side; 2], pad: [side / 2; 2], pad_end: [side / 2; 2], ..Window::POINT };
        let (weights, bias) = (vec![0.1; side * side * n_in * n_out], vec![0.0; n_out]);
        let (act, post) = (Act::Relu, Act::Identity);
        let conv = Conv { window, groups: 1, weights, bias, act, post, transposed: false };
        Node { op: Op::Conv(Box::new(conv)), inputs: vec![input], output }
    };
    let seen = if box_reads == "a" { a } else { trunk };
    graph.nodes = vec![
        conv(3, 3, picture, 4, trunk),
        conv(3, 4, trunk, 4, a),
        conv(3, 4, a, 4, b),
        conv(1, 4, b, 5, class),
        conv(1, 4, seen, 4, bbox),
        conv(3, 4, trunk, 1, object),
        Node { op: Op::Concat, inputs: vec![bbox, object, class], output: all },
    ];
    let view = View::whole(all, MapShape::new(6, 8, 10));
    graph.outputs.push(Output { name: "all".into(), dims: view.shape(), axis: 0, parts: vec![view] });
    Plan::new(graph).expect("a plan of ours")
}

pub fn map(plan: &Plan, name: &str) -> usize {
    plan.maps.iter().position(|m| m.name == name).expect("a plan of ours")
}
