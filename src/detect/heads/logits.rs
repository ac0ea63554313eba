//! A head's numbers as training sees them, scores being logits: what they show, and what it costs to say something else than
//! before.

use super::cell::sigmoid;
use super::levels::{Layout, Level, Plane};
use super::loss::{LossGrid, yolov8_corners};
use super::{Head, Thresholds, select};
use crate::detect::Detection;
use crate::geom::{Rect, Size};
use std::ops::Range;

impl Head {
    /// Where a cell's logits of classes stand.
    fn classes(&self, width: usize, n_classes: usize) -> Range<usize> {
        match self {
            Self::Street { .. } => 0..n_classes,
            _ => width - n_classes..width,
        }
    }

    /// Where a cell's logit of there being anything stands, if it has one.
    fn objectness(&self) -> Option<usize> {
        match self {
            Self::Yolox { .. } => Some(4),
            Self::Fastestdet {} => Some(0),
            _ => None,
        }
    }

    /// From logits to what the model puts out, in place; the numbers of one cell.
    fn link(&self, cell: &mut [f32], n_classes: usize) {
        let classes = self.classes(cell.len(), n_classes);
        if let Some(at) = self.objectness() {
            cell[at] = sigmoid(cell[at]);
        }
        match self {
            Self::Fastestdet {} => {
                let most = cell[classes.clone()].iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let mut sum = 0.0;
                for v in &mut cell[classes.clone()] {
                    *v = (*v - most).exp();
                    sum += *v;
                }
                cell[classes].iter_mut().for_each(|v| *v /= sum);
            }
            Self::Yolox { .. } => cell[classes].iter_mut().for_each(|v| *v = sigmoid(*v)),
            // The head itself takes logits.
            _ => {}
        }
    }

    /// Decodes a picture of `input` size into `out` (overwritten), suppression included, best first. Cells whose numbers are
    /// none show nothing.
    pub fn decode_logits(
        &self,
        grids: &[LossGrid<'_>],
        input: Size,
        n_classes: usize,
        t: Thresholds,
        out: &mut Vec<Detection>,
    ) {
        out.clear();
        let mut cell = Vec::new();
        for grid in grids {
            let plane = Plane { output: None, width: grid.width, n_classes, layout: Layout::Rows };
            let (cols, rows, stride) = (grid.cols, grid.rows, grid.stride);
            let level = Level { cols, rows, stride, priors: &[], planes: vec![plane] };
            for (i, numbers) in grid.numbers.chunks_exact(grid.width).enumerate() {
                cell.clear();
                cell.extend_from_slice(numbers);
                self.link(&mut cell, n_classes);
                let place = level.place(i, 0, input, n_classes, t.score);
                let found = match self {
                    Self::Yolov8 {} => Ok(distances(grid, i, n_classes, t.score)),
                    _ => self.cell(|_, c| cell[c], &place),
                };
                out.extend(found.ok().flatten().filter(|d| d.bbox.is_finite()));
            }
        }
        if select(out, t, |d| d).is_err() {
            out.clear();
        }
    }

    /// What a cell that says `now` costs, having said `then`: cross-entropy of scores beyond its least, and squares of other
    /// numbers as far as something was there. Adds the gradient to `grads`. All are the numbers of one cell.
    pub fn keep_loss(&self, now: &[f32], then: &[f32], n_classes: usize, weight: f32, grads: &mut [f32]) -> f32 {
        let classes = self.classes(now.len(), n_classes);
        let objectness = self.objectness();
        let there = objectness.map_or(1.0, |at| sigmoid(then[at]));
        let top = then[classes.clone()].iter().copied().fold(f32::NEG_INFINITY, f32::max);
        // A softmax's logits mean nothing by themselves; then classes count as far as anything is there.
        let score = if matches!(self, Self::Fastestdet {}) { there } else { there * sigmoid(top) };
        let mut loss = 0.0;
        for (c, ((now, then), grad)) in now.iter().zip(then).zip(grads).enumerate() {
            let is_score = classes.contains(&c) || objectness == Some(c);
            if is_score {
                let weight = weight * if objectness == Some(c) { 1.0 } else { there };
                let (p, q) = (sigmoid(*now), sigmoid(*then));
                loss += weight * (entropy(*now, q) - entropy(*then, q));
                *grad += weight * (p - q);
            } else {
                let off = now - then;
                loss += weight * score * off * off / 2.0;
                *grad += weight * score * off;
            }
        }
        loss
    }
}

/// Cross-entropy of a logit with a share.
fn entropy(logit: f32, share: f32) -> f32 {
    logit.max(0.0) - logit * share + (-logit.abs()).exp().ln_1p()
}

/// YOLOv8: distances to the four sides as means over bins, in strides, from the middle of cell `at`.
fn distances(grid: &LossGrid<'_>, at: usize, n_classes: usize, min_score: f32) -> Option<Detection> {
    let (class, logit) = grid.cell(at)[grid.width - n_classes..]
        .iter()
        .enumerate()
        .fold((0, f32::NEG_INFINITY), |top, (c, v)| if *v > top.1 { (c, *v) } else { top });
    let score = sigmoid(logit);
    if score < min_score {
        return None;
    }
    let [x1, y1, x2, y2] = yolov8_corners(grid, at, n_classes).map(|v| v as f32);
    Some(Detection::new(class as u16, score, Rect::new(x1, y1, x2, y2)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient is the slope, and what says the same costs nothing.
    #[test]
    fn keeping_costs_nothing_where_nothing_changed() {
        let mut random = fastrand::Rng::with_seed(3);
        for (head, width, n_classes) in [
            (Head::Street { strides: vec![8] }, 6, 2),
            (Head::Yolox { strides: vec![8] }, 8, 3),
            (Head::Fastestdet {}, 8, 3),
            (Head::Yolov8 {}, 35, 3),
        ] {
            let mut some = || (0..width).map(|_| random.f32() * 4.0 - 2.0).collect::<Vec<f32>>();
            let (now, then) = (some(), some());
            let loss = |now: &[f32]| head.keep_loss(now, &then, n_classes, 0.5, &mut vec![0.0; width]);
            assert!(loss(&then).abs() < 1e-6 && loss(&now) > 0.01, "{head:?}");
            let mut grads = vec![0.0; width];
            head.keep_loss(&now, &then, n_classes, 0.5, &mut grads);
            for c in 0..width {
                let at = |d: f32| {
                    let mut now = now.clone();
                    now[c] += d;
                    loss(&now)
                };
                let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!((slope - grads[c]).abs() < 2e-3, "{head:?}, {c}: {slope}, {}", grads[c]);
            }
        }
    }
}
