//! All other operations in `f32`, forwards and backwards.

use super::act::slope;
use super::conv::Put;
use crate::batch::Batch;
use engine::graph::resample::Taps;
use engine::graph::{Binary, Op, PoolKind, Window};
use engine::kernels::math;

/// Computes `out` from the inputs.
pub fn forward(op: &Op, inputs: &[&Batch], out: &mut Batch) {
    let (x, c) = (inputs[0], out.shape().c);
    let from = x.shape();
    let cell = |picture: usize, y: usize, x_at: usize| &x.row(picture, y)[x_at * from.c..][..from.c];
    match op {
        Op::Conv(_) | Op::Separable(_) => unreachable!("convolutions have a file of their own"),
        Op::Act(act) => rows(out, |picture, y, row| {
            for (to, from) in row.chunks_exact_mut(c).zip(x.row(picture, y).chunks_exact(c)) {
                to.iter_mut().zip(from).enumerate().for_each(|(c, (to, v))| *to = math::act(act, *v, c));
            }
        }),
        Op::Affine { scale, shift } => rows(out, |picture, y, row| {
            for (to, from) in row.chunks_exact_mut(c).zip(x.row(picture, y).chunks_exact(c)) {
                for (i, (to, v)) in to.iter_mut().zip(from).enumerate() {
                    *to = v.mul_add(scale[i], shift[i]);
                }
            }
        }),
        Op::Binary(op) => {
            let other = inputs[1];
            let f = |a: f32, b: f32| match op {
                Binary::Add => a + b,
                Binary::Sub => a - b,
                Binary::Mul => a * b,
                Binary::Div => a / b,
            };
            rows(out, |picture, y, row| {
                if other.shape().n_cells() == 1 && from.n_cells() != 1 {
                    let other = other.row(picture, 0);
                    for (to, a) in row.chunks_exact_mut(c).zip(x.row(picture, y).chunks_exact(c)) {
                        to.iter_mut().zip(a.iter().zip(other)).for_each(|(to, (a, b))| *to = f(*a, *b));
                    }
                } else {
                    let pairs = x.row(picture, y).iter().zip(other.row(picture, y));
                    row.iter_mut().zip(pairs).for_each(|(to, (a, b))| *to = f(*a, *b));
                }
            });
        }
        Op::Pool(kind, window) => rows(out, |picture, y, row| {
            for (col, to) in row.chunks_exact_mut(c).enumerate() {
                let seen: Vec<&[f32]> =
                    inside(window, [from.h, from.w], [y, col]).map(|[y, x]| cell(picture, y, x)).collect();
                for (i, to) in to.iter_mut().enumerate() {
                    let values = seen.iter().map(|cell| cell[i]);
                    *to = match kind {
                        PoolKind::Max => values.fold(f32::NEG_INFINITY, math::max),
                        PoolKind::Average { count_pad } => values.sum::<f32>() / share(*count_pad, window, seen.len()),
                    };
                }
            }
        }),
        Op::GlobalAverage => rows(out, |picture, _, row| {
            row.fill(0.0);
            for cell in (0..from.h).flat_map(|y| x.row(picture, y).chunks_exact(c)) {
                row.iter_mut().zip(cell).for_each(|(sum, v)| *sum += v);
            }
            row.iter_mut().for_each(|v| *v /= from.n_cells() as f32);
        }),
        Op::Resize(how) => {
            let taps = Taps::new(*how, from, out.shape());
            rows(out, |picture, y, row| {
                for (col, to) in row.chunks_exact_mut(c).enumerate() {
                    let (r, k) = (taps.rows[y], taps.cols[col]);
                    if r.share == 0.0 && k.share == 0.0 {
                        to.copy_from_slice(cell(picture, r.first, k.first));
                        continue;
                    }
                    for (i, to) in to.iter_mut().enumerate() {
                        *to = taps.sample(y, col, |y, x| cell(picture, y, x)[i]);
                    }
                }
            });
        }
        Op::Concat => rows(out, |picture, y, row| {
            let mut first = 0;
            for input in inputs {
                let n = input.shape().c;
                for (to, from) in row.chunks_exact_mut(c).zip(input.row(picture, y).chunks_exact(n)) {
                    to[first..first + n].copy_from_slice(from);
                }
                first += n;
            }
        }),
        Op::Rearrange { stride, sources } => rows(out, |picture, y, row| {
            for (col, to) in row.chunks_exact_mut(c).enumerate() {
                for (to, s) in to.iter_mut().zip(sources) {
                    *to = cell(picture, y * stride[0] + s.dy, col * stride[1] + s.dx)[s.c];
                }
            }
        }),
        Op::Pad { before, value } => rows(out, |picture, y, row| {
            for (col, to) in row.chunks_exact_mut(c).enumerate() {
                match (y.checked_sub(before[0]), col.checked_sub(before[1])) {
                    (Some(y), Some(x)) if y < from.h && x < from.w => to.copy_from_slice(cell(picture, y, x)),
                    _ => to.fill(*value),
                }
            }
        }),
        Op::Softmax { group } => rows(out, |picture, y, row| {
            for (to, from) in row.chunks_exact_mut(*group).zip(x.row(picture, y).chunks_exact(*group)) {
                math::softmax(from, to);
            }
        }),
    }
}

