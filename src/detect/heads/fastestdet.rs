//! FastestDet: one map, score = objectness^0.6 * class^0.4, size as a share of the picture.

use super::cell::{CellPlace, CellResult, best, sigmoid};
use crate::detect::Detection;
use crate::geom::Rect;

/// Pixels of the picture that one cell stands for.
pub const STRIDE: u32 = 16;

/// Plane and channel.
pub const OBJECTNESS: (usize, usize) = (0, 0);
/// What its powers are in a score, and those of the class's.
const POWERS: (f32, f32) = (0.6, 0.4);

/// The objectness from which a cell can have a score: the class's is at most 1.
pub fn bar(score: f32) -> f32 {
    score.powf(1.0 / POWERS.0)
}

/// One cell of `[objectness, tanh centre x, y, logit width, height, classes…]`.
pub fn cell(at: impl Fn(usize) -> f32, p: &CellPlace) -> CellResult {
    let (class, top) = best((0..p.n_classes).map(|c| at(5 + c)))?;
    let share = |v: f32| v.clamp(0.0, 1.0);
    let score = share(at(OBJECTNESS.1)).powf(POWERS.0) * share(top).powf(POWERS.1);
    if score < p.min_score {
        return Ok(None);
    }
    let (w, h) = (p.input.width as f32, p.input.height as f32);
    let cx = (p.x as f32 + at(1).tanh()) / p.cols as f32 * w;
    let cy = (p.y as f32 + at(2).tanh()) / p.rows as f32 * h;
    let (bw, bh) = (w * sigmoid(at(3)) / 2.0, h * sigmoid(at(4)) / 2.0);
    Ok(Some(Detection::new(class, score, Rect::new(cx - bw, cy - bh, cx + bw, cy + bh))))
}
