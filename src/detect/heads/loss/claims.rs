//! How cells get their roles: objects claim them, and what nobody claims is background or in doubt.

use super::boxes;
use super::grid::{LossGrid, LossInput};
use super::roles::{Assignment, CellRole};

/// The overlap at which a cell's box is the thing that is said to be absent.
const SAME_BOX: f64 = 0.5;

/// An object's wish for a cell.
#[derive(Debug, Clone, Copy)]
pub struct Claim {
    /// Of the labels' objects.
    pub index: u32,
    /// As in [`CellRole::Object`].
    pub quality: f64,
    /// The least of a cell's claims wins, the first of equals.
    pub rank: f64,
}

/// The strongest claim on each cell, by level.
pub struct Claims(pub Vec<Vec<Option<Claim>>>);

impl Claims {
    pub fn none(case: &LossInput<'_>) -> Self {
        Self(case.grids.iter().map(|grid| vec![None; grid.n_cells()]).collect())
    }

    pub fn take(&mut self, level: usize, cell: usize, claim: Claim) {
        let held = &mut self.0[level][cell];
        if held.is_none_or(|held| claim.rank < held.rank) {
            *held = Some(claim);
        }
    }

    /// Gives all cells their roles; `decode` is the corners of a cell's box.
    pub fn settle(self, case: &LossInput<'_>, decode: impl Fn(&LossGrid<'_>, usize) -> [f64; 4]) -> Assignment {
        let roles = self.0.into_iter().zip(case.grids).map(|(claims, grid)| {
            let role = |(cell, claim): (usize, Option<Claim>)| match claim {
                Some(claim) => CellRole::Object { index: claim.index, quality: claim.quality as f32 },
                None => unclaimed(case, grid, cell, &decode),
            };
            claims.into_iter().enumerate().map(role).collect::<Vec<_>>()
        });
        Assignment::new(roles.collect())
    }
}

/// The role of a cell that owns nothing. A false alarm's box may be a neighbour's, so boxes count beside middles.
fn unclaimed(
    case: &LossInput<'_>,
    grid: &LossGrid<'_>,
    cell: usize,
    decode: &impl Fn(&LossGrid<'_>, usize) -> [f64; 4],
) -> CellRole {
    let (labels, middle) = (case.labels, grid.middle(cell));
    let is_absent = !labels.absent.is_empty() && {
        let shown = decode(grid, cell);
        labels
            .absent
            .iter()
            .map(boxes::corners)
            .any(|rect| boxes::holds(&rect, middle) || boxes::iou(&shown, &rect).value >= SAME_BOX)
    };
    if is_absent {
        return CellRole::Background;
    }
    let is_known = labels.is_complete || case.is_in_an_object(middle);
    if is_known && !case.is_ignored(middle) { CellRole::Background } else { CellRole::Doubt }
}

#[cfg(test)]
mod tests {
    use super::super::labels::{LabelledBox, PictureLabels};
    use super::super::testing::{TestMaps, labels_of, picture};
    use super::*;
    use crate::geom::Rect;

    /// Roles of 8x8 cells of 8 pixels, a letter each, of which cell (2, 2) is claimed and (7, 7) shows a box elsewhere.
    fn roles(labels: &PictureLabels) -> Vec<String> {
        let maps = TestMaps::filled(&[8], 1, || 0.0);
        let grids = maps.grids();
        let case = picture(&grids, labels, 1);
        let mut claims = Claims::none(&case);
        if !labels.objects.is_empty() {
            claims.take(0, 18, Claim { index: 0, quality: 1.0, rank: 0.0 });
        }
        let decode = |_: &LossGrid<'_>, cell: usize| match cell {
            63 => [32.0, 0.0, 48.0, 15.0],
            _ => [0.0, 0.0, 1.0, 1.0],
        };
        let letter = |role: &CellRole| match role {
            CellRole::Background => '.',
            CellRole::Doubt => '?',
            CellRole::Object { .. } => 'O',
        };
        claims.settle(&case, decode).cells[0].chunks(8).map(|row| row.iter().map(letter).collect()).collect()
    }

    #[test]
    fn doubt_and_absence() {
        let mut labels = labels_of(&[(0, [8.0, 8.0, 32.0, 32.0])]);
        let (clear, doubt) = ("........", "????????");
        assert_eq!(roles(&labels), [clear, clear, "..O.....", clear, clear, clear, clear, clear]);
        labels.ignored.push(Rect::new(0.0, 16.0, 24.0, 32.0));
        assert_eq!(roles(&labels), [clear, clear, "??O.....", "???.....", clear, clear, clear, clear]);
        labels.is_complete = false;
        assert_eq!(roles(&labels), [doubt, "?...????", "??O.????", "???.????", doubt, doubt, doubt, doubt]);
        labels.absent = vec![Rect::new(0.0, 16.0, 24.0, 24.0), Rect::new(32.0, 0.0, 48.0, 16.0)];
        let around = ["????..??", "?.....??", "..O.????", "???.????"];
        assert_eq!(roles(&labels)[..4], around);
        assert_eq!(roles(&labels)[4..], [doubt, doubt, doubt, "???????."]);
        labels = PictureLabels::default();
        assert_eq!(roles(&labels), [doubt; 8]);
    }

    #[test]
    fn the_least_rank_wins_and_the_first_of_equals() {
        let labels = PictureLabels {
            objects: vec![LabelledBox { class: 0, bbox: Rect::new(0.0, 0.0, 20.0, 20.0) }; 3],
            ..PictureLabels::default()
        };
        let maps = TestMaps::filled(&[32], 1, || 0.0);
        let grids = maps.grids();
        let case = picture(&grids, &labels, 1);
        let mut claims = Claims::none(&case);
        for (index, rank) in [(0, 2.0), (1, 1.0), (2, 1.0), (3, f64::NAN)] {
            claims.take(0, 1, Claim { index, quality: 0.5, rank });
        }
        let assignment = claims.settle(&case, |_, _| [0.0; 4]);
        assert_eq!(assignment.cells[0][1], CellRole::Object { index: 1, quality: 0.5 });
        assert_eq!((assignment.n_positive, assignment.weight_sum), (1, 1.0));
        assert_eq!(assignment.judged().count(), 2, "the first lies in an object, the others are in doubt");
    }
}
