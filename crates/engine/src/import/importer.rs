//! The graph that grows while a file is read, within bounds.

use super::consts::{self, Const};
use super::error::{Fail, invalid, unsupported};
use super::known::{Known, Pieces};
use super::onnx;
use crate::graph::view::View;
use crate::graph::{Graph, MapShape, Node, Op, Output, ValueId};
use std::collections::HashMap;

/// Bounds on what a file may ask for: beyond them is a mistake or an attack.
pub(super) const MAX_NODES: usize = 8_000;
/// Inputs and outputs of all nodes together: passes look at them for every node.
pub(super) const MAX_EDGES: usize = 1 << 17;
pub(super) const MAX_MAP_VALUES: usize = 1 << 28;
/// Values of all maps together: here they are shapes only. What they take as memory is known when they are laid out.
pub(super) const MAX_ALL_VALUES: usize = 1 << 30;
/// Weights that are packed for convolutions, whatever they share in the file: of any file, and for each of its bytes.
pub(super) const MAX_WEIGHTS: usize = 1 << 22;
pub(super) const WEIGHTS_PER_BYTE: usize = 1;
/// Channels of all maps together: nodes keep numbers for each.
pub(super) const MAX_ALL_CHANNELS: usize = 1 << 22;
/// Values in constants that are made from others.
pub(super) const MAX_COPIED: usize = 1 << 26;
/// Outputs are padded to so many.
pub(super) const LANES: usize = 16;
/// Maps that are joined without a copy.
pub(super) const MAX_PARTS: usize = 64;
/// Work on shapes and views, in values touched.
pub(super) const MAX_CHANNELS: usize = 1 << 16;

pub(super) struct Importer {
    pub n_bytes: usize,
    pub n_weights: usize,
    pub graph: Graph,
    pub known: HashMap<String, Known>,
    pub opset: i64,
    pub n_values: usize,
    pub n_channels: usize,
    pub n_copied: usize,
}

impl Importer {
    /// Makes a map an output of the graph; whether it is one.
    pub(super) fn put_out(&mut self, name: &str) -> bool {
        let Some(Known::Map(pieces)) = self.known.get(name) else { return false };
        let output = Output { name: name.into(), dims: pieces.shape(), axis: pieces.axis, parts: pieces.parts.clone() };
        self.graph.outputs.push(output);
        true
    }

    pub(super) fn node(&mut self, node: &onnx::NodeProto) -> Result<(), Fail> {
        if !matches!(node.domain.as_str(), "" | "ai.onnx") {
            return unsupported(format!("operations of domain '{}'", node.domain));
        }
        if node.output.iter().all(String::is_empty) {
            return invalid("it has no output");
        }
        let folded = {
            let inputs: Option<Vec<Option<&Const>>> = node
                .input
                .iter()
                .map(|name| match self.known.get(name) {
                    _ if name.is_empty() => Some(None),
                    Some(Known::Const(c)) => Some(Some(c)),
                    _ => None,
                })
                .collect();
            let inputs = inputs.filter(|i| i.iter().any(Option::is_some));
            inputs.map(|inputs| consts::fold(node, &inputs))
        };
        let outputs = match folded {
            Some(Some(value)) => {
                self.n_copied += value.len();
                if self.n_copied > MAX_COPIED {
                    return invalid("copies of constants need too much memory");
                }
                vec![Known::Const(value)]
            }
            Some(None) => return unsupported("this operation on these constants"),
            None => self.operation(node)?,
        };
        if outputs.len() < node.output.len() && node.op_type != "BatchNormalization" && node.op_type != "Dropout" {
            return unsupported(format!("{} outputs", node.output.len()));
        }
        for (name, value) in node.output.iter().zip(outputs) {
            if !name.is_empty() && self.known.insert(name.clone(), value).is_some() {
                return invalid(format!("'{name}' is written twice"));
            }
        }
        Ok(())
    }

    pub(super) fn add_value(&mut self, name: &str, shape: MapShape) -> Result<ValueId, Fail> {
        let n = shape.h.checked_mul(shape.w).and_then(|n| n.checked_mul(shape.c));
        let n = n.filter(|n| (1..=MAX_MAP_VALUES).contains(n) && shape.c <= MAX_CHANNELS);
        let Some(n) = n else { return invalid(format!("a map of {shape} is empty or too large")) };
        self.n_values += n;
        if self.n_values > MAX_ALL_VALUES {
            return invalid("its maps need more than 4 GiB");
        }
        self.n_channels += shape.c;
        if self.n_channels > MAX_ALL_CHANNELS {
            return invalid("its channels are too many");
        }
        Ok(self.graph.add_value(name, shape))
    }

