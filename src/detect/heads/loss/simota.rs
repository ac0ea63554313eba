//! YOLOX's cells for its objects (SimOTA: Ge et al., arXiv:2107.08430, section 2.1): each object takes as many cells as
//! fit it, those to which it costs least.
//!
//! An object's candidates are its own here; in the published code, those of the picture's other objects come after them,
//! for the price of [`OUTSIDE`].

use super::boxes;
use super::claims::{Claim, Claims};
use super::grid::{LossGrid, LossInput};
use super::labels::LearntBox;
use super::logits::sigmoid;
use super::roles::Assignment;
use super::yolox::{BESIDE, OBJECTNESS, corners};

/// Cells whose middle is nearer than this to an object's along each axis are candidates, strides.
const NEAR: f64 = 2.5;
/// Weight of the boxes' part of the cost.
const BOX_COST: f64 = 3.0;
/// Cost of a cell that is not both in the object's box and near its middle.
const OUTSIDE: f64 = 1e5;
/// An object takes as many cells as the sum of its best overlaps, at least 1: this many of them.
const N_OVERLAPS: usize = 10;
/// Bound of the logarithm of a probability.
const LEAST_LOG: f64 = -100.0;

/// A cell that an object may take.
struct Candidate {
    level: usize,
    cell: usize,
    iou: f64,
    cost: f64,
}

pub fn assign(case: &LossInput<'_>) -> Assignment {
    let mut claims = Claims::none(case);
    for object in case.objects() {
        let mut candidates = candidates(case, &object);
        let mut overlaps: Vec<f64> = candidates.iter().map(|c| c.iou).collect();
        overlaps.sort_by(|a, b| b.total_cmp(a));
        let n = (overlaps.iter().take(N_OVERLAPS).sum::<f64>() as usize).max(1);
        // Of equals the first, of the finest level.
        candidates.sort_by(|a, b| a.cost.total_cmp(&b.cost));
        for c in candidates.iter().take(n) {
            claims.take(c.level, c.cell, Claim { index: object.index, quality: c.iou, rank: c.cost });
        }
    }
    claims.settle(case, corners)
}

fn candidates(case: &LossInput<'_>, object: &LearntBox) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (level, grid) in case.grids.iter().enumerate() {
        for cell in 0..grid.n_cells() {
            let middle = grid.middle(cell);
            let is_inside = object.holds(middle);
            let is_near = object.is_near(middle, NEAR * f64::from(grid.stride));
            if is_inside || is_near {
                let iou = boxes::iou(&corners(grid, cell), &object.corners).value;
                let outside = if is_inside && is_near { 0.0 } else { OUTSIDE };
                let cost =
                    class_cost(grid, cell, case.n_classes, object.class) - BOX_COST * (iou + 1e-8).ln() + outside;
                found.push(Candidate { level, cell, iou, cost });
            }
        }
    }
    found
}

/// Cross-entropy of the classes' scores, each the root of objectness times class.
fn class_cost(grid: &LossGrid<'_>, cell: usize, n_classes: usize, wanted: usize) -> f64 {
    let numbers = grid.cell(cell);
    let objectness = sigmoid(f64::from(numbers[OBJECTNESS]));
    let cost = |(class, logit): (usize, &f32)| {
        let score = (objectness * sigmoid(f64::from(*logit))).sqrt();
        let right = if class == wanted { score } else { 1.0 - score };
        -right.ln().max(LEAST_LOG)
    };
    numbers[BESIDE..][..n_classes].iter().enumerate().map(cost).sum()
}

#[cfg(test)]
mod tests {
    use super::super::roles::CellRole;
    use super::super::testing::{TestMaps, labels_of, picture};
    use super::*;

    /// Boxes of no size, except of the cells that show an object perfectly.
    fn maps(perfect: &[(usize, usize, [f32; 2], f32)]) -> TestMaps {
        let mut maps = TestMaps::filled(&[8, 16], 6, || 0.0);
        maps.numbers.iter_mut().for_each(|level| level.chunks_mut(6).for_each(|cell| cell[2..4].fill(-3.0)));
        for &(col, row, [x, y], side) in perfect {
            let (x, y) = (x / 8.0 - col as f32, y / 8.0 - row as f32);
            maps.cell_mut(0, col, row)[..4].copy_from_slice(&[x, y, (side / 8.0).ln(), (side / 8.0).ln()]);
        }
        maps
    }

    #[test]
    fn the_cell_that_shows_an_object_owns_it() {
        let labels = labels_of(&[(0, [8.0, 8.0, 40.0, 40.0]), (0, [16.0, 16.0, 48.0, 48.0])]);
        let maps = maps(&[(2, 2, [24.0, 24.0], 32.0), (4, 4, [32.0, 32.0], 32.0)]);
        let grids = maps.grids();
        let assignment = assign(&picture(&grids, &labels, 1));
        assert_eq!(assignment.n_positive, 2);
        for (place, of) in [(2, 0), (4, 1)] {
            match assignment.cells[0][maps.index(0, place, place)] {
                CellRole::Object { index, quality } => assert!(index == of && quality > 0.999, "{index} {quality}"),
                role => panic!("{role:?}"),
            }
        }
    }

    #[test]
    fn an_object_takes_as_many_cells_as_fit_it() {
        let labels = labels_of(&[(0, [8.0, 8.0, 40.0, 40.0])]);
        // Three boxes of three quarters' area: 2.25 in all.
        let side = 32.0 * 0.75f32.sqrt();
        let three = [(2, 2, [24.0, 24.0], side), (3, 2, [24.0, 24.0], side), (2, 3, [24.0, 24.0], side)];
        let mut maps = maps(&three);
        let n_positive = |maps: &TestMaps| assign(&picture(&maps.grids(), &labels, 1)).n_positive;
        assert_eq!(n_positive(&maps), 2);
        // A cell with the better score is cheaper.
        maps.cell_mut(0, 2, 3)[4..].fill(3.0);
        let grids = maps.grids();
        let assignment = assign(&picture(&grids, &labels, 1));
        assert!(matches!(assignment.cells[0][maps.index(0, 2, 3)], CellRole::Object { .. }));
        assert!(matches!(assignment.cells[0][maps.index(0, 2, 2)], CellRole::Object { .. }));
        assert_eq!(assignment.cells[0][maps.index(0, 3, 2)], CellRole::Background);
    }
}
