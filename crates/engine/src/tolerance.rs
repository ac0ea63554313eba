//! How closely each part of the picture must be followed.
//!
//! A change matters by what it can do to the answer. Where a detector is sure, of
//! something or of nothing, the thresholds of the skip stage and of the engine's
//! gates may be wide; where a score stands near the limit from which it is
//! reported, they may not. The factors here are of thresholds, a cell of
//! [`TOLERANCE_CELL`] pixels of model input each; 1 is as set.

use std::ops::Range;

/// Side of a cell, pixels.
pub const TOLERANCE_CELL: usize = 32;

/// Factors of at least 1. The default is 1 everywhere.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ToleranceMap {
    /// Pixels of the picture, down and along.
    size: [usize; 2],
    rows: usize,
    cols: usize,
    /// Row by row; empty: 1 everywhere.
    factors: Vec<f32>,
}

impl ToleranceMap {
    /// Forgets everything: 1 everywhere.
    pub fn clear(&mut self) {
        self.factors.clear();
    }

    /// The same factor for a whole picture of so many pixels, down and along.
    pub fn fill(&mut self, size: [usize; 2], factor: f32) {
        self.size = size;
        [self.rows, self.cols] = size.map(|n| n.div_ceil(TOLERANCE_CELL));
        self.factors.clear();
        self.factors.resize(self.rows * self.cols, factor.max(1.0));
    }

    pub fn copy_from(&mut self, other: &Self) {
        (self.size, self.rows, self.cols) = (other.size, other.rows, other.cols);
        self.factors.clear();
        self.factors.extend_from_slice(&other.factors);
    }

    /// No more than this in every cell that these pixels, `x` and `y` from and to, touch; they may lie outside of the picture.
    pub fn lower(&mut self, x: [f32; 2], y: [f32; 2], factor: f32) {
        if self.factors.is_empty() || !x.iter().chain(&y).all(|v| v.is_finite()) {
            return;
        }
        let touched = |[from, to]: [f32; 2], n: usize| {
            let cell = TOLERANCE_CELL as f32;
            let first = ((from / cell).floor().max(0.0) as usize).min(n);
            first..((to / cell).ceil().max(0.0) as usize).clamp(first, n)
        };
        let cols = touched(x, self.cols);
        for row in touched(y, self.rows) {
            for known in &mut self.factors[row * self.cols..][cols.clone()] {
                *known = known.min(factor.max(1.0));
            }
        }
    }

    /// The least factor of some pixels; the range holds at least one of the picture.
    pub fn within(&self, x: Range<usize>, y: Range<usize>) -> f32 {
        if self.factors.is_empty() {
            return 1.0;
        }
        let (first, last) = (
            (y.start / TOLERANCE_CELL, x.start / TOLERANCE_CELL),
            ((y.end - 1) / TOLERANCE_CELL, (x.end - 1) / TOLERANCE_CELL),
        );
        if first == last {
            return self.factors[first.0 * self.cols + first.1];
        }
        let cells =
            |pixels: Range<usize>, n: usize| pixels.start / TOLERANCE_CELL..pixels.end.div_ceil(TOLERANCE_CELL).min(n);
        let row = |y: usize| &self.factors[y * self.cols..][cells(x.clone(), self.cols)];
        cells(y, self.rows).flat_map(row).copied().fold(f32::INFINITY, f32::min)
    }

    /// As seen by the cells of a map of `h` x `w` that covers the picture.
    pub fn over(&self, h: usize, w: usize) -> Over<'_> {
        // A cell of a coarser map sees more than one factor speaks for.
        let factors = if h < self.rows || w < self.cols { &[][..] } else { &self.factors };
        let step = |side: usize, n: usize| ((side as u64) << 32) / (n.max(1) * TOLERANCE_CELL) as u64 + 1;
        Over { factors, cols: self.cols, y: step(self.size[0], h), x: step(self.size[1], w) }
    }
}

/// A [`ToleranceMap`] by the cells of a map.
#[derive(Debug, Clone, Copy)]
pub struct Over<'a> {
    factors: &'a [f32],
    cols: usize,
    /// Cells of the tolerance map a cell of the map, times 2^32.
    y: u64,
    x: u64,
}

impl Over<'_> {
    /// The factor at the middle of a cell.
    pub fn at(&self, y: usize, x: usize) -> f32 {
        self.factors.get(self.row(y) * self.cols + middle(x, self.x)).copied().unwrap_or(1.0)
    }

    /// Which row of the tolerance map's cells a row of the map lies in.
    pub fn row(&self, y: usize) -> usize {
        middle(y, self.y)
    }
}

/// The cell of the tolerance map in which the middle of a map's cell lies.
#[inline]
fn middle(at: usize, step: u64) -> usize {
    (((2 * at as u64 + 1) * step) >> 33) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_one_until_it_is_filled_and_lowest_where_boxes_lie() {
        let size = [64, 100];
        let mut tolerance = ToleranceMap::default();
        tolerance.lower([0.0, 9.0], [0.0, 9.0], 0.5);
        let at = |tolerance: &ToleranceMap, x: usize, y: usize| tolerance.within(x..x + 1, y..y + 1);
        assert_eq!((at(&tolerance, 5, 5), tolerance.over(64, 100).at(63, 99)), (1.0, 1.0));
        tolerance.fill(size, 4.0);
        tolerance.lower([-50.0, 40.0], [33.0, 500.0], 0.5);
        tolerance.lower([33.0, 34.0], [33.0, 34.0], 2.0);
        tolerance.lower([f32::NAN, 0.0], [0.0, 0.0], 1.0);
        let seen = [(0, 31), (0, 32), (63, 63), (99, 63)].map(|(x, y)| at(&tolerance, x, y));
        assert_eq!((seen, tolerance.within(64..128, 0..64)), ([4.0, 1.0, 1.0, 4.0], 4.0));
        assert_eq!(tolerance.within(0..128, 0..64), 1.0);
    }

    #[test]
    fn maps_of_all_sizes_see_the_cell_they_lie_in() {
        let size = [64, 100];
        let mut tolerance = ToleranceMap::default();
        tolerance.fill(size, 3.0);
        tolerance.lower([96.0, 99.0], [40.0, 50.0], 1.0);
        for (h, w) in [(64, 100), (32, 50), (16, 25), (2, 4)] {
            for y in 0..h {
                for x in 0..w {
                    let (py, px) = ((2 * y + 1) * 64 / (2 * h), (2 * x + 1) * 100 / (2 * w));
                    assert_eq!(
                        tolerance.over(h, w).at(y, x),
                        tolerance.within(px..px + 1, py..py + 1),
                        "{y} {x} of {h}x{w}"
                    );
                }
            }
        }
        assert_eq!(tolerance.over(1, 1).at(0, 0), 1.0, "what sees everything follows closely");
    }
}