    /// Counts weights that are packed: `n`, of which each `n_out` are padded to whole vectors.
    pub(super) fn count_weights(&mut self, n: usize, n_out: usize) -> Result<(), Fail> {
        self.n_weights += n / n_out.max(1) * n_out.next_multiple_of(LANES);
        let most = MAX_WEIGHTS + WEIGHTS_PER_BYTE * self.n_bytes;
        match self.n_weights > most {
            false => Ok(()),
            true => {
                let (mib, n_bytes) = (most >> 18, self.n_bytes);
                invalid(format!("its weights need more than {mib} MiB, the most for a file of {n_bytes} bytes"))
            }
        }
    }

    /// Adds a node; its output as a map.
    pub(super) fn emit(
        &mut self,
        name: &str,
        op: Op,
        inputs: Vec<ValueId>,
        shape: MapShape,
    ) -> Result<Vec<Known>, Fail> {
        let output = self.add_value(name, shape)?;
        self.graph.nodes.push(Node { op, inputs, output });
        Ok(vec![Known::Map(Pieces::one(View::whole(output, shape)))])
    }

    pub(super) fn constant(&self, node: &onnx::NodeProto, i: usize) -> Option<&Const> {
        match self.known.get(node.input.get(i)?)? {
            Known::Const(c) => Some(c),
            Known::Map(_) => None,
        }
    }

    /// The numbers of constant input `i`; `None` if the input is absent.
    pub(super) fn floats(&self, node: &onnx::NodeProto, i: usize) -> Result<Option<&[f32]>, Fail> {
        if node.input.get(i).is_none_or(String::is_empty) {
            return Ok(None);
        }
        match self.constant(node, i).and_then(Const::as_floats) {
            Some(v) => Ok(Some(v)),
            None => unsupported(format!("input {i} is not a constant of floats")),
        }
    }

    /// The whole numbers of constant input `i`; `None` if the input is absent.
    pub(super) fn ints(&self, node: &onnx::NodeProto, i: usize) -> Result<Option<Vec<i64>>, Fail> {
        if node.input.get(i).is_none_or(String::is_empty) {
            return Ok(None);
        }
        match self.constant(node, i).and_then(Const::as_ints) {
            Some(v) => Ok(Some(v.to_vec())),
            None => unsupported(format!("input {i} is not a constant of whole numbers")),
        }
    }

    pub(super) fn pieces(&self, node: &onnx::NodeProto, i: usize) -> Result<&Pieces, Fail> {
        let Some(name) = node.input.get(i) else { return invalid(format!("input {i} is missing")) };
        match self.known.get(name) {
            Some(Known::Map(pieces)) => Ok(pieces),
            Some(Known::Const(_)) => unsupported(format!("input '{name}' is a constant")),
            None => invalid(format!("'{name}' is not defined before it is read")),
        }
    }

    pub(super) fn view(&self, node: &onnx::NodeProto, i: usize) -> Result<View, Fail> {
        match self.pieces(node, i)?.parts.as_slice() {
            [view] => Ok(view.clone()),
            parts => unsupported(format!("input {i} is made of {} maps", parts.len())),
        }
    }

    /// Input `i` as a feature map, written out if it is a rearrangement of one.
    pub(super) fn map(&mut self, node: &onnx::NodeProto, i: usize) -> Result<ValueId, Fail> {
        let view = self.view(node, i)?;
        self.materialise(&view, node.input.get(i).map_or("", String::as_str))
    }

    pub(super) fn materialise(&mut self, view: &View, name: &str) -> Result<ValueId, Fail> {
        let base = self.graph.shape(view.base);
        if *view == View::whole(view.base, base) {
            return Ok(view.base);
        }
        let shape = view.shape();
        if !matches!(shape.as_slice(), [1, c, _, _] if *c <= MAX_CHANNELS) {
            return unsupported(format!("'{name}' is no feature map here but {shape:?}"));
        }
        let Some((shape, stride, sources)) = view.as_map() else {
            return unsupported(format!("'{name}' mixes rows or columns with channels"));
        };
        // The same rearrangement for a second reader.
        let same = self.graph.nodes.iter().find(|n| {
            n.inputs == [view.base]
                && matches!(&n.op, Op::Rearrange { stride: s, sources: c } if *s == stride && *c == sources)
        });
        if let Some(node) = same {
            return Ok(node.output);
        }
        let output = self.add_value(&format!("{name}/rearranged"), shape)?;
        self.graph.nodes.push(Node { op: Op::Rearrange { stride, sources }, inputs: vec![view.base], output });
        Ok(output)
    }
}
