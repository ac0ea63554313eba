//! How much each cell flickers when nothing happens there.
//!
//! Noise is learnt from frame t against t-1, so that slow drift (which t
//! against the reference would show) is never mistaken for it. A few rows of
//! cells are measured a frame, in turn.

/// Share of a new measurement in the running mean.
const RATE: f32 = 0.12;
/// Measurements above this (levels of 255) are movement, not noise, and count as this much.
const LIMIT: f32 = 8.0;

/// Running mean and mean deviation of each cell's flicker, levels of 255.
#[derive(Debug, Clone)]
pub struct Noise {
    mean: Vec<f32>,
    deviation: Vec<f32>,
    n_seen: Vec<u8>,
}

impl Noise {
    pub fn new(n_cells: usize) -> Self {
        Self { mean: vec![0.0; n_cells], deviation: vec![0.0; n_cells], n_seen: vec![0; n_cells] }
    }

    /// `level` is the mean absolute difference of the cell from the frame before.
    pub fn learn(&mut self, cell: usize, level: f32) {
        let level = level.min(LIMIT);
        let n = self.n_seen[cell].saturating_add(1);
        self.n_seen[cell] = n;
        // A plain mean at first, so that it is right as soon as it can be.
        let rate = RATE.max(1.0 / f32::from(n));
        let mean = &mut self.mean[cell];
        let off = level - *mean;
        *mean += rate * off;
        self.deviation[cell] += rate * (off.abs() - self.deviation[cell]);
    }

    /// The level below which the cell's difference from its reference is noise.
    pub fn expected(&self, cell: usize) -> f32 {
        self.mean[cell] + 3.0 * self.deviation[cell]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn learns_quickly_forgets_movement_and_stays_bounded() {
        let mut noise = Noise::new(1);
        for _ in 0..5 {
            noise.learn(0, 2.0);
        }
        assert!((2.0..3.5).contains(&noise.expected(0)), "{}", noise.expected(0));
        for _ in 0..1000 {
            noise.learn(0, 200.0);
        }
        assert!(noise.expected(0) < 2.0 * LIMIT, "movement for ever does not blind the gate: {}", noise.expected(0));
        for _ in 0..60 {
            noise.learn(0, 2.0);
        }
        assert!(noise.expected(0) < 3.0, "recovers: {}", noise.expected(0));
    }
}
