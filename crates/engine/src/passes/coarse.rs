//! A convolution that adds a map which is made larger for it alone, each cell repeated, reads the smaller one: a
//! pyramid's way down, without a map that only holds everything four times.

use crate::graph::resample::Taps;
use crate::graph::{Graph, Op};

pub fn run(graph: &mut Graph) -> usize {
    let (uses, makers) = (graph.n_uses(), graph.makers());
    let mut n = 0;
    for i in 0..graph.nodes.len() {
        let (Op::Conv(_), [_, residual]) = (&graph.nodes[i].op, &graph.nodes[i].inputs[..]) else { continue };
        let large = *residual;
        let Some(maker) = makers[large.0 as usize].map(|m| &graph.nodes[m]) else { continue };
        let Op::Resize(how) = maker.op else { continue };
        let small = maker.inputs[0];
        let (from, to) = (graph.shape(small), graph.shape(large));
        let is_repeated = Taps::new(how, from, to).repeats(from, to).is_some();
        if is_repeated && uses[large.0 as usize] == 1 {
            graph.nodes[i].inputs[1] = small;
            n += 1;
        }
    }
    n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Act, Conv, Coordinates, MapShape, Node, Resize, Rounding, ValueId, Window};
    use crate::oracle;

    /// A picture, its cells by fours, that made as large as the picture, and a convolution of the picture that adds it.
    fn graph(sides: [usize; 2], how: Resize) -> Graph {
        let mut random = fastrand::Rng::with_seed(5);
        let mut graph =
            Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
        let [h, w] = sides;
        let shapes = [("picture", h, w), ("small", h.div_ceil(2), w.div_ceil(2)), ("large", h, w), ("out", h, w)];
        let [picture, small, large, out] = shapes.map(|(name, h, w)| graph.add_value(name, MapShape::new(h, w, 3)));
        let mut conv = |stride: usize, act: Act| {
            let window = Window { stride: [stride; 2], ..Window::POINT };
            let mut some = |n: usize| (0..n).map(|_| random.f32() - 0.5).collect();
            let (weights, bias) = (some(9), some(3));
            Op::Conv(Box::new(Conv { window, groups: 1, weights, bias, act, post: Act::Relu, transposed: false }))
        };
        let node = |op, inputs, output| Node { op, inputs, output };
        graph.nodes = vec![
            node(conv(2, Act::Identity), vec![picture], small),
            node(Op::Resize(how), vec![small], large),
            node(conv(1, Act::Tanh), vec![picture, large], out),
        ];
        graph
    }

    const NEAREST: Resize = Resize::Nearest(Coordinates::HalfPixel, Rounding::PreferFloor);

    #[test]
    fn the_smaller_map_gives_the_same_bits() {
        let picture: Vec<f32> = (0..6 * 10 * 3).map(|i| (i % 17) as f32 - 8.0).collect();
        let before = graph([6, 10], NEAREST);
        let mut after = before.clone();
        assert_eq!(run(&mut after), 1);
        assert_eq!(after.nodes[2].inputs, [ValueId(0), ValueId(1)]);
        let out = |g: &Graph| oracle::run(g, &picture).get(ValueId(3)).to_vec();
        assert_eq!(out(&before), out(&after));
    }

    #[test]
    fn what_is_not_repeated_or_is_read_elsewhere_stays() {
        assert_eq!(run(&mut graph([6, 10], Resize::Bilinear(Coordinates::HalfPixel))), 0, "between cells");
        assert_eq!(run(&mut graph([6, 10], Resize::Nearest(Coordinates::Asymmetric, Rounding::Ceil))), 0, "shifted");
        assert_eq!(run(&mut graph([6, 9], NEAREST)), 0, "one and a half times as wide");
        let mut shared = graph([6, 10], NEAREST);
        shared.nodes[2].inputs[0] = ValueId(2);
        assert_eq!(run(&mut shared), 0, "the larger one is convolved, too");
    }
}
