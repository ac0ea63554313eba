//! Rectangles, the patch grid and sets of patches.
//!
//! A [`Rect`] carries the space it lives in, so that a box in model-input
//! pixels cannot be handed to code that expects camera pixels.

use std::fmt;
use std::marker::PhantomData;

/// Pixels of the picture that is fed to the model (after letterboxing).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ModelInput {}

/// Pixels of the camera's own picture, before any scaling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum CameraPixels {}

/// An axis-aligned rectangle, corners `(x1, y1)` to `(x2, y2)` in pixels of `S`.
///
/// May be empty or reach outside the picture: detectors predict such boxes.
#[derive(Clone, Copy, PartialEq)]
pub struct Rect<S> {
    pub x1: f32,
    pub y1: f32,
    pub x2: f32,
    pub y2: f32,
    space: PhantomData<S>,
}

impl<S> fmt::Debug for Rect<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:.2}, {:.2}, {:.2}, {:.2}]", self.x1, self.y1, self.x2, self.y2)
    }
}

impl<S> Rect<S> {
    pub const fn new(x1: f32, y1: f32, x2: f32, y2: f32) -> Self {
        Self { x1, y1, x2, y2, space: PhantomData }
    }

    pub fn to_array(&self) -> [f32; 4] {
        [self.x1, self.y1, self.x2, self.y2]
    }

    pub fn width(&self) -> f32 {
        self.x2 - self.x1
    }

    pub fn height(&self) -> f32 {
        self.y2 - self.y1
    }

    /// Area in square pixels; 0 where a side is negative.
    pub fn area(&self) -> f32 {
        self.width().max(0.0) * self.height().max(0.0)
    }

    pub fn is_empty(&self) -> bool {
        !(self.x2 > self.x1 && self.y2 > self.y1)
    }

    /// The common part; possibly empty, with its corners crossed.
    pub fn intersection(&self, other: &Self) -> Self {
        Self::new(self.x1.max(other.x1), self.y1.max(other.y1), self.x2.min(other.x2), self.y2.min(other.y2))
    }

    /// The smallest rectangle that holds both.
    pub fn hull(&self, other: &Self) -> Self {
        Self::new(self.x1.min(other.x1), self.y1.min(other.y1), self.x2.max(other.x2), self.y2.max(other.y2))
    }

    pub fn intersects(&self, other: &Self) -> bool {
        !self.intersection(other).is_empty()
    }

    pub fn contains(&self, other: &Self) -> bool {
        self.x1 <= other.x1 && self.y1 <= other.y1 && self.x2 >= other.x2 && self.y2 >= other.y2
    }

    /// Intersection over union, 0..=1; 0 where both are empty.
    pub fn iou(&self, other: &Self) -> f32 {
        let common = self.intersection(other).area();
        let union = self.area() + other.area() - common;
        if union > 0.0 { common / union } else { 0.0 }
    }

    /// The share of `self` that lies in `other`, 0..=1; 0 where `self` is empty.
    pub fn share_in(&self, other: &Self) -> f32 {
        let area = self.area();
        if area > 0.0 { self.intersection(other).area() / area } else { 0.0 }
    }

    /// Grown by `margin` pixels on every side.
    pub fn grown(&self, margin: f32) -> Self {
        Self::new(self.x1 - margin, self.y1 - margin, self.x2 + margin, self.y2 + margin)
    }

    pub fn shifted(&self, dx: f32, dy: f32) -> Self {
        Self::new(self.x1 + dx, self.y1 + dy, self.x2 + dx, self.y2 + dy)
    }

    pub fn is_finite(&self) -> bool {
        self.to_array().iter().all(|v| v.is_finite())
    }
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Size {
    pub width: u32,
    pub height: u32,
}

impl Size {
    pub const fn new(width: u32, height: u32) -> Self {
        Self { width, height }
    }

    /// Rows and columns.
    pub fn rows_and_columns(&self) -> [usize; 2] {
        [self.height as usize, self.width as usize]
    }

