//! A first look at a row of patches: most are as they were, which whole vectors of them can be told at once.

use super::noise;
use crate::geom::PatchGrid;
use engine::tolerance::{TOLERANCE_CELL, ToleranceMap};

/// What is seen of one row, a number a patch each.
#[derive(Debug, Clone)]
pub struct RowPrescreen {
    /// Whether the patch may be anything but as usual.
    notable: Vec<bool>,
    /// The least mean difference of a cell that counts, levels of 255.
    thresholds: Vec<f32>,
}

impl RowPrescreen {
    /// For rows of so many patches.
    pub fn new(cols: usize) -> Self {
        Self { notable: vec![false; cols], thresholds: vec![0.0; cols] }
    }

    /// Begins a row; rows are looked at from the first on. `threshold`: the least difference that counts, and the share of the
    /// tolerance that it takes. `is_notable`: whether a patch is, whatever it looks like.
    pub fn begin(
        &mut self,
        grid: PatchGrid,
        row: usize,
        (threshold, share): (f32, f32),
        tolerance: &ToleranceMap,
        is_notable: impl Iterator<Item = bool>,
    ) {
        self.notable.iter_mut().zip(is_notable).for_each(|(notable, is)| *notable = is);
        let pixels = |at: usize| at * grid.patch as usize..(at + 1) * grid.patch as usize;
        let cells = |row: usize| [pixels(row).start / TOLERANCE_CELL, (pixels(row).end - 1) / TOLERANCE_CELL];
        if row > 0 && cells(row) == cells(row - 1) {
            return;
        }
        for (col, known) in self.thresholds.iter_mut().enumerate() {
            let tolerance = tolerance.within(pixels(col), pixels(row));
            *known = threshold * (1.0 + share * (tolerance - 1.0));
        }
    }

    /// Looks at one row of cells, `per_patch` of which are a patch's: their mean differences and their noise, levels of 255.
    pub fn look(&mut self, per_patch: usize, levels: impl Iterator<Item = f32>, noises: &[f32]) {
        let cells = levels.zip(noises);
        if per_patch == 1 {
            let patches = self.notable.iter_mut().zip(&self.thresholds);
            for ((notable, threshold), (level, noise)) in patches.zip(cells) {
                *notable |= noise::may_exceed(level, *noise, *threshold);
            }
            return;
        }
        for (x, (level, noise)) in cells.enumerate() {
            let patch = x / per_patch;
            self.notable[patch] |= noise::may_exceed(level, *noise, self.thresholds[patch]);
        }
    }

    /// Whether a patch of the row may be anything but as usual.
    pub fn is_notable(&self, col: usize) -> bool {
        self.notable[col]
    }

    /// The least mean difference of a cell that counts there, levels of 255.
    pub fn threshold(&self, col: usize) -> f32 {
        self.thresholds[col]
    }
}

#[cfg(test)]
mod tests {
    use super::super::noise::Noise;
    use super::*;
    use crate::geom::Size;

    #[test]
    fn a_patch_is_notable_where_a_cell_exceeds_its_threshold() {
        let mut random = fastrand::Rng::with_seed(8);
        for (patch, per_patch) in [(8, 1), (16, 2), (64, 8)] {
            let grid = PatchGrid::new(Size::new(200, 8), patch);
            let mut prescreen = RowPrescreen::new(grid.cols);
            let (mut n_exceed, mut n_spared) = (0, 0);
            for _ in 0..200 {
                let mut noise = Noise::new(25);
                let mut some = |most: f32| (0..25).map(|_| most * random.f32()).collect::<Vec<f32>>();
                noise.learn(0, &some(2.0));
                let mut tolerance = ToleranceMap::default();
                tolerance.fill(grid.size.rows_and_columns(), 2.0);
                tolerance.lower([0.0, 30.0], [0.0, 8.0], 1.0);
                // The more cells, the fewer exceed.
                let levels: Vec<f32> = some(1.0).iter().map(|v| 6.0 * v.powi(per_patch as i32)).collect();
                prescreen.begin(grid, 0, (1.0, 0.5), &tolerance, std::iter::repeat(false));
                prescreen.look(per_patch, levels.iter().copied(), noise.levels(0..25));
                for col in 0..grid.cols {
                    let cells = (col * per_patch)..((col + 1) * per_patch).min(25);
                    let exceeds = cells.clone().any(|cell| noise.beyond(cell, levels[cell]) > prescreen.threshold(col));
                    let close =
                        cells.clone().any(|cell| noise.beyond(cell, levels[cell]) > prescreen.threshold(col) * 0.99);
                    assert!(prescreen.is_notable(col) || !exceeds);
                    assert!(close || !prescreen.is_notable(col));
                    n_exceed += usize::from(exceeds);
                    n_spared += usize::from(!prescreen.is_notable(col));
                }
            }
            assert!(n_exceed > 50 && n_spared > 50, "{patch}: {n_exceed} {n_spared}");
        }
    }

    #[test]
    fn thresholds_follow_the_tolerance_row_by_row() {
        for patch in [8, 16, 32, 64] {
            let grid = PatchGrid::new(Size::new(192, 160), patch);
            let mut tolerance = ToleranceMap::default();
            tolerance.fill(grid.size.rows_and_columns(), 3.0);
            tolerance.lower([40.0, 20.0], [70.0, 20.0], 1.0);
            let mut prescreen = RowPrescreen::new(grid.cols);
            for row in 0..grid.rows {
                prescreen.begin(grid, row, (2.0, 0.5), &tolerance, std::iter::repeat(row == 1));
                for col in 0..grid.cols {
                    let p = patch as usize;
                    let factor = tolerance.within(col * p..(col + 1) * p, row * p..(row + 1) * p);
                    assert_eq!(prescreen.threshold(col), 2.0 * (1.0 + 0.5 * (factor - 1.0)), "{patch}: {col} {row}");
                    assert_eq!(prescreen.is_notable(col), row == 1);
                }
            }
        }
    }
}
