//! The engine's typed graph: feature maps, and the operations between them.
//!
//! Every value is one feature map of a picture: `h` x `w` cells of `c` channels,
//! batch 1. Nodes stand in the order in which they can run. Weights live in the
//! nodes. What a model does to maps besides computing (reshaping, flattening)
//! is in [`crate::graph::view`], not here.

pub mod resample;
mod shape;
pub mod verify;
pub mod view;

pub use shape::{ChannelSource, MapShape, ValueId};
use view::View;

#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// As in the file, or made from it.
    pub name: String,
    pub shape: MapShape,
}

/// What turns a computed number into the stored one.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    Identity,
    Relu,
    /// Slope for negative numbers.
    Leaky(f32),
    /// One slope a channel.
    PRelu(Vec<f32>),
    Clip(f32, f32),
    Sigmoid,
    /// `x * sigmoid(x)`.
    Silu,
    /// `clip(alpha * x + beta, 0, 1)`.
    HardSigmoid(f32, f32),
    /// `x * clip(x / 6 + 1 / 2, 0, 1)`.
    HardSwish,
    Tanh,
}

/// A sliding window: `[top/left, bottom/right]` pairs are `[vertical, horizontal]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
    /// Before the first row, before the first column.
    pub pad: [usize; 2],
    /// After the last row, after the last column.
    pub pad_end: [usize; 2],
}

impl Window {
    /// One cell in, the same cell out.
    pub const POINT: Self = Self { kernel: [1; 2], stride: [1; 2], dilation: [1; 2], pad: [0; 2], pad_end: [0; 2] };

    pub fn n_taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// The first input cell, row and column, that an output cell sees of a map of `size`, if it sees nothing outside.
    #[inline]
    pub fn inside(&self, size: [usize; 2], at: [usize; 2]) -> Option<[usize; 2]> {
        let first = |i: usize| (at[i] * self.stride[i]).checked_sub(self.pad[i]);
        let first = [first(0)?, first(1)?];
        let ends = |i: usize| first[i] + (self.kernel[i] - 1) * self.dilation[i] < size[i];
        (ends(0) && ends(1)).then_some(first)
    }

    /// Whether each output cell looks at the input cell of the same place only.
    pub fn is_point(&self) -> bool {
        self.kernel == [1; 2] && self.stride == [1; 2] && self.pad == [0; 2] && self.pad_end == [0; 2]
    }
}

/// A convolution. Weights are `[out][tap][in of the group]`, taps row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    pub window: Window,
    pub groups: usize,
    pub weights: Vec<f32>,
    /// One an output channel.
    pub bias: Vec<f32>,
    pub act: Act,
    /// The node's second input is added after `act`, then `post` is applied.
    pub post: Act,
    /// Transposed: the window slides over the output ("deconvolution").
    pub transposed: bool,
}

impl Conv {
    /// Whether each channel is seen by itself.
    pub fn is_depthwise(&self) -> bool {
        let one_each = self.groups == self.bias.len() && self.weights.len() == self.groups * self.window.n_taps();
        one_each && !self.transposed
    }

    /// Whether each output cell sees all channels of the input cell of its place.
    pub fn is_plain_point(&self) -> bool {
        !self.transposed && self.groups == 1 && self.window.is_point()
    }

    /// Multiply-accumulates of one output cell.
    pub fn macs_per_cell(&self) -> u64 {
        let all = self.weights.len() as u64;
        if self.transposed { all / (self.window.stride[0] * self.window.stride[1]) as u64 } else { all }
    }
}

