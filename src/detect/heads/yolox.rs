//! YOLOX (Ge et al., arXiv:2107.08430) with raw heads: boxes in strides
//! relative to the cell, sigmoid already applied to objectness and classes.

use super::cell::{CellPlace, CellResult, best};
use crate::detect::Detection;
use crate::geom::Rect;

/// Plane and channel. A class score is at most 1: it cannot lift a cell over the bar.
pub const OBJECTNESS: (usize, usize) = (0, 4);

/// One cell of `[centre x, centre y, log width, log height, objectness, classes…]`.
pub fn cell(at: impl Fn(usize) -> f32, p: &CellPlace) -> CellResult {
    let (class, top) = best((0..p.n_classes).map(|c| at(5 + c)))?;
    let score = at(OBJECTNESS.1) * top;
    if score < p.min_score {
        return Ok(None);
    }
    let s = p.stride as f32;
    let (cx, cy) = ((at(0) + p.x as f32) * s, (at(1) + p.y as f32) * s);
    let (w, h) = (at(2).exp() * s / 2.0, at(3).exp() * s / 2.0);
    Ok(Some(Detection::new(class, score, Rect::new(cx - w, cy - h, cx + w, cy + h))))
}
