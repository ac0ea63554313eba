//! From drawn light to camera bytes: exposure, noise, codec.

use super::SimSettings;
use super::world::{Dice, World};

/// Length of the table of normal numbers; a power of two.
const TABLE: usize = 1 << 16;

pub struct Sensor {
    /// Normal numbers of the wanted sigma, rounded to levels.
    noise: Vec<i8>,
    seed: Dice,
}

impl Sensor {
    pub fn new(s: &SimSettings) -> Self {
        let mut rng = fastrand::Rng::with_seed(s.seed ^ 0x5e45_0a11);
        let noise = (0..TABLE)
            .map(|_| {
                // Box-Muller; the first argument is kept from 0.
                let r = (-2.0 * rng.f32().max(1e-7).ln()).sqrt();
                let v = r * (std::f32::consts::TAU * rng.f32()).cos() * s.noise;
                v.round().clamp(-127.0, 127.0) as i8
            })
            .collect();
        Self { noise, seed: Dice::new(s.seed).child(70) }
    }

    /// Brightness of frame time `t_s`: daylight, and an auto-exposure that
    /// follows it 1.5 s late, by four fifths.
    pub fn gain(world: &World, s: &SimSettings, t_s: f32) -> f32 {
        let light = |t: f32| {
            let switched = s.switch_s > 0.0 && (t / s.switch_s).floor() as i64 % 2 != 0;
            world.daylight(s.clouds, t) * if switched { 0.6 } else { 1.0 }
        };
        light(t_s) / light(t_s - 1.5).powf(0.8)
    }

    /// RGBA rows to BGR rows, with `gain`, noise and repaint of frame `n`.
    pub fn develop(&self, rgba: &[u8], bgr: &mut [u8], gain: f32, n: u64, s: &SimSettings) {
        let curve: [u8; 256] = std::array::from_fn(|v| (v as f32 * gain).min(255.0).round() as u8);
        let width = s.size.width as usize;
        let frame = self.seed.child(n);
        for (y, (src, dst)) in rgba.chunks_exact(width * 4).zip(bgr.chunks_exact_mut(width * 3)).enumerate() {
            for (from, to) in src.as_chunks::<4>().0.iter().zip(dst.as_chunks_mut::<3>().0) {
                *to = [curve[from[2] as usize], curve[from[1] as usize], curve[from[0] as usize]];
            }
            if s.noise > 0.0 {
                let from = frame.child(y as u64).seed() as usize;
                for (i, v) in dst.iter_mut().enumerate() {
                    *v = v.saturating_add_signed(self.noise[from.wrapping_add(i) % TABLE]);
                }
            }
            if s.gop > 0 {
                self.repaint(dst, y, n / u64::from(s.gop));
            }
        }
    }

    /// What an I-frame does: every block of 8x8 px gets a new small error,
    /// which stays until the next one.
    fn repaint(&self, row: &mut [u8], y: usize, group: u64) {
        let blocks = self.seed.child(group ^ 0xb10c).child((y / 8) as u64);
        for (i, block) in row.chunks_mut(24).enumerate() {
            let error = (blocks.unit(i as u64) * 7.0) as i8 - 3;
            for v in block {
                *v = v.saturating_add_signed(error);
            }
        }
    }
}
