//! The cells that a step computes, in the order in which it does, cut into tiles.

use crate::changes::{Cell, ChangeSet};
use crate::kernels::{SQUARES, TILE};

/// Reused from step to step.
pub(crate) struct Listing {
    cells: Vec<Cell>,
    /// Where each tile ends.
    ends: Vec<u32>,
}

impl Listing {
    /// Room for all cells of a map.
    pub fn with_capacity(n_cells: usize) -> Self {
        Self { cells: Vec::with_capacity(n_cells), ends: Vec::with_capacity(n_cells.div_ceil(TILE)) }
    }

    /// Lists a set, row by row.
    pub fn list(&mut self, set: &ChangeSet) {
        set.list(&mut self.cells);
        self.ends.clear();
        let n = self.cells.len();
        self.ends.extend((TILE..n).step_by(TILE).chain((n > 0).then_some(n)).map(|end| end as u32));
    }

    /// Lists a set square by square of two by two cells.
    pub fn list_squares(&mut self, set: &ChangeSet) {
        self.cells.clear();
        self.ends.clear();
        let words = set.words_a_row().max(1);
        let mut n_squares = 0;
        for (pair, rows) in set.words().chunks(2 * words).enumerate() {
            let (first, second) = rows.split_at(words);
            for (i, upper) in first.iter().enumerate() {
                let halves = [*upper, second.get(i).copied().unwrap_or(0)];
                let any = halves[0] | halves[1];
                let mut squares = (any | any >> 1) & 0x5555_5555_5555_5555;
                while squares != 0 {
                    let at = squares.trailing_zeros();
                    squares &= squares - 1;
                    if n_squares == SQUARES {
                        self.ends.push(self.cells.len() as u32);
                        n_squares = 0;
                    }
                    n_squares += 1;
                    for (dy, half) in halves.iter().enumerate() {
                        for dx in (0..2).filter(|dx| half >> (at + dx) & 1 == 1) {
                            self.cells.push(Cell { y: (2 * pair + dy) as u32, x: i as u32 * 64 + at + dx });
                        }
                    }
                }
            }
        }
        if n_squares > 0 {
            self.ends.push(self.cells.len() as u32);
        }
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
    pub fn keep(&self, outcomes: &[u64], set: &mut ChangeSet) {
        for (k, outcome) in outcomes.iter().enumerate() {
            let tile = self.tile(k);
            let mut gone = !outcome & (u64::MAX >> (u64::BITS - tile.len() as u32));
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

    /// Tiles of a random set of so many cells, and the set.
    fn listed(random: &mut fastrand::Rng, n: usize, in_squares: bool) -> (Listing, ChangeSet) {
        let mut set = ChangeSet::new(9, 151);
        (0..n).for_each(|_| set.set(random.usize(0..9), random.usize(0..151)));
        let mut listing = Listing::with_capacity(9 * 151);
        if in_squares {
            listing.list_squares(&set)
        } else {
            listing.list(&set)
        }
        (listing, set)
    }

    fn tiles(listing: &Listing) -> Vec<&[Cell]> {
        (0..listing.n_tiles()).map(|k| listing.tile(k)).collect()
    }

    #[test]
    fn tiles_hold_each_cell_once_and_those_whose_bit_is_set_are_kept() {
        let mut random = fastrand::Rng::with_seed(2);
        for (n, in_squares) in [0, 1, TILE, TILE + 1, 300, 9000].into_iter().flat_map(|n| [(n, false), (n, true)]) {
            let (listing, mut set) = listed(&mut random, n, in_squares);
            let tiles = tiles(&listing);
            let (mut cells, mut wanted) = (tiles.concat(), Vec::new());
            cells.sort_unstable_by_key(|c| (c.y, c.x));
            set.list(&mut wanted);
            assert_eq!(cells, wanted);
            let mut kept = ChangeSet::new(9, 151);
            let outcomes: Vec<u64> = tiles.iter().map(|_| random.u64(..)).collect();
            for (tile, outcome) in tiles.iter().zip(&outcomes) {
                let those = tile.iter().enumerate().filter(|(p, _)| outcome >> p & 1 == 1);
                those.for_each(|(_, cell)| kept.set(cell.y as usize, cell.x as usize));
            }
            listing.keep(&outcomes, &mut set);
            assert_eq!(set, kept);
        }
    }

    #[test]
    fn tiles_are_runs_of_cells_or_whole_squares() {
        let mut random = fastrand::Rng::with_seed(3);
        let (rows, set) = listed(&mut random, 400, false);
        let mut cells = Vec::new();
        set.list(&mut cells);
        assert_eq!(tiles(&rows), cells.chunks(TILE).collect::<Vec<_>>());
        let (squares, _) = listed(&mut random, 400, true);
        let mut all = Vec::new();
        for tile in tiles(&squares) {
            let mut here: Vec<_> = tile.iter().map(|c| (c.y / 2, c.x / 2)).collect();
            here.dedup();
            assert!((1..=SQUARES).contains(&here.len()));
            all.extend(here);
        }
        let n = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), n, "no square is in two places");
    }
}
