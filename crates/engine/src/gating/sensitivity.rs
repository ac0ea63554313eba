//! Input sensitivity: which maps a step reads, through which window, and how strongly its output answers.
//!
//! A gain says how much a squared change of the input, in units of its channels' scales, moves the output: the sum over
//! outputs, averaged over inputs, of the squared weight in the units of both sides. It takes the channels' changes for
//! independent of each other.

use crate::changes::Spread;
use crate::gating::gate::{Gate, Gates};
use crate::graph::Window;
use crate::graph::resample::Taps;
use crate::kernels::{BLOCK, strips};
use crate::plan::program::Program;
use crate::plan::step::{ConvKind, Kind, Step};
use crate::weights::packed::Packed;
use crate::weights::winograd::{self, N_PRODUCTS, N_TAPS};
use std::ops::Range;

/// Wider windows, or paddings, are not foreseen through: the rim around what is kept of a map would outgrow the map.
const WIDEST: usize = 64;

/// How a step reads a map.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reach {
    Window(Window),
    /// Each of its cells stands for so many, down and along.
    Repeat([usize; 2]),
    Resample(Taps),
    /// In a way that nothing is estimated for.
    Otherwise,
}

/// Whose scales a map's changes are measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Units {
    /// The picture's own values.
    Picture,
    /// Those of a step's gate.
    Gate(usize),
    /// Not measured: any change may be great.
    Unknown,
}

/// What a step sees of one map that some step computes; a concatenation is seen part by part.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InputSensitivity {
    pub map: usize,
    pub units: Units,
    pub how: Reach,
    /// Which of the step's inputs the map is, or is a part of.
    input: usize,
    /// Where the channels that are seen begin in that input, and where they stand in the map.
    at: usize,
    channels: Range<usize>,
}

/// What a step sees.
pub(crate) fn of_step(program: &Program, i: usize) -> Vec<InputSensitivity> {
    let step = &program.steps[i];
    let mut sensitivities = Vec::new();
    if !matches!(step.kind, Kind::Join) {
        for (input, map) in step.inputs.iter().enumerate() {
            let how = how(program, step, input);
            program.parts(*map, 0..program.maps[*map].shape.c, 0, &mut |map, channels, at| {
                let units = units(program, map);
                sensitivities.push(InputSensitivity { map, units, how: how.clone(), input, at, channels });
            });
        }
    }
    sensitivities
}

fn how(program: &Program, step: &Step, input: usize) -> Reach {
    if let Spread::Repeat(by) = step.spread[input] {
        return Reach::Repeat(by);
    }
    let same_place = program.maps[step.inputs[input]].shape == program.maps[step.output].shape;
    match (&step.kind, input) {
        (Kind::Conv { conv, .. }, 0) if !conv.transposed => window(&conv.window),
        (Kind::Separable(pair), 0) => window(&pair.depthwise.window),
        (Kind::Pool(_, w), _) => window(w),
        // What is added to a convolution.
        (Kind::Conv { .. } | Kind::Separable(_), 1) => Reach::Window(Window::POINT),
        (Kind::Elementwise(_), _) if same_place => Reach::Window(Window::POINT),
        (Kind::Resize(taps), _) => Reach::Resample(taps.clone()),
        _ => Reach::Otherwise,
    }
}

fn window(w: &Window) -> Reach {
    let is_narrow = [w.kernel, w.pad, w.pad_end].iter().flatten().all(|n| *n <= WIDEST);
    if is_narrow { Reach::Window(*w) } else { Reach::Otherwise }
}

fn units(program: &Program, map: usize) -> Units {
    if map == program.input {
        return Units::Picture;
    }
    match program.maker(map) {
        Some(i) if program.steps[i].is_gated => Units::Gate(i),
        Some(i) if matches!(program.steps[i].kind, Kind::Resize(_)) => {
            // Handed on as it is, channel by channel.
            let mut found = Vec::new();
            let from = program.steps[i].inputs[0];
            program.parts(from, 0..program.maps[from].shape.c, 0, &mut |map, channels, _| found.push((map, channels)));
            match &found[..] {
                [(map, channels)] if *channels == (0..program.maps[*map].shape.c) => units(program, *map),
                _ => Units::Unknown,
            }
        }
        _ => Units::Unknown,
    }
}

