//! A map of each picture of a batch, with a border around it that windows may read.

use engine::buffer::{Buffer, Element};
use engine::graph::MapShape;
use engine::kernels::STRIP;
use rayon::prelude::*;

/// `[picture][row][column][channel]`, rows and columns with a border on all sides, which holds one number for ever.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch<T: Element = f32> {
    n: usize,
    shape: MapShape,
    border: usize,
    data: Buffer<T>,
}

impl<T: Element> Batch<T> {
    /// Everything is `value`, the border always.
    pub fn new(n: usize, shape: MapShape, border: usize, value: T) -> Self {
        Self { n, shape, border, data: Buffer::new(Self::room(n, shape, border), value) }
    }

    /// Numbers that it needs.
    pub fn room(n: usize, shape: MapShape, border: usize) -> usize {
        let cells = n * (shape.h + 2 * border) * (shape.w + 2 * border);
        // Whole strips of channels can be read of any cell.
        cells * shape.c + STRIP
    }

    /// In memory that was another's, if it is enough; the border is `value`, and all else anything.
    pub fn again(data: Buffer<T>, n: usize, shape: MapShape, border: usize, value: T) -> Self {
        let mut batch = Self { n, shape, border, data };
        let (rows, pitch, side) = (batch.rows(), batch.pitch(), border * shape.c);
        if batch.data.len() < Self::room(n, shape, border) {
            return Self::new(n, shape, border, value);
        }
        for (i, row) in batch.data[..n * rows * pitch].chunks_exact_mut(pitch.max(1)).enumerate() {
            if (border..border + shape.h).contains(&(i % rows)) {
                row[..side].fill(value);
                row[pitch - side..].fill(value);
            } else {
                row.fill(value);
            }
        }
        batch
    }

    /// Its memory.
    pub fn into_data(self) -> Buffer<T> {
        self.data
    }

    /// Pictures.
    pub fn n(&self) -> usize {
        self.n
    }

    pub fn shape(&self) -> MapShape {
        self.shape
    }

    pub fn border(&self) -> usize {
        self.border
    }

    /// Numbers from row to row.
    pub fn pitch(&self) -> usize {
        (self.shape.w + 2 * self.border) * self.shape.c
    }

    /// Rows of a picture, the border's too.
    fn rows(&self) -> usize {
        self.shape.h + 2 * self.border
    }

    /// Where a cell begins; one of the border, too.
    #[inline(always)]
    pub fn at(&self, picture: usize, y: isize, x: isize) -> usize {
        let border = self.border as isize;
        debug_assert!(y >= -border && y < self.shape.h as isize + border && picture < self.n);
        debug_assert!(x >= -border && x < self.shape.w as isize + border);
        let row = picture * self.rows() + (y + border) as usize;
        row * self.pitch() + (x + border) as usize * self.shape.c
    }

    /// A row of a picture, without its border.
    #[inline(always)]
    pub fn row(&self, picture: usize, y: usize) -> &[T] {
        let at = self.at(picture, y as isize, 0);
        &self.data[at..at + self.shape.w * self.shape.c]
    }

    /// All numbers, borders and room behind them included.
    pub fn data(&self) -> &[T] {
        &self.data
    }

    /// Calls `f` with each row of each picture, without its border, on any thread: picture, row, numbers; and with a state
    /// that a thread keeps from row to row.
    pub fn for_rows<S: Send>(
        &mut self,
        state: impl Fn() -> S + Sync + Send,
        f: impl Fn(&mut S, usize, usize, &mut [T]) + Sync + Send,
    ) {
        let frame = self.frame();
        self.whole_rows_mut().enumerate().for_each_init(state, |state, (i, row)| {
            if let Some((picture, y)) = frame.inside(i) {
                f(state, picture, y, &mut row[frame.cells()]);
            }
        });
    }

    /// As [`Batch::for_rows`]; states grow with rows, and are merged into one.
    pub fn fold_rows<S: Send>(
        &mut self,
        state: impl Fn() -> S + Sync + Send,
        f: impl Fn(&mut S, usize, usize, &mut [T]) + Sync + Send,
        merge: impl Fn(S, S) -> S + Sync + Send,
    ) -> S {
        let frame = self.frame();
        let rows = self.whole_rows_mut().enumerate();
        let fold = |mut s: S, (i, row): (usize, &mut [T])| {
            if let Some((picture, y)) = frame.inside(i) {
                f(&mut s, picture, y, &mut row[frame.cells()]);
            }
            s
        };
        rows.fold(&state, fold).reduce(&state, merge)
    }

