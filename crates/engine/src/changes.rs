//! Sets of cells of a map, a bit each, and how changes spread through an operation.

use crate::graph::resample::Taps;
use crate::graph::{MapShape, Window};

/// A cell: row and column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    pub y: u32,
    pub x: u32,
}

/// Cells of a map of `h` x `w`; rows are whole words, bits beyond `w` are 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeSet {
    h: usize,
    w: usize,
    words: usize,
    bits: Vec<u64>,
}

impl ChangeSet {
    pub fn new(h: usize, w: usize) -> Self {
        let words = w.div_ceil(64);
        Self { h, w, words, bits: vec![0; h * words] }
    }

    pub fn of(s: MapShape) -> Self {
        Self::new(s.h, s.w)
    }

    /// Words of memory.
    pub fn n_words(&self) -> usize {
        self.bits.len()
    }

    pub fn clear(&mut self) {
        self.bits.fill(0);
    }

    pub fn fill(&mut self) {
        self.bits.fill(u64::MAX);
        self.trim();
    }

    /// Clears the bits beyond the last column.
    pub(crate) fn trim(&mut self) {
        let rest = self.w % 64;
        if rest > 0 {
            for row in self.bits.chunks_exact_mut(self.words) {
                row[self.words - 1] &= (1 << rest) - 1;
            }
        }
    }

    /// Adds the cells of some rows of another set.
    pub fn join_rows(&mut self, other: &Self, rows: std::ops::Range<usize>) {
        debug_assert_eq!((self.h, self.w), (other.h, other.w));
        let range = rows.start * self.words..rows.end * self.words;
        for (a, b) in self.bits[range.clone()].iter_mut().zip(&other.bits[range]) {
            *a |= b;
        }
    }

    pub fn is_empty(&self) -> bool {
        self.bits.iter().all(|w| *w == 0)
    }

    pub fn count(&self) -> usize {
        self.bits.iter().map(|w| w.count_ones() as usize).sum()
    }

    pub fn get(&self, y: usize, x: usize) -> bool {
        self.bits[self.word(y, x)] >> (x % 64) & 1 == 1
    }

    pub fn set(&mut self, y: usize, x: usize) {
        let word = self.word(y, x);
        self.bits[word] |= 1 << (x % 64);
    }

    pub fn unset(&mut self, y: usize, x: usize) {
        let word = self.word(y, x);
        self.bits[word] &= !(1 << (x % 64));
    }

    pub fn flip(&mut self, y: usize, x: usize) {
        let word = self.word(y, x);
        self.bits[word] ^= 1 << (x % 64);
    }

    /// Sets those of the up to 64 cells from `x` on whose bit is set, lowest first; all of them lie in the row.
    pub fn set_bits(&mut self, y: usize, x: usize, bits: u64) {
        debug_assert!(bits == 0 || x + (64 - bits.leading_zeros() as usize) <= self.w);
        let (word, shift) = (self.word(y, x), x % 64);
        self.bits[word] |= bits << shift;
        let beyond = (bits >> 1) >> (63 - shift);
        if beyond != 0 {
            self.bits[word + 1] |= beyond;
        }
    }

    fn word(&self, y: usize, x: usize) -> usize {
        debug_assert!(y < self.h && x < self.w);
        y * self.words + x / 64
    }

    /// All words, row by row.
    pub fn words(&self) -> &[u64] {
        &self.bits
    }

