//! The arithmetic that touches every pixel: sums over cells of 8x8 pixels.
//!
//! A cell is 8 rows of 24 bytes (BGR). Sums of absolute differences over 192
//! values make a change of one level in the mean visible above sensor noise of
//! several levels. The unit of work is a group of 8 bytes by the cell's rows,
//! which is what `psadbw` sums; three groups are a cell. `benches/skip.rs`
//! compares it with OpenCV's absdiff + reduce.

/// Side of a cell in pixels: the finest patch there is.
pub const CELL: usize = 8;

/// Bytes of a group.
const GROUP: usize = 8;
/// Groups of a cell.
const GROUPS: usize = 3;

/// Sums absolute differences of cells; owns its scratch.
#[derive(Debug, Clone)]
pub struct Differ {
    width: usize,
    kernel: Kernel,
    groups: Vec<u32>,
    /// One row of pixels, black.
    black: Vec<u8>,
}

impl Differ {
    /// For BGR pictures of `width` pixels, with the best kernel of this machine.
    pub fn new(width: usize) -> Self {
        Self::with_kernel(width, Kernel::best())
    }

    fn with_kernel(width: usize, kernel: Kernel) -> Self {
        Self { width, kernel, groups: vec![0; width.div_ceil(CELL) * GROUPS], black: vec![0; width * 3] }
    }

    /// Cells in a row of cells.
    pub fn cols(&self) -> usize {
        self.width.div_ceil(CELL)
    }

    /// For each cell of one row of cells the sum of `|a - b|`.
    ///
    /// `a` and `b` hold the row's pictures rows (up to 8) of `width * 3` bytes; `sums` one
    /// number a cell.
    pub fn sad_row(&mut self, a: &[u8], b: &[u8], sums: &mut [u32]) {
        self.groups.fill(0);
        self.kernel.sad(a, b, self.width * 3, &mut self.groups);
        self.sum_groups(sums);
    }

    /// For each cell the sum of the values of one row of pixels.
    pub fn sum_row(&mut self, row: &[u8], sums: &mut [u32]) {
        self.groups.fill(0);
        self.kernel.sad(row, &self.black, self.width * 3, &mut self.groups);
        self.sum_groups(sums);
    }

    fn sum_groups(&self, sums: &mut [u32]) {
        for (sum, groups) in sums[..self.cols()].iter_mut().zip(self.groups.as_chunks::<GROUPS>().0) {
            *sum = groups.iter().sum();
        }
    }
}

