//! Change of light: one factor for the whole picture.
//!
//! A passing cloud or auto-exposure multiplies every pixel. The factor is the
//! median over cells of sum(now) / sum(reference): moving objects, as long as
//! they cover less than half of the picture, do not shift it.

use super::diff::{CELL, Differ};
use crate::frame::Frame;

/// The row of pixels, of the eight of a cell, whose sum tells its light.
const ROW: usize = 3;
/// Cells darker than this mean level carry noise rather than light.
const DARKEST: u32 = 12;

/// For each cell the sum of one of its rows of pixels.
pub fn sums(differ: &mut Differ, frame: &Frame, sums: &mut [u32]) {
    let stride = frame.size().width as usize * 3;
    let rows = frame.data().chunks_exact(stride).skip(ROW).step_by(CELL);
    for (row, sums) in rows.zip(sums.chunks_mut(differ.cols())) {
        differ.sum_row(row, sums);
    }
}

/// The factor from reference to now; 1.0 where too little is bright enough.
///
/// `scratch` is reused space.
pub fn gain(now: &[u32], reference: &[u32], n_values: u32, scratch: &mut Vec<f32>) -> f32 {
    scratch.clear();
    let dark = DARKEST * n_values;
    // Clipped cells do not follow the light; every third cell is enough for a median.
    let clipped = 250 * n_values;
    let pairs = now.iter().zip(reference).step_by(3);
    scratch
        .extend(pairs.filter(|&(&a, &b)| b >= dark && a < clipped && b < clipped).map(|(a, b)| *a as f32 / *b as f32));
    if scratch.len() < 16 {
        return 1.0;
    }
    let middle = scratch.len() / 2;
    *scratch.select_nth_unstable_by(middle, f32::total_cmp).1
}

/// `reference * gain`, saturating, into `out`.
pub fn relit(reference: &[u8], gain: f32, out: &mut [u8]) {
    // 16.16 fixed point: whole vectors at a time, unlike a table.
    let factor = (gain * 65536.0) as u32;
    for (out, v) in out.iter_mut().zip(reference) {
        *out = ((u32::from(*v) * factor + 32768) >> 16).min(255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_ignores_objects_and_darkness() {
        let reference: Vec<u32> = (0..300).map(|i| 192 * (20 + i % 100)).collect();
        let mut now: Vec<u32> = reference.iter().map(|v| v * 8 / 10).collect();
        now[..100].fill(192 * 200); // a white van
        let mut scratch = Vec::new();
        assert!((gain(&now, &reference, 192, &mut scratch) - 0.8).abs() < 0.01);
        assert_eq!(gain(&[0; 300], &[192; 300], 192, &mut scratch), 1.0, "a black picture has no gain");
    }
}
