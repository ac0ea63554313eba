//! Maps as the sums over cells read them: four cells of a channel side by side.

use crate::batch::Batch;
use engine::buffer::Buffer;
use engine::kernels::BLOCK;
use multiversion::multiversion;
use std::ops::Range;

/// Rows of maps, channel by channel: `[phase][channel][row][column]`, with the columns of borders. A phase is the columns that
/// a stride sees together.
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
    /// Takes over rows of codes for windows of a stride: of all rows of all pictures, borders included, those of the ranges,
    /// one range behind the other.
    pub fn fill(&mut self, codes: &Batch<u8>, stride: usize, ranges: &[Range<usize>]) {
        let (border, c, pitch) = (codes.border(), codes.shape().c, codes.pitch());
        let width = codes.shape().w + 2 * border;
        (self.stride, self.c, self.rows) = (stride, c, ranges.iter().map(|r| r.len()).sum());
        self.cols = width.div_ceil(stride);
        let (rows, cols) = (self.rows, self.cols);
        // What fills the last four cells up is read too.
        self.data.grow(stride * c * rows * cols + 64, 0);
        for (r, row) in ranges.iter().flat_map(Clone::clone).enumerate() {
            for phase in 0..stride {
                let n = (width - phase).div_ceil(stride);
                let to = &mut self.data[(phase * c * rows + r) * cols..];
                transpose(&codes.data()[row * pitch + phase * c..], stride * c, n, c, to, rows * cols);
            }
        }
    }

    /// Where a row of the first channel stands, from a column of the map with its border on.
    pub fn at(&self, row: usize, x: usize) -> *const u8 {
        let plane = x % self.stride * self.c;
        self.data[(plane * self.rows + row) * self.cols + x / self.stride..].as_ptr()
    }

    /// Bytes from channel to channel.
    pub fn step(&self) -> usize {
        self.rows * self.cols
    }
}

/// `to[channel * step + cell] = from[cell * from_step + channel]`, squares of [`SIDE`] cells and channels at a time.
#[multiversion(targets("x86_64+avx2", "aarch64+neon"))]
fn transpose(from: &[u8], from_step: usize, n: usize, c: usize, to: &mut [u8], step: usize) {
    if n < SIDE {
        for (x, k) in (0..n).flat_map(|x| (0..c).map(move |k| (x, k))) {
            to[k * step + x] = from[x * from_step + k];
        }
        return;
    }
    for x in (0..n).step_by(SIDE) {
        // The last squares reach back to what is done already.
        let x = x.min(n - SIDE);
        for k in (0..c).step_by(SIDE) {
            let k = k.min(c.saturating_sub(SIDE));
            let from = &from[x * from_step + k..];
            let mut square = [[0; SIDE]; SIDE];
            match from.get(..(SIDE - 1) * from_step + SIDE) {
                Some(from) => square.iter_mut().enumerate().for_each(|(i, row)| {
                    row.copy_from_slice(&from[i * from_step..][..SIDE]);
                }),
                None => read_last(from, from_step, &mut square),
            }
            let turned = turned(square);
            let rows = to[k * step + x..].chunks_mut(step).take(c);
            rows.zip(&turned).for_each(|(to, row)| to[..SIDE].copy_from_slice(row));
        }
    }
}

/// Reads a square of which the last cells have fewer numbers behind them than are read.
#[cold]
fn read_last(from: &[u8], from_step: usize, square: &mut [[u8; SIDE]; SIDE]) {
    for (i, row) in square.iter_mut().enumerate() {
        row.iter_mut().zip(&from[i * from_step..]).for_each(|(to, v)| *to = *v);
    }
}

/// Cells, and channels, of a square.
const SIDE: usize = 16;

/// Rows and columns change places: rows that lie half the square apart are interleaved, four times.
#[inline(always)]
fn turned(square: [[u8; SIDE]; SIDE]) -> [[u8; SIDE]; SIDE] {
    interleaved(interleaved(interleaved(interleaved(square))))
}

#[inline(always)]
fn interleaved(square: [[u8; SIDE]; SIDE]) -> [[u8; SIDE]; SIDE] {
    const HALF: usize = SIDE / 2;
    let mut next = [[0; SIDE]; SIDE];
    for (i, pair) in next.chunks_exact_mut(2).enumerate() {
        let (a, b) = (square[i], square[i + HALF]);
        for j in 0..HALF {
            (pair[0][2 * j], pair[0][2 * j + 1]) = (a[j], b[j]);
            (pair[1][2 * j], pair[1][2 * j + 1]) = (a[HALF + j], b[HALF + j]);
        }
    }
    next
}

/// Rows of gradients, four cells side by side: `[row][four cells][channel in whole blocks][cell]`, and their sums.
#[derive(Debug, Default)]
pub struct Quads {
    data: Buffer<i8>,
    /// A number a channel in whole blocks.
    sums: Vec<i32>,
    n_quads: usize,
    width: usize,
}

impl Quads {
    /// Takes over rows of codes, 128 for 0: of all rows of all pictures, without borders, those of the range.
    pub fn fill(&mut self, codes: &Batch<u8>, rows: Range<usize>) {
        let shape = codes.shape();
        self.n_quads = shape.w.div_ceil(4);
        self.width = shape.c.div_ceil(BLOCK) * BLOCK;
        let of_row = self.n_quads * self.width * 4;
        self.data.grow(rows.len() * of_row, 0);
        self.sums.clear();
        self.sums.resize(self.width, 0);
        for (row, to) in rows.zip(self.data.chunks_exact_mut(of_row)) {
            quads(codes.row(row / shape.h, row % shape.h), shape.c, self.width, to, &mut self.sums);
        }
    }

    /// Of all rows, a number a channel in whole blocks.
    pub fn sums(&self) -> &[i32] {
        &self.sums
    }

    pub fn at(&self, row: usize) -> *const i8 {
        self.data[row * self.n_quads * self.width * 4..].as_ptr()
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
            let (rows, b) = (h + 2 * border, border);
            // The last row of the first picture is left out.
            planes.fill(&batch, stride, &[0..rows - 1, rows..2 * rows]);
            quads.fill(&batch, 1..2 * h);
            let mut sums = vec![0; quads.width];
            let all = (0..2).flat_map(|i| (0..h).map(move |y| (i, y)));
            for (i, y) in all.filter(|at| *at != (0, 0) && (*at != (0, h - 1) || b > 0)) {
                for (x, k) in (0..w).flat_map(|x| (0..c).map(move |k| (x, k))) {
                    let wanted = batch.row(i, y)[x * c + k];
                    let row = i * (rows - 1) + y + b;
                    // Safety: within the map.
                    let found = unsafe {
                        let grad = quads.at(i * h + y - 1).add((x / 4 * quads.width + k) * 4 + x % 4);
                        (*planes.at(row, x + b).add(k * planes.step()), *grad)
                    };
                    assert_eq!(found, (wanted, (wanted ^ 0x80) as i8), "{h}x{w}x{c} at {y} {x} {k}");
                    sums[k] += i32::from(found.1);
                }
            }
            // Safety: the first of the border.
            assert!(b == 0 || unsafe { *planes.at(0, 0) } == 9);
            if b > 0 {
                assert_eq!(quads.sums(), sums);
            }
        }
    }
}
