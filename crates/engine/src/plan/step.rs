//! What is computed of one map: an operation, its maps, and how changes pass through it.

use super::map::Map;
use crate::changes::Spread;
use crate::graph::resample::Taps;
use crate::graph::{Conv, Op, PoolKind, Separable, Window};
use crate::kernels::BLOCK;

/// What a step computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Without weights.
    Conv {
        conv: Box<Conv>,
        how: ConvKind,
    },
    /// Without weights, which are those of the depthwise convolution and of the pointwise one.
    Separable(Box<Separable>),
    Elementwise(Op),
    Pool(PoolKind, Window),
    GlobalAverage,
    Resize(Taps),
    Rearrange {
        stride: [usize; 2],
        runs: Vec<Run>,
    },
    Pad {
        before: [usize; 2],
        value: f32,
    },
    Softmax {
        group: usize,
    },
    /// The parts are in place: only their change sets are joined.
    Join,
}

/// Channels that a rearrangement copies at once: `n` from `from` of the cell at `(dy, dx)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub dy: usize,
    pub dx: usize,
    pub from: usize,
    pub n: usize,
}

/// How a convolution is computed. The weights stand apart ([`crate::weights::Weights`]), in the order that is said here.
#[derive(Debug, Clone, PartialEq)]
pub enum ConvKind {
    /// Sums over taps and channels; weights of one group after another.
    Gemm(Gemm),
    /// 3x3 by squares of 2x2 cells ([`crate::weights::winograd`]).
    Winograd2x2(Winograd2x2),
    Depthwise,
    /// One phase after another, `[row remainder][column remainder]`.
    Transposed {
        phases: Vec<TransposedPhase>,
        window: Window,
        depth: usize,
    },
}

/// The taps of a convolution from an output cell, as cells of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gemm {
    pub n_groups: usize,
    /// Input channels of a group.
    pub depth: usize,
    pub window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Winograd2x2 {
    /// Input channels.
    pub depth: usize,
    /// What a square sees.
    pub window: Window,
}

/// The output cells of a transposed convolution with one remainder of row and
/// column, which all see the same taps: kernel row and column of each.
#[derive(Debug, Clone, PartialEq)]
pub struct TransposedPhase {
    pub taps: Vec<[usize; 2]>,
}

/// One operation with its maps.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub kind: Kind,
    pub inputs: Vec<usize>,
    pub output: usize,
    /// One an input.
    pub spread: Vec<Spread>,
    pub macs_per_cell: u64,
    /// Whether a threshold may hold back small changes of the output; else only equal bits do.
    pub is_gated: bool,
}

impl Step {
    pub fn name(&self) -> &'static str {
        match &self.kind {
            Kind::Conv { how: ConvKind::Gemm(_), .. } => "conv",
            Kind::Conv { how: ConvKind::Winograd2x2(_), .. } => "conv-winograd",
            Kind::Conv { how: ConvKind::Depthwise, .. } => "depthwise",
            Kind::Conv { .. } => "conv-transpose",
            Kind::Separable(_) => "separable",
            Kind::Elementwise(op) => op.name(),
            Kind::Pool(..) => "pool",
            Kind::GlobalAverage => "global-average",
            Kind::Resize(_) => "resize",
            Kind::Rearrange { .. } => "rearrange",
            Kind::Pad { .. } => "pad",
            Kind::Softmax { .. } => "softmax",
            Kind::Join => "concat",
        }
    }

    /// Whether the kernel reads, beside the input's channels, some that this step writes: it
    /// takes whole blocks, which end in the next part of a concatenation. What it reads
    /// there is not used, but another thread may be writing it.
    pub fn reads_beside(&self, maps: &[Map]) -> bool {
        let (input, output) = (&maps[self.inputs[0]], &maps[self.output]);
        matches!(self.kind, Kind::Conv { how: ConvKind::Depthwise | ConvKind::Winograd2x2(_), .. } | Kind::Separable(_))
            && !input.shape.c.is_multiple_of(BLOCK)
            && input.buffer == output.buffer
    }
}