    /// As [`ChangeSet::words`]; bits beyond the last column must stay 0.
    pub(crate) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.bits
    }

    /// Whether it is of a map of this shape.
    pub fn is_of(&self, s: MapShape) -> bool {
        (self.h, self.w) == (s.h, s.w)
    }

    pub fn words_a_row(&self) -> usize {
        self.words
    }

    /// Sets the cells `x0..x1` of a row.
    pub fn set_run(&mut self, y: usize, x0: usize, x1: usize) {
        let (mut x, x1) = (x0, x1.min(self.w));
        while x < x1 {
            let (word, bit) = (x / 64, x % 64);
            let n = (x1 - x).min(64 - bit);
            self.bits[y * self.words + word] |= (u64::MAX >> (64 - n)) << bit;
            x += n;
        }
    }

    /// Sets whole rows.
    pub fn set_rows(&mut self, rows: std::ops::Range<usize>) {
        self.bits[rows.start * self.words..rows.end * self.words].fill(u64::MAX);
        self.trim();
    }

    /// Becomes another set, in the memory it has if that is enough.
    pub fn copy_from(&mut self, other: &Self) {
        (self.h, self.w, self.words) = (other.h, other.w, other.words);
        self.bits.clear();
        self.bits.extend_from_slice(&other.bits);
    }

    /// Takes out the cells of another set.
    pub fn remove_all(&mut self, other: &Self) {
        debug_assert_eq!((self.h, self.w), (other.h, other.w));
        for (a, b) in self.bits.iter_mut().zip(&other.bits) {
            *a &= !b;
        }
    }

    /// Whether some cell is in both sets.
    pub fn meets(&self, other: &Self) -> bool {
        self.bits.iter().zip(&other.bits).any(|(a, b)| a & b != 0)
    }

    pub fn join(&mut self, other: &Self) {
        debug_assert_eq!((self.h, self.w), (other.h, other.w));
        for (a, b) in self.bits.iter_mut().zip(&other.bits) {
            *a |= b;
        }
    }

    fn row(&self, y: usize) -> &[u64] {
        &self.bits[y * self.words..][..self.words]
    }

    /// Calls `f` for every cell, row by row.
    pub fn for_each(&self, mut f: impl FnMut(Cell)) {
        for (y, row) in self.bits.chunks_exact(self.words.max(1)).enumerate() {
            for (i, word) in row.iter().enumerate() {
                let mut word = *word;
                while word != 0 {
                    f(Cell { y: y as u32, x: (i * 64) as u32 + word.trailing_zeros() });
                    word &= word - 1;
                }
            }
        }
    }

    /// The cells, row by row, into `out`.
    pub fn list(&self, out: &mut Vec<Cell>) {
        out.clear();
        self.for_each(|cell| out.push(cell));
    }
}

/// How a change of an input reaches the output of an operation.
#[derive(Debug, Clone, PartialEq)]
pub enum Spread {
    /// Cell by cell.
    Same,
    /// An output cell sees a window.
    Window(Window),
    /// An input cell reaches a window.
    Scatter(Window),
    /// An input cell is seen by so many output cells, down and along.
    Repeat([usize; 2]),
    /// Output cells see up to two rows and two columns.
    Resample(Taps),
    /// Any change reaches everything.
    All,
}

impl Spread {
    /// Adds to `out` the output cells that a change of `from` reaches. `scratch` is reused space.
    pub fn apply(&self, from: &ChangeSet, out: &mut ChangeSet, scratch: &mut Vec<u64>) {
        match self {
            Self::Same => out.join(from),
            Self::Window(w) if w.is_point() && (from.h, from.w) == (out.h, out.w) => out.join(from),
            Self::Window(w) => window(w, from, out, scratch),
            Self::Scatter(w) => from.for_each(|cell| {
                let range = |i: usize, at: u32, k: usize, end: usize| {
                    (at as usize * w.stride[i] + k * w.dilation[i]).checked_sub(w.pad[i]).filter(|v| *v < end)
                };
                for ky in 0..w.kernel[0] {
                    let Some(y) = range(0, cell.y, ky, out.h) else { continue };
                    for kx in 0..w.kernel[1] {
                        if let Some(x) = range(1, cell.x, kx, out.w) {
                            out.set(y, x);
                        }
                    }
                }
            }),
            Self::Repeat([down, along]) => from.for_each(|cell| {
                let (y, x) = (cell.y as usize * down, cell.x as usize * along);
                (y..y + down).for_each(|y| out.set_run(y, x, x + along));
            }),
            Self::Resample(taps) => {
                for (y, tap) in taps.rows.iter().enumerate() {
                    scratch.clear();
                    scratch.extend(from.row(tap.first).iter().zip(from.row(tap.second)).map(|(a, b)| a | b));
                    if scratch.iter().all(|w| *w == 0) {
                        continue;
                    }
                    let hit = |x: usize| scratch[x / 64] >> (x % 64) & 1 == 1;
                    for (x, tap) in taps.cols.iter().enumerate() {
                        if hit(tap.first) || hit(tap.second) {
                            out.set(y, x);
                        }
                    }
                }
            }
            Self::All => {
                if !from.is_empty() {
                    out.fill();
                }
            }
        }
    }
}

