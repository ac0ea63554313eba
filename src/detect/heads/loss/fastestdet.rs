//! The loss of FastestDet (github.com/dog-qiuqiu/FastestDet, `module/loss.py`): objectness that learns the box's overlap,
//! cross-entropy of a softmax of the classes, and overlap of the boxes.
//!
//! A cell holds `[objectness logit, tanh centre x, y, logit width, height, class logits…]`, the centre in cells from the
//! cell's top left corner, the size as a share of the picture.
//!
//! What differs from there: generalised IoU in place of SIoU, and plain IoU where cells are chosen; cross-entropy in place
//! of smooth L1 of the objectness; the mean overlap is a picture's, not a batch's; a cell has one object; cells of the
//! first row and column may own one.

use super::boxes;
use super::claims::{Claim, Claims};
use super::grid::{LossGrid, LossInput};
use super::logits::{bce, log_sum_exp, sigmoid};
use super::parts::LossParts;
use super::roles::Assignment;
use crate::geom::Size;

/// Numbers of a cell before the classes'.
pub const BESIDE: usize = 5;
/// Weights of the parts; the classes' is 1.
const BOX_WEIGHT: f64 = 8.0;
const OBJECTNESS_WEIGHT: f64 = 16.0;
/// Shares of the objectness: the mean of the cells that own something, and the sum of the others over all cells.
const OWNERS_SHARE: f64 = 0.25;
const OTHERS_SHARE: f64 = 0.75;

/// The corners of a cell's box, pixels.
pub fn corners(grid: &LossGrid<'_>, cell: usize, input: Size) -> [f64; 4] {
    let ([col, row], [w, h]) = (grid.place(cell), cell_size(grid, input));
    let number = |k: usize| f64::from(grid.cell(cell)[k]);
    let (x, y) = ((col + number(1).tanh()) * w, (row + number(2).tanh()) * h);
    let (bw, bh) =
        (f64::from(input.width) * sigmoid(number(3)) / 2.0, f64::from(input.height) * sigmoid(number(4)) / 2.0);
    [x - bw, y - bh, x + bw, y + bh]
}

/// Pixels of the picture a cell.
fn cell_size(grid: &LossGrid<'_>, input: Size) -> [f64; 2] {
    [f64::from(input.width) / grid.cols as f64, f64::from(input.height) / grid.rows as f64]
}

/// An object's candidates are the four cells whose top left corners are nearest to its middle, which is as far as their
/// centres reach. Those that overlap it as much as the picture's mean or more own it; a cell that two objects want is the
/// one's that it overlaps more.
pub fn assign(case: &LossInput<'_>) -> Assignment {
    let mut found = Vec::new();
    for object in case.objects() {
        for (level, grid) in case.grids.iter().enumerate() {
            let ([x, y], [w, h]) = (object.middle(), cell_size(grid, case.input));
            let near = |at: f64, n: usize| {
                [at.floor(), at.floor() + 1.0].into_iter().filter(move |i| (0.0..n as f64).contains(i))
            };
            for row in near(y / h, grid.rows) {
                for col in near(x / w, grid.cols) {
                    let cell = row as usize * grid.cols + col as usize;
                    let quality = boxes::iou(&corners(grid, cell, case.input), &object.corners).value;
                    found.push((level, cell, Claim { index: object.index, quality, rank: -quality }));
                }
            }
        }
    }
    let mean = found.iter().map(|(_, _, claim)| claim.quality).sum::<f64>() / found.len().max(1) as f64;
    let mut claims = Claims::none(case);
    for (level, cell, claim) in found {
        // Equals are as good as their mean, and what is no number shows in the loss.
        let is_worse = claim.quality < mean - 1e-9;
        if !is_worse {
            claims.take(level, cell, claim);
        }
    }
    let mut assignment = claims.settle(case, |grid, cell| corners(grid, cell, case.input));
    assignment.weight_sum = assignment.n_positive.max(1) as f32;
    assignment
}

