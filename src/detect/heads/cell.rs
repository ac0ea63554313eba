//! A cell of a grid: which box of it is decoded, and how its numbers are read.

use crate::detect::Detection;
use crate::geom::Size;

/// Which box of which cell is decoded, of what grid, for what picture.
#[derive(Debug, Clone, Copy)]
pub struct CellPlace {
    pub x: usize,
    pub y: usize,
    pub cols: usize,
    pub rows: usize,
    pub stride: u32,
    /// Side of the box's prior, pixels; 0 where the family has none.
    pub prior: f32,
    pub input: Size,
    pub n_classes: usize,
    pub min_score: f32,
}

/// A number that is none.
#[derive(Debug)]
pub struct NoNumber;

/// What a cell shows, if anything.
pub type CellResult = Result<Option<Detection>, NoNumber>;

/// Index and value of the largest; the first of equals.
pub fn best(scores: impl Iterator<Item = f32>) -> Result<(u16, f32), NoNumber> {
    let (mut top, mut sum) = ((0, f32::NEG_INFINITY), 0.0);
    for (i, s) in scores.enumerate() {
        sum += s;
        if s > top.1 {
            top = (i as u16, s);
        }
    }
    finite(sum).map(|_| top)
}

pub fn finite(v: f32) -> Result<f32, NoNumber> {
    if v.is_finite() { Ok(v) } else { Err(NoNumber) }
}

pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}
