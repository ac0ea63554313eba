//! FastestDet: one map, score = objectness^0.6 * class^0.4, size as a share of the picture.

use super::{Detection, HeadError, Tensor, best, finite, only, sigmoid};
use crate::geom::{Rect, Size};

pub fn decode(
    tensors: &[Tensor<'_>],
    input: Size,
    n_classes: usize,
    min_score: f32,
    out: &mut Vec<Detection>,
) -> Result<(), HeadError> {
    let tensor = only(tensors)?;
    let dim = |i: usize| tensor.shape.get(i).copied().unwrap_or(0).max(0) as usize;
    let (rows, cols) = (dim(2), dim(3));
    let data = tensor.expect(&[5 + n_classes, rows, cols])?;
    let n = rows * cols;
    let (w, h) = (input.width as f32, input.height as f32);
    let mut sum = 0.0;
    for i in 0..n {
        let at = |channel: usize| data[channel * n + i];
        sum += at(0);
        let objectness = at(0).clamp(0.0, 1.0).powf(0.6);
        if objectness < min_score {
            continue;
        }
        let (class, top) = best((0..n_classes).map(|c| at(5 + c)));
        finite(tensor.name, top)?;
        let score = objectness * top.clamp(0.0, 1.0).powf(0.4);
        if score >= min_score {
            let cx = ((i % cols) as f32 + at(1).tanh()) / cols as f32 * w;
            let cy = ((i / cols) as f32 + at(2).tanh()) / rows as f32 * h;
            let (bw, bh) = (w * sigmoid(at(3)) / 2.0, h * sigmoid(at(4)) / 2.0);
            out.push(Detection { class, score, bbox: Rect::new(cx - bw, cy - bh, cx + bw, cy + bh), landmarks: None });
        }
    }
    finite(tensor.name, sum)
}
