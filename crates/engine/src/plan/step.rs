//! What is computed of one map: an operation, its maps, and how changes pass through it.

use super::map::Map;
use crate::changes::Spread;
use crate::graph::resample::Taps;
use crate::graph::{Conv, Op, PoolKind, Separable, Window};
use crate::kernels::BLOCK;
use crate::weights::packed::Packed;
use crate::weights::winograd::Squares;

/// The taps of a convolution from an output cell, as cells of the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Dense {
    /// One a group.
    pub packed: Vec<Packed>,
    /// Input channels of a group.
    pub depth: usize,
    pub window: Window,
}

/// The output cells of a transposed convolution with one remainder of row and
/// column, which all see the same taps.
#[derive(Debug, Clone, PartialEq)]
pub struct Phase {
    pub packed: Packed,
    /// Kernel row and column of each tap.
    pub taps: Vec<[usize; 2]>,
}

/// What a step computes.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Conv {
        conv: Box<Conv>,
        how: ConvKind,
    },
    Separable(Box<Pair>),
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

#[derive(Debug, Clone, PartialEq)]
pub enum ConvKind {
    Gemm(Dense),
    Squares(Squares),
    Depthwise(Packed),
    /// `[row remainder][column remainder]`.
    Transposed {
        phases: Vec<Phase>,
        window: Window,
        depth: usize,
    },
}

/// A depthwise convolution and the pointwise one that reads it, packed.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// Without their weights and biases.
    pub convs: Separable,
    pub depthwise: Packed,
    pub pointwise: Packed,
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
            Kind::Conv { how: ConvKind::Squares(_), .. } => "conv-winograd",
            Kind::Conv { how: ConvKind::Depthwise(_), .. } => "depthwise",
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
        matches!(self.kind, Kind::Conv { how: ConvKind::Depthwise(_) | ConvKind::Squares(_), .. } | Kind::Separable(_))
            && !input.shape.c.is_multiple_of(BLOCK)
            && input.buffer == output.buffer
    }
}
