//! What kernels are given: cells by pointers, in tiles, channels in blocks.

use crate::graph::Act;

/// Most cells in one call.
pub const TILE: usize = 12;
/// Most squares of two by two cells in one call.
pub const SQUARES: usize = 12;
/// Most cells of a tile, by themselves or in squares.
pub const ROWS: usize = 4 * SQUARES;
/// Channels of weights, biases and scratch rows come in blocks of this many.
pub const BLOCK: usize = 16;
/// Most blocks that are computed at once.
pub const MOST_BLOCKS: usize = 3;
/// Most channels that are computed at once.
pub const STRIP: usize = MOST_BLOCKS * BLOCK;

/// Blocks that are computed at once, the weights of which lie side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Strip {
    pub first: usize,
    pub n: usize,
}

/// Two blocks each, and of an odd number the last three: one alone reads an input for every product.
pub fn strips(n_blocks: usize) -> impl Iterator<Item = Strip> {
    let mut first = 0;
    std::iter::from_fn(move || {
        let left = n_blocks - first;
        let n = if left == MOST_BLOCKS { MOST_BLOCKS } else { left.min(2) };
        let strip = Strip { first, n };
        first += n;
        (n > 0).then_some(strip)
    })
}

/// Some cells of a convolution before its activation.
///
/// Ordinary: `rows[p][o] = bias[o] + sum over taps t, channels c of input[t][p][c] * weights[t][c][o]`.
/// Depthwise: `rows[p][c] = bias[c] + sum over taps t of input[t][p][c] * weights[t][c]`.
#[derive(Debug, Clone, Copy)]
pub struct ConvArgs {
    /// Cells, 1..=[`TILE`].
    pub n: usize,
    pub n_taps: usize,
    /// Input channels of a tap that an output sees; 1 where depthwise.
    pub depth: usize,
    /// `[tap][TILE]`, first input channel of each: `depth` numbers can be read from there on, and whole blocks where depthwise.
    pub inputs: *const *const f32,
    /// As a [`crate::weights::packed::Packed`] holds them.
    pub weights: *const f32,
    /// `n_blocks * BLOCK` of them.
    pub bias: *const f32,
    pub n_blocks: usize,
    /// `n` rows with room for `n_blocks` blocks each; no input lies in them.
    pub rows: *mut f32,
    /// From row to row.
    pub stride: usize,
    /// The weights were not used just now: they are fetched ahead.
    pub is_cold: bool,
}

/// Cells side by side: the first input and the first gradient of the first of them.
#[derive(Debug, Clone, Copy)]
pub struct CellRun {
    pub inputs: *const f32,
    pub grads: *const f32,
}

// Safety: it is read in the call to which it is given alone, whose caller says what it points to.
unsafe impl Send for CellRun {}
// Safety: the same.
unsafe impl Sync for CellRun {}

/// One tap's part of the gradient of a convolution's weights:
/// `sums[c][o] += sum over runs, cells i of inputs[i * input_step + c] * grads[i * grad_step + o]`.
#[derive(Debug, Clone, Copy)]
pub struct WeightGradArgs<'a> {
    pub runs: &'a [CellRun],
    /// Cells of each run.
    pub n: usize,
    /// Numbers from cell to cell.
    pub input_step: usize,
    pub grad_step: usize,
    /// Input channels.
    pub n_inputs: usize,
    /// Of output channels; whole blocks can be read of each cell's gradients, and those behind the last channel mean nothing.
    pub n_blocks: usize,
    /// `n_inputs` rows with room for whole blocks.
    pub sums: *mut f32,
    /// From row to row.
    pub stride: usize,
}

