//! The graph as plain loops: what every faster way must equal.
//!
//! Slow on purpose. Sums run in the order of the definition, in `f32` with fused
//! multiply-add, or over squares as [`crate::weights::winograd`] says, which is also the order of the kernels:
//! the oracle's and the kernels' convolutions agree bit by bit.

use crate::graph::resample::Taps;
use crate::graph::{Binary, Conv, Graph, MapShape, Op, Output, PoolKind, ValueId};
use crate::kernels::math;
use crate::weights::winograd::{self, BIASED, N_PRODUCTS};

/// The maps of one run: rows, columns, channels; `None` for values that nobody makes.
pub struct Maps(Vec<Option<Vec<f32>>>);

impl Maps {
    /// # Panics
    /// If the graph does not make `value`.
    pub fn get(&self, value: ValueId) -> &[f32] {
        self.0[value.0 as usize].as_deref().expect("the graph was run")
    }

    /// A model's output in ONNX Runtime's order.
    pub fn output(&self, graph: &Graph, output: &Output) -> Vec<f32> {
        read_output(output, |v| (self.get(v), graph.shape(v)))
    }
}

/// Gathers an output from its maps.
pub fn read_output<'a>(output: &Output, map: impl Fn(ValueId) -> (&'a [f32], MapShape)) -> Vec<f32> {
    let n: usize = output.dims.iter().product();
    let mut data = vec![0.0; n];
    // Inner to outer: the parts lie one after another along the axis.
    let inner: usize = output.dims.get(output.axis + 1..).unwrap_or_default().iter().product::<usize>().max(1);
    let along = output.dims.get(output.axis).copied().unwrap_or(1);
    let mut from = 0;
    for part in &output.parts {
        let (values, s) = map(part.base);
        let here = part.shape().get(output.axis).copied().unwrap_or(1);
        let mut i = 0;
        part.for_each(|y, x, c| {
            let (outer, rest) = (i / (here * inner), i % (here * inner));
            data[outer * along * inner + from * inner + rest] = values[(y * s.w + x) * s.c + c];
            i += 1;
        });
        from += here;
    }
    data
}

/// Runs the graph on a picture, `[rows][columns][channels]`.
///
/// # Panics
/// If the picture is not of the graph's size.
pub fn run(graph: &Graph, picture: &[f32]) -> Maps {
    assert_eq!(picture.len(), graph.shape(graph.input).n_values(), "a picture of the graph's size");
    let mut maps = Maps(vec![None; graph.values.len()]);
    maps.0[graph.input.0 as usize] = Some(picture.to_vec());
    for node in &graph.nodes {
        let out = graph.shape(node.output);
        let inputs: Vec<(&[f32], MapShape)> = node.inputs.iter().map(|v| (maps.get(*v), graph.shape(*v))).collect();
        let data = node_output(&node.op, &inputs, out);
        maps.0[node.output.0 as usize] = Some(data);
    }
    maps
}

