//! The loss of the project's own head: cross-entropy of the classes with how well the box fits, and generalised IoU of the
//! boxes. `models/training/street_nano.py` owns cells alike, and weighs its cross-entropy by how far off a score is (Li et al.,
//! "Generalized Focal Loss", arXiv:2006.04388): that orders boxes well and leaves scores that say nothing, which it then
//! calibrates. What learns further begins with calibrated scores, and plain cross-entropy keeps them so.
//!
//! A cell holds `[class logits…, log distances left, top, right, bottom]`, distances in strides from the cell's middle.

use super::boxes;
use super::claims::{Claim, Claims};
use super::grid::{LossGrid, LossInput};
use super::logits::bce;
use super::parts::LossParts;
use super::roles::{Assignment, CellRole};

/// Numbers of a cell beside the classes'.
pub const BESIDE: usize = 4;
/// Logarithms of distances beyond this are clipped, and have no gradient.
const MAX_LOG: f64 = 4.0;
/// Weight of the boxes' part.
const BOX_WEIGHT: f64 = 2.0;
/// A cell owns objects whose middle is nearer than this along each axis, strides.
const NEAR: f64 = 1.5;
/// Objects of almost a level's size are in doubt there: shares of the least and of the largest side.
const ALMOST: (f64, f64) = (0.7, 1.4);