    pub fn area(&self) -> usize {
        self.width as usize * self.height as usize
    }

    pub fn rect<S>(&self) -> Rect<S> {
        Rect::new(0.0, 0.0, self.width as f32, self.height as f32)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl std::str::FromStr for Size {
    type Err = String;

    /// `640x384`; both sides 1..=16384.
    fn from_str(text: &str) -> Result<Self, String> {
        let side = |s: &str| s.parse::<u32>().ok().filter(|v| (1..=16384).contains(v));
        text.split_once(['x', 'X'])
            .and_then(|(w, h)| Some(Size::new(side(w)?, side(h)?)))
            .ok_or_else(|| format!("'{text}' is not a size such as 640x384"))
    }
}

/// How a camera picture lies in the model input: scaled to fit, its top left
/// corner at the origin, the rest padded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Letterbox {
    /// The camera's own picture.
    pub source: Size,
    /// The part of the model input that it fills.
    pub content: Size,
    /// The whole model input.
    pub input: Size,
}

impl Letterbox {
    /// Fits `source` into `input`, rounding the content down to whole pixels.
    pub fn fit(source: Size, input: Size) -> Self {
        let ratio =
            (f64::from(input.width) / f64::from(source.width)).min(f64::from(input.height) / f64::from(source.height));
        let side = |s: u32, max: u32| ((f64::from(s) * ratio) as u32).clamp(1, max);
        let content = Size::new(side(source.width, input.width), side(source.height, input.height));
        Self { source, content, input }
    }

    /// Maps a box back to camera pixels; it is not clipped.
    pub fn to_source(&self, r: &Rect<ModelInput>) -> Rect<CameraPixels> {
        let sx = self.source.width as f32 / self.content.width as f32;
        let sy = self.source.height as f32 / self.content.height as f32;
        Rect::new(r.x1 * sx, r.y1 * sy, r.x2 * sx, r.y2 * sy)
    }

    /// Maps a box of the camera picture into the model input.
    pub fn to_input(&self, r: &Rect<CameraPixels>) -> Rect<ModelInput> {
        let sx = self.content.width as f32 / self.source.width as f32;
        let sy = self.content.height as f32 / self.source.height as f32;
        Rect::new(r.x1 * sx, r.y1 * sy, r.x2 * sx, r.y2 * sy)
    }
}

/// The grid of square patches over a model input; border patches may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PatchGrid {
    pub size: Size,
    /// Side of a patch in pixels of the model input.
    pub patch: u32,
    pub cols: usize,
    pub rows: usize,
}

impl PatchGrid {
    pub fn new(size: Size, patch: u32) -> Self {
        let cols = size.width.div_ceil(patch) as usize;
        let rows = size.height.div_ceil(patch) as usize;
        Self { size, patch, cols, rows }
    }

    pub fn n_patches(&self) -> usize {
        self.cols * self.rows
    }

    /// The pixels of patch `(col, row)`, cut at the picture's border.
    pub fn rect(&self, col: usize, row: usize) -> Rect<ModelInput> {
        let p = self.patch as f32;
        Rect::new(col as f32 * p, row as f32 * p, (col + 1) as f32 * p, (row + 1) as f32 * p)
            .intersection(&self.size.rect())
    }

    /// The patches that `rect` touches, as half-open ranges of columns and rows.
    pub fn span(&self, rect: &Rect<ModelInput>) -> (std::ops::Range<usize>, std::ops::Range<usize>) {
        let p = self.patch as f32;
        let range = |lo: f32, hi: f32, n: usize| {
            let first = ((lo / p).floor().max(0.0) as usize).min(n);
            let last = ((hi / p).ceil().max(0.0) as usize).min(n);
            first..last.max(first)
        };
        (range(rect.x1, rect.x2, self.cols), range(rect.y1, rect.y2, self.rows))
    }
}

/// A set of patches of one grid, row by row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchMask {
    grid: PatchGrid,
    words: Vec<u64>,
}

