//! YOLOv8's cells for its objects: task-aligned assignment (TOOD, Feng et al., arXiv:2108.07755, with the parameters of
//! YOLOv8): the cells inside an object of which score and box agree best.

use super::boxes;
use super::claims::{Claim, Claims};
use super::grid::LossInput;
use super::logits::sigmoid;
use super::roles::Assignment;
use super::yolov8::corners;

/// Cells that an object claims at most.
const N_BEST: usize = 10;

/// A cell's alignment is `score^0.5 * IoU^6`.
fn alignment(score: f64, iou: f64) -> f64 {
    score.sqrt() * iou.powi(6)
}

/// A cell that two objects claim is the one's that it overlaps more. The qualities are alignments, scaled so that an
/// object's best cell has its best overlap.
pub fn assign(case: &LossInput<'_>) -> Assignment {
    let mut claims = Claims::none(case);
    for object in case.objects() {
        let mut found = Vec::new();
        for (level, grid) in case.grids.iter().enumerate() {
            for cell in (0..grid.n_cells()).filter(|cell| object.holds(grid.middle(*cell))) {
                let logit = grid.cell(cell)[grid.width - case.n_classes + object.class];
                let iou = boxes::iou(&corners(grid, cell, case.n_classes), &object.corners).value;
                let quality = alignment(sigmoid(f64::from(logit)), iou);
                found.push((level, cell, Claim { index: object.index, quality, rank: -iou }));
            }
        }
        // Of equals the first, of the finest level.
        found.sort_by(|a, b| b.2.quality.total_cmp(&a.2.quality));
        for (level, cell, claim) in found.into_iter().take(N_BEST) {
            claims.take(level, cell, claim);
        }
    }
    scale(&mut claims, case.labels.objects.len());
    let mut assignment = claims.settle(case, |grid, cell| corners(grid, cell, case.n_classes));
    assignment.weight_sum =
        assignment.judged().filter_map(|(_, _, owned)| owned).map(|o| o.quality).sum::<f64>() as f32;
    assignment
}

fn scale(claims: &mut Claims, n_objects: usize) {
    let mut best = vec![(0.0_f64, 0.0_f64); n_objects];
    for claim in claims.0.iter().flatten().flatten() {
        let (alignment, iou) = &mut best[claim.index as usize];
        *alignment = alignment.max(claim.quality);
        *iou = iou.max(-claim.rank);
    }
    for claim in claims.0.iter_mut().flatten().flatten() {
        let (alignment, iou) = best[claim.index as usize];
        claim.quality = if alignment > 0.0 { claim.quality * iou / alignment } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use super::super::roles::CellRole;
    use super::super::testing::{TestMaps, labels_of, picture};
    use super::*;

    /// Even bins everywhere, except in cell `(at, at)` of stride 8, whose sides are between two bins.
    fn show(maps: &mut TestMaps, at: usize, sides: [usize; 4]) {
        let cell = maps.cell_mut(0, at, at);
        cell[..64].fill(-30.0);
        for (k, bin) in sides.into_iter().enumerate() {
            cell[16 * k + bin..][..2].fill(0.0);
        }
    }

    #[test]
    fn the_cell_that_shows_an_object_has_the_best_quality() {
        let labels = labels_of(&[(0, [8.0, 8.0, 40.0, 40.0]), (0, [24.0, 24.0, 56.0, 56.0])]);
        let mut maps = TestMaps::filled(&[8, 16], 65, || 0.0);
        show(&mut maps, 2, [1, 1, 2, 2]);
        show(&mut maps, 5, [2, 2, 1, 1]);
        let grids = maps.grids();
        let assignment = assign(&picture(&grids, &labels, 1));
        for (place, of) in [(2, 0), (5, 1)] {
            match assignment.cells[0][maps.index(0, place, place)] {
                CellRole::Object { index, quality } => assert!(index == of && quality > 0.99, "{index} {quality}"),
                role => panic!("{role:?}"),
            }
        }
        // They share four cells of stride 8.
        assert!((2 * N_BEST - 4..=2 * N_BEST).contains(&assignment.n_positive));
        assert!((assignment.weight_sum - 2.0).abs() < 0.02, "the others' qualities are next to nothing");
        assert_eq!(assignment.cells[0][0], CellRole::Background);
    }

    #[test]
    fn one_object_claims_ten_cells_inside() {
        let labels = labels_of(&[(0, [8.0, 8.0, 40.0, 40.0])]);
        let maps = TestMaps::random(5, &[8, 16], 65);
        let grids = maps.grids();
        let case = picture(&grids, &labels, 1);
        let assignment = assign(&case);
        assert_eq!(assignment.n_positive, N_BEST);
        let object = case.object(0);
        let are_inside = |(level, cell, owned): (usize, usize, Option<_>)| {
            owned.is_none() || object.holds(case.grids[level].middle(cell))
        };
        assert!(assignment.judged().all(are_inside));
    }
}
