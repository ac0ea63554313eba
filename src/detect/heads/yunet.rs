//! YuNet faces (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023), with five points.

use super::cell::{CellPlace, CellResult, finite};
use crate::detect::Detection;
use crate::detect::points::Points;
use crate::geom::Rect;

/// The kinds of output, each followed by its stride, and their widths.
pub const PLANES: [(&str, usize); 4] = [("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 2 * N_POINTS)];
/// Eyes, nose, corners of the mouth.
const N_POINTS: usize = 5;

/// Plane and channel.
pub const OBJECTNESS: (usize, usize) = (1, 0);

/// The objectness from which a cell can have a score: the class's is at most 1.
pub fn bar(score: f32) -> f32 {
    score * score
}

/// One cell; `at(k, c)` reads channel `c` of plane `k` of [`PLANES`].
pub fn cell(at: impl Fn(usize, usize) -> f32, p: &CellPlace) -> CellResult {
    let score = finite(at(0, 0).clamp(0.0, 1.0) * at(1, 0).clamp(0.0, 1.0))?.sqrt();
    if score < p.min_score {
        return Ok(None);
    }
    let (s, x, y) = (p.stride as f32, p.x as f32, p.y as f32);
    let (cx, cy) = ((x + at(2, 0)) * s, (y + at(2, 1)) * s);
    let (w, h) = (at(2, 2).exp() * s / 2.0, at(2, 3).exp() * s / 2.0);
    let points = Points::from_fn(N_POINTS, |i| [(x + at(3, 2 * i)) * s, (y + at(3, 2 * i + 1)) * s]);
    let bbox = Rect::new(cx - w, cy - h, cx + w, cy + h);
    Ok(Some(Detection { points, ..Detection::new(0, score, bbox) }))
}