    /// Sets everything, the border too.
    pub fn set_all(&mut self, value: T) {
        self.data.fill(value);
    }

    /// As [`Batch::for_rows`], of two batches of one size, with one border.
    ///
    /// # Panics
    /// They differ.
    pub fn for_rows_of_both<S: Send>(
        &mut self,
        other: &mut Self,
        state: impl Fn() -> S + Sync + Send,
        f: impl Fn(&mut S, usize, usize, &mut [T], &mut [T]) + Sync + Send,
    ) {
        let frame = self.frame();
        assert_eq!(frame, other.frame(), "batches of one size");
        let rows = self.whole_rows_mut().zip(other.whole_rows_mut()).enumerate();
        rows.for_each_init(state, |state, (i, (a, b))| {
            if let Some((picture, y)) = frame.inside(i) {
                f(state, picture, y, &mut a[frame.cells()], &mut b[frame.cells()]);
            }
        });
    }

    fn whole_pictures_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [T]> {
        let of_one = self.rows() * self.pitch();
        let used = self.n * of_one;
        self.data[..used].par_chunks_exact_mut(of_one.max(1))
    }

    fn frame(&self) -> Frame {
        Frame { n: self.n, shape: self.shape, border: self.border }
    }

    fn whole_rows_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [T]> {
        let (pitch, used) = (self.pitch(), self.n * self.rows() * self.pitch());
        self.data[..used].par_chunks_exact_mut(pitch.max(1))
    }

    /// Takes over numbers `[picture][row][column][channel]`.
    ///
    /// # Panics
    /// There are not as many.
    pub fn fill(&mut self, numbers: &[T]) {
        let (h, width) = (self.shape.h, self.shape.w * self.shape.c);
        assert_eq!(numbers.len(), self.n * h * width, "a map of each picture");
        self.for_rows(|| (), |(), picture, y, row| row.copy_from_slice(&numbers[(picture * h + y) * width..][..width]));
    }

    /// The numbers `[picture][row][column][channel]`.
    pub fn numbers(&self) -> Vec<T> {
        let rows = (0..self.n).flat_map(|picture| (0..self.shape.h).map(move |y| (picture, y)));
        rows.flat_map(|(picture, y)| self.row(picture, y).iter().copied()).collect()
    }
}

/// The rows of a batch, those of its border among them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Frame {
    n: usize,
    shape: MapShape,
    border: usize,
}

impl Frame {
    /// Picture and row of a whole row; `None` for one of the border.
    fn inside(self, row: usize) -> Option<(usize, usize)> {
        let rows = self.shape.h + 2 * self.border;
        let y = (row % rows).checked_sub(self.border).filter(|y| *y < self.shape.h)?;
        Some((row / rows, y))
    }

    /// Where in a whole row the map's cells are.
    fn cells(self) -> std::ops::Range<usize> {
        let first = self.border * self.shape.c;
        first..first + self.shape.w * self.shape.c
    }
}

impl Batch {
    /// Calls `f` with each picture, on any thread, and with what adds to row, column and channel of its map.
    pub fn for_pictures(&mut self, f: impl Fn(usize, &mut dyn FnMut(usize, usize, usize, f32)) + Sync + Send) {
        let (pitch, border, c) = (self.pitch(), self.border, self.shape.c);
        self.whole_pictures_mut().enumerate().for_each(|(picture, numbers)| {
            f(picture, &mut |y, x, channel, v| numbers[(y + border) * pitch + (x + border) * c + channel] += v);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_border_stays_and_rows_are_where_they_are_said_to_be() {
        let shape = MapShape::new(2, 3, 2);
        let mut batch = Batch::new(2, shape, 1, 7.0f32);
        let numbers: Vec<f32> = (0..24u8).map(f32::from).collect();
        batch.fill(&numbers);
        assert_eq!(batch.numbers(), numbers);
        assert_eq!(batch.data()[batch.at(1, 1, 2)], 22.0);
        let n_border = batch.data().iter().filter(|v| **v == 7.0).count();
        assert_eq!(n_border, batch.data().len() - 24 + 1);
        // In memory that held something else.
        let larger = Batch::new(2, MapShape::new(3, 4, 2), 1, 9.0);
        let mut again = Batch::again(larger.into_data(), 2, shape, 1, 7.0);
        again.fill(&numbers);
        let n_used = batch.data().len() - engine::kernels::STRIP;
        assert_eq!(again.data()[..n_used], batch.data()[..n_used]);
        assert_eq!(
            Batch::again(Batch::new(1, shape, 0, 9.0).into_data(), 2, shape, 1, 7.0).data().len(),
            batch.data().len()
        );
    }
}