/// Some cells of a map in eight bits times weights:
/// `sums[p][o] = sum over taps t, channels c of (cells[p][taps[t] + c] - zero) * weights[t][c][o]`.
#[derive(Debug, Clone, Copy)]
pub struct ProductArgs<'a> {
    /// Cells, 1..=[`TILE`].
    pub n: usize,
    /// The first number of each. At every tap as many bytes can be read as `n_quads` say.
    pub cells: &'a [*const u8; TILE],
    /// Bytes from a cell to what it sees.
    pub taps: &'a [isize],
    /// Input channels of a tap, in fours; weights of those that fill them up are 0.
    pub n_quads: usize,
    /// What stands for 0 in the map.
    pub zero: i32,
    /// Weights and their sums, as a [`crate::weights::int8::PackedInt8`] holds them.
    pub weights: *const i8,
    pub column_sums: *const i32,
    pub n_blocks: usize,
    /// `n` rows with room for `n_blocks` blocks each.
    pub sums: *mut i32,
    /// From row to row.
    pub stride: usize,
}

/// Cells side by side, in fours.
#[derive(Debug, Clone, Copy)]
pub struct DotRun {
    /// `[channel][cell]`, at the first cell.
    pub inputs: *const u8,
    /// `[four cells][channel in whole blocks][cell]`.
    pub grads: *const i8,
}

// Safety: it is read in the call to which it is given alone, whose caller says what it points to.
unsafe impl Send for DotRun {}
// Safety: the same.
unsafe impl Sync for DotRun {}

/// One tap's part of the gradient of a convolution's weights in eight bits:
/// `sums[c][o] = sum over runs, cells i of (inputs[c][i] - zero) * grads[i][o]`.
#[derive(Debug, Clone, Copy)]
pub struct SumArgs<'a> {
    pub runs: &'a [DotRun],
    /// Cells of each run, in fours; gradients of those that fill them up are 0.
    pub n_quads: usize,
    /// Bytes from channel to channel of the inputs.
    pub input_step: usize,
    /// Input channels.
    pub n_inputs: usize,
    /// Of output channels.
    pub n_blocks: usize,
    /// What stands for 0 in the inputs.
    pub zero: i32,
    /// Of all cells, one an output channel in whole blocks.
    pub grad_sums: *const i32,
    /// `n_inputs` rows with room for whole blocks.
    pub sums: *mut i32,
    /// From row to row.
    pub stride: usize,
}

/// Has `n` numbers brought near; a hint, which does nothing where there is none.
#[inline(always)]
pub fn prefetch(p: *const f32, n: usize) {
    fetch::<true>(p, n);
}

/// The same into the second cache: for what would be pushed out of the first by all that is used before it.
#[inline(always)]
pub fn prefetch_for_later(p: *const f32, n: usize) {
    fetch::<false>(p, n);
}

#[inline(always)]
fn fetch<const NEAREST: bool>(p: *const f32, n: usize) {
    for line in (0..n).step_by(16) {
        let at = p.wrapping_add(line);
        // Safety: a prefetch never faults.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _MM_HINT_T1, _mm_prefetch};
            if NEAREST {
                _mm_prefetch::<_MM_HINT_T0>(at.cast());
            } else {
                _mm_prefetch::<_MM_HINT_T1>(at.cast());
            }
        }
        #[cfg(target_arch = "aarch64")]
        unsafe {
            if NEAREST {
                std::arch::asm!("prfm pldl1keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags));
            } else {
                std::arch::asm!("prfm pldl2keep, [{}]", in(reg) at, options(nostack, readonly, preserves_flags));
            }
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let _ = at;
    }
}

/// Rows of numbers in memory.
#[derive(Debug, Clone, Copy)]
pub struct Rows {
    pub first: *mut f32,
    /// From row to row.
    pub stride: usize,
    pub n: usize,
    /// Numbers of a row.
    pub width: usize,
}

/// What becomes of the cells of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooled {
    Greatest,
    Sum,
}

/// The first numbers of the stored cells of a tile.
pub type Cells = [*mut f32; ROWS];
/// The first numbers of what is added to the rows of a tile.
pub type Residuals = [*const f32; ROWS];
/// One a cell of a tile.
pub type Distances = [f32; ROWS];

