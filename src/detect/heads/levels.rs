//! What a family of heads expects of a model's outputs: grids of cells, and for
//! each the planes of numbers that a cell is decoded from. Where the numbers
//! stand is the source's business: tensors of ONNX Runtime ([`Bound`]), or the
//! layer engine's maps.

use super::cell::CellPlace;
use super::tensor::{HeadError, Tensor, named, only};
use crate::geom::Size;

/// A grid of cells of one stride.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    pub cols: usize,
    pub rows: usize,
    pub stride: u32,
    /// Sides (pixels) of the square priors that a cell's boxes are offsets to; empty: one box a cell, without a prior.
    pub priors: &'static [f32],
    pub planes: Vec<Plane>,
}

impl Level {
    /// Boxes a cell.
    pub fn n_boxes(&self) -> usize {
        self.priors.len().max(1)
    }

    /// Box `anchor` of the grid's cell number `cell`.
    pub fn place(&self, cell: usize, anchor: usize, input: Size, n_classes: usize, min_score: f32) -> CellPlace {
        let (cols, rows, stride) = (self.cols, self.rows, self.stride);
        let prior = self.priors.get(anchor).copied().unwrap_or_default();
        CellPlace { x: cell % cols, y: cell / cols, cols, rows, stride, prior, input, n_classes, min_score }
    }
}

/// Numbers of each box.
#[derive(Debug, Clone, PartialEq)]
pub struct Plane {
    /// The output's name; `None`: the only one.
    pub output: Option<String>,
    /// Numbers a box.
    pub width: usize,
    /// One for each class are among them; 0: none.
    pub n_classes: usize,
    pub layout: Layout,
}

/// How an output holds a plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `[1, boxes, width]`, the levels one after another.
    AllLevels,
    /// `[1, boxes, width]`, of this level.
    Rows,
    /// `[1, width, rows, cols]`, of this level.
    Channels,
}

/// A plane in a tensor: number `c` of box `i` is `data[start + i * step + c * channel]`.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    pub name: &'a str,
    pub data: &'a [f32],
    pub start: usize,
    pub step: usize,
    pub channel: usize,
}

impl Bound<'_> {
    pub fn at(&self, i: usize, c: usize) -> f32 {
        self.data[self.start + i * self.step + c * self.channel]
    }
}

/// Finds the planes of all levels, in order, in a model's outputs.
pub fn bind<'a>(levels: &[Level], tensors: &[Tensor<'a>]) -> Result<Vec<Vec<Bound<'a>>>, HeadError> {
    let mut first = 0;
    let boxes = |l: &Level| l.cols * l.rows * l.n_boxes();
    let n_all: usize = levels.iter().map(boxes).sum();
    levels
        .iter()
        .map(|level| {
            let n = boxes(level);
            let planes = level.planes.iter().map(|plane| {
                let tensor = match &plane.output {
                    None => only(tensors)?,
                    Some(name) => named(tensors, name)?,
                };
                let (start, dims): (usize, &[usize]) = match plane.layout {
                    Layout::AllLevels => (first * plane.width, &[n_all, plane.width]),
                    Layout::Rows => (0, &[n, plane.width]),
                    Layout::Channels => (0, &[plane.width, level.rows, level.cols]),
                };
                // What is beside a number for each class.
                let data = match plane.n_classes {
                    0 => tensor.expect(dims)?,
                    n => tensor.expect_classes(dims, usize::from(plane.layout != Layout::Channels), plane.width - n)?,
                };
                let (step, channel) = if plane.layout == Layout::Channels { (1, n) } else { (plane.width, 1) };
                Ok(Bound { name: tensor.name, data, start, step, channel })
            });
            let planes = planes.collect();
            first += n;
            planes
        })
        .collect()
}
