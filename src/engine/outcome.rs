//! What became of the cells that were computed, tile by tile.

use super::kernels::TILE;

/// What became of the cells of a tile, a bit each.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Outcome {
    /// Stored, because they passed the gate.
    pub passes: u32,
    /// Held back, but owed to the readers.
    pub owes: u32,
    /// Of those that passed, the ones that did so by far.
    pub far: u32,
}

/// The outcomes of all tiles as three rows of bits, from the first cell on.
pub(super) struct Dealt<'a> {
    rest: std::slice::Iter<'a, Outcome>,
    /// Bits that were taken from tiles and not dealt yet.
    bits: [u128; 3],
    n: u32,
}

impl<'a> Dealt<'a> {
    pub fn of(outcomes: &'a [Outcome]) -> Self {
        Self { rest: outcomes.iter(), bits: [0; 3], n: 0 }
    }

    /// Whether each of the next `n` cells (1..=64) passes, owes, is far; zeros after the last.
    pub fn next(&mut self, n: u32) -> [u64; 3] {
        while self.n < n {
            let Outcome { passes, owes, far } = self.rest.next().copied().unwrap_or_default();
            for (bits, tile) in self.bits.iter_mut().zip([passes, owes, far]) {
                *bits |= u128::from(tile) << self.n;
            }
            self.n += TILE as u32;
        }
        let dealt = self.bits.map(|bits| bits as u64 & (u64::MAX >> (64 - n)));
        self.bits.iter_mut().for_each(|bits| *bits >>= n);
        self.n -= n;
        dealt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_dealt_across_tiles() {
        let mut random = fastrand::Rng::with_seed(2);
        let tile = || random.u32(..1 << TILE);
        let outcomes: Vec<Outcome> =
            std::iter::repeat_with(tile).map(|v| Outcome { passes: v, owes: !v & 0xfff, far: 0 }).take(40).collect();
        let mut dealt = Dealt::of(&outcomes);
        let mut found = Vec::new();
        for n in [1, 64, 64, 3, 12, 63, 64, 64, 64, 64, 17] {
            let [passes, owes, far] = dealt.next(n);
            assert_eq!((passes ^ owes, far), (u64::MAX >> (64 - n), 0));
            found.extend((0..n).map(|i| passes >> i & 1));
        }
        let wanted: Vec<u64> = outcomes.iter().flat_map(|o| (0..TILE).map(|p| u64::from(o.passes) >> p & 1)).collect();
        assert_eq!(found, wanted);
        assert_eq!(dealt.next(9), [0; 3]);
    }
}
