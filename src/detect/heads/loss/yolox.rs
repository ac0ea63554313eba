//! The loss of YOLOX (Ge et al., arXiv:2107.08430): cross-entropy of objectness and classes, and `1 - IoU²` of the boxes.
//!
//! A cell holds `[centre x, y, log width, height, objectness logit, class logits…]`, lengths in strides, the centre from
//! the cell's top left corner.

use super::boxes;
use super::grid::{LossGrid, LossInput};
use super::logits::bce;
use super::parts::LossParts;
use super::roles::Assignment;

/// Number of a cell that says whether anything is there.
pub const OBJECTNESS: usize = 4;
/// Numbers of a cell before the classes'.
pub const BESIDE: usize = 5;
/// Weight of the boxes' part.
const BOX_WEIGHT: f64 = 5.0;

/// The corners of a cell's box, pixels.
pub fn corners(grid: &LossGrid<'_>, cell: usize) -> [f64; 4] {
    let ([col, row], stride) = (grid.place(cell), f64::from(grid.stride));
    let number = |k: usize| f64::from(grid.cell(cell)[k]);
    let (x, y) = ((col + number(0)) * stride, (row + number(1)) * stride);
    let (w, h) = (number(2).exp() * stride / 2.0, number(3).exp() * stride / 2.0);
    [x - w, y - h, x + w, y + h]
}

/// Adds the gradient to `grads`; parts and gradient are divided by `per`. A class's target is the box's quality.
pub fn loss(case: &LossInput<'_>, assignment: &Assignment, per: f64, grads: &mut [Vec<f32>]) -> LossParts {
    let mut parts = LossParts::default();
    for (level, cell, owned) in assignment.judged() {
        let grid = &case.grids[level];
        let numbers = grid.cell(cell);
        let out = &mut grads[level][cell * grid.width..][..grid.width];
        let (value, slope) = bce(f64::from(numbers[OBJECTNESS]), if owned.is_some() { 1.0 } else { 0.0 });
        parts.objectness += value / per;
        out[OBJECTNESS] += (slope / per) as f32;
        let Some(owned) = owned else { continue };
        let object = case.object(owned.index);
        for class in 0..case.n_classes {
            let wanted = if class == object.class { owned.quality } else { 0.0 };
            let (value, slope) = bce(f64::from(numbers[BESIDE + class]), wanted);
            parts.class += value / per;
            out[BESIDE + class] += (slope / per) as f32;
        }
        let shown = corners(grid, cell);
        let iou = boxes::iou(&shown, &object.corners);
        parts.bbox += BOX_WEIGHT * (1.0 - iou.value * iou.value) / per;
        let [x1, y1, x2, y2] = iou.slope.map(|slope| -2.0 * BOX_WEIGHT * iou.value * slope / per);
        let stride = f64::from(grid.stride);
        out[0] += ((x1 + x2) * stride) as f32;
        out[1] += ((y1 + y2) * stride) as f32;
        out[2] += ((x2 - x1) * (shown[2] - shown[0]) / 2.0) as f32;
        out[3] += ((y2 - y1) * (shown[3] - shown[1]) / 2.0) as f32;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::simota;
    use super::super::testing::{TestMaps, check_gradient, picture, two_objects};
    use super::*;

    #[test]
    fn the_gradient_is_that_of_differences() {
        let labels = two_objects();
        let maps = TestMaps::random(3, &[8, 16, 32], 7);
        let grids = maps.grids();
        let case = picture(&grids, &labels, 2);
        let assignment = simota::assign(&case);
        assert!(assignment.n_positive > 0);
        let mut grads = maps.zeros();
        let parts = loss(&case, &assignment, 3.0, &mut grads);
        assert!(parts.class > 0.0 && parts.bbox > 0.0 && parts.objectness > 0.0);
        check_gradient(&maps, &grads, |moved| {
            loss(&picture(moved, &labels, 2), &assignment, 3.0, &mut maps.zeros()).total()
        });
    }
}
