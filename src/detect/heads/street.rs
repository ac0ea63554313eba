//! The project's own head: one map a stride, distances from the cell's middle
//! to the four sides (as in FCOS, Tian et al., arXiv:1904.01355).

use super::cell::{CellPlace, CellResult, best, sigmoid};
use crate::detect::Detection;
use crate::geom::Rect;

/// Logarithms of distances beyond this are clipped, as in training.
const MAX_LOG: f32 = 4.0;

/// One cell of `[class logits…, log distances left, top, right, bottom]`.
pub fn cell(at: impl Fn(usize) -> f32, p: &CellPlace) -> CellResult {
    let (class, logit) = best((0..p.n_classes).map(&at))?;
    // No exponential for the many that are far below every bar.
    if logit < -8.0 {
        return Ok(None);
    }
    let score = sigmoid(logit);
    if score < p.min_score {
        return Ok(None);
    }
    let s = p.stride as f32;
    let (cx, cy) = ((p.x as f32 + 0.5) * s, (p.y as f32 + 0.5) * s);
    let side = |k: usize| at(p.n_classes + k).clamp(-MAX_LOG, MAX_LOG).exp() * s;
    let bbox = Rect::new(cx - side(0), cy - side(1), cx + side(2), cy + side(3));
    Ok(Some(Detection::new(class, score, bbox)))
}