impl InputSensitivity {
    /// Side of the squares of cells that need not be told apart: each window sees all of a square or nothing.
    pub fn side(&self) -> usize {
        let Reach::Window(w) = &self.how else { return 1 };
        let n = w.stride[0];
        let whole = |v: &[usize; 2]| v.iter().all(|v| v.is_multiple_of(n));
        if w.dilation == [1; 2] && w.stride == [n; 2] && whole(&w.kernel) && whole(&w.pad) { n } else { 1 }
    }

    /// The window over squares of `side` cells each way.
    pub fn window(&self, side: usize) -> Option<Window> {
        let Reach::Window(w) = &self.how else { return None };
        let by = |v: [usize; 2]| v.map(|v| v.div_ceil(side));
        let (kernel, stride, pad, pad_end) = (by(w.kernel), by(w.stride), by(w.pad), by(w.pad_end));
        Some(Window { kernel, stride, pad, pad_end, dilation: w.dilation })
    }

    /// The scales of the channels that are seen; `None`: 1 each, or unknown.
    fn scales<'a>(&self, gates: &'a Gates) -> Option<&'a [f32]> {
        match self.units {
            Units::Gate(i) => gates.get(i).scales.get(self.channels.clone()),
            _ => None,
        }
    }

    /// Whether the sizes of its changes are known.
    pub fn is_measured(&self, gates: &Gates) -> bool {
        self.how != Reach::Otherwise
            && match self.units {
                Units::Picture => true,
                Units::Gate(i) => !gates.get(i).is_exact(),
                Units::Unknown => false,
            }
    }

    /// The gain of each tap of a step whose own changes `gate` measures.
    pub fn gains(&self, program: &Program, step: &Step, weights: &[Packed], gates: &Gates, gate: &Gate) -> Vec<f32> {
        let scales = self.scales(gates);
        let scale = |c: usize| scales.map_or(1.0, |s| s[c] * s[c]);
        let unit = |o: usize| gate.inverse_scales()[o].powi(2);
        let seen = self.at..self.at + self.channels.len();
        let n_taps = self.window(1).map_or(1, |w| w.n_taps());
        let mut gains = vec![0.0; n_taps];
        let straight = || (0..seen.len()).map(|c| scale(c) * unit(self.at + c)).sum::<f32>();
        match (&step.kind, self.input) {
            (Kind::Conv { how: ConvKind::Gemm(gemm), .. }, 0) => {
                let n_out = program.maps[step.output].shape.c / gemm.n_groups;
                for (g, packed) in weights.iter().enumerate() {
                    each_weight(
                        packed,
                        n_taps,
                        gemm.depth,
                        n_out,
                        |o| unit(g * n_out + o),
                        |tap, c, sum| {
                            let c = g * gemm.depth + c;
                            if seen.contains(&c) {
                                gains[tap] += sum * scale(c - self.at);
                            }
                        },
                    );
                }
            }
            (Kind::Conv { how: ConvKind::Winograd2x2(how), .. }, 0) => {
                let n_out = program.maps[step.output].shape.c;
                each_of_winograd(&weights[0], how.depth, |c, o, weights| {
                    if o < n_out && seen.contains(&c) {
                        let strength = scale(c - self.at) * unit(o);
                        gains.iter_mut().zip(weights).for_each(|(gain, w)| *gain += w * w * strength);
                    }
                });
            }
            (Kind::Conv { how: ConvKind::Depthwise, .. }, 0) => {
                let packed = &weights[0];
                let width = packed.n_blocks() * BLOCK;
                for (tap, gain) in gains.iter_mut().enumerate() {
                    let square = |c: usize| packed.weights()[tap * width + c].powi(2);
                    *gain = seen.clone().map(|c| square(c) * scale(c - self.at) * unit(c)).sum();
                }
            }
            (Kind::Separable(_), 0) => {
                let [depthwise, pointwise] = weights else { return gains };
                let width = depthwise.n_blocks() * BLOCK;
                let depth = program.maps[step.inputs[0]].shape.c;
                each_weight(pointwise, 1, depth, program.maps[step.output].shape.c, unit, |_, c, sum| {
                    if seen.contains(&c) {
                        for (tap, gain) in gains.iter_mut().enumerate() {
                            *gain += depthwise.weights()[tap * width + c].powi(2) * scale(c - self.at) * sum;
                        }
                    }
                });
            }
            // One of a window's cells is the largest, or each has its share.
            (Kind::Pool(..), _) => gains.fill(straight() / n_taps as f32),
            _ => gains.fill(straight()),
        }
        let n_channels = program.maps[self.map].shape.c as f32;
        gains.iter_mut().for_each(|g| *g /= n_channels);
        gains
    }
}

