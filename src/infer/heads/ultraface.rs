//! Ultra-Light-Fast-Generic-Face-Detector: boxes decoded in the graph, as shares of the picture.

use super::{Cell, Detection, Place};
use crate::geom::Rect;

/// Plane and channel of what is the score itself.
pub const FACE: (usize, usize) = (0, 1);

/// One prior; plane 0 is `[background, face]`, plane 1 the corners.
pub fn cell(at: impl Fn(usize, usize) -> f32, p: &Place) -> Cell {
    let score = at(FACE.0, FACE.1);
    let (w, h) = (p.input.width as f32, p.input.height as f32);
    let bbox = Rect::new(at(1, 0) * w, at(1, 1) * h, at(1, 2) * w, at(1, 3) * h);
    Ok(Some(Detection { class: 0, score, bbox, landmarks: None }))
}
