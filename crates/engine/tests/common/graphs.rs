//! Random graphs of the layer engine: any operation after any other, odd shapes included.

use engine::graph::view::View;
use engine::graph::*;
use fastrand::Rng;

fn numbers(random: &mut Rng, n: usize, scale: f32) -> Vec<f32> {
    (0..n).map(|_| (random.f32() * 2.0 - 1.0) * scale).collect()
}

pub fn act(random: &mut Rng, c: usize) -> Act {
    match random.u8(0..11) {
        0 | 1 => Act::Identity,
        2 => Act::Relu,
        3 => Act::Leaky(0.1),
        4 => Act::PRelu(numbers(random, c, 1.0)),
        5 => Act::Clip(-0.5, 0.75),
        6 => Act::Sigmoid,
        7 => Act::HardSigmoid(0.2, 0.5),
        8 => Act::HardSwish,
        9 => Act::Tanh,
        _ => Act::Silu,
    }
}

fn slid(w: &Window, s: MapShape) -> Option<(usize, usize)> {
    let side = |i: usize, n: usize| {
        let reach = w.dilation[i] * (w.kernel[i] - 1) + 1;
        Some((n + w.pad[i] + w.pad_end[i]).checked_sub(reach)? / w.stride[i] + 1)
    };
    Some((side(0, s.h)?, side(1, s.w)?))
}

fn window(random: &mut Rng) -> Window {
    let kernel = if random.bool() { [1; 2] } else { [random.usize(1..6), random.usize(1..6)] };
    Window {
        kernel,
        stride: [random.usize(1..4), random.usize(1..4)].map(|s| if s == 3 { 1 } else { s }),
        dilation: [random.usize(1..3), random.usize(1..3)],
        pad: [random.usize(0..kernel[0]), random.usize(0..kernel[1])],
        pad_end: [random.usize(0..kernel[0]), random.usize(0..kernel[1])],
    }
}

/// A graph of about `n` nodes on a small picture.
pub fn graph(random: &mut Rng, n: usize) -> Graph {
    let mut g =
        Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
    let shape = MapShape::new(random.usize(1..20), random.usize(1..80), random.usize(1..5));
    let input = g.add_value("picture", shape);
    let mut values = vec![input];
    while g.nodes.len() < n {
        // Late values more often, so that graphs become deep.
        let pick = |random: &mut Rng| {
            let i = random.usize(0..values.len()).max(random.usize(0..values.len()));
            values[i]
        };
        let x = pick(random);
        let s = g.shape(x);
        let (op, inputs, out) = match random.u8(0..13) {
            0..=3 => match conv(random, s) {
                Some((conv, out)) => (Op::Conv(Box::new(conv)), vec![x], out),
                None => continue,
            },
            4 => {
                let y = pick(random);
                if g.shape(y) != s {
                    continue;
                }
                let op = [Binary::Add, Binary::Sub, Binary::Mul][random.usize(0..3)];
                (Op::Binary(op), vec![x, y], s)
            }
            5 => {
                let same: Vec<ValueId> =
                    values.iter().copied().filter(|v| (g.shape(*v).h, g.shape(*v).w) == (s.h, s.w)).collect();
                let parts: Vec<ValueId> = (0..random.usize(1..4)).map(|_| same[random.usize(0..same.len())]).collect();
                let c = parts.iter().map(|p| g.shape(*p).c).sum();
                if c > 100 {
                    continue;
                }
                (Op::Concat, parts, MapShape::new(s.h, s.w, c))
            }
            6 => {
                // A run of channels, a shuffle, or cells of two by two.
                let (sources, stride) = match random.u8(0..3) {
                    0 => {
                        let first = random.usize(0..s.c);
                        let n = random.usize(1..=s.c - first);
                        ((first..first + n).map(|c| ChannelSource { dy: 0, dx: 0, c }).collect::<Vec<_>>(), [1, 1])
                    }
                    1 => ((0..s.c).map(|_| ChannelSource { dy: 0, dx: 0, c: random.usize(0..s.c) }).collect(), [1, 1]),
                    _ if s.h >= 2 && s.w >= 2 => {
                        let four = [(0, 0), (1, 0), (0, 1), (1, 1)];
                        (
                            four.iter()
                                .flat_map(|&(dy, dx)| (0..s.c).map(move |c| ChannelSource { dy, dx, c }))
                                .collect(),
                            [2, 2],
                        )
                    }
                    _ => continue,
                };
                let out = MapShape::new(s.h / stride[0], s.w / stride[1], sources.len());
                if out.c > 100 {
                    continue;
                }
                (Op::Rearrange { stride, sources }, vec![x], out)
            }
            7 => {
                let w = window(random);
                let w = Window { pad: w.pad.map(|p| p.min(1)), pad_end: w.pad_end.map(|p| p.min(1)), ..w };
                if (0..2).any(|i| w.kernel[i] == 1 && (w.pad[i] > 0 || w.pad_end[i] > 0)) {
                    continue;
                }
                let kind = [PoolKind::Max, PoolKind::Average { count_pad: random.bool() }][random.usize(0..2)];
                let Some((h, cols)) = slid(&w, s) else { continue };
                (Op::Pool(kind, w), vec![x], MapShape::new(h, cols, s.c))
            }
            8 => {
                let out = MapShape::new((s.h * random.usize(1..3)).min(40), (s.w * random.usize(1..3)).min(130), s.c);
                let how = match random.u8(0..3) {
                    0 => Resize::Nearest(Coordinates::Asymmetric, Rounding::Floor),
                    1 => Resize::Bilinear(Coordinates::HalfPixel),
                    _ => Resize::Bilinear(Coordinates::AlignCorners),
                };
                (Op::Resize(how), vec![x], out)
            }
            9 => {
                let before = [random.usize(0..3), random.usize(0..3)];
                let out = MapShape::new(s.h + before[0] + 1, s.w + before[1], s.c);
                if out.h > 40 || out.w > 130 {
                    continue;
                }
                (Op::Pad { before, value: [0.0, 0.5][random.usize(0..2)] }, vec![x], out)
            }
            10 => {
                // Squeeze and excitation.
                let one = g.add_value(format!("v{}", g.values.len()), MapShape::new(1, 1, s.c));
                g.nodes.push(Node { op: Op::GlobalAverage, inputs: vec![x], output: one });
                (Op::Binary(Binary::Mul), vec![x, one], s)
            }
            11 => (Op::Softmax { group: if s.c.is_multiple_of(2) { 2 } else { s.c } }, vec![x], s),
            _ if random.bool() => (Op::Act(act(random, s.c)), vec![x], s),
            _ => {
                let (scale, shift) = (numbers(random, s.c, 1.5), numbers(random, s.c, 1.0));
                (Op::Affine { scale, shift }, vec![x], s)
            }
        };
        let output = g.add_value(format!("v{}", g.values.len()), out);
        g.nodes.push(Node { op, inputs, output });
        values.push(output);
    }
    // Everything that nobody reads is an output, and one that somebody does.
    let uses = g.n_uses();
    let mut ends: Vec<ValueId> = values.iter().copied().filter(|v| uses[v.0 as usize] == 0).collect();
    ends.push(values[values.len() / 2]);
    for (i, v) in ends.into_iter().enumerate() {
        let view = View::whole(v, g.shape(v));
        g.outputs.push(Output { name: format!("o{i}"), dims: view.shape(), axis: 0, parts: vec![view] });
    }
    g
}

