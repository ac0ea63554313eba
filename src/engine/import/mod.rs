//! ONNX in, [`Graph`] out.
//!
//! Nodes are read in the file's order. A value is a constant, or a list of
//! [`View`]s of feature maps, one after another along one axis: layout
//! operations change views only, and a node is added to the graph where
//! something is computed. What cannot be expressed is left over, with all that
//! follows it ([`Tail`]), or refused by the name of its operation. The picture's
//! size is chosen by the caller; shapes that the file declares are not looked at.

mod consts;
mod layout;
mod ops;
mod tail;

pub use tail::Tail;

use super::graph::{Graph, MapShape, Node, Op, Output, ValueId};
use super::onnx;
use super::view::View;
use consts::Const;
use prost::Message as _;
use std::collections::{HashMap, HashSet};
use tail::Left;

/// Why a model cannot be run by the engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    #[error("the file is not an ONNX model, or is cut short ({0})")]
    Malformed(String),
    #[error("{0}")]
    Invalid(String),
    #[error("node '{node}' ({op}): {reason}")]
    Node { node: String, op: String, reason: String },
}

/// Why one node cannot be taken over.
#[derive(Debug)]
enum Fail {
    /// The model is broken.
    Invalid(String),
    /// The model may be right, but the engine does not do this.
    Unsupported(String),
}

fn unsupported<T>(why: impl Into<String>) -> Result<T, Fail> {
    Err(Fail::Unsupported(why.into()))
}

fn invalid<T>(why: impl Into<String>) -> Result<T, Fail> {
    Err(Fail::Invalid(why.into()))
}

/// Views one after another along `axis`; most have one part.
#[derive(Debug, Clone, PartialEq)]
struct Pieces {
    axis: usize,
    parts: Vec<View>,
}

impl Pieces {
    fn one(view: View) -> Self {
        Self { axis: 0, parts: vec![view] }
    }

    fn shape(&self) -> Vec<usize> {
        let mut shape = self.parts[0].shape();
        if self.parts.len() > 1 {
            shape[self.axis] = self.parts.iter().map(|p| p.shape()[self.axis]).sum();
        }
        shape
    }
}

#[derive(Debug, Clone)]
enum Known {
    Const(Const),
    Map(Pieces),
}

/// Bounds on what a file may ask for: beyond them is a mistake or an attack.
const MAX_NODES: usize = 8_000;
/// Inputs and outputs of all nodes together: passes look at them for every node.
const MAX_EDGES: usize = 1 << 17;
const MAX_MAP_VALUES: usize = 1 << 28;
/// Values of all maps together: here they are shapes only. What they take as memory is known when they are laid out.
const MAX_ALL_VALUES: usize = 1 << 30;
/// Weights that are packed for convolutions, whatever they share in the file: of any file, and for each of its bytes.
const MAX_WEIGHTS: usize = 1 << 22;
const WEIGHTS_PER_BYTE: usize = 1;
/// Channels of all maps together: nodes keep numbers for each.
const MAX_ALL_CHANNELS: usize = 1 << 22;
/// Values in constants that are made from others.
const MAX_COPIED: usize = 1 << 26;
/// Outputs are padded to so many.
const LANES: usize = 16;
/// Maps that are joined without a copy.
const MAX_PARTS: usize = 64;
/// Work on shapes and views, in values touched.
const MAX_CHANNELS: usize = 1 << 16;

struct Importer {
    n_bytes: usize,
    n_weights: usize,
    graph: Graph,
    known: HashMap<String, Known>,
    opset: i64,
    n_values: usize,
    n_channels: usize,
    n_copied: usize,
}

/// Reads a model for pictures of `h` x `w`, all of it.
///
/// # Errors
/// The file is broken, or asks for what the engine cannot do; the message names
/// the node and its operation.
pub fn import(file: &[u8], h: usize, w: usize) -> Result<Graph, ImportError> {
    match import_with_tail(file, h, w)? {
        (graph, None) => Ok(graph),
        (_, Some(tail)) => Err(tail.why),
    }
}

