//! The clip that keeps direction: of some shares of a gradient's range the one whose codes point most nearly where the
//! gradient does (Zhu et al., "Towards Unified INT8 Training", CVPR 2020). It is looked for now and then only.

use super::rows::bounded;
use multiversion::multiversion;

/// Shares of the range that are tried.
pub const SHARES: [f32; 4] = [1.0, 0.8, 0.6, 0.4];

/// Steps between two searches.
pub const EVERY: u32 = 50;

/// Of so many rows one is looked at.
pub const ROWS: usize = 4;

/// Sums are of whole numbers, so that their order does not matter: this many to one.
const UNIT: f64 = (1u64 << 36) as f64;
/// Makes numbers of a few hundred whole, ties to even.
const LARGE: f32 = 12_582_912.0;
/// Bounds what one row may add.
const MOST: f64 = (1u64 << 24) as f64;

/// How codes of each share lie beside the gradient: sums of products with it, of their own squares, and of the gradient's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClipSearch {
    products: [i64; SHARES.len()],
    squares: [i64; SHARES.len()],
    own: i64,
}

impl ClipSearch {
    /// Takes in a row; `ranges` are those of its channels, which repeat along it, and `most` is the greatest of them.
    pub fn add(&mut self, row: &[f32], ranges: &[f32], most: f32) {
        if most <= 0.0 {
            return;
        }
        let whole = |sum: f32| (f64::from(sum).clamp(-MOST, MOST) * UNIT) as i64;
        let [own, rest @ ..] = sums(row, ranges, 1.0 / most);
        self.own = self.own.saturating_add(whole(own));
        for (i, pair) in rest.chunks_exact(2).enumerate() {
            self.products[i] = self.products[i].saturating_add(whole(pair[0]));
            self.squares[i] = self.squares[i].saturating_add(whole(pair[1]));
        }
    }

    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        self.own = self.own.saturating_add(other.own);
        for i in 0..SHARES.len() {
            self.products[i] = self.products[i].saturating_add(other.products[i]);
            self.squares[i] = self.squares[i].saturating_add(other.squares[i]);
        }
        self
    }

    /// The best share, and by how much its codes' direction is off: 1 less the cosine.
    pub fn best(&self) -> (f32, f32) {
        let cosine = |i: usize| {
            let length = (self.squares[i] as f64).sqrt() * (self.own as f64).sqrt();
            if length > 0.0 { self.products[i] as f64 / length } else { 0.0 }
        };
        let mut best = (SHARES[0], cosine(0));
        for (i, share) in SHARES.into_iter().enumerate() {
            if cosine(i) > best.1 {
                best = (share, cosine(i));
            }
        }
        if self.own == 0 { (1.0, 0.0) } else { (best.0, (1.0 - best.1).max(0.0) as f32) }
    }
}

/// The sum of the squares of a row in a unit, and of each share the sums of products with its codes and of their squares.
/// Sixteen sums side by side, which are added up at last: the same bits for any instruction set.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
fn sums(row: &[f32], ranges: &[f32], unit: f32) -> [f32; 1 + 2 * SHARES.len()] {
    let mut lanes = [[0.0f32; 16]; 1 + 2 * SHARES.len()];
    for cells in row.chunks(ranges.len()) {
        for (row, ranges) in cells.chunks(16).zip(ranges.chunks_exact(16)) {
            for (i, (g, range)) in row.iter().zip(ranges).enumerate() {
                // What has no range yet has no codes.
                let (g, inverse) = if *range > 0.0 { (*g, 127.0 / range) } else { (0.0, 0.0) };
                let v = g * unit;
                lanes[0][i] += v * v;
                for (k, share) in SHARES.into_iter().enumerate() {
                    let code = bounded(g * (inverse / share)) + LARGE - LARGE;
                    let coded = code * (range * (share / 127.0) * unit);
                    lanes[1 + 2 * k][i] += v * coded;
                    lanes[2 + 2 * k][i] += coded * coded;
                }
            }
        }
    }
    lanes.map(|lanes| lanes.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lonely_peak_is_clipped_and_an_even_row_is_not() {
        let even: Vec<f32> = (0..256u16).map(|i| f32::from(i) / 128.0 - 1.0).collect();
        let find = |row: &[f32]| {
            let mut direction = ClipSearch::default();
            let most = row.iter().fold(0.0f32, |m, g| m.max(g.abs()));
            direction.add(row, &[most; 16], most);
            direction.best()
        };
        let (share, off) = find(&even);
        assert!(share == 1.0 && off < 1e-4, "{share} {off}");
        // Nearly all numbers are less than half a step of the whole range.
        let mut peaked: Vec<f32> = (0..256).flat_map(|_| even.iter().map(|g| g * 0.0039)).collect();
        peaked[7] = 1.0;
        let (share, off) = find(&peaked);
        assert!(share < 1.0 && off > 0.0, "{share} {off}");
        assert_eq!(find(&[0.0; 32]), (1.0, 0.0));
    }

    #[test]
    fn the_order_of_rows_does_not_matter() {
        let rows: Vec<Vec<f32>> = (0..8u16).map(|i| (0..48u16).map(|j| f32::from(i * j % 7) - 3.3).collect()).collect();
        let of = |order: &mut dyn Iterator<Item = &Vec<f32>>| {
            order.fold(ClipSearch::default(), |all, row| {
                let mut one = ClipSearch::default();
                one.add(row, &[4.0; 16], 4.0);
                all.merged(one)
            })
        };
        assert_eq!(of(&mut rows.iter()), of(&mut rows.iter().rev()));
    }
}
