//! What a tile is computed from, and where its rows go.

use crate::buffer::Buffer;
use crate::changes::Cell;
use crate::kernels::Rows;
use crate::plan::map::Map;
use crate::plan::step::Step;
use crate::weights::packed::Packed;

/// A step, and what it is computed from.
#[derive(Clone, Copy)]
pub(crate) struct TileJob<'a> {
    /// A stream's, of the program that the maps are of.
    pub buffers: &'a [Buffer],
    pub maps: &'a [Map],
    pub step: &'a Step,
    /// The step's.
    pub weights: &'a [Packed],
}

impl<'a> TileJob<'a> {
    /// The map that the step reads first.
    pub fn input(&self) -> &'a Map {
        &self.maps[self.step.inputs[0]]
    }

    /// The numbers of a cell that the step reads.
    ///
    /// # Safety
    /// No other thread writes the map (fact 4 of [`crate::exec`]).
    pub unsafe fn read(&self, map: &Map, y: usize, x: usize) -> &'a [f32] {
        // Safety: the program's windows and taps lie in their maps (fact 1), which nobody writes.
        unsafe { std::slice::from_raw_parts(map.cell_ptr(self.buffers, y, x), map.shape.c) }
    }
}

/// The cells of a tile, and a row for each.
#[derive(Clone, Copy)]
pub(crate) struct Tile<'a> {
    pub cells: &'a [Cell],
    /// As many rows as cells, as wide as the step's output.
    pub rows: Rows,
}

impl<'a> Tile<'a> {
    /// Each cell's row and column, and its row of numbers.
    pub fn each(self) -> impl Iterator<Item = (usize, usize, Rows)> + 'a {
        let row = move |p: usize| Rows { first: self.rows.first.wrapping_add(p * self.rows.stride), n: 1, ..self.rows };
        self.cells.iter().enumerate().map(move |(p, cell)| (cell.y as usize, cell.x as usize, row(p)))
    }
}

/// The numbers of one row, to be written.
///
/// # Safety
/// The row has room for its width, and nobody else reads or writes it for as long.
pub(crate) unsafe fn numbers<'a>(row: Rows) -> &'a mut [f32] {
    // Safety: the caller says so.
    unsafe { std::slice::from_raw_parts_mut(row.first, row.width) }
}
