//! How closely each part of the picture must be followed.
//!
//! A change matters by what it can do to the answer. Where a detector is sure, of
//! something or of nothing, the thresholds of the skip stage and of the engine's
//! gates may be wide; where a score stands near the limit from which it is
//! reported, they may not. The factors here are of thresholds, a cell of
//! [`CELL`] pixels of model input each; 1 is as set.

use crate::geom::{ModelInput, PatchGrid, Rect, Size};
use std::ops::Range;

/// Side of a cell, pixels.
pub const CELL: usize = 32;

/// Factors of at least 1. The default is 1 everywhere.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Leeway {
    grid: PatchGrid,
    /// Row by row; empty: 1 everywhere.
    factors: Vec<f32>,
}

impl Leeway {
    /// Forgets everything: 1 everywhere.
    pub fn clear(&mut self) {
        self.factors.clear();
    }

    /// The same factor for a whole picture.
    pub fn fill(&mut self, size: Size, factor: f32) {
        self.grid = PatchGrid::new(size, CELL as u32);
        self.factors.clear();
        self.factors.resize(self.grid.n_patches(), factor.max(1.0));
    }

    pub fn copy_from(&mut self, other: &Self) {
        self.grid = other.grid;
        self.factors.clear();
        self.factors.extend_from_slice(&other.factors);
    }

    /// No more than this where a box lies.
    pub fn lower(&mut self, bbox: &Rect<ModelInput>, factor: f32) {
        if self.factors.is_empty() || !bbox.is_finite() {
            return;
        }
        let (cols, rows) = self.grid.span(bbox);
        for row in rows {
            for known in &mut self.factors[row * self.grid.cols..][cols.clone()] {
                *known = known.min(factor.max(1.0));
            }
        }
    }

    /// The least factor of some pixels; the range holds at least one of the picture.
    pub fn within(&self, x: Range<usize>, y: Range<usize>) -> f32 {
        if self.factors.is_empty() {
            return 1.0;
        }
        let (first, last) = ((y.start / CELL, x.start / CELL), ((y.end - 1) / CELL, (x.end - 1) / CELL));
        if first == last {
            return self.factors[first.0 * self.grid.cols + first.1];
        }
        let cells = |pixels: Range<usize>, n: usize| pixels.start / CELL..pixels.end.div_ceil(CELL).min(n);
        let row = |y: usize| &self.factors[y * self.grid.cols..][cells(x.clone(), self.grid.cols)];
        cells(y, self.grid.rows).flat_map(row).copied().fold(f32::INFINITY, f32::min)
    }

    /// As seen by the cells of a map of `h` x `w` that covers the picture.
    pub fn over(&self, h: usize, w: usize) -> Over<'_> {
        // A cell of a coarser map sees more than one factor speaks for.
        let factors = if h < self.grid.rows || w < self.grid.cols { &[][..] } else { &self.factors };
        let step = |side: u32, n: usize| (u64::from(side) << 32) / (n.max(1) * CELL) as u64 + 1;
        Over { factors, cols: self.grid.cols, y: step(self.grid.size.height, h), x: step(self.grid.size.width, w) }
    }
}

/// A [`Leeway`] by the cells of a map.
#[derive(Debug, Clone, Copy)]
pub struct Over<'a> {
    factors: &'a [f32],
    cols: usize,
    /// Cells of the leeway a cell of the map, times 2^32.
    y: u64,
    x: u64,
}

impl Over<'_> {
    /// The factor at the middle of a cell.
    pub fn at(&self, y: usize, x: usize) -> f32 {
        self.factors.get(self.row(y) * self.cols + middle(x, self.x)).copied().unwrap_or(1.0)
    }

    /// Which row of the leeway's cells a row of the map lies in.
    pub fn row(&self, y: usize) -> usize {
        middle(y, self.y)
    }
}

/// The cell of the leeway in which the middle of a map's cell lies.
#[inline]
fn middle(at: usize, step: u64) -> usize {
    (((2 * at as u64 + 1) * step) >> 33) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_until_it_is_filled_and_lowest_where_boxes_lie() {
        let size = Size::new(100, 64);
        let mut leeway = Leeway::default();
        leeway.lower(&Rect::new(0.0, 0.0, 9.0, 9.0), 0.5);
        let at = |leeway: &Leeway, x: usize, y: usize| leeway.within(x..x + 1, y..y + 1);
        assert_eq!((at(&leeway, 5, 5), leeway.over(64, 100).at(63, 99)), (1.0, 1.0));
        leeway.fill(size, 4.0);
        leeway.lower(&Rect::new(-50.0, 33.0, 40.0, 500.0), 0.5);
        leeway.lower(&Rect::new(33.0, 33.0, 34.0, 34.0), 2.0);
        leeway.lower(&Rect::new(f32::NAN, 0.0, 0.0, 0.0), 1.0);
        let seen = [(0, 31), (0, 32), (63, 63), (99, 63)].map(|(x, y)| at(&leeway, x, y));
        assert_eq!((seen, leeway.within(64..128, 0..64)), ([4.0, 1.0, 1.0, 4.0], 4.0));
        assert_eq!(leeway.within(0..128, 0..64), 1.0);
    }

    #[test]
    fn maps_of_all_sizes_see_the_cell_they_lie_in() {
        let size = Size::new(100, 64);
        let mut leeway = Leeway::default();
        leeway.fill(size, 3.0);
        leeway.lower(&Rect::new(96.0, 40.0, 99.0, 50.0), 1.0);
        for (h, w) in [(64, 100), (32, 50), (16, 25), (2, 4)] {
            for y in 0..h {
                for x in 0..w {
                    let (py, px) = ((2 * y + 1) * 64 / (2 * h), (2 * x + 1) * 100 / (2 * w));
                    assert_eq!(leeway.over(h, w).at(y, x), leeway.within(px..px + 1, py..py + 1), "{y} {x} of {h}x{w}");
                }
            }
        }
        assert_eq!(leeway.over(1, 1).at(0, 0), 1.0, "what sees everything follows closely");
    }
}