/// Adds the gradient to `grads`; parts and gradient are divided by `per`.
pub fn loss(case: &LossInput<'_>, assignment: &Assignment, per: f64, grads: &mut [Vec<f32>]) -> LossParts {
    let mut parts = LossParts::default();
    let n_cells = case.grids.iter().map(LossGrid::n_cells).sum::<usize>() as f64;
    let owners = OBJECTNESS_WEIGHT * OWNERS_SHARE / per;
    // A picture counts in a batch as its owners do.
    let others = OBJECTNESS_WEIGHT * OTHERS_SHARE * f64::from(assignment.weight_sum) / (n_cells * per);
    for (level, cell, owned) in assignment.judged() {
        let grid = &case.grids[level];
        let numbers = grid.cell(cell);
        let out = &mut grads[level][cell * grid.width..][..grid.width];
        let (wanted, weight) = owned.map_or((0.0, others), |owned| (owned.quality, owners));
        let (value, slope) = bce(f64::from(numbers[0]), wanted);
        parts.objectness += weight * value;
        out[0] += (weight * slope) as f32;
        let Some(owned) = owned else { continue };
        let object = case.object(owned.index);
        let classes = &numbers[BESIDE..][..case.n_classes];
        let divisor = log_sum_exp(classes);
        parts.class += (divisor - f64::from(classes[object.class])) / per;
        for (class, logit) in classes.iter().enumerate() {
            let wanted = if class == object.class { 1.0 } else { 0.0 };
            out[BESIDE + class] += (((f64::from(*logit) - divisor).exp() - wanted) / per) as f32;
        }
        let giou = boxes::giou(&corners(grid, cell, case.input), &object.corners);
        parts.bbox += BOX_WEIGHT * (1.0 - giou.value) / per;
        let [x1, y1, x2, y2] = giou.slope.map(|slope| -BOX_WEIGHT * slope / per);
        let [w, h] = cell_size(grid, case.input);
        let number = |k: usize| f64::from(numbers[k]);
        let by_centre = |k: usize| 1.0 - number(k).tanh().powi(2);
        let by_half = |k: usize| sigmoid(number(k)) * (1.0 - sigmoid(number(k))) / 2.0;
        out[1] += ((x1 + x2) * w * by_centre(1)) as f32;
        out[2] += ((y1 + y2) * h * by_centre(2)) as f32;
        out[3] += ((x2 - x1) * f64::from(case.input.width) * by_half(3)) as f32;
        out[4] += ((y2 - y1) * f64::from(case.input.height) * by_half(4)) as f32;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::roles::CellRole;
    use super::super::testing::{TestMaps, check_gradient, labels_of, picture, two_objects};
    use super::*;

    #[test]
    fn the_best_of_four_cells_owns_an_object() {
        let labels = labels_of(&[(0, [10.0, 10.0, 42.0, 42.0]), (0, [22.0, 22.0, 54.0, 54.0])]);
        let mut maps = TestMaps::filled(&[16], 6, || 0.0);
        maps.cell_mut(0, 1, 1)[1..3].fill(0.625f32.atanh());
        maps.cell_mut(0, 3, 3)[1..3].fill((-0.625f32).atanh());
        let grids = maps.grids();
        let assignment = assign(&picture(&grids, &labels, 1));
        assert_eq!(assignment.n_positive, 2);
        for (place, of) in [(1, 0), (3, 1)] {
            match assignment.cells[0][maps.index(0, place, place)] {
                CellRole::Object { index, quality } => assert!(index == of && quality > 0.999, "{index} {quality}"),
                role => panic!("{role:?}"),
            }
        }
    }

    #[test]
    fn at_the_border_there_are_fewer() {
        // The first one's middle lies left of and above the picture, the second one's in the last cell.
        let labels = labels_of(&[(0, [-12.0, -12.0, 8.0, 8.0]), (0, [44.0, 44.0, 80.0, 80.0])]);
        let maps = TestMaps::filled(&[16], 6, || 0.0);
        let grids = maps.grids();
        let assignment = assign(&picture(&grids, &labels, 1));
        assert!(assignment.judged().all(|(_, cell, owned)| owned.is_none() || cell == 0 || cell == 15));
        assert!(assignment.n_positive > 0);
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        let labels = two_objects();
        let maps = TestMaps::random(6, &[16], 7);
        let grids = maps.grids();
        let case = picture(&grids, &labels, 2);
        let assignment = assign(&case);
        assert!(assignment.n_positive > 0);
        let mut grads = maps.zeros();
        let parts = loss(&case, &assignment, 3.0, &mut grads);
        assert!(parts.class > 0.0 && parts.bbox > 0.0 && parts.objectness > 0.0);
        check_gradient(&maps, &grads, |moved| {
            loss(&picture(moved, &labels, 2), &assignment, 3.0, &mut maps.zeros()).total()
        });
    }
}
