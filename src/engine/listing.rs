//! The cells that a step computes, in the order in which it does, cut into tiles.

use super::changes::{Cell, ChangeSet};
use super::kernels::TILE;

/// Reused from step to step.
pub(super) struct Listing {
    cells: Vec<Cell>,
    /// Where each tile ends.
    ends: Vec<u32>,
}

impl Listing {
    /// Room for all cells of a map.
    pub fn with_capacity(n_cells: usize) -> Self {
        Self { cells: Vec::with_capacity(n_cells), ends: Vec::with_capacity(n_cells.div_ceil(TILE)) }
    }

    /// Lists a set.
    pub fn list(&mut self, set: &ChangeSet) {
        set.list(&mut self.cells);
        self.ends.clear();
        let n = self.cells.len();
        self.ends.extend((TILE..n).step_by(TILE).chain((n > 0).then_some(n)).map(|end| end as u32));
    }

    pub fn n_cells(&self) -> usize {
        self.cells.len()
    }

    pub fn n_tiles(&self) -> usize {
        self.ends.len()
    }

    /// The cells of a tile.
    pub fn tile(&self, k: usize) -> &[Cell] {
        let from = if k == 0 { 0 } else { self.ends[k - 1] };
        &self.cells[from as usize..self.ends[k] as usize]
    }

    /// Takes out of the set that was listed those whose bit, one a cell of a tile, is not set.
    pub fn keep(&self, outcomes: &[u32], set: &mut ChangeSet) {
        for (k, outcome) in outcomes.iter().enumerate() {
            let tile = self.tile(k);
            let mut gone = !outcome & (u32::MAX >> (u32::BITS - tile.len() as u32));
            while gone != 0 {
                let cell = tile[gone.trailing_zeros() as usize];
                set.unset(cell.y as usize, cell.x as usize);
                gone &= gone - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_hold_each_cell_once_and_those_whose_bit_is_set_are_kept() {
        let mut random = fastrand::Rng::with_seed(2);
        for n in [0, 1, TILE, TILE + 1, 300] {
            let (mut set, mut wanted) = (ChangeSet::new(9, 150), ChangeSet::new(9, 150));
            (0..n).for_each(|_| set.set(random.usize(0..9), random.usize(0..150)));
            let mut listing = Listing::with_capacity(9 * 150);
            listing.list(&set);
            let tiles: Vec<_> = (0..listing.n_tiles()).map(|k| listing.tile(k)).collect();
            assert!(tiles.iter().all(|t| (1..=TILE).contains(&t.len())));
            let mut cells = Vec::new();
            set.list(&mut cells);
            assert_eq!(tiles.concat(), cells);
            let outcomes: Vec<u32> = tiles.iter().map(|_| random.u32(..)).collect();
            for (tile, outcome) in tiles.iter().zip(&outcomes) {
                let kept = tile.iter().enumerate().filter(|(p, _)| outcome >> p & 1 == 1);
                kept.for_each(|(_, cell)| wanted.set(cell.y as usize, cell.x as usize));
            }
            listing.keep(&outcomes, &mut set);
            assert_eq!(set, wanted);
        }
    }
}