/// The same with a pyramid's way down at each end that has room for it: a larger map, convolved, to which the smaller one is
/// added, each cell repeated; and a convolution of the sum.
pub fn pyramids(random: &mut Rng, n: usize) -> Graph {
    let mut g = graph(random, n);
    for i in 0..g.outputs.len() {
        let small = g.outputs[i].parts[0].base;
        let s = g.shape(small);
        let by = [random.usize(1..4), random.usize(1..4)];
        let large = MapShape::new(s.h * by[0], s.w * by[1], s.c);
        if large.h > 40 || large.w > 130 {
            continue;
        }
        let names = ["smooth", "side", "repeated", "sum", "end"];
        let [smooth, side, repeated, sum, end] = names.map(|name| g.add_value(format!("{name}{i}"), large));
        let mut point = || {
            let (weights, bias) = (numbers(random, s.c * s.c, 1.0), numbers(random, s.c, 0.5));
            let (act, post) = (act(random, s.c), Act::Identity);
            Op::Conv(Box::new(Conv { window: Window::POINT, groups: 1, weights, bias, act, post, transposed: false }))
        };
        let nearest = Resize::Nearest(Coordinates::Asymmetric, Rounding::Floor);
        let node = |op, inputs, output| Node { op, inputs, output };
        g.nodes.extend([
            node(Op::Resize(Resize::Bilinear(Coordinates::HalfPixel)), vec![small], smooth),
            node(point(), vec![smooth], side),
            node(Op::Resize(nearest), vec![small], repeated),
            node(Op::Binary(Binary::Add), vec![repeated, side], sum),
            node(point(), vec![sum], end),
        ]);
        let view = View::whole(end, large);
        let name = g.outputs[i].name.clone();
        g.outputs[i] = Output { name, dims: view.shape(), axis: 0, parts: vec![view] };
    }
    g
}

/// A convolution of any kind that fits a map.
fn conv(random: &mut Rng, s: MapShape) -> Option<(Conv, MapShape)> {
    let kind = random.u8(0..4);
    let transposed = kind == 0;
    let groups = match kind {
        1 => s.c,
        2 if s.c.is_multiple_of(2) => 2,
        _ => 1,
    };
    let n_out = if kind == 1 { s.c } else { groups * random.usize(1..40) };
    let mut w = window(random);
    if kind == 3 && s.c >= 8 && random.u8(0..3) > 0 {
        // Computed by squares.
        let pad = |random: &mut Rng| [random.usize(0..3), random.usize(0..3)];
        w = Window { kernel: [3; 2], pad: pad(random), pad_end: pad(random), ..Window::POINT };
    }
    if transposed {
        w = Window { dilation: [1; 2], pad: [0; 2], pad_end: [0; 2], ..w };
    }
    let out = if transposed {
        let side = |i: usize, n: usize| (n - 1) * w.stride[i] + w.kernel[i];
        let (h, cols) = (side(0, s.h), side(1, s.w));
        if h > 40 || cols > 130 {
            return None;
        }
        MapShape::new(h, cols, n_out)
    } else {
        let (h, cols) = slid(&w, s)?;
        MapShape::new(h, cols, n_out)
    };
    let depth = w.kernel[0] * w.kernel[1] * s.c / groups;
    let conv = Conv {
        window: w,
        groups,
        weights: numbers(random, n_out * depth, 2.0 / (depth as f32).sqrt()),
        bias: numbers(random, n_out, 0.5),
        act: act(random, n_out),
        post: Act::Identity,
        transposed,
    };
    Some((conv, out))
}

pub fn picture(random: &mut Rng, s: MapShape) -> Vec<f32> {
    numbers(random, s.n_values(), 1.0)
}
