//! What became of the cells that were computed, tile by tile.

use super::kernels::TILE;

/// Bits of all tiles in a row, from the first cell on.
pub(super) struct Dealt<'a> {
    rest: std::slice::Iter<'a, u32>,
    /// Bits that were taken from tiles and not dealt yet.
    bits: u128,
    n: u32,
}

impl<'a> Dealt<'a> {
    /// Of tiles with a bit for each of [`TILE`] cells.
    pub fn of(tiles: &'a [u32]) -> Self {
        Self { rest: tiles.iter(), bits: 0, n: 0 }
    }

    /// Those of the next `n` cells (1..=64); zeros after the last.
    pub fn next(&mut self, n: u32) -> u64 {
        while self.n < n {
            self.bits |= u128::from(self.rest.next().copied().unwrap_or_default()) << self.n;
            self.n += TILE as u32;
        }
        let dealt = self.bits as u64 & (u64::MAX >> (64 - n));
        self.bits >>= n;
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
        let tiles: Vec<u32> = std::iter::repeat_with(|| random.u32(..1 << TILE)).take(40).collect();
        let mut dealt = Dealt::of(&tiles);
        let mut found = Vec::new();
        for n in [1, 64, 64, 3, 12, 63, 64, 64, 64, 64, 17] {
            let bits = dealt.next(n);
            found.extend((0..n).map(|i| bits >> i & 1));
        }
        let wanted: Vec<u64> = tiles.iter().flat_map(|o| (0..TILE).map(|p| u64::from(*o) >> p & 1)).collect();
        assert_eq!(found, wanted);
        assert_eq!(dealt.next(9), 0);
    }
}