fn rows(out: &mut Batch, f: impl Fn(usize, usize, &mut [f32]) + Sync + Send) {
    out.for_rows(|| (), |(), picture, y, row| f(picture, y, row));
}

/// Cells of a map of `size` that a window sees from output cell `at`.
fn inside(window: &Window, size: [usize; 2], at: [usize; 2]) -> impl Iterator<Item = [usize; 2]> {
    let w = *window;
    let place = move |i: usize, k: usize| {
        (at[i] * w.stride[i] + k * w.dilation[i]).checked_sub(w.pad[i]).filter(|v| *v < size[i])
    };
    (0..w.n_taps()).filter_map(move |tap| Some([place(0, tap / w.kernel[1])?, place(1, tap % w.kernel[1])?]))
}

fn share(count_pad: bool, window: &Window, n_seen: usize) -> f32 {
    (if count_pad { window.n_taps() } else { n_seen }) as f32
}

/// Stores or adds the part of the gradient of input `which` that comes from `dy`.
pub fn backward(op: &Op, which: usize, inputs: &[&Batch], out: &Batch, dy: &Batch, (dx, put): (&mut Batch, Put)) {
    let (x, c) = (inputs[which], out.shape().c);
    let put_one = |to: &mut f32, v: f32| *to = if put == Put::Add { *to + v } else { v };
    match op {
        Op::Conv(_) | Op::Separable(_) => unreachable!("convolutions have a file of their own"),
        Op::Act(act) => rows(dx, |picture, y, row| {
            let reads_before = super::act::reads_before(act);
            let seen = if reads_before { x.row(picture, y) } else { out.row(picture, y) };
            for (i, (to, (g, v))) in row.iter_mut().zip(dy.row(picture, y).iter().zip(seen)).enumerate() {
                put_one(to, g * slope(act, *v, i % c));
            }
        }),
        Op::Affine { scale, .. } => rows(dx, |picture, y, row| {
            let grads = dy.row(picture, y).iter().enumerate();
            row.iter_mut().zip(grads).for_each(|(to, (i, g))| put_one(to, g * scale[i % c]));
        }),
        Op::Binary(op) => binary(*op, which, inputs, dy, (dx, put)),
        Op::Concat => {
            let (first, n) = (inputs[..which].iter().map(|b| b.shape().c).sum::<usize>(), x.shape().c);
            rows(dx, |picture, y, row| {
                for (to, g) in row.chunks_exact_mut(n).zip(dy.row(picture, y).chunks_exact(c)) {
                    to.iter_mut().zip(&g[first..first + n]).for_each(|(to, g)| put_one(to, *g));
                }
            });
        }
        Op::Pad { before, .. } => rows(dx, |picture, y, row| {
            let grads = &dy.row(picture, y + before[0])[before[1] * c..];
            row.iter_mut().zip(grads).for_each(|(to, g)| put_one(to, *g));
        }),
        Op::GlobalAverage => {
            let n = x.shape().n_cells() as f32;
            rows(dx, |picture, _, row| {
                for to in row.chunks_exact_mut(c) {
                    to.iter_mut().zip(dy.row(picture, 0)).for_each(|(to, g)| put_one(to, g / n));
                }
            });
        }
        Op::Softmax { group } => rows(dx, |picture, y, row| {
            let pairs = out.row(picture, y).chunks_exact(*group).zip(dy.row(picture, y).chunks_exact(*group));
            for (to, (p, g)) in row.chunks_exact_mut(*group).zip(pairs) {
                let mean: f32 = p.iter().zip(g).map(|(p, g)| p * g).sum();
                to.iter_mut().zip(p.iter().zip(g)).for_each(|(to, (p, g))| put_one(to, p * (g - mean)));
            }
        }),
        Op::Pool(..) | Op::Resize(_) | Op::Rearrange { .. } => {
            if put == Put::Store {
                rows(dx, |_, _, row| row.fill(0.0));
            }
            scatter(op, x, dy, dx);
        }
    }
}