/// Implementations of one definition; all give the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    Plain,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Kernel {
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            return Self::Neon;
        }
        Self::Plain
    }

    /// Adds to each group of 8 columns of bytes the absolute differences of all rows.
    fn sad(self, a: &[u8], b: &[u8], stride: usize, groups: &mut [u32]) {
        assert!(a.len() == b.len() && a.len().is_multiple_of(stride) && groups.len() >= stride.div_ceil(GROUP));
        let done = match self {
            Self::Plain => 0,
            // SAFETY: the kernel was chosen after the feature was detected.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => unsafe { x86::sad(a, b, stride, groups) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { arm::sad(a, b, stride, groups) },
        };
        for (a, b) in a.chunks_exact(stride).zip(b.chunks_exact(stride)) {
            let rest = a[done..].chunks(GROUP).zip(b[done..].chunks(GROUP));
            for ((a, b), sum) in rest.zip(&mut groups[done / GROUP..]) {
                *sum += a.iter().zip(b).map(|(a, b)| u32::from(a.abs_diff(*b))).sum::<u32>();
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// Bytes a vector.
    const STEP: usize = 32;
    /// Vectors side by side whose sums are kept: rows are read in long runs, which memory answers faster than short ones.
    const RUN: usize = 64;
    /// Rows on which are asked for ahead, as pages are shorter than pictures: a tenth of the stage's time on a Granite Rapids.
    const AHEAD: usize = 8;

    /// Sums columns of 32 bytes as long as there are whole ones; returns how many bytes a row were done.
    #[target_feature(enable = "avx2")]
    pub fn sad(a: &[u8], b: &[u8], stride: usize, groups: &mut [u32]) -> usize {
        let n_steps = stride / STEP;
        for first in (0..n_steps).step_by(RUN) {
            let n = (n_steps - first).min(RUN);
            let mut sums = [_mm256_setzero_si256(); RUN];
            for (a, b) in a.chunks_exact(stride).zip(b.chunks_exact(stride)) {
                let run = first * STEP..(first + n) * STEP;
                let vectors = a[run.clone()].as_chunks::<STEP>().0.iter().zip(b[run].as_chunks::<STEP>().0);
                for (sum, (a, b)) in sums.iter_mut().zip(vectors) {
                    for at in [a, b] {
                        _mm_prefetch::<_MM_HINT_T1>(at.as_ptr().wrapping_add(AHEAD * stride).cast());
                    }
                    // SAFETY: arrays of STEP bytes; the loads may be unaligned.
                    let (a, b) =
                        unsafe { (_mm256_loadu_si256(a.as_ptr().cast()), _mm256_loadu_si256(b.as_ptr().cast())) };
                    *sum = _mm256_add_epi64(*sum, _mm256_sad_epu8(a, b));
                }
            }
            for (sum, out) in sums.iter().zip(groups[first * 4..(first + n) * 4].as_chunks_mut::<4>().0) {
                // Four sums of 64 bits, each below 2^32.
                let narrow = _mm256_permutevar8x32_epi32(*sum, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
                // SAFETY: `out` has room for the 16 bytes that are stored.
                unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), _mm256_castsi256_si128(narrow)) };
            }
        }
        n_steps * STEP
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    /// Bytes a vector.
    const STEP: usize = 16;

    /// As the AVX2 kernel, 16 bytes at a time.
    #[target_feature(enable = "neon")]
    pub fn sad(a: &[u8], b: &[u8], stride: usize, groups: &mut [u32]) -> usize {
        let n_rows = a.len() / stride;
        let n_steps = stride / STEP;
        for step in 0..n_steps {
            // Eight sums of 16 bits: at most 8 rows of 2 * 255 each.
            let mut sum = vdupq_n_u16(0);
            for row in 0..n_rows {
                let at = row * stride + step * STEP;
                let (a, b) = (&a[at..at + STEP], &b[at..at + STEP]);
                // SAFETY: both slices are STEP bytes long.
                let (a, b) = unsafe { (vld1q_u8(a.as_ptr()), vld1q_u8(b.as_ptr())) };
                sum = vpadalq_u8(sum, vabdq_u8(a, b));
            }
            let pairs = vpaddlq_u32(vpaddlq_u16(sum));
            groups[step * 2] = vgetq_lane_u64::<0>(pairs) as u32;
            groups[step * 2 + 1] = vgetq_lane_u64::<1>(pairs) as u32;
        }
        n_steps * STEP
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naive(a: &[u8], b: &[u8], width: usize) -> Vec<u32> {
        let mut sums = vec![0; width.div_ceil(CELL)];
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            sums[i % (width * 3) / 3 / CELL] += u32::from(a.abs_diff(*b));
        }
        sums
    }

    #[test]
    fn every_kernel_equals_the_definition_at_every_size() {
        let mut rng = fastrand::Rng::with_seed(1);
        for kernel in [Kernel::Plain, Kernel::best()] {
            for (w, h) in [(8, 8), (1, 1), (7, 3), (9, 8), (64, 8), (33, 5), (640, 8), (1279, 8)] {
                let mut picture = || (0..w * h * 3).map(|_| rng.u8(..)).collect::<Vec<u8>>();
                for (a, b) in [(picture(), picture()), (vec![0; w * h * 3], vec![255; w * h * 3])] {
                    let mut sums = vec![u32::MAX; w.div_ceil(CELL)];
                    Differ::with_kernel(w, kernel).sad_row(&a, &b, &mut sums);
                    assert_eq!(sums, naive(&a, &b, w), "{kernel:?} {w}x{h}");
                }
            }
        }
    }

    /// An independent witness for the arithmetic: absdiff, then sums of each cell.
    #[cfg(feature = "opencv")]
    #[test]
    fn equals_opencv() {
        use opencv::{core, prelude::*};
        let mut rng = fastrand::Rng::with_seed(2);
        let w = 48;
        let mut picture = || (0..w * CELL * 3).map(|_| rng.u8(..)).collect::<Vec<u8>>();
        let (a, b) = (picture(), picture());
        let mut sums = vec![0; w / CELL];
        Differ::new(w).sad_row(&a, &b, &mut sums);
        let rows = |data: &[u8]| {
            core::Mat::new_rows_cols_with_data(CELL as i32, w as i32 * 3, data).unwrap().try_clone().unwrap()
        };
        let mut difference = core::Mat::default();
        core::absdiff(&rows(&a), &rows(&b), &mut difference).unwrap();
        for (i, &sum) in sums.iter().enumerate() {
            let cell =
                difference.roi(core::Rect::new((i * CELL * 3) as i32, 0, (CELL * 3) as i32, CELL as i32)).unwrap();
            assert_eq!(core::sum_elems(&cell).unwrap()[0] as u32, sum);
        }
    }
}