/// The longest side in pixels from which an object is the next level's: 64 for stride 8, 176 for stride 16; the last level
/// has all larger ones. Of other strides: eight strides.
fn limit(grids: &[LossGrid<'_>], level: usize) -> f64 {
    match grids[level].stride {
        _ if level + 1 == grids.len() => f64::INFINITY,
        16 => 176.0,
        stride => 8.0 * f64::from(stride),
    }
}

/// Least and largest longest side of a level's objects, pixels.
fn sizes(grids: &[LossGrid<'_>], level: usize) -> (f64, f64) {
    (if level == 0 { 0.0 } else { limit(grids, level - 1) }, limit(grids, level))
}

/// The corners of a cell's box, pixels.
pub fn corners(grid: &LossGrid<'_>, cell: usize, n_classes: usize) -> [f64; 4] {
    let ([x, y], stride) = (grid.middle(cell), f64::from(grid.stride));
    let numbers = &grid.cell(cell)[n_classes..];
    let side = |k: usize| f64::from(numbers[k]).clamp(-MAX_LOG, MAX_LOG).exp() * stride;
    [x - side(0), y - side(1), x + side(2), y + side(3)]
}

/// A cell owns the smallest object that has the cell near its middle and a size for the cell's stride; inside objects of
/// almost such a size it is in doubt.
pub fn assign(case: &LossInput<'_>) -> Assignment {
    let mut claims = Claims::none(case);
    let mut doubts = Vec::new();
    for object in case.objects() {
        let [width, height] = object.sides();
        let side = width.max(height);
        for (level, grid) in case.grids.iter().enumerate() {
            let (least, largest) = sizes(case.grids, level);
            if side < ALMOST.0 * least || side >= ALMOST.1 * largest {
                continue;
            }
            let is_owner_level = (least..largest).contains(&side);
            for cell in (0..grid.n_cells()).filter(|cell| object.holds(grid.middle(*cell))) {
                if !is_owner_level {
                    doubts.push((level, cell));
                } else if object.is_near(grid.middle(cell), NEAR * f64::from(grid.stride)) {
                    let quality = boxes::iou(&corners(grid, cell, case.n_classes), &object.corners).value;
                    claims.take(level, cell, Claim { index: object.index, quality, rank: width * height });
                }
            }
        }
    }
    let mut assignment = claims.settle(case, |grid, cell| corners(grid, cell, case.n_classes));
    for (level, cell) in doubts {
        let role = &mut assignment.cells[level][cell];
        if *role == CellRole::Background {
            *role = CellRole::Doubt;
        }
    }
    assignment
}

/// Adds the gradient to `grads`; parts and gradient are divided by `per`.
pub fn loss(case: &LossInput<'_>, assignment: &Assignment, per: f64, grads: &mut [Vec<f32>]) -> LossParts {
    let mut parts = LossParts::default();
    for (level, cell, owned) in assignment.judged() {
        let grid = &case.grids[level];
        let (scores, sides) = grads[level][cell * grid.width..][..grid.width].split_at_mut(case.n_classes);
        let target = owned.map(|owned| (case.object(owned.index), owned.quality));
        for (class, out) in scores.iter_mut().enumerate() {
            let wanted = target.filter(|(object, _)| object.class == class).map_or(0.0, |(_, quality)| quality);
            let (value, slope) = bce(f64::from(grid.cell(cell)[class]), wanted);
            parts.class += value / per;
            *out += (slope / per) as f32;
        }
        let Some((object, _)) = target else { continue };
        let giou = boxes::giou(&corners(grid, cell, case.n_classes), &object.corners);
        parts.bbox += BOX_WEIGHT * (1.0 - giou.value) / per;
        for (k, slope) in giou.slope.into_iter().enumerate() {
            let log = f64::from(grid.cell(cell)[case.n_classes + k]);
            // Beyond the bounds nothing changes; what is no number stays none.
            if log.abs() > MAX_LOG {
                continue;
            }
            let outwards = if k < 2 { -1.0 } else { 1.0 };
            let by_log = outwards * log.exp() * f64::from(grid.stride);
            sides[k] -= (BOX_WEIGHT * slope * by_log / per) as f32;
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::super::testing::{TestMaps, check_gradient, labels_of, picture, two_objects};
    use super::*;

    /// Columns and rows of the cells of a role.
    fn cells(assignment: &Assignment, level: usize, cols: usize, is: impl Fn(&CellRole) -> bool) -> Vec<[usize; 2]> {
        let roles = assignment.cells[level].iter().enumerate();
        roles.filter(|(_, role)| is(role)).map(|(i, _)| [i % cols, i / cols]).collect()
    }

    fn owns(of: u32) -> impl Fn(&CellRole) -> bool {
        move |role| matches!(role, CellRole::Object { index, .. } if *index == of)
    }

    fn square(from: usize, to: usize) -> Vec<[usize; 2]> {
        (from..=to).flat_map(|row| (from..=to).map(move |col| [col, row])).collect()
    }

    #[test]
    fn cells_near_the_middle_own_an_object() {
        let labels = labels_of(&[(0, [8.0, 8.0, 32.0, 32.0])]);
        let mut maps = TestMaps::random(1, &[8, 16], 5);
        maps.cell_mut(0, 2, 2)[1..].fill(1.5f32.ln());
        let grids = maps.grids();
        let assignment = assign(&picture(&grids, &labels, 1));
        assert_eq!(cells(&assignment, 0, 8, owns(0)), square(1, 3));
        assert_eq!(assignment.n_positive, 9);
        assert!(assignment.cells[1].iter().all(|role| *role == CellRole::Background));
        let CellRole::Object { quality, .. } = assignment.cells[0][maps.index(0, 2, 2)] else { panic!("its middle") };
        assert!((quality - 1.0).abs() < 1e-5);
    }

    #[test]
    fn the_smaller_of_two_wins_and_almost_fitting_sizes_are_in_doubt() {
        let labels = labels_of(&[(0, [4.0, 4.0, 54.0, 54.0]), (0, [22.0, 22.0, 40.0, 40.0])]);
        let maps = TestMaps::random(1, &[8, 16], 5);
        let grids = maps.grids();
        let assignment = assign(&picture(&grids, &labels, 1));
        // Middles 28 and 36 lie in the smaller one; 20, of the larger one's middle, only in that.
        assert_eq!(cells(&assignment, 0, 8, owns(1)), square(3, 4));
        assert_eq!(cells(&assignment, 0, 8, owns(0)), [[2, 2], [3, 2], [4, 2], [2, 3], [2, 4]]);
        // 50 pixels are more than 0.7 * 64.
        assert_eq!(cells(&assignment, 1, 4, |role| *role == CellRole::Doubt), square(0, 2));
        assert_eq!(assignment.cells[1][15], CellRole::Background);
    }

    #[test]
    fn the_gradient_is_that_of_differences() {
        let labels = two_objects();
        let maps = TestMaps::random(2, &[8, 16, 32], 6);
        let grids = maps.grids();
        let case = picture(&grids, &labels, 2);
        let assignment = assign(&case);
        assert!(assignment.n_positive > 8);
        let mut grads = maps.zeros();
        let parts = loss(&case, &assignment, 3.0, &mut grads);
        assert!(parts.class > 0.0 && parts.bbox > 0.0 && parts.objectness == 0.0);
        check_gradient(&maps, &grads, |moved| {
            loss(&picture(moved, &labels, 2), &assignment, 3.0, &mut maps.zeros()).total()
        });
    }
}