impl PatchMask {
    pub fn empty(grid: PatchGrid) -> Self {
        Self { grid, words: vec![0; grid.n_patches().div_ceil(64)] }
    }

    pub fn full(grid: PatchGrid) -> Self {
        let mut mask = Self::empty(grid);
        mask.fill();
        mask
    }

    pub fn grid(&self) -> PatchGrid {
        self.grid
    }

    pub fn clear(&mut self) {
        self.words.fill(0);
    }

    pub fn fill(&mut self) {
        self.words.fill(u64::MAX);
        let used = self.grid.n_patches() % 64;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last = (1 << used) - 1;
        }
    }

    pub fn set(&mut self, idx: usize) {
        debug_assert!(idx < self.grid.n_patches());
        self.words[idx / 64] |= 1 << (idx % 64);
    }

    pub fn unset(&mut self, idx: usize) {
        debug_assert!(idx < self.grid.n_patches());
        self.words[idx / 64] &= !(1 << (idx % 64));
    }

    pub fn get(&self, idx: usize) -> bool {
        self.words[idx / 64] >> (idx % 64) & 1 == 1
    }

    pub fn at(&self, col: usize, row: usize) -> bool {
        self.get(row * self.grid.cols + col)
    }

    pub fn count(&self) -> usize {
        self.words.iter().map(|w| w.count_ones() as usize).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|&w| w == 0)
    }

    pub fn copy_from(&mut self, other: &Self) {
        debug_assert_eq!(self.grid, other.grid);
        self.words.copy_from_slice(&other.words);
    }

    pub fn union_with(&mut self, other: &Self) {
        debug_assert_eq!(self.grid, other.grid);
        for (a, b) in self.words.iter_mut().zip(&other.words) {
            *a |= b;
        }
    }

    /// Takes the patches of another set away.
    pub fn remove(&mut self, other: &Self) {
        debug_assert_eq!(self.grid, other.grid);
        for (a, b) in self.words.iter_mut().zip(&other.words) {
            *a &= !b;
        }
    }

    /// Adds every patch that `rect` touches.
    pub fn set_rect(&mut self, rect: &Rect<ModelInput>) {
        let (cols, rows) = self.grid.span(rect);
        for row in rows {
            for col in cols.clone() {
                self.set(row * self.grid.cols + col);
            }
        }
    }

    /// True where any patch that `rect` touches is in the set.
    pub fn touches(&self, rect: &Rect<ModelInput>) -> bool {
        let (cols, mut rows) = self.grid.span(rect);
        rows.any(|row| cols.clone().any(|col| self.at(col, row)))
    }

    /// The patches in the set as runs of neighbours in a row: the first one's column and row, and their number.
    pub fn runs(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let cols = self.grid.cols;
        let mut rest = self.iter().peekable();
        std::iter::from_fn(move || {
            let first = rest.next()?;
            let mut end = first + 1;
            while !end.is_multiple_of(cols) && rest.next_if_eq(&end).is_some() {
                end += 1;
            }
            Some((first % cols, first / cols, end - first))
        })
    }

    /// Indices of the patches in the set, in rising order.
    pub fn iter(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(i, &word)| {
            let mut rest = word;
            std::iter::from_fn(move || {
                if rest == 0 {
                    return None;
                }
                let bit = rest.trailing_zeros() as usize;
                rest &= rest - 1;
                Some(i * 64 + bit)
            })
        })
    }
}

