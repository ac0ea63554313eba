//! Where a feature map lives.

use crate::buffer::{Buffer, ElementType};
use crate::graph::MapShape;

/// A map's place: in a buffer of its own, or as some channels of a wider one.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    pub name: String,
    pub shape: MapShape,
    /// What its numbers are.
    pub element: ElementType,
    pub buffer: usize,
    /// First channel inside the buffer's cells.
    pub offset: usize,
    /// Channels of the buffer: from cell to cell.
    pub stride: usize,
    /// Whose change set is this map's: its own, or that of the map it is a part of.
    pub changes: usize,
}

impl Map {
    /// Where a cell begins in its buffer.
    #[inline(always)]
    pub fn at(&self, y: usize, x: usize) -> usize {
        (y * self.shape.w + x) * self.stride + self.offset
    }

    /// The numbers of a cell.
    pub fn cell<'a>(&self, buffers: &'a [Buffer], y: usize, x: usize) -> &'a [f32] {
        &buffers[self.buffer][self.at(y, x)..][..self.shape.c]
    }

    /// Where a cell begins: of one in the map, numbers that can be read as long as nobody writes them.
    #[inline]
    pub(crate) fn cell_ptr(&self, buffers: &[Buffer], y: usize, x: usize) -> *const f32 {
        let at = self.at(y, x);
        debug_assert!(y < self.shape.h && x < self.shape.w && at < buffers[self.buffer].len());
        buffers[self.buffer].as_ptr().wrapping_add(at)
    }
}