/// Calls `f` with every tap and input channel, and the sum over output channels of the weight's square times `unit`.
fn each_weight(
    p: &Packed,
    n_taps: usize,
    depth: usize,
    n_out: usize,
    unit: impl Fn(usize) -> f32,
    mut f: impl FnMut(usize, usize, f32),
) {
    let units: Vec<f32> = (0..p.n_blocks() * BLOCK).map(|o| if o < n_out { unit(o) } else { 0.0 }).collect();
    let mut weights = &p.weights()[..];
    for strip in strips(p.n_blocks()) {
        let units = &units[strip.first * BLOCK..][..strip.n * BLOCK];
        for tap in 0..n_taps {
            for c in 0..depth {
                let (row, rest) = weights.split_at(units.len());
                f(tap, c, row.iter().zip(units).map(|(w, u)| w * w * u).sum());
                weights = rest;
            }
        }
    }
}

/// Calls `f` with every input channel and output, those that fill blocks included, and the nine weights between them.
fn each_of_winograd(p: &Packed, depth: usize, mut f: impl FnMut(usize, usize, [f32; N_TAPS])) {
    for strip in strips(p.n_blocks()) {
        let products: [&[f32]; N_PRODUCTS] = std::array::from_fn(|k| p.product(k, strip));
        let (first, width) = (strip.first * BLOCK, strip.n * BLOCK);
        for i in 0..depth * width {
            f(i / width, first + i % width, winograd::restored(products.map(|product| product[i])));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::view::View;
    use crate::graph::{Act, Conv, Graph, MapShape, Node, Op, Output, Separable, ValueId};
    use crate::plan::Plan;
    use fastrand::Rng;

    const SCALES: [f32; 6] = [0.5, 1.0, 2.0, 3.0, 0.1, 1.5];

    fn random_conv(random: &mut Rng, side: usize, n_in: usize, n_out: usize, groups: usize) -> Conv {
        let window = Window { kernel: [side; 2], pad: [side / 2; 2], pad_end: [side / 2; 2], ..Window::POINT };
        let weights = (0..side * side * n_in / groups * n_out).map(|_| random.f32() - 0.5).collect();
        Conv { window, groups, weights, bias: vec![0.0; n_out], act: Act::Relu, post: Act::Identity, transposed: false }
    }

    /// A picture, `a`, `b` beside it, both together, and a step that sees them.
    fn plan(op: Op) -> Plan {
        let s = |c| MapShape::new(6, 6, c);
        let mut graph =
            Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
        let mut random = Rng::with_seed(1);
        let n_out = match &op {
            Op::Conv(conv) => conv.bias.len(),
            Op::Separable(pair) => pair.pointwise.bias.len(),
            _ => 6,
        };
        let shapes = [("picture", 3), ("a", 2), ("b", 4), ("both", 6), ("c", n_out), ("out", n_out)];
        let [picture, a, b, both, c, out] = shapes.map(|(name, n)| graph.add_value(name, s(n)));
        // Of three taps a side, so that nothing is made one with what stands before it.
        let mut conv = |n_in, n_out| Op::Conv(Box::new(random_conv(&mut random, 3, n_in, n_out, 1)));
        let node = |op, inputs, output| Node { op, inputs, output };
        graph.nodes = vec![
            node(conv(3, 2), vec![picture], a),
            node(conv(3, 4), vec![picture], b),
            node(Op::Concat, vec![a, b], both),
            node(op, vec![both], c),
            node(conv(n_out, n_out), vec![c], out),
        ];
        let view = View::whole(out, s(n_out));
        graph.outputs.push(Output { name: "out".into(), dims: view.shape(), axis: 0, parts: vec![view] });
        Plan::new(graph).unwrap()
    }

    /// The mean over many changes of one tap, channels independent of each other, of what comes out of a sum of
    /// `weight(o, c)` in units of the outputs.
    fn tried(random: &mut Rng, seen: Range<usize>, out: &[f32], weight: impl Fn(usize, usize) -> f32) -> f32 {
        const N: usize = 4000;
        let sum: f32 = (0..N)
            .map(|_| {
                // One unit of squared change, shared by the channels in units of their scales.
                let n = seen.len() as f32;
                let changes: Vec<f32> =
                    seen.clone().map(|c| if random.bool() { 1.0 } else { -1.0 } * SCALES[c]).collect();
                let moved =
                    |o: usize| seen.clone().zip(&changes).map(|(c, v)| weight(o, c) * v).sum::<f32>() / n.sqrt();
                out.iter().enumerate().map(|(o, s)| (moved(o) / s).powi(2)).sum::<f32>()
            })
            .sum();
        sum / N as f32
    }

    #[test]
    fn gains_are_what_changes_do() {
        let mut random = Rng::with_seed(2);
        let dense = random_conv(&mut random, 3, 6, 5, 1);
        let grouped = random_conv(&mut random, 1, 6, 4, 2);
        let depthwise = random_conv(&mut random, 3, 6, 6, 6);
        let pair = Separable {
            depthwise: Conv { act: Act::Identity, ..random_conv(&mut random, 3, 6, 6, 6) },
            pointwise: random_conv(&mut random, 1, 6, 40, 1),
        };
        type Weight = Box<dyn Fn(usize, usize, usize) -> f32>;
        let cases: [(Op, usize, Weight); 4] = [
            (Op::Conv(Box::new(dense.clone())), 5, Box::new(move |o, t, c| dense.weights[(o * 9 + t) * 6 + c])),
            (
                Op::Conv(Box::new(grouped.clone())),
                4,
                Box::new(move |o, _, c| if o / 2 == c / 3 { grouped.weights[o * 3 + c % 3] } else { 0.0 }),
            ),
            (
                Op::Conv(Box::new(depthwise.clone())),
                6,
                Box::new(move |o, t, c| if o == c { depthwise.weights[c * 9 + t] } else { 0.0 }),
            ),
            (
                Op::Separable(Box::new(pair.clone())),
                40,
                Box::new(move |o, t, c| pair.depthwise.weights[c * 9 + t] * pair.pointwise.weights[o * 6 + c]),
            ),
        ];
        for (op, n_out, weight) in cases {
            let plan = plan(op);
            let i = plan.steps.iter().position(|s| plan.maps[s.output].name == "c").unwrap();
            let out: Vec<f32> = (0..n_out).map(|_| 0.1 + random.f32()).collect();
            let mut gates = Gates::exact(&plan);
            gates.set(0, Gate::new(0.1, SCALES[..2].to_vec()));
            gates.set(1, Gate::new(0.1, SCALES[2..].to_vec()));
            gates.set(i, Gate::new(0.1, out.clone()));
            let sensitivities = of_step(&plan, i);
            assert_eq!(sensitivities.len(), 2, "both parts of the concatenation");
            for (sensitivity_of, seen) in sensitivities.iter().zip([0..2, 2..6]) {
                let gains = sensitivity_of.gains(&plan, &plan.steps[i], plan.weights().of(i), &gates, gates.get(i));
                for (tap, gain) in gains.iter().enumerate() {
                    let wanted = tried(&mut random, seen.clone(), &out, |o, c| weight(o, tap, c));
                    assert!((gain / wanted - 1.0).abs() < 0.1, "tap {tap} of {sensitivity_of:?}: {gain} for {wanted}");
                }
            }
        }
    }

    #[test]
    fn squares_that_windows_see_whole_are_told_by_one_number() {
        let sensitivity_of = |kernel: usize, stride: usize, pad: usize| {
            let window = Window { kernel: [kernel; 2], stride: [stride; 2], pad: [pad; 2], ..Window::POINT };
            InputSensitivity {
                map: 0,
                units: Units::Picture,
                how: Reach::Window(window),
                input: 0,
                at: 0,
                channels: 0..3,
            }
        };
        let side = |kernel, stride, pad| sensitivity_of(kernel, stride, pad).side();
        assert_eq!([side(6, 2, 2), side(4, 4, 0), side(3, 1, 1)], [2, 4, 1]);
        assert_eq!([side(3, 2, 1), side(6, 2, 1), side(5, 2, 2)], [1; 3]);
        assert_eq!(
            sensitivity_of(6, 2, 2).window(2).map(|w| (w.kernel, w.stride, w.pad)),
            Some(([3; 2], [1; 2], [1; 2]))
        );
    }
}
