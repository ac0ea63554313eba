//! What a loss is told from: a picture's numbers, level by level, and what is known of the picture.

use super::boxes;
use super::labels::{LearntBox, PictureLabels};
use crate::geom::Size;

/// One picture's numbers of one level, as training sees them: scores are logits (sigmoids and softmaxes at a model's end
/// are not applied), all else is as the model puts it out.
#[derive(Debug, Clone, Copy)]
pub struct LossGrid<'a> {
    pub cols: usize,
    pub rows: usize,
    /// Pixels of the model's input from one cell to the next.
    pub stride: u32,
    /// Numbers a cell.
    pub width: usize,
    /// `[rows][cols][width]`.
    pub numbers: &'a [f32],
}

impl<'a> LossGrid<'a> {
    pub fn n_cells(&self) -> usize {
        self.cols * self.rows
    }

    /// The numbers of a cell.
    pub fn cell(&self, cell: usize) -> &'a [f32] {
        &self.numbers[cell * self.width..][..self.width]
    }

    /// A cell's column and row.
    pub fn place(&self, cell: usize) -> [f64; 2] {
        [(cell % self.cols) as f64, (cell / self.cols) as f64]
    }

    /// A cell's middle, pixels of the model's input.
    pub fn middle(&self, cell: usize) -> [f64; 2] {
        self.place(cell).map(|at| (at + 0.5) * f64::from(self.stride))
    }
}

/// One picture: its numbers, and what is known of it.
#[derive(Debug, Clone, Copy)]
pub struct LossInput<'a> {
    /// One a level, the finest first.
    pub grids: &'a [LossGrid<'a>],
    pub labels: &'a PictureLabels,
    pub n_classes: usize,
    /// Size of the model's input.
    pub input: Size,
}

impl LossInput<'_> {
    /// The objects that can be learnt: those with an area in the picture, of a class that the model has.
    pub fn objects(&self) -> impl Iterator<Item = LearntBox> {
        let picture = self.input.rect();
        self.labels.objects.iter().enumerate().filter_map(move |(i, object)| {
            let is_learnt = usize::from(object.class) < self.n_classes
                && object.bbox.is_finite()
                && !object.bbox.is_empty()
                && object.bbox.intersects(&picture);
            is_learnt.then(|| LearntBox::new(i as u32, object))
        })
    }

    /// An object that a cell owns.
    pub fn object(&self, index: u32) -> LearntBox {
        LearntBox::new(index, &self.labels.objects[index as usize])
    }

    /// Whether a point lies in an object that can be learnt.
    pub fn is_in_an_object(&self, point: [f64; 2]) -> bool {
        self.objects().any(|object| object.holds(point))
    }

    /// Whether a point lies where something is not to be learnt from.
    pub fn is_ignored(&self, point: [f64; 2]) -> bool {
        self.labels.ignored.iter().any(|rect| boxes::holds(&boxes::corners(rect), point))
    }
}
