//! How much scratch the steps of a program need: a runner is made for that much.

use crate::plan::program::Program;
use crate::plan::step::{ConvKind, Kind, Step};
use crate::weights::packed::blocks;
use crate::weights::winograd::N_PRODUCTS;

/// The largest of what the steps of a program need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScratchNeeds {
    /// Channels of a cell.
    pub channels: usize,
    /// Taps of a window, or products in their place.
    pub taps: usize,
    /// Blocks of input channels of a convolution by squares.
    pub square_blocks: usize,
    /// Cells of a map.
    pub cells: usize,
}

impl ScratchNeeds {
    pub fn of(program: &Program) -> Self {
        let taps = |s: &Step| match &s.kind {
            Kind::Conv { how: ConvKind::Winograd2x2(_), .. } => N_PRODUCTS,
            Kind::Conv { conv, .. } => conv.window.n_taps(),
            Kind::Separable(pair) => pair.depthwise.window.n_taps(),
            Kind::Pool(_, w) => w.n_taps(),
            _ => 1,
        };
        let square_blocks = |s: &Step| match &s.kind {
            Kind::Conv { how: ConvKind::Winograd2x2(how), .. } => blocks(how.depth),
            _ => 0,
        };
        Self {
            channels: program.max_channels,
            taps: program.steps.iter().map(taps).max().unwrap_or(1),
            square_blocks: program.steps.iter().map(square_blocks).max().unwrap_or(0),
            cells: program.maps.iter().map(|m| m.shape.n_cells()).max().unwrap_or(0),
        }
    }

    /// Whether what is enough for these is enough for `others`.
    pub fn cover(&self, others: &Self) -> bool {
        self.channels >= others.channels
            && self.taps >= others.taps
            && self.square_blocks >= others.square_blocks
            && self.cells >= others.cells
    }
}
