//! From drawn light to camera bytes: exposure, noise, codec.

use super::grain::Grain;
use super::settings::SimSettings;
use super::world::{Dice, World};

pub struct Sensor {
    grain: Grain,
    seed: Dice,
}

impl Sensor {
    pub fn new(s: &SimSettings) -> Self {
        Self { grain: Grain::new(s.noise, s.seed), seed: Dice::new(s.seed).child(71) }
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
        for (y, (src, dst)) in rgba.chunks_exact(width * 4).zip(bgr.chunks_exact_mut(width * 3)).enumerate() {
            for (from, to) in src.as_chunks::<4>().0.iter().zip(dst.as_chunks_mut::<3>().0) {
                *to = [curve[from[2] as usize], curve[from[1] as usize], curve[from[0] as usize]];
            }
            if s.noise > 0.0 {
                self.grain.add(dst, n, y as u64);
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
