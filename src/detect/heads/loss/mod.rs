//! How far a model's numbers are from what is known of a picture, and which way they ought to go: the loss of each family.
//!
//! ```text
//! LossGrid (a level's numbers, scores as logits) ┐
//! PictureLabels (objects, doubt, absence)        ┴ LossInput -> Head::assign -> Assignment (a role for each cell)
//!                                                     └──────── Head::loss <───────┘  -> LossParts, gradients
//! ```
//!
//! In: one picture's numbers and labels, boxes in pixels of the model's input. Out: the loss, and its gradient by each
//! number. Cells in doubt have no part in either. Which cell learns what, and how good its box is, are constants of the
//! gradient. Numbers that are none give a loss that is none. Sums are of `f64`, in a fixed order: the same numbers give the
//! same bits. Pure.

mod aligned;
mod boxes;
mod claims;
mod fastestdet;
mod grid;
mod labels;
mod logits;
mod parts;
mod roles;
mod simota;
mod street;
#[cfg(test)]
mod testing;
mod yolov8;
mod yolox;

pub use grid::{LossGrid, LossInput};
pub use labels::{LabelledBox, PictureLabels};
pub use parts::LossParts;
pub use roles::{Assignment, CellRole};
pub(super) use yolov8::corners as yolov8_corners;

use super::Head;

impl Head {
    /// Numbers a cell that the family's loss is told from; `None`: it has none. A YOLOv8 may have other than 16 bins a side:
    /// [`LossGrid::width`] says so.
    pub fn loss_width(&self, n_classes: usize) -> Option<usize> {
        match self {
            Self::Street { .. } => Some(street::BESIDE + n_classes),
            Self::Yolox { .. } => Some(yolox::BESIDE + n_classes),
            Self::Yolov8 {} => Some(yolov8::BESIDE + n_classes),
            Self::Fastestdet {} => Some(fastestdet::BESIDE + n_classes),
            Self::Yunet { .. } | Self::Ultraface {} => None,
        }
    }

    /// Tells the roles of a picture's cells, from the numbers of this step. In a family without a loss all are in doubt.
    ///
    /// # Panics
    /// The grids' numbers are not as many, or as wide, as they say and the family wants.
    pub fn assign(&self, case: &LossInput<'_>) -> Assignment {
        self.expect_fit(case);
        match self {
            Self::Street { .. } => street::assign(case),
            Self::Yolox { .. } => simota::assign(case),
            Self::Yolov8 {} => aligned::assign(case),
            Self::Fastestdet {} => fastestdet::assign(case),
            Self::Yunet { .. } | Self::Ultraface {} => {
                Assignment::new(case.grids.iter().map(|grid| vec![CellRole::Doubt; grid.n_cells()]).collect())
            }
        }
    }

    /// Adds the gradient of a picture's loss to `grads`, laid out as the numbers are, and returns the loss. Both are divided by
    /// `per`, the sum of the whole batch's [`Assignment::weight_sum`], or 1 if that is less.
    ///
    /// # Panics
    /// As [`Head::assign`]; or the assignment or `grads` are not of these grids and labels.
    pub fn loss(&self, case: &LossInput<'_>, assignment: &Assignment, per: f32, grads: &mut [Vec<f32>]) -> LossParts {
        self.expect_fit(case);
        let per = f64::from(per.max(1.0));
        match self {
            Self::Street { .. } => street::loss(case, assignment, per, grads),
            Self::Yolox { .. } => yolox::loss(case, assignment, per, grads),
            Self::Yolov8 {} => yolov8::loss(case, assignment, per, grads),
            Self::Fastestdet {} => fastestdet::loss(case, assignment, per, grads),
            Self::Yunet { .. } | Self::Ultraface {} => LossParts::default(),
        }
    }

