//! From drawn light to camera bytes: exposure, noise, codec.

use super::grain::Grain;
use super::settings::{SimSettings, StreetScene};
use super::world::{Dice, World};

/// Side of a codec's block, pixels.
const BLOCK: usize = 8;

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
            if s.scene == StreetScene::Infrared {
                self.develop_grey(src, dst, &curve, n, y, s);
                continue;
            }
            for (from, to) in src.as_chunks::<4>().0.iter().zip(dst.as_chunks_mut::<3>().0) {
                *to = [curve[from[2] as usize], curve[from[1] as usize], curve[from[0] as usize]];
            }
            if s.noise > 0.0 {
                self.grain.add(dst, n, y as u64);
            }
            if s.gop > 0 {
                self.repaint(dst, y, n / u64::from(s.gop), BLOCK * 3);
            }
        }
    }

    /// A row of a sensor without colours: the grey values are made at the row's
    /// beginning, noise and all, and then spread over the channels.
    fn develop_grey(&self, rgba: &[u8], row: &mut [u8], curve: &[u8; 256], n: u64, y: usize, s: &SimSettings) {
        let width = rgba.len() / 4;
        let greys = &mut row[..width];
        for (from, to) in rgba.as_chunks::<4>().0.iter().zip(greys.iter_mut()) {
            let [r, g, b, _] = from.map(u32::from);
            // Weights of ITU-R BT.601, in 256ths.
            *to = curve[((77 * r + 150 * g + 29 * b) >> 8) as usize];
        }
        if s.noise > 0.0 {
            self.grain.add(greys, n, y as u64);
        }
        if s.gop > 0 {
            self.repaint(greys, y, n / u64::from(s.gop), BLOCK);
        }
        // From the end: what is overwritten was already read.
        for x in (0..width).rev() {
            let grey = row[x];
            row[3 * x..3 * x + 3].fill(grey);
        }
    }

    /// What an I-frame does: every block of 8x8 px gets a new small error,
    /// which stays until the next one. `block_len` is a block's bytes in a row.
    fn repaint(&self, row: &mut [u8], y: usize, group: u64, block_len: usize) {
        let blocks = self.seed.child(group ^ 0xb10c).child((y / BLOCK) as u64);
        for (i, block) in row.chunks_mut(block_len).enumerate() {
            let error = (blocks.unit(i as u64) * 7.0) as i8 - 3;
            for v in block {
                *v = v.saturating_add_signed(error);
            }
        }
    }
}