/// Output row by row: the input rows of the window or-ed, then the columns, then every `stride`th bit. Most rows hold
/// nothing, and most words of the others.
fn window(w: &Window, from: &ChangeSet, out: &mut ChangeSet, scratch: &mut Vec<u64>) {
    let words = from.words;
    scratch.clear();
    scratch.resize(words * 2 + from.h, 0);
    let (rows, rest) = scratch.split_at_mut(words);
    let (wide, hits) = rest.split_at_mut(words);
    for (hit, row) in hits.iter_mut().zip(from.bits.chunks_exact(words.max(1))) {
        *hit = row.iter().fold(0, |any, word| any | word);
    }
    // How far the columns of a window lie from where it begins, and in words.
    let shift = |k: usize| (k * w.dilation[1]) as isize - w.pad[1] as isize;
    let reach = shift(0).abs().max(shift(w.kernel[1].saturating_sub(1)).abs()).unsigned_abs().div_ceil(64);
    for y in 0..out.h {
        let at = |k: usize| (y * w.stride[0] + k * w.dilation[0]).checked_sub(w.pad[0]);
        let mut hit = (0..w.kernel[0]).filter_map(at).filter(|at| *at < from.h && hits[*at] != 0);
        let Some(first) = hit.next() else { continue };
        rows.copy_from_slice(from.row(first));
        for at in hit {
            rows.iter_mut().zip(from.row(at)).for_each(|(a, b)| *a |= b);
        }
        let end = out.words;
        let target = &mut out.bits[y * end..][..end];
        if w.stride[1] > 2 || (w.stride[1] == 1 && out.w > words * 64) {
            for x in 0..out.w {
                set_if_hit(w, rows, from.w, x, target);
            }
            continue;
        }
        let is_hit = |word: &u64| *word != 0;
        let (Some(lo), Some(hi)) = (rows.iter().position(is_hit), rows.iter().rposition(is_hit)) else { continue };
        let (lo, hi) = (lo.saturating_sub(reach), (hi + reach + 1).min(words));
        // Bit i of `wide`: some tap of a window that begins at column i - pad hits.
        let wide = &mut wide[lo..hi];
        wide.fill(0);
        for k in 0..w.kernel[1] {
            shift_or(rows, lo as isize * 64 + shift(k), wide);
        }
        for (i, word) in (lo..).zip(wide.iter()) {
            let (i, word) = match w.stride[1] {
                1 => (i, *word),
                _ => (i / 2, u64::from(even_bits(*word)) << (i % 2 * 32)),
            };
            if let Some(a) = target.get_mut(i) {
                *a |= word;
            }
        }
        if w.stride[1] == 2 {
            // A window may begin in the padding beyond the last whole word.
            for x in words * 32..out.w {
                set_if_hit(w, rows, from.w, x, target);
            }
        }
    }
    out.trim();
}

fn set_if_hit(w: &Window, rows: &[u64], width: usize, x: usize, target: &mut [u64]) {
    for k in 0..w.kernel[1] {
        let at = (x * w.stride[1] + k * w.dilation[1]).checked_sub(w.pad[1]);
        if at.is_some_and(|at| at < width && rows[at / 64] >> (at % 64) & 1 == 1) {
            target[x / 64] |= 1 << (x % 64);
            return;
        }
    }
}

/// `out[i] |= bits[i + by]`, bit by bit; zeros from outside.
fn shift_or(bits: &[u64], by: isize, out: &mut [u64]) {
    let (words, rest) = (by.div_euclid(64), by.rem_euclid(64));
    let at = |i: isize| usize::try_from(i).ok().and_then(|i| bits.get(i)).copied().unwrap_or(0);
    for (i, out) in out.iter_mut().enumerate() {
        let i = i as isize + words;
        *out |= if rest == 0 { at(i) } else { at(i) >> rest | at(i + 1) << (64 - rest) };
    }
}