/// Whether a point lies inside a polygon: a ray to the right crosses its border an odd number of times.
pub fn encloses(corners: &[[f32; 2]], [x, y]: [f32; 2]) -> bool {
    let mut inside = false;
    for (i, a) in corners.iter().enumerate() {
        let b = corners[(i + 1) % corners.len()];
        if (a[1] > y) != (b[1] > y) && x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]) + a[0] {
            inside = !inside;
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    type R = Rect<ModelInput>;

    #[test]
    fn iou_and_shares() {
        let check = |a: [f32; 4], b: [f32; 4], iou: f32, share: f32| {
            let (a, b) = (R::new(a[0], a[1], a[2], a[3]), R::new(b[0], b[1], b[2], b[3]));
            assert!((a.iou(&b) - iou).abs() < 1e-6, "{a:?} {b:?}: {}", a.iou(&b));
            assert!((a.share_in(&b) - share).abs() < 1e-6, "{a:?} in {b:?}");
        };
        check([0., 0., 10., 10.], [0., 0., 10., 10.], 1.0, 1.0);
        check([0., 0., 10., 10.], [5., 0., 15., 10.], 1.0 / 3.0, 0.5);
        check([0., 0., 10., 10.], [20., 0., 30., 10.], 0.0, 0.0);
        check([5., 5., 5., 5.], [5., 5., 5., 5.], 0.0, 0.0);
        check([10., 10., 0., 0.], [0., 0., 10., 10.], 0.0, 0.0); // corners crossed
    }

    #[test]
    fn letterbox_maps_there_and_back() {
        let check = |source: (u32, u32), input: (u32, u32), content: (u32, u32)| {
            let l = Letterbox::fit(Size::new(source.0, source.1), Size::new(input.0, input.1));
            assert_eq!((l.content.width, l.content.height), content);
            let r = Rect::new(3.0, 4.0, 50.0, 60.0);
            let back = l.to_input(&l.to_source(&r));
            assert!((back.x1 - r.x1).abs() < 1e-3 && (back.y2 - r.y2).abs() < 1e-3);
        };
        check((768, 432), (640, 384), (640, 360));
        check((640, 360), (640, 384), (640, 360));
        check((100, 1000), (416, 416), (41, 416));
        check((1, 1), (320, 240), (240, 240));
        check((16000, 1), (320, 240), (320, 1)); // never empty
    }

    #[test]
    fn grid_covers_cut_borders() {
        let grid = PatchGrid::new(Size::new(100, 50), 16);
        assert_eq!((grid.cols, grid.rows), (7, 4));
        assert_eq!(grid.rect(6, 3), Rect::new(96.0, 48.0, 100.0, 50.0));
        assert_eq!(grid.span(&Rect::new(-5.0, 16.0, 16.0, 17.0)), (0..1, 1..2));
        assert_eq!(grid.span(&Rect::new(500.0, 0.0, 600.0, 9.0)).0.len(), 0);
    }

    #[test]
    fn mask_counts_iterates_and_fills() {
        let grid = PatchGrid::new(Size::new(1040, 16), 16); // 65 patches: one in the second word
        let mut mask = PatchMask::full(grid);
        assert_eq!(mask.count(), 65);
        assert_eq!(mask.iter().collect::<Vec<_>>(), (0..65).collect::<Vec<_>>());
        mask.clear();
        assert!(mask.is_empty());
        mask.set_rect(&Rect::new(1000.0, 0.0, 1030.0, 3.0));
        assert_eq!(mask.iter().collect::<Vec<_>>(), [62, 63, 64]);
        assert!(mask.touches(&Rect::new(0.0, 0.0, 993.0, 1.0)));
        assert!(!mask.touches(&Rect::new(0.0, 0.0, 992.0, 1.0)));
    }

    #[test]
    fn runs_end_with_their_row() {
        let mut mask = PatchMask::empty(PatchGrid::new(Size::new(64, 48), 16)); // 4 x 3
        assert_eq!(mask.runs().count(), 0);
        [0, 2, 3, 4, 5, 11].into_iter().for_each(|idx| mask.set(idx));
        assert_eq!(mask.runs().collect::<Vec<_>>(), [(0, 0, 1), (2, 0, 2), (0, 1, 2), (3, 2, 1)]);
        mask.fill();
        assert_eq!(mask.runs().collect::<Vec<_>>(), [(0, 0, 4), (0, 1, 4), (0, 2, 4)]);
    }

    #[test]
    fn sizes_parse() {
        assert_eq!("640x384".parse(), Ok(Size::new(640, 384)));
        for bad in ["", "640", "0x3", "640x", "x384", "640x384x3", "-1x2", "99999x1"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }
}