/// As [`import`], but the model's end may be left over: then the graph's outputs are what the
/// tail reads, beside those of the model that need no tail.
///
/// # Errors
/// As [`import`]; what is left over is more than an end.
pub fn import_with_tail(file: &[u8], h: usize, w: usize) -> Result<(Graph, Option<Tail>), ImportError> {
    let n_bytes = file.len();
    let model = &onnx::Model::decode(file).map_err(|e| ImportError::Malformed(e.to_string()))?;
    let file = model.graph.as_ref().ok_or_else(|| ImportError::Malformed("no graph".into()))?;
    let broken = |why: Fail| match why {
        Fail::Invalid(why) | Fail::Unsupported(why) => ImportError::Invalid(why),
    };
    if file.node.len() > MAX_NODES {
        return Err(ImportError::Invalid(format!("{} nodes are too many; {MAX_NODES} are the most", file.node.len())));
    }
    let n_edges: usize = file.node.iter().map(|n| n.input.len() + n.output.len()).sum();
    if n_edges > MAX_EDGES {
        let what = format!("{n_edges} inputs and outputs of nodes are too many; {MAX_EDGES} are the most");
        return Err(ImportError::Invalid(what));
    }
    let mut known = HashMap::new();
    for tensor in &file.initializer {
        let value = Known::Const(Const::read(tensor).map_err(broken)?);
        if known.insert(tensor.name.clone(), value).is_some() {
            return Err(ImportError::Invalid(format!("tensor '{}' is declared twice", tensor.name)));
        }
    }
    let weights: HashSet<&str> = file.initializer.iter().map(|t| t.name.as_str()).collect();
    let pictures: Vec<&str> =
        file.input.iter().map(|i| i.name.as_str()).filter(|name| !weights.contains(name)).collect();
    let [picture] = pictures.as_slice() else {
        return Err(ImportError::Invalid(format!("{} inputs, expected one picture", pictures.len())));
    };
    let opset = model.opset_import.iter().find(|o| o.domain.is_empty() || o.domain == "ai.onnx");
    let graph = Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new() };
    let mut importer = Importer {
        n_bytes,
        n_weights: 0,
        graph,
        known,
        opset: opset.map_or(1, |o| o.version),
        n_values: 0,
        n_channels: 0,
        n_copied: 0,
    };
    let channels = input_channels(file, picture);
    let input = importer.add_value(picture, MapShape::new(h, w, channels)).map_err(broken)?;
    importer.known.insert((*picture).into(), Known::Map(Pieces::one(View::whole(input, importer.graph.shape(input)))));

    let mut left = Left::default();
    for node in &file.node {
        if left.feeds(node) {
            left.add(node, &importer.known, None).map_err(|why| why.of(node))?;
        } else if let Err(why) = importer.node(node) {
            let is_unknown = matches!(why, Fail::Unsupported(_));
            let error = why.of(node);
            if !is_unknown {
                return Err(error);
            }
            left.add(node, &importer.known, Some(error)).map_err(|why| why.of(node))?;
        }
    }
    let mut outputs = HashSet::new();
    for output in &file.output {
        if !outputs.insert(output.name.as_str()) {
            return Err(ImportError::Invalid(format!("output '{}' is declared twice", output.name)));
        }
        if !left.makes(&output.name) && !importer.put_out(&output.name) {
            return Err(ImportError::Invalid(format!("output '{}' does not come from the picture", output.name)));
        }
    }
    if outputs.is_empty() {
        return Err(ImportError::Invalid("no outputs".into()));
    }
    let tail = left.finish(model, file, &importer.known)?;
    if let Some(tail) = &tail {
        for name in tail.inputs.iter().filter(|name| !outputs.contains(name.as_str())) {
            importer.put_out(name);
        }
        if importer.graph.outputs.is_empty() {
            return Err(tail.why.clone());
        }
    }
    Ok((importer.graph, tail))
}

