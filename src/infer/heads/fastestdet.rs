//! FastestDet: one map, score = objectness^0.6 * class^0.4, size as a share of the picture.

use super::{Cell, Detection, Place, best, finite, sigmoid};
use crate::geom::Rect;

/// Pixels of the picture that one cell stands for.
pub const STRIDE: u32 = 16;

/// One cell of `[objectness, tanh centre x, y, logit width, height, classes…]`.
pub fn cell(at: impl Fn(usize) -> f32, p: &Place) -> Cell {
    let objectness = finite(at(0))?.clamp(0.0, 1.0).powf(0.6);
    if objectness < p.min_score {
        return Ok(None);
    }
    let (class, top) = best((0..p.n_classes).map(|c| at(5 + c)))?;
    let score = objectness * top.clamp(0.0, 1.0).powf(0.4);
    if score < p.min_score {
        return Ok(None);
    }
    let (w, h) = (p.input.width as f32, p.input.height as f32);
    let cx = (p.x as f32 + at(1).tanh()) / p.cols as f32 * w;
    let cy = (p.y as f32 + at(2).tanh()) / p.rows as f32 * h;
    let (bw, bh) = (w * sigmoid(at(3)) / 2.0, h * sigmoid(at(4)) / 2.0);
    Ok(Some(Detection { class, score, bbox: Rect::new(cx - bw, cy - bh, cx + bw, cy + bh), landmarks: None }))
}
