//! What a thread holds while it makes rows.

use super::clip::ClipSearch;
use super::range::Range;
use engine::buffer::Buffer;

/// What a thread needs for a row.
pub struct Scratch {
    pub sums: Buffer<i32>,
    pub numbers: Buffer,
    pub row: Vec<f32>,
    pub most: Vec<f32>,
    pub range: Range,
    pub direction: ClipSearch,
}

impl Scratch {
    pub fn new(room: usize, row: usize, most: usize) -> Self {
        Self {
            sums: Buffer::zeros(room),
            numbers: Buffer::zeros(room),
            row: vec![0.0; row],
            most: vec![0.0; most],
            range: Range::NONE,
            direction: ClipSearch::default(),
        }
    }

    pub fn merged(mut self, other: Self) -> Self {
        self.range = self.range.with(other.range);
        self.direction = self.direction.merged(other.direction);
        self.most.iter_mut().zip(&other.most).for_each(|(a, b)| *a = a.max(*b));
        self
    }
}
