//! How much each cell flickers when nothing happens there.
//!
//! Noise is learnt from frame t against t-1, so that slow drift (which t
//! against the reference would show) is never mistaken for it. The estimate
//! falls fast and rises slowly: what passes through a cell, and a picture that
//! an I-frame repaints now and then, hardly lift it, and it is right again soon
//! after. Where most cells rise together it is the sensor (dusk, another gain),
//! and all follow at once.

use std::ops::Range;

/// Share of a new measurement that is taken over when it is lower, and when it is higher.
const FALL: f32 = 0.35;
const RISE: f32 = 0.03;
/// Measurements above this (levels of 255) are movement, not noise, and count as this much.
const LIMIT: f32 = 8.0;
/// Noise is not one number: this much more than the estimate is still expected.
const NOISE_MARGIN: f32 = 1.4;
/// The cells of a round rise together if half of them lie above the estimate by this factor and this much.
const TOGETHER: (f32, f32) = (1.1, 0.2);

/// The usual flicker of each cell, mean absolute difference in levels of 255.
#[derive(Debug, Clone)]
pub struct Noise {
    level: Vec<f32>,
    is_known: Vec<bool>,
}

impl Noise {
    pub fn new(n_cells: usize) -> Self {
        Self { level: vec![0.0; n_cells], is_known: vec![false; n_cells] }
    }

    /// `levels` are the differences of some cells, from `first` on, from the frame before.
    pub fn learn(&mut self, first: usize, levels: &[f32]) {
        let range = first..first + levels.len();
        let (usual, is_known) = (&mut self.level[range.clone()], &mut self.is_known[range]);
        let above = |(usual, now): (&f32, &f32)| *now > usual * TOGETHER.0 + TOGETHER.1;
        let n_above = usual.iter().zip(levels).filter(|pair| above((pair.0, pair.1))).count();
        let together = 2 * n_above > levels.len();
        for ((usual, is_known), now) in usual.iter_mut().zip(is_known).zip(levels) {
            let now = now.min(LIMIT);
            if !std::mem::replace(is_known, true) {
                *usual = now;
            } else {
                *usual += (now - *usual) * if now < *usual || together { FALL } else { RISE };
            }
        }
    }

    /// What is known of some cells.
    pub fn levels(&self, cells: Range<usize>) -> &[f32] {
        &self.level[cells]
    }

    /// What of a cell's difference from its reference is not noise: independent differences
    /// add up as squares.
    pub fn beyond(&self, cell: usize, level: f32) -> f32 {
        let noise = NOISE_MARGIN * self.level[cell];
        (level * level - noise * noise).max(0.0).sqrt()
    }
}

/// Whether what is [`Noise::beyond`] a cell's noise may be more than a threshold: without a root, and never too strict.
pub fn may_exceed(level: f32, noise: f32, threshold: f32) -> bool {
    let noise = NOISE_MARGIN * noise;
    level * level > (noise * noise + threshold * threshold) * (1.0 - 1e-5)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_at_once_and_not_blinded_by_what_passes() {
        let mut noise = Noise::new(4);
        noise.learn(0, &[2.0; 4]);
        assert!(noise.beyond(0, 2.2) == 0.0 && noise.beyond(0, 4.0) > 2.5);
        for _ in 0..10 {
            noise.learn(0, &[2.0, 2.0, 2.0, 40.0]);
        }
        assert!(noise.beyond(3, 8.0) > 6.0, "a passer-by leaves no blind spot: {}", noise.beyond(3, 8.0));
        for _ in 0..1000 {
            noise.learn(0, &[2.0, 2.0, 2.0, 40.0]);
        }
        assert!(noise.beyond(3, 2.0 * LIMIT) > LIMIT, "movement for ever does not blind either");
        for _ in 0..8 {
            noise.learn(0, &[2.0; 4]);
        }
        assert!(noise.beyond(3, 5.0) > 3.5, "recovers: {}", noise.beyond(3, 5.0));
    }

    #[test]
    fn follows_when_all_cells_rise_together() {
        let mut noise = Noise::new(100);
        noise.learn(0, &[0.5; 100]);
        for _ in 0..8 {
            noise.learn(0, &[4.0; 100]);
        }
        assert_eq!(noise.beyond(50, 4.0), 0.0, "dusk: {}", noise.level[50]);
    }
}