impl Fail {
    fn of(self, node: &onnx::Node) -> ImportError {
        let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
        ImportError::Node {
            node: name.cloned().unwrap_or_default(),
            op: node.op_type.clone(),
            reason: match self {
                Self::Invalid(why) => why,
                Self::Unsupported(why) => format!("not supported by the layer engine: {why}"),
            },
        }
    }
}

/// Channels of the picture as declared; 3 where the file does not say.
fn input_channels(file: &onnx::Graph, picture: &str) -> usize {
    let declared = file.input.iter().find(|i| i.name == picture).and_then(|i| {
        let dims = &i.kind.as_ref()?.tensor.as_ref()?.shape.as_ref()?.dim;
        usize::try_from(dims.get(1)?.value).ok()
    });
    declared.filter(|c| (1..=64).contains(c)).unwrap_or(3)
}

impl Importer {
    /// Makes a map an output of the graph; whether it is one.
    fn put_out(&mut self, name: &str) -> bool {
        let Some(Known::Map(pieces)) = self.known.get(name) else { return false };
        let output = Output { name: name.into(), dims: pieces.shape(), axis: pieces.axis, parts: pieces.parts.clone() };
        self.graph.outputs.push(output);
        true
    }

    fn node(&mut self, node: &onnx::Node) -> Result<(), Fail> {
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

    fn add_value(&mut self, name: &str, shape: MapShape) -> Result<ValueId, Fail> {
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
    fn count_weights(&mut self, n: usize, n_out: usize) -> Result<(), Fail> {
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
    fn emit(&mut self, name: &str, op: Op, inputs: Vec<ValueId>, shape: MapShape) -> Result<Vec<Known>, Fail> {
        let output = self.add_value(name, shape)?;
        self.graph.nodes.push(Node { op, inputs, output });
        Ok(vec![Known::Map(Pieces::one(View::whole(output, shape)))])
    }

    fn constant(&self, node: &onnx::Node, i: usize) -> Option<&Const> {
        match self.known.get(node.input.get(i)?)? {
            Known::Const(c) => Some(c),
            Known::Map(_) => None,
        }
    }

    /// The numbers of constant input `i`; `None` if the input is absent.
    fn floats(&self, node: &onnx::Node, i: usize) -> Result<Option<&[f32]>, Fail> {
        if node.input.get(i).is_none_or(String::is_empty) {
            return Ok(None);
        }
        match self.constant(node, i).and_then(Const::as_floats) {
            Some(v) => Ok(Some(v)),
            None => unsupported(format!("input {i} is not a constant of floats")),
        }
    }

    /// The whole numbers of constant input `i`; `None` if the input is absent.
    fn ints(&self, node: &onnx::Node, i: usize) -> Result<Option<Vec<i64>>, Fail> {
        if node.input.get(i).is_none_or(String::is_empty) {
            return Ok(None);
        }
        match self.constant(node, i).and_then(Const::as_ints) {
            Some(v) => Ok(Some(v.to_vec())),
            None => unsupported(format!("input {i} is not a constant of whole numbers")),
        }
    }

    fn pieces(&self, node: &onnx::Node, i: usize) -> Result<&Pieces, Fail> {
        let Some(name) = node.input.get(i) else { return invalid(format!("input {i} is missing")) };
        match self.known.get(name) {
            Some(Known::Map(pieces)) => Ok(pieces),
            Some(Known::Const(_)) => unsupported(format!("input '{name}' is a constant")),
            None => invalid(format!("'{name}' is not defined before it is read")),
        }
    }

    fn view(&self, node: &onnx::Node, i: usize) -> Result<View, Fail> {
        match self.pieces(node, i)?.parts.as_slice() {
            [view] => Ok(view.clone()),
            parts => unsupported(format!("input {i} is made of {} maps", parts.len())),
        }
    }

    /// Input `i` as a feature map, written out if it is a rearrangement of one.
    fn map(&mut self, node: &onnx::Node, i: usize) -> Result<ValueId, Fail> {
        let view = self.view(node, i)?;
        self.materialise(&view, node.input.get(i).map_or("", String::as_str))
    }

    fn materialise(&mut self, view: &View, name: &str) -> Result<ValueId, Fail> {
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