fn node_output(op: &Op, inputs: &[(&[f32], MapShape)], s: MapShape) -> Vec<f32> {
    let (x, sx) = inputs[0];
    let mut out = vec![0.0; s.n_values()];
    let at = |y: usize, col: usize, c: usize| x[(y * sx.w + col) * sx.c + c];
    let mut each = |f: &mut dyn FnMut(usize, usize, usize) -> f32| {
        for y in 0..s.h {
            for col in 0..s.w {
                for c in 0..s.c {
                    out[(y * s.w + col) * s.c + c] = f(y, col, c);
                }
            }
        }
    };
    match op {
        Op::Conv(conv) => {
            let squares = winograd::multipliers(conv);
            each(&mut |y, col, c| {
                let sum = match &squares {
                    Some(multipliers) => square_at(conv, multipliers, x, sx, y, col, c),
                    None => conv_at(conv, x, sx, y, col, c),
                };
                let mut v = math::act(&conv.act, sum, c);
                if let Some((residual, sr)) = inputs.get(1) {
                    let cell = y * sr.h / s.h * sr.w + col * sr.w / s.w;
                    v = math::act(&conv.post, v + residual[cell * s.c + c], c);
                }
                v
            });
        }
        Op::Separable(pair) => {
            let between = MapShape { c: sx.c, ..s };
            let seen = node_output(&Op::Conv(Box::new(pair.depthwise.clone())), &inputs[..1], between);
            let mut inputs = inputs.to_vec();
            inputs[0] = (&seen, between);
            return node_output(&Op::Conv(Box::new(pair.pointwise.clone())), &inputs, s);
        }
        Op::Act(act) => each(&mut |y, col, c| math::act(act, at(y, col, c), c)),
        Op::Affine { scale, shift } => each(&mut |y, col, c| at(y, col, c).mul_add(scale[c], shift[c])),
        Op::Binary(op) => {
            let (b, sb) = inputs[1];
            each(&mut |y, col, c| {
                let cell = if sb.n_cells() == 1 { 0 } else { y * s.w + col };
                binary(*op, at(y, col, c), b[cell * sb.c + c])
            });
        }
        Op::Pool(kind, w) => each(&mut |y, col, c| {
            let mut seen = Vec::new();
            for ky in 0..w.kernel[0] {
                for kx in 0..w.kernel[1] {
                    let (iy, ix) = (y * w.stride[0] + ky * w.dilation[0], col * w.stride[1] + kx * w.dilation[1]);
                    let (Some(iy), Some(ix)) = (iy.checked_sub(w.pad[0]), ix.checked_sub(w.pad[1])) else { continue };
                    if iy < sx.h && ix < sx.w {
                        seen.push(at(iy, ix, c));
                    }
                }
            }
            match kind {
                PoolKind::Max => seen.iter().copied().fold(f32::NEG_INFINITY, math::max),
                PoolKind::Average { count_pad } => {
                    let n = if *count_pad { w.n_taps() } else { seen.len() };
                    seen.iter().fold(0.0, |a, b| a + b) / n as f32
                }
            }
        }),
        Op::GlobalAverage => each(&mut |_, _, c| {
            let mut sum = 0.0;
            for cell in 0..sx.n_cells() {
                sum += x[cell * sx.c + c];
            }
            sum / sx.n_cells() as f32
        }),
        Op::Resize(how) => {
            let taps = Taps::new(*how, sx, s);
            each(&mut |y, col, c| taps.sample(y, col, |iy, ix| at(iy, ix, c)));
        }
        Op::Concat => {
            let mut from = 0;
            for (part, sp) in inputs {
                for cell in 0..s.n_cells() {
                    out[cell * s.c + from..][..sp.c].copy_from_slice(&part[cell * sp.c..][..sp.c]);
                }
                from += sp.c;
            }
        }
        Op::Rearrange { stride, sources } => each(&mut |y, col, c| {
            let from = sources[c];
            at(y * stride[0] + from.dy, col * stride[1] + from.dx, from.c)
        }),
        Op::Pad { before, value } => {
            each(&mut |y, col, c| match (y.checked_sub(before[0]), col.checked_sub(before[1])) {
                (Some(iy), Some(ix)) if iy < sx.h && ix < sx.w => at(iy, ix, c),
                _ => *value,
            })
        }
        Op::Softmax { group } => {
            for (from, to) in x.chunks_exact(*group).zip(out.chunks_exact_mut(*group)) {
                math::softmax(from, to);
            }
        }
    }
    out
}

pub(crate) fn binary(op: Binary, a: f32, b: f32) -> f32 {
    match op {
        Binary::Add => a + b,
        Binary::Sub => a - b,
        Binary::Mul => a * b,
        Binary::Div => a / b,
    }
}

