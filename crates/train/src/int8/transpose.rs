//! Maps as the sums over cells read them: four cells of a channel side by side.

use crate::batch::Batch;
use engine::buffer::Buffer;
use engine::kernels::BLOCK;
use multiversion::multiversion;
use rayon::prelude::*;

/// Maps of a batch, channel by channel: `[picture][phase][channel][row][column]`, borders included. A phase is the columns
/// that a stride sees together.
#[derive(Debug, Default)]
pub struct Planes {
    data: Buffer<u8>,
    stride: usize,
    c: usize,
    rows: usize,
    /// Columns of a phase.
    cols: usize,
}

impl Planes {
    /// Takes over codes for windows of a stride.
    pub fn fill(&mut self, codes: &Batch<u8>, stride: usize) {
        let (border, shape) = (codes.border(), codes.shape());
        let width = shape.w + 2 * border;
        (self.stride, self.c, self.rows) = (stride, shape.c, shape.h + 2 * border);
        self.cols = width.div_ceil(stride);
        let of_picture = stride * self.c * self.rows * self.cols;
        // What fills the last four cells up is read too.
        self.data.grow(codes.n() * of_picture + 64, 0);
        let (rows, cols, c, pitch) = (self.rows, self.cols, self.c, codes.pitch());
        let planes = self.data[..codes.n() * of_picture].par_chunks_mut(c * rows * cols);
        planes.enumerate().for_each(|(i, planes)| {
            let (picture, phase) = (i / stride, i % stride);
            for y in 0..rows {
                let row = &codes.data()[(picture * rows + y) * pitch..][..pitch];
                let first = &row[phase * c..];
                let n = (width - phase).div_ceil(stride);
                transpose(first, stride * c, n, c, &mut planes[y * cols..], rows * cols);
            }
        });
    }

    /// Where a channel of a picture stands, at row and column of the map with its border.
    pub fn at(&self, picture: usize, channel: usize, y: usize, x: usize) -> *const u8 {
        let plane = (picture * self.stride + x % self.stride) * self.c + channel;
        self.data[(plane * self.rows + y) * self.cols + x / self.stride..].as_ptr()
    }

    /// Bytes from channel to channel.
    pub fn step(&self) -> usize {
        self.rows * self.cols
    }
}

/// `to[channel * step + cell] = from[cell * from_step + channel]`.
fn transpose(from: &[u8], from_step: usize, n: usize, c: usize, to: &mut [u8], step: usize) {
    for x in (0..n).step_by(8) {
        for k in (0..c).step_by(8) {
            if x + 8 <= n && k + 8 <= c {
                let mut square = [0u64; 8];
                for (i, row) in square.iter_mut().enumerate() {
                    let at = (x + i) * from_step + k;
                    *row = u64::from_le_bytes(from[at..at + 8].try_into().expect("eight bytes"));
                }
                turn(&mut square);
                for (i, row) in square.iter().enumerate() {
                    to[(k + i) * step + x..][..8].copy_from_slice(&row.to_le_bytes());
                }
            } else {
                for (x, k) in (x..n.min(x + 8)).flat_map(|x| (k..c.min(k + 8)).map(move |k| (x, k))) {
                    to[k * step + x] = from[x * from_step + k];
                }
            }
        }
    }
}

/// Rows and columns of a square of bytes change places, halves of ever smaller squares at a time.
#[inline(always)]
fn turn(s: &mut [u64; 8]) {
    for (half, mask) in [(4, 0xffff_ffffu64), (2, 0x0000_ffff_0000_ffff), (1, 0x00ff_00ff_00ff_00ff)] {
        let shift = 8 * half;
        for i in (0..8).filter(|i| i & half == 0) {
            let (a, b) = (s[i], s[i + half]);
            s[i] = (a & mask) | ((b & mask) << shift);
            s[i + half] = ((a >> shift) & mask) | (b & !mask);
        }
    }
}

/// Gradients of a batch, four cells side by side: `[picture][row][four cells][channel in whole blocks][cell]`, and their
/// sums over rows.
#[derive(Debug, Default)]
pub struct Quads {
    data: Buffer<i8>,
    /// Of each row of each picture, a number a channel in whole blocks.
    row_sums: Vec<i32>,
    rows: usize,
    n_quads: usize,
    width: usize,
}