/// Bits 0, 2, 4 ... side by side.
fn even_bits(word: u64) -> u32 {
    let mut v = word & 0x5555_5555_5555_5555;
    v = (v | v >> 1) & 0x3333_3333_3333_3333;
    v = (v | v >> 2) & 0x0f0f_0f0f_0f0f_0f0f;
    v = (v | v >> 4) & 0x00ff_00ff_00ff_00ff;
    v = (v | v >> 8) & 0x0000_ffff_0000_ffff;
    (v | v >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, cell by cell.
    fn slow(w: &Window, from: &ChangeSet, h: usize, width: usize) -> ChangeSet {
        let mut out = ChangeSet::new(h, width);
        for y in 0..h {
            for x in 0..width {
                let hit = (0..w.kernel[0]).any(|ky| {
                    (0..w.kernel[1]).any(|kx| {
                        let at =
                            |i: usize, o: usize, k: usize| (o * w.stride[i] + k * w.dilation[i]).checked_sub(w.pad[i]);
                        match (at(0, y, ky), at(1, x, kx)) {
                            (Some(iy), Some(ix)) => iy < from.h && ix < from.w && from.get(iy, ix),
                            _ => false,
                        }
                    })
                });
                if hit {
                    out.set(y, x);
                }
            }
        }
        out
    }

    #[test]
    fn bits_are_set_across_words() {
        let mut random = fastrand::Rng::with_seed(5);
        for _ in 0..300 {
            let w = random.usize(1..200);
            let (x, bits) = (random.usize(0..w), random.u64(..) & random.u64(..));
            let bits = if w - x < 64 { bits & ((1 << (w - x)) - 1) } else { bits };
            let [mut set, mut wanted] = [(); 2].map(|()| ChangeSet::new(3, w));
            set.set_bits(1, x, bits);
            (0..64).filter(|i| bits >> i & 1 == 1).for_each(|i| wanted.set(1, x + i));
            assert_eq!(set, wanted, "{w} {x} {bits:b}");
        }
    }

    #[test]
    fn windows_spread_as_defined() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..3000 {
            let (h, w) = (random.usize(1..9), random.usize(1..400));
            let k = [random.usize(1..6), random.usize(1..6)];
            // Now and then beyond a word.
            let far = if random.u8(0..4) == 0 { 40 } else { 3 };
            let window = Window {
                kernel: k,
                stride: [random.usize(1..4), random.usize(1..4)],
                dilation: [random.usize(1..3), random.usize(1..far)],
                pad: [random.usize(0..k[0]), random.usize(0..k[1] * far)],
                pad_end: [random.usize(0..k[0]), random.usize(0..k[1])],
            };
            let side = |i: usize, n: usize| {
                let reach = window.dilation[i] * (window.kernel[i] - 1) + 1;
                Some((n + window.pad[i] + window.pad_end[i]).checked_sub(reach)? / window.stride[i] + 1)
            };
            let (Some(oh), Some(ow)) = (side(0, h), side(1, w)) else { continue };
            let mut from = ChangeSet::new(h, w);
            for _ in 0..random.usize(0..6) {
                from.set(random.usize(0..h), random.usize(0..w));
            }
            let mut out = ChangeSet::new(oh, ow);
            Spread::Window(window).apply(&from, &mut out, &mut Vec::new());
            assert_eq!(out, slow(&window, &from, oh, ow), "{window:?} on {h}x{w}");
        }
    }

    #[test]
    fn repeated_cells_spread_as_if_looked_up() {
        use crate::graph::{Coordinates, MapShape, Resize, Rounding};
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..300 {
            let (h, w) = (random.usize(1..9), random.usize(1..150));
            let by = [random.usize(1..4), random.usize(1..70)];
            let (small, large) = (MapShape::new(h, w, 1), MapShape::new(h * by[0], w * by[1], 1));
            let taps = Taps::new(Resize::Nearest(Coordinates::HalfPixel, Rounding::PreferFloor), small, large);
            assert_eq!(taps.repeats(small, large), Some(by), "{small} {large}");
            let mut from = ChangeSet::of(small);
            (0..random.usize(0..6)).for_each(|_| from.set(random.usize(0..h), random.usize(0..w)));
            let [mut found, mut wanted] = [(); 2].map(|()| ChangeSet::of(large));
            Spread::Repeat(by).apply(&from, &mut found, &mut Vec::new());
            Spread::Resample(taps).apply(&from, &mut wanted, &mut Vec::new());
            assert_eq!(found, wanted, "{small} {large}");
        }
    }

    #[test]
    fn runs_rows_and_lists() {
        let mut set = ChangeSet::new(3, 70);
        set.set_run(1, 60, 99);
        assert_eq!(set.count(), 10);
        set.set_rows(2..3);
        assert_eq!((set.count(), set.get(2, 69), set.get(0, 0)), (80, true, false));
        let mut cells = Vec::new();
        set.list(&mut cells);
        assert_eq!(cells[0], Cell { y: 1, x: 60 });
        set.fill();
        assert_eq!(set.count(), 210);
    }
}
