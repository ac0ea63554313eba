//! Numbers that begin at a cache line.

use std::ops::{Deref, DerefMut};

/// A cache line, so that buffers begin at one.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Numbers of a line.
const LINE: usize = 16;

/// Numbers in whole cache lines: a vector of them that begins at a multiple of its length lies in one line, and is read
/// at once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Buffer(Vec<Line>);

impl Buffer {
    /// Room for `n` numbers, each of them `value`.
    pub fn new(n: usize, value: f32) -> Self {
        Self(vec![Line([value; LINE]); n.div_ceil(LINE)])
    }

    /// Makes room for `n` numbers, if it has less, with `value` behind what is there.
    pub fn grow(&mut self, n: usize, value: f32) {
        let n = self.0.len().max(n.div_ceil(LINE));
        self.0.resize(n, Line([value; LINE]));
    }

    pub fn zeros(n: usize) -> Self {
        Self::new(n, 0.0)
    }
}

/// These numbers, and zeros to the end of the last line.
impl From<&[f32]> for Buffer {
    fn from(values: &[f32]) -> Self {
        let mut buffer = Self::zeros(values.len());
        buffer[..values.len()].copy_from_slice(values);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // Safety: lines are arrays of numbers without gaps.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), self.0.len() * LINE) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // Safety: as above, and `self` is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.0.as_mut_ptr().cast(), self.0.len() * LINE) }
    }
}
