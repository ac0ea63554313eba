//! Ultra-Light-Fast-Generic-Face-Detector (MIT): SSD offsets to square priors (Liu et al., arXiv:1512.02325).

use super::cell::{CellPlace, CellResult};
use crate::detect::Detection;
use crate::geom::Rect;

/// Stride and sides of the priors (pixels) of each level, as RFB-320 and slim-320 are trained with.
pub const LEVELS: [(u32, &[f32]); 4] =
    [(8, &[10.0, 16.0, 24.0]), (16, &[32.0, 48.0]), (32, &[64.0, 96.0]), (64, &[128.0, 192.0, 256.0])];
/// The outputs and their widths: `[background, face]`, and offsets of the centre and logarithms of the sides.
pub const PLANES: [(&str, usize); 2] = [("scores", 2), ("boxes", 4)];
/// Plane and channel of what is the score itself.
pub const FACE: (usize, usize) = (0, 1);
/// What offsets of the centre, and of the sides, are multiplied by.
const VARIANCES: (f32, f32) = (0.1, 0.2);

/// One prior's box; `at(k, c)` reads channel `c` of plane `k` of [`PLANES`].
pub fn cell(at: impl Fn(usize, usize) -> f32, p: &CellPlace) -> CellResult {
    let score = at(FACE.0, FACE.1);
    // Centre and sides of a prior end with the picture.
    let along = |i: usize, length: u32, centre: usize, side: usize| {
        let (length, prior) = (length as f32, p.prior.min(length as f32));
        let middle = ((i as f32 + 0.5) * p.stride as f32).min(length) + at(1, centre) * VARIANCES.0 * prior;
        let half = (at(1, side) * VARIANCES.1).exp() * prior / 2.0;
        (middle - half, middle + half)
    };
    let (x1, x2) = along(p.x, p.input.width, 0, 2);
    let (y1, y2) = along(p.y, p.input.height, 1, 3);
    Ok(Some(Detection::new(0, score, Rect::new(x1, y1, x2, y2))))
}