impl Quads {
    /// Takes over codes, 128 for 0.
    pub fn fill(&mut self, codes: &Batch<u8>) {
        let shape = codes.shape();
        (self.rows, self.n_quads) = (shape.h, shape.w.div_ceil(4));
        self.width = shape.c.div_ceil(BLOCK) * BLOCK;
        let of_row = self.n_quads * self.width * 4;
        let used = codes.n() * shape.h * of_row;
        self.data.grow(used, 0);
        let (width, rows) = (self.width, self.rows);
        self.row_sums.clear();
        self.row_sums.resize(codes.n() * rows * width, 0);
        let row_sums = self.row_sums.par_chunks_exact_mut(width);
        self.data[..used].par_chunks_exact_mut(of_row).zip(row_sums).enumerate().for_each(|(i, (row, sums))| {
            quads(codes.row(i / rows, i % rows), shape.c, width, row, sums);
        });
    }

    /// Sums over some rows of a picture, a number a channel in whole blocks.
    pub fn sums(&self, picture: usize, rows: std::ops::Range<usize>) -> Vec<i32> {
        let mut sums = vec![0; self.width];
        let all = &self.row_sums[(picture * self.rows + rows.start) * self.width..];
        for row in all.chunks_exact(self.width).take(rows.len()) {
            sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
        }
        sums
    }

    pub fn at(&self, picture: usize, y: usize) -> *const i8 {
        self.data[(picture * self.rows + y) * self.n_quads * self.width * 4..].as_ptr()
    }

    pub fn n_quads(&self) -> usize {
        self.n_quads
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl+avx512dq", "x86_64+avx2", "aarch64+neon"))]
fn quads(row: &[u8], c: usize, width: usize, to: &mut [i8], sums: &mut [i32]) {
    for (cells, to) in row.chunks(4 * c).zip(to.chunks_exact_mut(4 * width)) {
        let signed = |v: &u8| (v ^ 0x80) as i8;
        if cells.len() == 4 * c {
            let (first, last) = cells.split_at(2 * c);
            let (pairs, others) = (first.split_at(c), last.split_at(c));
            let pairs = pairs.0.iter().zip(pairs.1).zip(others.0.iter().zip(others.1));
            for (((a, b), (c, d)), (to, sum)) in pairs.zip(to.chunks_exact_mut(4).zip(sums.iter_mut())) {
                let four = [signed(a), signed(b), signed(c), signed(d)];
                to.copy_from_slice(&four);
                *sum += four.iter().map(|v| i32::from(*v)).sum::<i32>();
            }
            continue;
        }
        for (k, cell) in cells.chunks_exact(c).enumerate() {
            for ((to, sum), v) in to.chunks_exact_mut(4).zip(sums.iter_mut()).zip(cell) {
                to[k] = signed(v);
                *sum += i32::from(signed(v));
            }
        }
        // What fills the last four cells up is 0, also where something else was before.
        for k in cells.len() / c..4 {
            to.chunks_exact_mut(4).for_each(|to| to[k] = 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::graph::MapShape;

    #[test]
    fn numbers_are_where_they_are_said_to_be() {
        let mut random = fastrand::Rng::with_seed(4);
        let (mut planes, mut quads) = (Planes::default(), Quads::default());
        for (h, w, c, border, stride) in
            [(3, 5, 7, 0, 1), (4, 17, 16, 1, 1), (6, 22, 12, 1, 2), (2, 9, 24, 2, 2), (5, 3, 1, 1, 3)]
        {
            let mut batch = Batch::new(2, MapShape::new(h, w, c), border, 9u8);
            let numbers: Vec<u8> = (0..2 * h * w * c).map(|_| random.u8(..)).collect();
            batch.fill(&numbers);
            planes.fill(&batch, stride);
            quads.fill(&batch);
            let (mut sums, b) = (vec![0; quads.width], border);
            for (i, y, x, k) in (0..2)
                .flat_map(|i| (0..h).flat_map(move |y| (0..w).flat_map(move |x| (0..c).map(move |k| (i, y, x, k)))))
            {
                let wanted = batch.row(i, y)[x * c + k];
                // Safety: within the map.
                let found = unsafe {
                    (*planes.at(i, k, y + b, x + b), *quads.at(i, y).add((x / 4 * quads.width + k) * 4 + x % 4))
                };
                assert_eq!(found, (wanted, (wanted ^ 0x80) as i8), "{h}x{w}x{c} at {y} {x} {k}");
                sums[k] += i32::from(found.1);
                // Safety: the first of the border.
                assert!(b == 0 || unsafe { *planes.at(i, k, 0, 0) } == 9);
            }
            let found: Vec<i32> = quads.sums(0, 0..h).iter().zip(quads.sums(1, 0..h)).map(|(a, b)| a + b).collect();
            assert_eq!(found, sums);
        }
    }
}
