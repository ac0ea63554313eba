//! The arithmetic that touches every pixel: sums over cells of 8x8 pixels.
//!
//! A cell is 8 rows of 24 bytes (BGR). Sums of absolute differences over 192
//! values make a change of one level in the mean visible above sensor noise of
//! several levels. Written so that the compiler emits `psadbw` and its like;
//! `benches/skip.rs` compares it with OpenCV's absdiff + reduce.

/// Side of a cell in pixels: the finest patch there is.
pub const CELL: usize = 8;

const ROW: usize = CELL * 3;

/// For each cell of a BGR picture the sum of `|a - b|`, row by row of cells.
///
/// `a` and `b` hold `width * height * 3` bytes; `sums` one number a cell, border
/// cells cut. `rows` picks the rows of cells that are done; others stay as they are.
pub fn sad_cells(a: &[u8], b: &[u8], width: usize, rows: impl Iterator<Item = usize>, sums: &mut [u32]) {
    each_cell(width, a.len(), rows, sums, |at, n| {
        let (a, b) = (&a[at..][..n], &b[at..][..n]);
        match (a.as_array::<ROW>(), b.as_array::<ROW>()) {
            (Some(a), Some(b)) => sad(a, b),
            _ => a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum(),
        }
    });
}

/// For each cell of a BGR picture the sum of its values.
pub fn cell_sums(a: &[u8], width: usize, rows: impl Iterator<Item = usize>, sums: &mut [u32]) {
    const ZERO: [u8; ROW] = [0; ROW];
    each_cell(width, a.len(), rows, sums, |at, n| {
        let a = &a[at..][..n];
        a.as_array::<ROW>().map_or_else(|| a.iter().map(|a| u32::from(*a)).sum(), |a| sad(a, &ZERO))
    });
}

#[inline(always)]
fn sad(a: &[u8; ROW], b: &[u8; ROW]) -> u32 {
    let mut sum = 0;
    for i in 0..ROW {
        sum += u32::from(a[i].abs_diff(b[i]));
    }
    sum
}

/// Calls `add(first byte, bytes)` for every row of pixels of every cell and sums what it returns.
#[inline(always)]
fn each_cell(
    width: usize,
    len: usize,
    rows: impl Iterator<Item = usize>,
    sums: &mut [u32],
    add: impl Fn(usize, usize) -> u32,
) {
    let stride = width * 3;
    let (cols, height) = (width.div_ceil(CELL), len / stride);
    for row in rows {
        let sums = &mut sums[row * cols..][..cols];
        sums.fill(0);
        for y in row * CELL..((row + 1) * CELL).min(height) {
            for (col, sum) in sums.iter_mut().enumerate() {
                let x = col * ROW;
                *sum += add(y * stride + x, ROW.min(stride - x));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(a: &[u8], b: &[u8], width: usize, height: usize) -> Vec<u32> {
        let cols = width.div_ceil(CELL);
        let mut sums = vec![0; cols * height.div_ceil(CELL)];
        for y in 0..height {
            for x in 0..width {
                for c in 0..3 {
                    let i = (y * width + x) * 3 + c;
                    sums[y / CELL * cols + x / CELL] += u32::from(a[i].abs_diff(b[i]));
                }
            }
        }
        sums
    }

    #[test]
    fn equals_the_definition_at_every_size() {
        let mut rng = fastrand::Rng::with_seed(1);
        for (w, h) in [(8, 8), (1, 1), (7, 3), (9, 17), (64, 40), (33, 25), (640, 384)] {
            let mut picture = || (0..w * h * 3).map(|_| rng.u8(..)).collect::<Vec<u8>>();
            let (a, b) = (picture(), picture());
            let want = naive(&a, &b, w, h);
            let mut sums = vec![u32::MAX; want.len()];
            sad_cells(&a, &b, w, 0..h.div_ceil(CELL), &mut sums);
            assert_eq!(sums, want, "{w}x{h}");
            cell_sums(&a, w, 0..h.div_ceil(CELL), &mut sums);
            assert_eq!(sums, naive(&a, &vec![0; a.len()], w, h), "{w}x{h}");
        }
    }

    /// An independent witness for the arithmetic: absdiff, then sums of each cell.
    #[cfg(feature = "opencv")]
    #[test]
    fn equals_opencv() {
        use opencv::{core, prelude::*};
        let mut rng = fastrand::Rng::with_seed(2);
        let (w, h) = (48, 24);
        let mut picture = || (0..w * h * 3).map(|_| rng.u8(..)).collect::<Vec<u8>>();
        let (a, b) = (picture(), picture());
        let mut sums = vec![0; (w / CELL) * (h / CELL)];
        sad_cells(&a, &b, w, 0..h / CELL, &mut sums);
        let rows = |data: &[u8]| core::Mat::new_rows_cols_with_data(h as i32, w as i32 * 3, data).unwrap().try_clone().unwrap();
        let mut difference = core::Mat::default();
        core::absdiff(&rows(&a), &rows(&b), &mut difference).unwrap();
        for (i, &sum) in sums.iter().enumerate() {
            let (x, y) = (i % (w / CELL) * ROW, i / (w / CELL) * CELL);
            let cell = difference.roi(core::Rect::new(x as i32, y as i32, ROW as i32, CELL as i32)).unwrap();
            assert_eq!(core::sum_elems(&cell).unwrap()[0] as u32, sum);
        }
    }
}