/// How rows are finished, stored over others and measured.
#[derive(Debug, Clone, Copy)]
pub struct Measure<'a> {
    /// Added first.
    pub residuals: Option<&'a Residuals>,
    /// Applied then.
    pub act: &'a Act,
    /// What the rows are stored over.
    pub old: &'a Cells,
    /// One a channel.
    pub inverse_scales: &'a [f32],
    /// What sums of squares are compared with.
    pub limit: f32,
}

/// Cells whose changes are estimated at once: those of a word of a change set.
pub const LANES: usize = 64;

/// What [`LANES`] cells in a row see at one place of a window.
#[derive(Debug, Clone, Copy)]
pub struct WindowTap {
    pub from: *const f32,
    pub gain: f32,
}

/// Cells in a row whose changes are estimated:
/// `pending[i] += factor * (seen[i] + sum over taps of gain * from[i])`, where `from` has a number for each cell, or
/// every second one of its numbers is a cell's.
#[derive(Debug, Clone, Copy)]
pub struct EstimateArgs<'a> {
    pub taps: &'a [WindowTap],
    pub every_second: &'a [WindowTap],
    /// What is seen beside the taps.
    pub seen: Option<&'a [f32; LANES]>,
    pub factor: f32,
    /// A bit for each cell that changes reach: blocks without any stay as they are.
    pub reached: u64,
    /// Blocks of [`BLOCK`] cells, 1..=4.
    pub n_blocks: usize,
    /// From the first cell on, whole blocks.
    pub pending: *mut f32,
    /// Factors of each limit, as many.
    pub tolerance: [*const f32; 2],
    pub limits: [f32; 2],
}

/// Inputs of squares, transformed into what is multiplied ([`crate::weights::winograd`]).
#[derive(Debug, Clone, Copy)]
pub struct InputTransformArgs {
    /// Squares, 1..=[`SQUARES`].
    pub n: usize,
    /// `[row and column of 4x4][TILE]`, first input channel of each.
    pub inputs: *const *const f32,
    /// Input channels.
    pub depth: usize,
    /// `[product][SQUARES]`, `stride` numbers each.
    pub out: *mut f32,
    pub stride: usize,
}

/// Products of squares, transformed into outputs.
#[derive(Debug, Clone, Copy)]
pub struct OutputTransformArgs<'a> {
    /// Squares, 1..=[`SQUARES`].
    pub n: usize,
    /// `[product][SQUARES][STRIP]`.
    pub products: *const f32,
    /// Output channels at once, whole blocks up to [`STRIP`].
    pub width: usize,
    /// Where the rows of each square's four cells begin; null: not wanted.
    pub rows: &'a Cells,
    /// First of the output channels.
    pub column: usize,
}

/// Pixels that are followed at once.
pub const PIXELS: usize = 16;
/// Of such pixels' colours, one after another.
pub type Colours<T> = [T; 3 * PIXELS];

/// Pixels of a picture, and the numbers of a map that follow them: `byte * scale + shift`.
#[derive(Debug)]
pub struct FollowArgs<'a> {
    pub bytes: &'a Colours<u8>,
    pub scale: &'a Colours<f32>,
    pub shift: &'a Colours<f32>,
    /// Squares of what a number may be off before its pixel is taken over.
    pub limits: &'a Colours<f32>,
    pub map: &'a mut Colours<f32>,
    /// Becomes the squares of what the numbers moved by, if any did.
    pub squares: &'a mut Colours<f32>,
}

// Safety: taps are scratch of one call, and are not read after it.
unsafe impl Send for WindowTap {}

/// For comparisons; the sign of a NaN is not promised.
#[cfg(test)]
pub(super) fn bits(v: &[f32]) -> Vec<u32> {
    v.iter().map(|v| if v.is_nan() { f32::INFINITY } else { *v }.to_bits()).collect()
}