    fn expect_fit(&self, case: &LossInput<'_>) {
        let Some(width) = self.loss_width(case.n_classes) else { return };
        for grid in case.grids {
            let is_width = match self {
                Self::Yolov8 {} => yolov8::n_bins(grid.width, case.n_classes).is_some(),
                _ => grid.width == width,
            };
            assert!(is_width, "{} numbers a cell and {} classes, expected {width}", grid.width, case.n_classes);
            assert_eq!(grid.numbers.len(), grid.n_cells() * grid.width, "a grid's numbers");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{INPUT, TestMaps, labels_of, picture};
    use super::*;
    use crate::detect::Detection;
    use crate::detect::heads::CellPlace;
    use crate::geom::Rect;

    const N_CLASSES: usize = 2;

    /// Each family that learns, and its strides.
    fn families() -> [(Head, Vec<u32>); 4] {
        let strides = vec![8, 16, 32];
        [
            (Head::Street { strides: strides.clone() }, strides.clone()),
            (Head::Yolox { strides: strides.clone() }, strides.clone()),
            (Head::Yolov8 {}, strides),
            (Head::Fastestdet {}, vec![16]),
        ]
    }

    fn sigmoid(x: f32) -> f32 {
        logits::sigmoid(f64::from(x)) as f32
    }

    /// What a cell shows, with what is left out at a model's end.
    fn shown(head: &Head, grid: &LossGrid<'_>, cell: usize) -> Detection {
        let mut numbers = grid.cell(cell).to_vec();
        match head {
            Head::Yolox { .. } => numbers[4..].iter_mut().for_each(|x| *x = sigmoid(*x)),
            Head::Fastestdet {} => {
                numbers[0] = sigmoid(numbers[0]);
                let divisor = logits::log_sum_exp(&numbers[5..]);
                numbers[5..].iter_mut().for_each(|x| *x = (f64::from(*x) - divisor).exp() as f32);
            }
            Head::Yolov8 {} => {
                let class = usize::from(numbers[65] > numbers[64]);
                let [x1, y1, x2, y2] = yolov8::corners(grid, cell, N_CLASSES).map(|v| v as f32);
                return Detection::new(class as u16, sigmoid(numbers[64 + class]), Rect::new(x1, y1, x2, y2));
            }
            _ => {}
        }
        let place = CellPlace {
            x: cell % grid.cols,
            y: cell / grid.cols,
            cols: grid.cols,
            rows: grid.rows,
            stride: grid.stride,
            prior: 0.0,
            input: INPUT,
            n_classes: N_CLASSES,
            min_score: 0.0,
        };
        head.cell(|_, c| numbers[c], &place).expect("numbers").unwrap_or(Detection::new(0, 0.0, INPUT.rect()))
    }

    /// 200 steps of Adam (Kingma and Ba, arXiv:1412.6980), ever shorter: the losses, and the maps in the end.
    fn follow(head: &Head, strides: &[u32], labels: &PictureLabels) -> (Vec<f64>, TestMaps) {
        const N_STEPS: usize = 200;
        let mut maps = TestMaps::random(7, strides, head.loss_width(N_CLASSES).expect("it learns"));
        let (mut means, mut squares, mut losses) = (maps.zeros(), maps.zeros(), Vec::new());
        for step in 0..N_STEPS {
            let mut grads = maps.zeros();
            {
                let grids = maps.grids();
                let case = picture(&grids, labels, N_CLASSES);
                let assignment = head.assign(&case);
                losses.push(head.loss(&case, &assignment, assignment.weight_sum, &mut grads).total());
            }
            let rate = 0.2 * (1.0 - step as f32 / N_STEPS as f32);
            let age = step as i32 + 1;
            let state = means.iter_mut().flatten().zip(squares.iter_mut().flatten());
            for ((number, slope), (mean, square)) in
                maps.numbers.iter_mut().flatten().zip(grads.iter().flatten()).zip(state)
            {
                *mean = 0.9 * *mean + 0.1 * slope;
                *square = 0.99 * *square + 0.01 * slope * slope;
                let size = (*square / (1.0 - 0.99f32.powi(age))).sqrt() + 1e-8;
                *number -= rate * (*mean / (1.0 - 0.9f32.powi(age))) / size;
            }
        }
        (losses, maps)
    }

    #[test]
    fn the_gradient_leads_to_the_object() {
        for (head, strides) in families() {
            let labels = labels_of(&[(1, [10.0, 12.0, 42.0, 40.0])]);
            let (losses, maps) = follow(&head, &strides, &labels);
            let (first, last) = (losses[0], losses[losses.len() - 1]);
            assert!(last < first / 2.0, "{head:?}: {first} to {last}");
            let grids = maps.grids();
            let head = &head;
            let all = grids.iter().flat_map(|grid| (0..grid.n_cells()).map(move |cell| shown(head, grid, cell)));
            let best = all.max_by(|a, b| a.score.total_cmp(&b.score)).expect("cells");
            let iou = best.bbox.iou(&labels.objects[0].bbox);
            assert!(best.class == 1 && best.score > 0.5 && iou > 0.9, "{head:?}: {best:?}, overlap {iou}");
        }
    }

    /// The total of random numbers' loss, and what is left of their roles.
    fn total(head: &Head, strides: &[u32], labels: &PictureLabels) -> (f64, Assignment) {
        let maps = TestMaps::random(8, strides, head.loss_width(N_CLASSES).expect("it learns"));
        let grids = maps.grids();
        let case = picture(&grids, labels, N_CLASSES);
        let assignment = head.assign(&case);
        let loss = head.loss(&case, &assignment, 1.0, &mut maps.zeros());
        (loss.total(), assignment)
    }

    #[test]
    fn what_cannot_be_learnt_is_left_out() {
        for (head, strides) in families() {
            let (empty, assignment) = total(&head, &strides, &labels_of(&[]));
            assert!(empty > 0.0 && assignment.n_positive == 0);
            let strange = labels_of(&[
                (0, [10.0, 10.0, 10.0, 40.0]),
                (0, [40.0, 40.0, 10.0, 10.0]),
                (0, [100.0, 100.0, 140.0, 140.0]),
                (0, [-50.0, -50.0, -10.0, -10.0]),
                (0, [f32::NAN, 0.0, 10.0, 10.0]),
                (0, [0.0, 0.0, f32::INFINITY, 10.0]),
                (7, [10.0, 10.0, 40.0, 40.0]),
            ]);
            let (same, assignment) = total(&head, &strides, &strange);
            assert!(same == empty && assignment.n_positive == 0, "{head:?}");
            let (none, assignment) = total(&head, &strides, &PictureLabels::default());
            assert!(none == 0.0 && assignment.judged().count() == 0, "{head:?}");
            // Nothing of any class in a picture of which nothing else is known.
            let absent = PictureLabels { absent: vec![Rect::new(0.0, 0.0, 33.0, 33.0)], ..PictureLabels::default() };
            let (some, assignment) = total(&head, &strides, &absent);
            assert!(some > 0.0 && some < empty && assignment.n_positive == 0, "{head:?}");
        }
    }

    #[test]
    fn what_is_no_number_shows_and_does_no_harm() {
        for (head, strides) in families() {
            let width = head.loss_width(N_CLASSES).expect("it learns");
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let maps = TestMaps::filled(&strides, width, || bad);
                let grids = maps.grids();
                let labels = PictureLabels {
                    absent: vec![Rect::new(40.0, 40.0, 60.0, 60.0)],
                    ..labels_of(&[(0, [10.0, 12.0, 42.0, 40.0]), (1, [0.0, 0.0, 64.0, 64.0])])
                };
                let case = picture(&grids, &labels, N_CLASSES);
                let assignment = head.assign(&case);
                let loss = head.loss(&case, &assignment, assignment.weight_sum, &mut maps.zeros());
                assert!(!bad.is_nan() || !loss.total().is_finite(), "{head:?}: {loss:?}");
            }
        }
    }

    #[test]
    fn families_without_a_loss_learn_nothing() {
        let maps = TestMaps::filled(&[32], 2, || 0.0);
        let grids = maps.grids();
        let labels = labels_of(&[(0, [10.0, 12.0, 42.0, 40.0])]);
        let case = picture(&grids, &labels, 1);
        for head in [Head::Ultraface {}, Head::Yunet { strides: vec![32] }] {
            assert_eq!(head.loss_width(1), None);
            let assignment = head.assign(&case);
            assert_eq!(assignment.judged().count(), 0);
            assert_eq!(head.loss(&case, &assignment, 1.0, &mut maps.zeros()), LossParts::default());
        }
    }
}