/// One output number of a convolution before its activation.
fn conv_at(conv: &Conv, x: &[f32], s: MapShape, y: usize, col: usize, o: usize) -> f32 {
    let w = &conv.window;
    let per_group = s.c / conv.groups;
    let first = o / (conv.bias.len() / conv.groups) * per_group;
    let taps = w.n_taps();
    let mut sum = conv.bias[o];
    for ky in 0..w.kernel[0] {
        for kx in 0..w.kernel[1] {
            let (iy, ix) = (input_at(conv, 0, y, ky), input_at(conv, 1, col, kx));
            let inside = iy.zip(ix).filter(|(iy, ix)| *iy < s.h && *ix < s.w);
            for c in 0..per_group {
                let weight = conv.weights[(o * taps + ky * w.kernel[1] + kx) * per_group + c];
                // Padding is multiplied too: the kernels read zeros there.
                let value = inside.map_or(0.0, |(iy, ix)| x[(iy * s.w + ix) * s.c + first + c]);
                sum = value.mul_add(weight, sum);
            }
        }
    }
    sum
}

/// As [`conv_at`], by squares.
fn square_at(
    conv: &Conv,
    multipliers: &[[f32; N_PRODUCTS]],
    x: &[f32],
    s: MapShape,
    y: usize,
    col: usize,
    o: usize,
) -> f32 {
    let pad = conv.window.pad;
    let seen = |i: usize, j: usize, c: usize| {
        let (iy, ix) = ((y / 2 * 2 + i).checked_sub(pad[0]), (col / 2 * 2 + j).checked_sub(pad[1]));
        let inside = iy.zip(ix).filter(|(iy, ix)| *iy < s.h && *ix < s.w);
        inside.map_or(0.0, |(iy, ix)| x[(iy * s.w + ix) * s.c + c])
    };
    let turned = |d: [f32; 4]| [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]];
    let summed = |m: [f32; 4], second: bool| if second { m[1] - m[2] - m[3] } else { m[0] + m[1] + m[2] };
    let mut products = [0.0; N_PRODUCTS];
    products[BIASED] = conv.bias[o];
    for c in 0..s.c {
        let columns = [0, 1, 2, 3].map(|j| turned([0, 1, 2, 3].map(|i| seen(i, j, c))));
        for i in 0..4 {
            for (j, value) in turned([0, 1, 2, 3].map(|j| columns[j][i])).iter().enumerate() {
                let product = &mut products[i * 4 + j];
                *product = value.mul_add(multipliers[o * s.c + c][i * 4 + j], *product);
            }
        }
    }
    let columns = [0, 1, 2, 3].map(|j| summed([0, 1, 2, 3].map(|i| products[i * 4 + j]), y % 2 == 1));
    summed(columns, col % 2 == 1)
}

/// The input row (column) that tap `k` of output row (column) `at` looks at; `None` outside.
pub(crate) fn input_at(conv: &Conv, i: usize, at: usize, k: usize) -> Option<usize> {
    let w = &conv.window;
    if !conv.transposed {
        return (at * w.stride[i] + k * w.dilation[i]).checked_sub(w.pad[i]);
    }
    let from = (at + w.pad[i]).checked_sub(k * w.dilation[i])?;
    from.is_multiple_of(w.stride[i]).then_some(from / w.stride[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Act, Window};

    #[test]
    fn squares_are_sums_over_taps() {
        let mut random = fastrand::Rng::with_seed(7);
        for pad in [[0, 0], [1, 1], [2, 1], [1, 2]] {
            let (s, n_out) = (MapShape::new(7, 9, 24), 10);
            let mut numbers = |n: usize| (0..n).map(|_| random.f32() - 0.5).collect::<Vec<_>>();
            let (x, weights, bias) = (numbers(s.n_values()), numbers(n_out * 9 * s.c), numbers(n_out));
            let window = Window { kernel: [3; 2], pad, pad_end: pad, ..Window::POINT };
            let (act, post) = (Act::Identity, Act::Identity);
            let conv = Conv { window, groups: 1, weights, bias, act, post, transposed: false };
            let multipliers = winograd::multipliers(&conv).unwrap();
            for y in 0..s.h + 2 * pad[0] - 2 {
                for col in 0..s.w + 2 * pad[1] - 2 {
                    for o in 0..n_out {
                        let wanted = conv_at(&conv, &x, s, y, col, o);
                        let found = square_at(&conv, &multipliers, &x, s, y, col, o);
                        assert!((found - wanted).abs() < 5e-6, "{y} {col} {o}: {found} for {wanted}");
                    }
                }
            }
        }
    }
}
