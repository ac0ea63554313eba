//! A convolution of a space-to-depth is a convolution of the map itself, with a
//! larger window and longer strides: the rearranged copy is not needed.

use crate::graph::{ChannelSource, Conv, Graph, Op, Window};

pub fn run(graph: &mut Graph) -> usize {
    let makers = graph.makers();
    let mut n = 0;
    for i in 0..graph.nodes.len() {
        let Some(maker) = makers[graph.nodes[i].inputs[0].0 as usize].map(|m| &graph.nodes[m]) else { continue };
        let Op::Rearrange { stride, sources } = &maker.op else { continue };
        let from = maker.inputs[0];
        let s = graph.shape(from);
        // Cut rows or columns would come back as padding that is no zeros.
        let whole = s.h.is_multiple_of(stride[0]) && s.w.is_multiple_of(stride[1]);
        let Op::Conv(conv) = &graph.nodes[i].op else { continue };
        let plain = !conv.transposed && conv.groups == 1 && conv.window.dilation == [1; 2];
        if whole && plain && *stride != [1; 2] && takes_all(sources, *stride, s.c) {
            let wide = widened(conv, *stride, sources, s.c);
            let node = &mut graph.nodes[i];
            node.op = Op::Conv(Box::new(wide));
            node.inputs[0] = from;
            n += 1;
        }
    }
    n
}

/// Whether the sources are all channels of a block of `stride` cells, each once, in any order.
fn takes_all(sources: &[ChannelSource], stride: [usize; 2], channels: usize) -> bool {
    let mut seen = vec![false; stride[0] * stride[1] * channels];
    let fresh = |s: &ChannelSource| {
        let inside = s.dy < stride[0] && s.dx < stride[1] && s.c < channels;
        inside && !std::mem::replace(&mut seen[(s.dy * stride[1] + s.dx) * channels + s.c], true)
    };
    sources.len() == stride[0] * stride[1] * channels && sources.iter().all(fresh)
}

fn widened(conv: &Conv, stride: [usize; 2], sources: &[ChannelSource], channels: usize) -> Conv {
    let w = &conv.window;
    let times = |a: [usize; 2]| [a[0] * stride[0], a[1] * stride[1]];
    let window = Window {
        kernel: times(w.kernel),
        stride: times(w.stride),
        dilation: [1; 2],
        pad: times(w.pad),
        pad_end: times(w.pad_end),
    };
    let mut weights = vec![0.0; conv.weights.len()];
    let row = window.kernel[1];
    let of_out = window.kernel[0] * row * channels;
    let taps = conv.weights.chunks_exact(sources.len()).enumerate();
    for (i, tap) in taps {
        let (out, at) = (i / w.n_taps(), i % w.n_taps());
        let (ky, kx) = (at / w.kernel[1], at % w.kernel[1]);
        for (s, weight) in sources.iter().zip(tap) {
            let (y, x) = (ky * stride[0] + s.dy, kx * stride[1] + s.dx);
            weights[out * of_out + (y * row + x) * channels + s.c] = *weight;
        }
    }
    Conv { window, weights, ..conv.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Act, MapShape, Node, ValueId};
    use crate::oracle;

    fn graph(sources: Vec<ChannelSource>, stride: [usize; 2], s: MapShape, pad: usize) -> Graph {
        let mut random = fastrand::Rng::with_seed(9);
        let mut graph =
            Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
        graph.input = graph.add_value("picture", s);
        let deep = MapShape { h: s.h / stride[0], w: s.w / stride[1], c: sources.len() };
        let rearranged = graph.add_value("deep", deep);
        let side = |n: usize| n + 2 * pad - 2;
        let out = graph.add_value("out", MapShape { h: side(deep.h), w: side(deep.w), c: 5 });
        let window = Window { kernel: [3; 2], pad: [pad; 2], pad_end: [pad; 2], ..Window::POINT };
        let conv = Conv {
            window,
            groups: 1,
            weights: (0..5 * 9 * deep.c).map(|_| random.f32() - 0.5).collect(),
            bias: vec![0.25; 5],
            act: Act::Relu,
            post: Act::Identity,
            transposed: false,
        };
        let (input, op) = (graph.input, Op::Rearrange { stride, sources });
        graph.nodes.push(Node { op, inputs: vec![input], output: rearranged });
        graph.nodes.push(Node { op: Op::Conv(Box::new(conv)), inputs: vec![rearranged], output: out });
        graph
    }

    /// Largest difference that the pass makes to the last map.
    fn difference(graph: &Graph) -> f32 {
        let mut random = fastrand::Rng::with_seed(4);
        let picture: Vec<f32> = (0..graph.shape(graph.input).n_values()).map(|_| random.f32() - 0.5).collect();
        let mut wide = graph.clone();
        assert_eq!(run(&mut wide), 1);
        let last = |g: &Graph| oracle::run(g, &picture).get(ValueId(2)).to_vec();
        last(graph).iter().zip(last(&wide)).fold(0.0, |most, (a, b)| most.max((a - b).abs()))
    }

    #[test]
    fn the_wide_convolution_computes_the_same() {
        // As YOLOX orders them: columns first.
        let mut sources: Vec<ChannelSource> = [(0, 0), (1, 0), (0, 1), (1, 1)]
            .iter()
            .flat_map(|(dy, dx)| (0..3).map(|c| ChannelSource { dy: *dy, dx: *dx, c }))
            .collect();
        let s = MapShape { h: 12, w: 16, c: 3 };
        for pad in [0, 1] {
            assert!(difference(&graph(sources.clone(), [2; 2], s, pad)) < 1e-5);
        }
        sources.reverse();
        assert!(difference(&graph(sources, [2; 2], s, 1)) < 1e-5);
    }

    #[test]
    fn what_is_not_the_whole_block_stays() {
        let all = || (0..4).map(|i| ChannelSource { dy: i / 2, dx: i % 2, c: 0 }).collect::<Vec<_>>();
        let s = MapShape { h: 6, w: 6, c: 1 };
        assert_eq!(run(&mut graph(all(), [2; 2], s, 1)), 1);
        assert_eq!(run(&mut graph(all()[..3].to_vec(), [2; 2], s, 1)), 0, "a part is left out");
        assert_eq!(run(&mut graph(vec![all()[0]; 4], [2; 2], s, 1)), 0, "a part is taken twice");
        assert_eq!(run(&mut graph(all(), [2; 2], MapShape { h: 7, ..s }, 1)), 0, "a row is cut off");
    }
}