/// Of `a op b`, with `b` a map as large as `a` or a single cell.
fn binary(op: Binary, which: usize, inputs: &[&Batch], dy: &Batch, (dx, put): (&mut Batch, Put)) {
    let (a, b, c) = (inputs[0], inputs[1], dy.shape().c);
    let is_single = b.shape().n_cells() == 1 && a.shape().n_cells() != 1;
    let part = |g: f32, a: f32, b: f32| match (op, which) {
        (Binary::Add, _) | (Binary::Sub, 0) => g,
        (Binary::Sub, _) => -g,
        (Binary::Mul, 0) => g * b,
        (Binary::Mul, _) => g * a,
        (Binary::Div, 0) => g / b,
        (Binary::Div, _) => -g * a / (b * b),
    };
    let row_of_b = |picture: usize, y: usize| b.row(picture, if is_single { 0 } else { y });
    if which == 1 && is_single {
        return rows(dx, |picture, _, row| {
            if put == Put::Store {
                row.fill(0.0);
            }
            for y in 0..a.shape().h {
                let pairs = dy.row(picture, y).chunks_exact(c).zip(a.row(picture, y).chunks_exact(c));
                for (g, a) in pairs {
                    for (i, to) in row.iter_mut().enumerate() {
                        *to += part(g[i], a[i], b.row(picture, 0)[i]);
                    }
                }
            }
        });
    }
    rows(dx, |picture, y, row| {
        let (g, a, b) = (dy.row(picture, y), a.row(picture, y), row_of_b(picture, y));
        if op == Binary::Add && put == Put::Add {
            return row.iter_mut().zip(g).for_each(|(to, g)| *to += g);
        }
        for (i, to) in row.iter_mut().enumerate() {
            let v = part(g[i], a[i], b[if is_single { i % c } else { i }]);
            *to = if put == Put::Add { *to + v } else { v };
        }
    });
}

/// Adds each gradient to the inputs that it came from.
fn scatter(op: &Op, x: &Batch, dy: &Batch, dx: &mut Batch) {
    let (from, to, c) = (x.shape(), dy.shape(), dy.shape().c);
    let taps = if let Op::Resize(how) = op { Some(Taps::new(*how, from, to)) } else { None };
    dx.for_pictures(|picture, add| {
        for (y, col) in (0..to.h).flat_map(|y| (0..to.w).map(move |x| (y, x))) {
            let grads = &dy.row(picture, y)[col * c..][..c];
            match op {
                Op::Rearrange { stride, sources } => {
                    for (g, s) in grads.iter().zip(sources) {
                        add(y * stride[0] + s.dy, col * stride[1] + s.dx, s.c, *g);
                    }
                }
                Op::Pool(PoolKind::Average { count_pad }, window) => {
                    let n = share(*count_pad, window, inside(window, [from.h, from.w], [y, col]).count());
                    for [iy, ix] in inside(window, [from.h, from.w], [y, col]) {
                        grads.iter().enumerate().for_each(|(i, g)| add(iy, ix, i, g / n));
                    }
                }
                Op::Pool(PoolKind::Max, window) => {
                    for (i, g) in grads.iter().enumerate() {
                        // The first of several that are the greatest. Told from the inputs alone: in eight bits the output
                        // has a coding of its own, and is equal to none of them.
                        let seen = inside(window, [from.h, from.w], [y, col]);
                        let values = seen.map(|[y, col]| ([y, col], x.row(picture, y)[col * c + i]));
                        if let Some(([iy, ix], _)) =
                            values.reduce(|best, next| if next.1 > best.1 { next } else { best })
                        {
                            add(iy, ix, i, *g);
                        }
                    }
                }
                _ => {
                    let Some(taps) = &taps else { return };
                    let (r, k) = (taps.rows[y], taps.cols[col]);
                    for (iy, down) in [(r.first, 1.0 - r.share), (r.second, r.share)] {
                        for (ix, along) in [(k.first, 1.0 - k.share), (k.second, k.share)] {
                            if down * along != 0.0 {
                                grads.iter().enumerate().for_each(|(i, g)| add(iy, ix, i, g * down * along));
                            }
                        }
                    }
                }
            }
        }
    });
}