/// A depthwise convolution and the 1x1 convolution that alone reads it: what is between them is kept nowhere.
#[derive(Debug, Clone, PartialEq)]
pub struct Separable {
    pub depthwise: Conv,
    pub pointwise: Conv,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Binary {
    Add,
    Sub,
    Mul,
    Div,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    Max,
    /// Mean over the window.
    Average {
        count_pad: bool,
    },
}

/// From output coordinates to input coordinates (ONNX `coordinate_transformation_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coordinates {
    Asymmetric,
    HalfPixel,
    AlignCorners,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    Floor,
    Ceil,
    PreferFloor,
    PreferCeil,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Resize {
    Nearest(Coordinates, Rounding),
    Bilinear(Coordinates),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// Inputs: the map, and the residual if there is one. That may be a coarser map, whose cells stand for as many each
    /// ([`crate::graph::resample::repeats`]).
    Conv(Box<Conv>),
    /// Inputs as those of a convolution; the residual is the pointwise one's.
    Separable(Box<Separable>),
    Act(Act),
    /// `x * scale + shift`, one of each a channel.
    Affine {
        scale: Vec<f32>,
        shift: Vec<f32>,
    },
    /// Two maps of one shape; the second may be a single cell (squeeze-and-excitation).
    Binary(Binary),
    Pool(PoolKind, Window),
    /// Mean over all cells.
    GlobalAverage,
    Resize(Resize),
    /// Channels one after another.
    Concat,
    /// Channel shuffle, slices, space-to-depth.
    Rearrange {
        stride: [usize; 2],
        sources: Vec<ChannelSource>,
    },
    /// A border of one number around the map: rows before, columns before.
    Pad {
        before: [usize; 2],
        value: f32,
    },
    /// Over each run of this many channels.
    Softmax {
        group: usize,
    },
}

impl Op {
    /// The name for people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Conv(c) if c.transposed => "conv-transpose",
            Self::Conv(c) if c.groups > 1 && c.is_depthwise() => "depthwise",
            Self::Conv(_) => "conv",
            Self::Separable(_) => "separable",
            Self::Act(_) => "activation",
            Self::Affine { .. } => "affine",
            Self::Binary(_) => "binary",
            Self::Pool(..) => "pool",
            Self::GlobalAverage => "global-average",
            Self::Resize(_) => "resize",
            Self::Concat => "concat",
            Self::Rearrange { .. } => "rearrange",
            Self::Pad { .. } => "pad",
            Self::Softmax { .. } => "softmax",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub op: Op,
    pub inputs: Vec<ValueId>,
    pub output: ValueId,
}

/// One output of the model: views of maps, one after another along `axis`.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    pub name: String,
    /// As ONNX Runtime would return it.
    pub dims: Vec<usize>,
    pub axis: usize,
    pub parts: Vec<View>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    pub values: Vec<Value>,
    pub nodes: Vec<Node>,
    /// The picture.
    pub input: ValueId,
    pub outputs: Vec<Output>,
    /// Maps that stay whatever is rewritten: of layers that are trained, or that are handed out.
    pub kept: Vec<ValueId>,
}

impl Graph {
    pub fn shape(&self, value: ValueId) -> MapShape {
        self.values[value.0 as usize].shape
    }

    pub fn name(&self, value: ValueId) -> &str {
        &self.values[value.0 as usize].name
    }

    /// The value of a name.
    pub fn value(&self, name: &str) -> Option<ValueId> {
        let at = self.values.iter().position(|v| v.name == name)?;
        Some(ValueId(at as u32))
    }

    pub fn add_value(&mut self, name: impl Into<String>, shape: MapShape) -> ValueId {
        self.values.push(Value { name: name.into(), shape });
        ValueId(self.values.len() as u32 - 1)
    }

    /// Has every map stay, so that each layer of the file is a step.
    pub fn keep_all(&mut self) {
        self.kept = self.nodes.iter().map(|node| node.output).collect();
    }

    /// How often each value is read, by nodes and outputs, and by whom it is kept for.
    pub fn n_uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.values.len()];
        for node in &self.nodes {
            for input in &node.inputs {
                uses[input.0 as usize] += 1;
            }
        }
        for part in self.outputs.iter().flat_map(|o| &o.parts) {
            uses[part.base.0 as usize] += 1;
        }
        self.kept.iter().for_each(|value| uses[value.0 as usize] += 1);
        uses
    }

    /// The node that makes each value; `None` for the input and for values without use.
    pub fn makers(&self) -> Vec<Option<usize>> {
        let mut makers = vec![None; self.values.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            makers[node.output.0 as usize] = Some(i);
        }
        makers
    }

    /// Multiply-accumulates of one output cell of a node.
    pub fn macs_per_cell(&self, node: &Node) -> u64 {
        match &node.op {
            Op::Conv(conv) => conv.macs_per_cell(),
            Op::Separable(s) => s.depthwise.macs_per_cell() + s.pointwise.macs_per_cell(),
            _ => 0,
        }
    }

    /// Multiply-accumulates of one whole picture.
    pub fn macs(&self) -> u64 {
        self.nodes.iter().map(|n| self.macs_per_cell(n) * self.shape(n.output).n_cells() as u64).sum()
    }
}
