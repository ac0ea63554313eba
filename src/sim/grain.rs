//! Sensor noise: normal, white, cheap enough for every pixel of every frame.

use super::world::Dice;

/// Length of the table of normal numbers; a power of two.
const TABLE: usize = 1 << 16;

/// Noise of one strength; the same seed, frame and row give the same noise.
pub struct Grain {
    table: Vec<i8>,
    seed: Dice,
}

impl Grain {
    /// `sigma` in levels of 255.
    pub fn new(sigma: f32, seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5e45_0a11);
        let table = (0..TABLE)
            .map(|_| {
                // Box-Muller; the logarithm's argument is kept from 0.
                let r = (-2.0 * rng.f32().max(1e-7).ln()).sqrt();
                let v = r * (std::f32::consts::TAU * rng.f32()).cos() * sigma;
                v.round().clamp(-127.0, 127.0) as i8
            })
            .collect();
        Self { table, seed: Dice::new(seed).child(70) }
    }

    /// Adds the noise of row `y` of frame `n`.
    pub fn add(&self, row: &mut [u8], n: u64, y: u64) {
        let from = self.seed.child(n).child(y).seed() as usize;
        for (i, v) in row.iter_mut().enumerate() {
            *v = v.saturating_add_signed(self.table[from.wrapping_add(i) % TABLE]);
        }
    }
}
