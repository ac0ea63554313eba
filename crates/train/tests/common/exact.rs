//! A graph in `f64`, by the definitions, and nothing of the crate's or the engine's arithmetic.

use engine::graph::resample::Taps;
use engine::graph::{Act, Binary, Conv, Graph, MapShape, Op, PoolKind, ValueId, Window};

fn act(act: &Act, x: f64, c: usize) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let leaky = |slope: f32| if x > 0.0 { x } else { f64::from(slope) * x };
    match act {
        Act::Identity => x,
        Act::Relu => x.max(0.0),
        Act::Leaky(slope) => leaky(*slope),
        Act::PRelu(slopes) => leaky(slopes[c]),
        Act::Clip(low, high) => x.max((*low).into()).min((*high).into()),
        Act::Sigmoid => sigmoid(x),
        Act::Silu => x * sigmoid(x),
        Act::HardSigmoid(a, b) => (x * f64::from(*a) + f64::from(*b)).clamp(0.0, 1.0),
        Act::HardSwish => x * (x / 6.0 + 0.5).clamp(0.0, 1.0),
        Act::Tanh => x.tanh(),
    }
}

fn seen(w: &Window, s: MapShape, y: usize, x: usize) -> Vec<(usize, usize, usize)> {
    let mut cells = Vec::new();
    for tap in 0..w.n_taps() {
        let (ky, kx) = (tap / w.kernel[1], tap % w.kernel[1]);
        let iy = (y * w.stride[0] + ky * w.dilation[0]).checked_sub(w.pad[0]).filter(|v| *v < s.h);
        let ix = (x * w.stride[1] + kx * w.dilation[1]).checked_sub(w.pad[1]).filter(|v| *v < s.w);
        if let (Some(iy), Some(ix)) = (iy, ix) {
            cells.push((tap, iy, ix));
        }
    }
    cells
}

/// All maps of one picture, by value.
pub fn run(graph: &Graph, weights: impl Fn(usize, &Conv) -> (Vec<f64>, Vec<f64>), picture: &[f32]) -> Vec<Vec<f64>> {
    let mut maps: Vec<Vec<f64>> = vec![Vec::new(); graph.values.len()];
    maps[graph.input.0 as usize] = picture.iter().map(|v| f64::from(*v)).collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        let s = graph.shape(node.output);
        let shape = |k: usize| graph.shape(node.inputs[k]);
        let at = |k: usize, y: usize, x: usize, c: usize| {
            let s = shape(k);
            maps[node.inputs[k].0 as usize][(y * s.w + x) * s.c + c]
        };
        let weighted = if let Op::Conv(conv) = &node.op { weights(i, conv) } else { Default::default() };
        let taps = if let Op::Resize(how) = &node.op { Some(Taps::new(*how, shape(0), s)) } else { None };
        let mut out = Vec::with_capacity(s.n_values());
        for (y, x, c) in (0..s.h).flat_map(|y| (0..s.w).flat_map(move |x| (0..s.c).map(move |c| (y, x, c)))) {
            out.push(match &node.op {
                Op::Conv(conv) => {
                    let (per_group, n) = (shape(0).c / conv.groups, conv.window.n_taps());
                    let first = c / (s.c / conv.groups) * per_group;
                    let mut sum = weighted.1[c];
                    for (tap, iy, ix) in seen(&conv.window, shape(0), y, x) {
                        for k in 0..per_group {
                            sum += weighted.0[(c * n + tap) * per_group + k] * at(0, iy, ix, first + k);
                        }
                    }
                    act(&conv.act, sum, c)
                }
                Op::Separable(_) => unreachable!("graphs are not fused"),
                Op::Act(a) => act(a, at(0, y, x, c), c),
                Op::Affine { scale, shift } => at(0, y, x, c) * f64::from(scale[c]) + f64::from(shift[c]),
                Op::Binary(op) => {
                    let single = shape(1).n_cells() == 1;
                    let (a, b) = (at(0, y, x, c), if single { at(1, 0, 0, c) } else { at(1, y, x, c) });
                    match op {
                        Binary::Add => a + b,
                        Binary::Sub => a - b,
                        Binary::Mul => a * b,
                        Binary::Div => a / b,
                    }
                }
                Op::Pool(kind, w) => {
                    let cells = seen(w, shape(0), y, x);
                    let values = cells.iter().map(|(_, iy, ix)| at(0, *iy, *ix, c));
                    match kind {
                        PoolKind::Max => values.fold(f64::NEG_INFINITY, f64::max),
                        PoolKind::Average { count_pad } => {
                            values.sum::<f64>() / (if *count_pad { w.n_taps() } else { cells.len() }) as f64
                        }
                    }
                }
                Op::GlobalAverage => {
                    let all = (0..shape(0).h).flat_map(|y| (0..shape(0).w).map(move |x| (y, x)));
                    all.map(|(y, x)| at(0, y, x, c)).sum::<f64>() / shape(0).n_cells() as f64
                }
                Op::Resize(_) => {
                    let (r, k) = taps.as_ref().map(|t| (t.rows[y], t.cols[x])).unwrap();
                    let mix = |a: f64, b: f64, share: f32| a + (b - a) * f64::from(share);
                    let along = |row: usize| mix(at(0, row, k.first, c), at(0, row, k.second, c), k.share);
                    mix(along(r.first), along(r.second), r.share)
                }
                Op::Concat => {
                    let (mut k, mut c) = (0, c);
                    while c >= shape(k).c {
                        (k, c) = (k + 1, c - shape(k).c);
                    }
                    at(k, y, x, c)
                }
                Op::Rearrange { stride, sources } => {
                    let from = sources[c];
                    at(0, y * stride[0] + from.dy, x * stride[1] + from.dx, from.c)
                }
                Op::Pad { before, value } => match (y.checked_sub(before[0]), x.checked_sub(before[1])) {
                    (Some(iy), Some(ix)) if iy < shape(0).h && ix < shape(0).w => at(0, iy, ix, c),
                    _ => f64::from(*value),
                },
                Op::Softmax { group } => {
                    let first = c / group * group;
                    let sum: f64 = (first..first + group).map(|c| at(0, y, x, c).exp()).sum();
                    at(0, y, x, c).exp() / sum
                }
            });
        }
        maps[node.output.0 as usize] = out;
    }
    maps
}

/// Sum over some maps of their numbers times `factors`.
pub fn weighed(maps: &[Vec<f64>], values: &[ValueId], factors: &[Vec<f32>]) -> f64 {
    let of =
        |(v, f): (&ValueId, &Vec<f32>)| maps[v.0 as usize].iter().zip(f).map(|(a, b)| a * f64::from(*b)).sum::<f64>();
    values.iter().zip(factors).map(of).sum()
}
