//! Splitting a step's tiles over threads.
//!
//! A step is split only where there is enough to do: waking threads and moving
//! data to them takes as long as some hundreds of tiles. Cells do not depend on one another, so that any
//! number of threads gives the same bits.

use crate::exec::tile::Tiler;
use std::ops::Range;

/// How many threads run a plan, and when more than one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads {
    /// At least 1.
    pub n: usize,
    /// Work of a step that is worth a thread, in multiply-accumulates.
    pub least: u64,
}

impl Threads {
    pub const ONE: Self = Self::of(1);

    /// Some 150 us of work each at least, on a server of 2024.
    pub const fn of(n: usize) -> Self {
        Self { n: if n == 0 { 1 } else { n }, least: 10_000_000 }
    }

    /// How many of them a step with so many tiles and cells gets.
    pub fn for_step(self, n_tiles: usize, n_cells: usize, macs_per_cell: u64) -> usize {
        let work = n_cells as u64 * (macs_per_cell + CELL_WORK);
        let parts = usize::try_from(work / self.least.max(1)).unwrap_or(usize::MAX);
        parts.min(n_tiles).clamp(1, self.n)
    }
}

/// What a cell costs beside its multiply-accumulates: some 40 ns.
const CELL_WORK: u64 = 3000;

/// Calls `work` with every tile once: ranges of them, each with a tiler and room for the outcomes.
pub(crate) fn split<F>(tilers: &mut [Tiler], tiles: Range<usize>, outcomes: &mut [u64], work: &F)
where
    F: Fn(&mut Tiler, Range<usize>, &mut [u64]) + Sync,
{
    if let [tiler] = tilers {
        return work(tiler, tiles, outcomes);
    }
    let half = tilers.len() / 2;
    let n = tiles.len() * half / tilers.len();
    let (first, rest) = tilers.split_at_mut(half);
    let (a, b) = outcomes.split_at_mut(n);
    let middle = tiles.start + n;
    rayon::join(|| split(first, tiles.start..middle, a, work), || split(rest, middle..tiles.end, b, work));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_work_stays_on_one_thread() {
        let threads = Threads::of(4);
        assert_eq!(threads.for_step(9, 100, 1000), 1);
        assert_eq!(threads.for_step(9000, 100_000, 1000), 4);
        assert_eq!(threads.for_step(1, 9, u64::from(u32::MAX)), 1, "a tile is not split");
        assert_eq!(Threads::of(0).for_step(1 << 20, 1 << 20, 1 << 20), 1);
    }
}
