//! Other numbers for convolutions of a file: the rest of it stays byte for byte as it is.
//!
//! In: the file, and for each convolution that was trained the name of the value it makes in the engine's graph
//! ([`engine::passes::simplify`]), its weights and its bias. Out: the file, in which these convolutions read new tensors,
//! and scales and shifts that the graph had folded into them scale by 1 and shift by 0. Constants that nobody reads any
//! more are left out. The engine reads the same numbers again, bit for bit; a runtime that does not fold a batch
//! normalisation that is undone so may be one unit in the last place off.

use super::error::OnnxError;
use super::tag;
use super::wire::{Field, Fields, numbers, put_message, rewrite, text};
use engine::import::onnx::{NodeProto, TensorProto, ValueInfo, data_type};
use prost::Message as _;
use prost::encoding::WireType;
use std::collections::{HashMap, HashSet};

/// A convolution with other numbers.
#[derive(Debug, Clone, Copy)]
pub struct NewWeights<'a> {
    /// Name of the value that the convolution and what was fused into it make, as in the file.
    pub output: &'a str,
    /// `[out][tap][in of the group]`, taps row by row; batch normalisation and gains folded in.
    pub weights: &'a [f32],
    /// One an output channel.
    pub bias: &'a [f32],
}

/// Nodes that are looked at for one layer.
const MOST_STEPS: usize = 1 << 10;
/// Graphs in graphs.
const MOST_DEPTH: usize = 8;
/// Versions of the format in which weights are inputs, too.
const LISTING_VERSIONS: std::ops::Range<u64> = 1..4;

/// The model with other numbers in these convolutions. Its weights are in the file ([`super::inlined`]).
///
/// # Errors
/// The file is malformed; a layer is no convolution of the file, or its numbers do not fit there; weights are computed from others (quantised ones); a scale or shift after it cannot be undone. The message names
/// the node, or the layer.
pub fn with_weights(model: &[u8], layers: &[NewWeights<'_>]) -> Result<Vec<u8>, OnnxError> {
    let file = Contents::read(model)?;
    let mut changes = Vec::new();
    let mut changed = HashSet::new();
    for layer in layers {
        let (conv, undone) = file.site(layer.output)?;
        if !changed.insert(conv) {
            return Err(of(&file.nodes[conv], "it is given new weights twice"));
        }
        changes.extend(file.replaced(conv, layer)?);
        for i in undone {
            changes.extend(file.undone(i, layer.bias.len())?);
        }
    }
    let dropped = file.dropped(&changes);
    let names = file.names(&changes, &dropped);
    let mut inputs: HashMap<usize, Vec<(usize, &str)>> = HashMap::new();
    for (change, name) in changes.iter().zip(&names) {
        inputs.entry(change.node).or_default().push((change.input, name.as_str()));
    }

    let n_new: usize = changes.iter().map(|c| 4 * c.data.len() + 256).sum();
    let mut out = Vec::with_capacity(model.len() + n_new);
    rewrite(model, &mut out, |field, out| {
        if field.tag != tag::MODEL_GRAPH {
            return Ok(false);
        }
        let mut graph = Vec::with_capacity(field.body.len() + n_new);
        let mut n_nodes = 0;
        rewrite(field.body, &mut graph, |field, graph| match field.tag {
            tag::GRAPH_NODE => {
                let i = n_nodes;
                n_nodes += 1;
                if dropped.nodes.contains(&i) {
                    return Ok(true);
                }
                let Some(inputs) = inputs.get(&i) else { return Ok(false) };
                put_message(graph, field.tag, &with_inputs(field.body, inputs)?);
                Ok(true)
            }
            tag::GRAPH_INITIALIZER => Ok(dropped.names.contains(&name_of(field.body, tag::TENSOR_NAME)?)),
            tag::GRAPH_INPUT | tag::GRAPH_VALUE_INFO => {
                Ok(dropped.names.contains(&name_of(field.body, tag::VALUE_NAME)?))
            }
            _ => Ok(false),
        })?;
        for (change, name) in changes.iter().zip(&names) {
            let tensor = TensorProto {
                dims: change.dims.iter().map(|d| *d as i64).collect(),
                data_type: data_type::FLOAT,
                name: name.clone(),
                raw_data: change.data.iter().flat_map(|v| v.to_le_bytes()).collect(),
                ..TensorProto::default()
            };
            put_message(&mut graph, tag::GRAPH_INITIALIZER, &tensor.encode_to_vec());
            if file.lists_weights {
                put_message(&mut graph, tag::GRAPH_INPUT, &ValueInfo::floats(name, &change.dims).encode_to_vec());
            }
        }
        put_message(out, field.tag, &graph);
        Ok(true)
    })?;
    Ok(out)
}

/// Another constant for an input of a node.
struct Change {
    node: usize,
    input: usize,
    /// Part of the constant's name.
    kind: &'static str,
    dims: Vec<usize>,
    data: Vec<f32>,
}

/// What nobody reads any more.
#[derive(Default)]
struct Dropped {
    names: HashSet<String>,
    nodes: HashSet<usize>,
}

/// What of a file matters here.
#[derive(Default)]
struct Contents<'a> {
    nodes: Vec<NodeProto>,
    /// Messages of the constants that are no nodes.
    tensors: HashMap<String, &'a [u8]>,
    /// The node that makes a value.
    makers: HashMap<String, usize>,
    /// How often values are read: by nodes, graphs in nodes, and as outputs.
    n_reads: HashMap<String, usize>,
    /// All names of values.
    taken: HashSet<String>,
    /// Whether new constants are to be listed among the inputs.
    lists_weights: bool,
}

impl<'a> Contents<'a> {
    fn read(model: &'a [u8]) -> Result<Self, OnnxError> {
        let (mut graph, mut ir_version) = (None, 0);
        for field in Fields(model) {
            let field = field?;
            if field.tag == tag::MODEL_IR_VERSION {
                ir_version = field.varint;
            } else if field.tag == tag::MODEL_GRAPH && graph.replace(message(&field)?).is_some() {
                return Err(OnnxError::Malformed("several graphs"));
            }
        }
        let graph = graph.ok_or(OnnxError::Malformed("no graph"))?;
        let mut contents = Self::default();
        contents.add_names(graph)?;
        let mut inputs = Vec::new();
        for field in Fields(graph) {
            let field = field?;
            match field.tag {
                tag::GRAPH_NODE => contents.add_node(message(&field)?)?,
                tag::GRAPH_INITIALIZER => {
                    let name = name_of(message(&field)?, tag::TENSOR_NAME)?;
                    if contents.tensors.insert(name, field.body).is_some() {
                        return Err(MADE_TWICE);
                    }
                }
                tag::GRAPH_INPUT => inputs.push(name_of(message(&field)?, tag::VALUE_NAME)?),
                _ => {}
            }
        }
        let is_old = LISTING_VERSIONS.contains(&ir_version);
        contents.lists_weights = is_old && inputs.iter().any(|name| contents.tensors.contains_key(name));
        Ok(contents)
    }

    fn add_node(&mut self, bytes: &[u8]) -> Result<(), OnnxError> {
        let node = NodeProto::decode(bytes).map_err(|_| OnnxError::Malformed("a node that cannot be read"))?;
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if self.makers.insert(name.clone(), self.nodes.len()).is_some() {
                return Err(MADE_TWICE);
            }
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Names in a graph, and in the graphs in its nodes, which read what is around them.
    fn add_names(&mut self, graph: &[u8]) -> Result<(), OnnxError> {
        let mut open = vec![(graph, 0, true)];
        while let Some((bytes, depth, is_graph)) = open.pop() {
            for field in Fields(bytes) {
                let field = field?;
                match (is_graph, field.tag) {
                    (true, tag::GRAPH_NODE) => open.push((field.body, depth, false)),
                    (true, tag::GRAPH_OUTPUT) => self.count_read(name_of(field.body, tag::VALUE_NAME)?),
                    (true, tag::GRAPH_INPUT) => drop(self.taken.insert(name_of(field.body, tag::VALUE_NAME)?)),
                    (true, tag::GRAPH_INITIALIZER) => drop(self.taken.insert(name_of(field.body, tag::TENSOR_NAME)?)),
                    (false, tag::NODE_INPUT) => self.count_read(text(field.body)),
                    (false, tag::NODE_OUTPUT) => drop(self.taken.insert(text(field.body))),
                    (false, tag::NODE_ATTRIBUTE) => {
                        for field in Fields(field.body) {
                            let field = field?;
                            if !matches!(field.tag, tag::ATTRIBUTE_GRAPH | tag::ATTRIBUTE_GRAPHS) {
                                continue;
                            }
                            if depth == MOST_DEPTH {
                                return Err(OnnxError::Malformed("graphs in graphs, too deep"));
                            }
                            open.push((field.body, depth + 1, true));
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn count_read(&mut self, name: String) {
        if !name.is_empty() {
            self.taken.insert(name.clone());
            *self.n_reads.entry(name).or_default() += 1;
        }
    }

    fn maker(&self, name: &str) -> Option<&NodeProto> {
        self.makers.get(name).map(|i| &self.nodes[*i])
    }

    /// Walks from what a layer makes back through what [`engine::passes::simplify`] fuses: to the convolution, which comes
    /// back with the scales and shifts on the way.
    fn site(&self, output: &str) -> Result<(usize, Vec<usize>), OnnxError> {
        let not_found = |what: String| OnnxError::Layer { output: output.into(), what };
        // One activation of several maps, joined before: the engine numbers what it makes of them.
        let numbered = output.rsplit_once('/').and_then(|(name, part)| Some((name, part.parse::<usize>().ok()?)));
        let (mut name, mut part) = numbered.filter(|_| !self.makers.contains_key(output)).unwrap_or((output, 0));
        let mut may_act = true;
        let mut undone = Vec::new();
        for _ in 0..MOST_STEPS {
            let Some(&i) = self.makers.get(name) else {
                return Err(not_found(format!("no node makes '{name}'")));
            };
            let node = &self.nodes[i];
            if !undone.is_empty() && self.is_shared(name) {
                return Err(of(node, format!("'{name}' is read before and after a scale or shift")));
            }
            let refused = || of(node, format!("it is no part of a convolution that makes '{output}'"));
            match operation(node) {
                "Conv" if part == 0 => return Ok((i, undone)),
                // They compute nothing.
                "Identity" | "Dropout" | "Reshape" | "Flatten" | "Transpose" | "Squeeze" | "Unsqueeze" | "Pad" => {
                    name = input(node, 0);
                }
                "Concat" => {
                    name = self.part(node, part).ok_or_else(refused)?;
                    part = 0;
                }
                "Relu" | "LeakyRelu" | "PRelu" | "Clip" | "Sigmoid" | "HardSigmoid" | "HardSwish" | "Tanh"
                    if may_act =>
                {
                    may_act = false;
                    name = input(node, 0);
                }
                op @ ("BatchNormalization" | "Add" | "Sub" | "Mul" | "Div") => {
                    let constant = if op == "BatchNormalization" { Some(1) } else { self.constant_input(node) };
                    name = match constant {
                        Some(1) => input(node, 0),
                        Some(_) => input(node, 1),
                        None if may_act && op == "Mul" => self.gated(node).ok_or_else(refused)?,
                        None => return Err(refused()),
                    };
                    undone.extend(constant.map(|_| i));
                    may_act = false;
                }
                _ => return Err(refused()),
            }
        }
        Err(not_found("too many nodes lie between".into()))
    }

    /// Whether a value is read more than once; for its shape does not count.
    fn is_shared(&self, name: &str) -> bool {
        let for_shape = |n: &&NodeProto| operation(n) == "Shape" && input(n, 0) == name;
        let n_reads = self.n_reads.get(name).copied().unwrap_or(0);
        n_reads > 1 && n_reads - self.nodes.iter().filter(for_shape).count().min(n_reads) > 1
    }

    /// The value behind nodes that hand theirs on.
    fn origin<'n>(&'n self, mut name: &'n str) -> &'n str {
        for _ in 0..MOST_STEPS {
            match self.maker(name) {
                Some(node) if matches!(operation(node), "Identity" | "Dropout") => name = input(node, 0),
                _ => break,
            }
        }
        name
    }

    /// `x` of `x * sigmoid(x)`.
    fn gated<'n>(&'n self, node: &'n NodeProto) -> Option<&'n str> {
        [(0, 1), (1, 0)].into_iter().find_map(|(x, gate)| {
            let gate = self.maker(self.origin(input(node, gate)))?;
            let is_gate = matches!(operation(gate), "Sigmoid" | "HardSigmoid");
            let same = self.origin(input(gate, 0)) == self.origin(input(node, x));
            (is_gate && same).then(|| input(node, x))
        })
    }

    /// One of the maps that are joined, those that others join counted in.
    fn part<'n>(&'n self, node: &'n NodeProto, mut part: usize) -> Option<&'n str> {
        let mut open: Vec<&str> = node.input.iter().rev().map(String::as_str).collect();
        for _ in 0..MOST_STEPS {
            let name = open.pop()?;
            match self.maker(name) {
                Some(inner) if operation(inner) == "Concat" && open.len() + inner.input.len() <= MOST_STEPS => {
                    open.extend(inner.input.iter().rev().map(String::as_str));
                }
                Some(inner) if matches!(operation(inner), "Identity" | "Reshape" | "Transpose") => {
                    open.push(input(inner, 0));
                }
                _ if part == 0 => return Some(name),
                _ => part -= 1,
            }
        }
        None
    }

    /// Which of two inputs is a constant of floats.
    fn constant_input(&self, node: &NodeProto) -> Option<usize> {
        [1, 0].into_iter().find(|i| self.floats(input(node, *i)).is_ok())
    }

    /// Shape of a constant of floats; else what it is.
    fn floats(&self, name: &str) -> Result<Vec<usize>, String> {
        let name = self.origin(name);
        if let Some(tensor) = self.tensors.get(name) {
            return tensor_shape(tensor).map_err(|what| format!("'{name}': {what}"));
        }
        let Some(node) = self.maker(name) else { return Err(format!("'{name}' is no constant")) };
        if operation(node) != "Constant" {
            let (node, op) = (shown(node), &node.op_type);
            return Err(format!("'{name}' is made by '{node}' ({op}), and no numbers of the file"));
        }
        if let Some(t) = node.attribute("value").and_then(|a| a.t.as_ref()) {
            return checked_shape(&t.dims, t.data_type.into(), t.data_location != 0)
                .map_err(|what| format!("'{name}': {what}"));
        }
        let single = node.attribute("value_float").map(|_| Vec::new());
        let list = || node.attribute("value_floats").map(|a| vec![a.floats.len()]);
        single.or_else(list).ok_or_else(|| format!("'{name}' is a constant of another kind"))
    }

    /// New weights and bias of a convolution.
    fn replaced(&self, conv: usize, layer: &NewWeights<'_>) -> Result<[Change; 2], OnnxError> {
        let node = &self.nodes[conv];
        if node.input.len() < 2 {
            return Err(of(node, "it has no weights"));
        }
        let dims = self.floats(&node.input[1]).map_err(|what| of(node, format!("its weights: {what}")))?;
        let &[n_out, n_in, kh, kw] = dims.as_slice() else {
            return Err(of(node, format!("its weights have the shape {dims:?}")));
        };
        let n_taps = kh.checked_mul(kw);
        let n = n_taps.and_then(|taps| taps.checked_mul(n_in)?.checked_mul(n_out));
        let (n_new, n_biases) = (layer.weights.len(), layer.bias.len());
        let Some(n_taps) = n_taps.filter(|_| n == Some(n_new) && n_biases == n_out && n_new > 0) else {
            let what = format!("{n_new} new weights and {n_biases} biases do not fit weights of the shape {dims:?}");
            return Err(of(node, what));
        };
        if !layer.weights.iter().chain(layer.bias).all(|v| v.is_finite()) {
            return Err(of(node, "its new weights are no finite numbers"));
        }
        let mut data = vec![0.0; n_new];
        for (at, weight) in layer.weights.iter().enumerate() {
            let (o, t, i) = (at / (n_taps * n_in), at / n_in % n_taps, at % n_in);
            data[(o * n_in + i) * n_taps + t] = *weight;
        }
        Ok([
            Change { node: conv, input: 1, kind: "weight", dims, data },
            Change { node: conv, input: 2, kind: "bias", dims: vec![n_out], data: layer.bias.to_vec() },
        ])
    }

    /// Constants with which a scale or shift of so many channels does nothing.
    fn undone(&self, i: usize, n_channels: usize) -> Result<Vec<Change>, OnnxError> {
        let node = &self.nodes[i];
        let op = operation(node);
        if op == "BatchNormalization" {
            let scale = (1.0 + node.float("epsilon", 1e-5)).sqrt();
            if !scale.is_normal() || node.input.len() < 5 {
                return Err(of(node, "it has no usable epsilon, or too few inputs"));
            }
            let numbers = [("scale", scale), ("bias", 0.0), ("mean", 0.0), ("variance", 1.0)];
            let change = |(at, (kind, v)): (usize, (&'static str, f32))| {
                let data = vec![v; n_channels];
                Change { node: i, input: at + 1, kind, dims: vec![n_channels], data }
            };
            return Ok(numbers.into_iter().enumerate().map(change).collect());
        }
        let neutral = match (op, self.constant_input(node)) {
            ("Add", Some(at)) => Some((at, 0.0)),
            ("Mul", Some(at)) => Some((at, 1.0)),
            ("Sub", Some(1)) => Some((1, 0.0)),
            ("Div", Some(1)) => Some((1, 1.0)),
            _ => None,
        };
        let Some((at, neutral)) = neutral else {
            return Err(of(node, "new weights for the convolution before it are not supported: it cannot be undone"));
        };
        let dims = self.floats(input(node, at)).map_err(|what| of(node, what))?;
        let n = dims.iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n == 1 || *n == n_channels);
        let Some(n) = n else {
            return Err(of(node, format!("its constant has the shape {dims:?}, for {n_channels} channels")));
        };
        Ok(vec![Change { node: i, input: at, kind: "neutral", dims, data: vec![neutral; n] }])
    }

    /// Constants that were read for what is changed alone, and what hands them on.
    fn dropped(&self, changes: &[Change]) -> Dropped {
        let mut n_reads = self.n_reads.clone();
        let mut lost: Vec<&str> = changes.iter().map(|c| input(&self.nodes[c.node], c.input)).collect();
        let mut dropped = Dropped::default();
        while let Some(name) = lost.pop() {
            let Some(n) = n_reads.get_mut(name) else { continue };
            *n = n.saturating_sub(1);
            if *n > 0 {
                continue;
            }
            if self.tensors.contains_key(name) {
                dropped.names.insert(name.into());
            } else if let Some(&i) = self.makers.get(name) {
                let node = &self.nodes[i];
                let is_constant = matches!(operation(node), "Constant" | "Identity") && node.output.len() == 1;
                if is_constant && dropped.nodes.insert(i) {
                    dropped.names.insert(name.into());
                    lost.extend(node.input.iter().map(String::as_str));
                }
            }
        }
        dropped
    }

    /// Names of new constants that nothing else in the file has.
    fn names(&self, changes: &[Change], dropped: &Dropped) -> Vec<String> {
        let mut taken: HashSet<String> = self.taken.difference(&dropped.names).cloned().collect();
        let named = |change: &Change| {
            let output = self.nodes[change.node].output.first().map_or("", String::as_str);
            let plain = format!("{output}.learned.{}", change.kind);
            let numbered = (2usize..).map(|n| format!("{plain}.{n}"));
            let free = std::iter::once(plain.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
            free.expect("not all names are taken")
        };
        changes.iter().map(named).collect()
    }
}

const MADE_TWICE: OnnxError = OnnxError::Malformed("two values have one name");

/// What a node does; empty: an operation that is not ONNX's.
fn operation(node: &NodeProto) -> &str {
    if matches!(node.domain.as_str(), "" | "ai.onnx") { &node.op_type } else { "" }
}

/// Name of an input; empty: there is none.
fn input(node: &NodeProto, i: usize) -> &str {
    node.input.get(i).map_or("", String::as_str)
}

/// A node's name for people.
fn shown(node: &NodeProto) -> String {
    let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    name.cloned().unwrap_or_default()
}

fn of(node: &NodeProto, what: impl Into<String>) -> OnnxError {
    OnnxError::Node { node: shown(node), op: node.op_type.clone(), what: what.into() }
}

/// The bytes of a field that holds a message.
fn message<'a>(field: &Field<'a>) -> Result<&'a [u8], OnnxError> {
    match field.wire {
        WireType::LengthDelimited => Ok(field.body),
        _ => Err(OnnxError::Malformed("a number where a message is expected")),
    }
}

/// A name in a message: the last one counts, as for every reader of protobuf.
fn name_of(message: &[u8], tag: u32) -> Result<String, OnnxError> {
    let mut name = String::new();
    for field in Fields(message) {
        let field = field?;
        if field.tag == tag {
            name = text(field.body);
        }
    }
    Ok(name)
}

/// Shape of a tensor of floats, without a look at its data; else what is wrong with it.
fn tensor_shape(tensor: &[u8]) -> Result<Vec<usize>, String> {
    let (mut dims, mut kind, mut is_elsewhere) = (Vec::new(), 0, false);
    for field in Fields(tensor) {
        let field = field.map_err(|e| e.to_string())?;
        match field.tag {
            tag::TENSOR_DIMS => dims.extend(numbers(&field).map_err(|e| e.to_string())?),
            tag::TENSOR_TYPE => kind = field.varint as i64,
            tag::TENSOR_DATA_LOCATION => is_elsewhere = field.varint != 0,
            _ => {}
        }
    }
    checked_shape(&dims, kind, is_elsewhere)
}

fn checked_shape(dims: &[i64], kind: i64, is_elsewhere: bool) -> Result<Vec<usize>, String> {
    if is_elsewhere {
        return Err("its data are in another file".into());
    }
    if kind != i64::from(data_type::FLOAT) {
        return Err(format!("it holds no 32-bit floats, but numbers of type {kind}"));
    }
    let dims: Option<Vec<usize>> = dims.iter().map(|d| usize::try_from(*d).ok()).collect();
    dims.ok_or_else(|| "its shape is negative".into())
}

/// A node with other names of inputs, by their places; those beyond its last one are added.
fn with_inputs(node: &[u8], inputs: &[(usize, &str)]) -> Result<Vec<u8>, OnnxError> {
    let mut out = Vec::with_capacity(node.len() + 128);
    let mut n_inputs = 0;
    rewrite(node, &mut out, |field, out| {
        if field.tag != tag::NODE_INPUT {
            return Ok(false);
        }
        let other = inputs.iter().find(|(i, _)| *i == n_inputs);
        n_inputs += 1;
        if let Some((_, name)) = other {
            put_message(out, field.tag, name.as_bytes());
        }
        Ok(other.is_some())
    })?;
    for (_, name) in inputs.iter().filter(|(i, _)| *i >= n_inputs) {
        put_message(&mut out, tag::NODE_INPUT, name.as_bytes());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::graph::{Graph, Op};
    use engine::import::onnx::{AttributeProto, GraphProto, ModelProto, OperatorSet, attribute_type};

    fn tensor(name: &str, dims: &[i64]) -> TensorProto {
        let n: i64 = dims.iter().product();
        let float_data = (0..n).map(|i| (i % 7) as f32 * 0.25 + 0.5).collect();
        let (dims, data_type) = (dims.to_vec(), data_type::FLOAT);
        TensorProto { dims, data_type, float_data, name: name.into(), ..Default::default() }
    }

    /// Nodes, each as `Operation inputs = output`.
    fn nodes(written: &str) -> Vec<NodeProto> {
        let node = |written: &str| {
            let (made_of, output) = written.split_once('=').unwrap();
            let mut words = made_of.split_whitespace().map(str::to_owned);
            let (op_type, output) = (words.next().unwrap(), output.trim().to_owned());
            let name = format!("the {op_type} of {output}");
            NodeProto { input: words.collect(), output: vec![output], name, op_type, ..Default::default() }
        };
        written.split(';').map(node).collect()
    }

    fn int(name: &str, i: i64) -> AttributeProto {
        AttributeProto { name: name.into(), i, kind: attribute_type::INT, ..AttributeProto::default() }
    }

    /// The file of a picture of 4 channels, `x`.
    fn file(ir_version: i64, node: Vec<NodeProto>, initializer: Vec<TensorProto>, outputs: &[&str]) -> Vec<u8> {
        let mut input = vec![ValueInfo::floats("x", &[1, 4, 6, 6])];
        if ir_version < 4 {
            input.extend(initializer.iter().map(|t| ValueInfo::floats(&t.name, &[1])));
        }
        let output = outputs.iter().map(|name| ValueInfo::floats(name, &[])).collect();
        let graph = GraphProto { node, name: "g".into(), initializer, input, output };
        let opset_import = vec![OperatorSet { domain: String::new(), version: 13 }];
        let mut file = ModelProto { ir_version, graph: Some(graph), opset_import }.encode_to_vec();
        put_message(&mut file, 14, b"\x0a\x01k"); // metadata_props
        file
    }

    fn simplified(file: &[u8], size: [usize; 2]) -> Graph {
        let mut graph = engine::import::import(file, size[0], size[1]).unwrap();
        engine::passes::simplify(&mut graph).unwrap();
        graph
    }

    fn decoded(file: &[u8]) -> GraphProto {
        ModelProto::decode(file).unwrap().graph.unwrap()
    }

    fn constants(file: &[u8]) -> Vec<String> {
        decoded(file).initializer.into_iter().map(|t| t.name).collect()
    }

    /// Changes these convolutions, and holds what is read from the new file against what was changed in the graph.
    fn check_at(file: &[u8], size: [usize; 2], outputs: &[&str]) -> Vec<u8> {
        let mut wanted = simplified(file, size);
        let mut numbers = Vec::new();
        for node in &mut wanted.nodes {
            let name = &wanted.values[node.output.0 as usize].name;
            if let Op::Conv(conv) = &mut node.op
                && (outputs.is_empty() || outputs.contains(&name.as_str()))
            {
                conv.weights.iter_mut().for_each(|w| *w *= 0.5);
                conv.bias.iter_mut().for_each(|b| *b += 0.1);
                numbers.push((name.clone(), conv.weights.clone(), conv.bias.clone()));
            }
        }
        assert!(numbers.len() >= outputs.len().max(1), "{outputs:?} of {:?}", wanted.values);
        let layers: Vec<NewWeights<'_>> =
            numbers.iter().map(|(output, weights, bias)| NewWeights { output, weights, bias }).collect();
        let changed = with_weights(file, &layers).unwrap();
        let got = simplified(&changed, size);
        for (wanted_node, got_node) in wanted.nodes.iter().zip(&got.nodes) {
            assert!(wanted_node == got_node, "{}", wanted.name(wanted_node.output));
        }
        assert!(wanted == got, "names or outputs");
        // Learning again leaves nothing behind.
        assert!(with_weights(&changed, &layers).unwrap() == changed);
        changed
    }

    fn check(file: &[u8], outputs: &[&str]) -> Vec<u8> {
        check_at(file, [6, 6], outputs)
    }

    fn conv_relu() -> Vec<u8> {
        file(8, nodes("Conv x w b = c; Relu c = y"), vec![tensor("w", &[3, 4, 3, 3]), tensor("b", &[3])], &["y"])
    }

    #[test]
    fn a_convolution_and_its_activation() {
        let before = conv_relu();
        let after = check(&before, &["y"]);
        let (old, new) = (decoded(&before), decoded(&after));
        assert_eq!(constants(&after), ["c.learned.weight", "c.learned.bias"]);
        assert_eq!(new.node[0].input, ["x", "c.learned.weight", "c.learned.bias"]);
        assert_eq!((&new.node[1], &new.input, &new.output), (&old.node[1], &old.input, &old.output));
        assert_eq!(new.initializer[0].dims, [3, 4, 3, 3]);
        assert!(after.ends_with(&before[before.len() - 5..]), "metadata stay");
    }

    #[test]
    fn batch_normalisation_becomes_nothing() {
        let nodes = nodes("Conv x w = c; BatchNormalization c s b m v = n; Sigmoid n = g; Mul n g = y");
        let constants = ["s", "b", "m", "v"].map(|name| tensor(name, &[3]));
        let before = file(8, nodes, [&[tensor("w", &[3, 4, 1, 1])][..], &constants].concat(), &["y"]);
        let new = decoded(&check(&before, &["y"]));
        let of = |name: &str| new.initializer.iter().find(|t| t.name == name).unwrap().raw_data[..4].to_vec();
        assert_eq!(new.node[1].input[1..], ["scale", "bias", "mean", "variance"].map(|k| format!("n.learned.{k}")));
        assert_eq!(of("n.learned.scale"), (1f32 + 1e-5).sqrt().to_le_bytes());
        assert_eq!(new.initializer.len(), 6, "the old ones are gone");
    }

    #[test]
    fn scales_and_shifts_become_nothing_or_are_refused() {
        let after = |step: &str| {
            let weights = vec![tensor("w", &[3, 4, 1, 1]), tensor("gain", &[3, 1, 1]), tensor("one", &[])];
            file(8, nodes(&format!("Conv x w = c; Mul gain c = m; {step} = a; Clip a = y")), weights, &["y"])
        };
        for step in ["Add m one", "Sub m one", "Div m one"] {
            check(&after(step), &["y"]);
        }
        let layer = NewWeights { output: "y", weights: &[0.0; 12], bias: &[0.0; 3] };
        let error = with_weights(&after("Sub one m"), &[layer]).unwrap_err().to_string();
        assert!(error.contains("'the Sub of a'") && error.contains("cannot be undone"), "{error}");
        // Not fused into the convolution: no part of it.
        let error = with_weights(&after("Add m c"), &[layer]).unwrap_err().to_string();
        assert!(error.contains("'the Add of a'"), "{error}");
    }

    #[test]
    fn groups_and_old_files_that_list_weights_among_inputs() {
        let mut nodes = nodes("Conv x w b = y");
        nodes[0].attribute.push(int("group", 2));
        let after = check(&file(3, nodes, vec![tensor("w", &[4, 2, 3, 3]), tensor("b", &[4])], &["y"]), &["y"]);
        let inputs: Vec<String> = decoded(&after).input.into_iter().map(|i| i.name).collect();
        assert_eq!(inputs, ["x", "y.learned.weight", "y.learned.bias"]);
        // The picture, of four channels here, is the only input that is no constant.
        assert!(matches!(super::super::input(&after), Err(OnnxError::InputShape { name, .. }) if name == "x"));
    }

    #[test]
    fn weights_that_are_shared_stay_for_the_others() {
        let nodes = nodes("Identity b = b2; Conv x w b2 = y; Conv x w b = y.learned.weight");
        let weights = vec![tensor("w", &[4, 4, 1, 1]), tensor("b", &[4])];
        let after = check(&file(8, nodes, weights, &["y", "y.learned.weight"]), &["y"]);
        assert_eq!(constants(&after), ["w", "b", "y.learned.weight.2", "y.learned.bias"]);
        assert_eq!(decoded(&after).node.len(), 2, "who handed on what is no longer read");
    }

    #[test]
    fn constants_that_are_read_within_a_graph_in_a_node_stay() {
        let (mut graph, mut attribute, mut whole) = (Vec::new(), Vec::new(), Vec::new());
        put_message(&mut graph, tag::GRAPH_NODE, &nodes("Relu w = inner")[0].encode_to_vec());
        put_message(&mut attribute, tag::ATTRIBUTE_GRAPH, &graph);
        let mut outer = nodes("If x = z")[0].encode_to_vec();
        put_message(&mut outer, tag::NODE_ATTRIBUTE, &attribute);
        let before = conv_relu();
        rewrite(&before, &mut whole, |field, out| {
            if field.tag == tag::MODEL_GRAPH {
                let mut graph = field.body.to_vec();
                put_message(&mut graph, tag::GRAPH_NODE, &outer);
                put_message(out, tag::MODEL_GRAPH, &graph);
            }
            Ok(field.tag == tag::MODEL_GRAPH)
        })
        .unwrap();
        let layer = NewWeights { output: "y", weights: &[0.0; 108], bias: &[0.0; 3] };
        let after = with_weights(&whole, &[layer]).unwrap();
        assert_eq!(constants(&after), ["w", "c.learned.weight", "c.learned.bias"]);
    }

    #[test]
    fn constants_that_are_nodes() {
        let t = Some(tensor("", &[4, 4, 3, 3]));
        let value = AttributeProto { name: "value".into(), t, kind: attribute_type::TENSOR, ..Default::default() };
        let mut nodes = nodes("Constant = v; Identity v = w; Conv x w = y");
        nodes[0].attribute.push(value);
        let after = check(&file(8, nodes, vec![], &["y"]), &["y"]);
        assert_eq!(decoded(&after).node.len(), 1, "the constant's nodes are gone");
    }

    #[test]
    fn one_activation_of_several_convolutions() {
        let (dims, data_type, int64_data) = (vec![3], data_type::INT64, vec![1, 4, -1]);
        let shape = TensorProto { dims, data_type, int64_data, name: "shape".into(), ..Default::default() };
        let (ints, kind) = (vec![2, 2], attribute_type::INTS);
        let strides = AttributeProto { name: "strides".into(), ints, kind, ..Default::default() };
        let mut nodes = nodes(
            "Conv x w = a; Conv x w = b; Reshape a shape = a2; Reshape b shape = b2; Concat a2 b2 = all; Sigmoid all = y",
        );
        nodes[1].attribute.push(strides);
        nodes[4].attribute.push(int("axis", 2));
        let file = file(8, nodes, vec![tensor("w", &[4, 4, 1, 1]), shape], &["y"]);
        let after = check(&file, &["y", "y/1"]);
        assert_eq!(decoded(&after).node[1].input[1], "b.learned.weight");
        check(&file, &["y/1"]);
    }

    #[test]
    fn what_cannot_be_changed_is_named() {
        let layer = |output| NewWeights { output, weights: &[0.0; 108], bias: &[0.0; 3] };
        let check = |file: &[u8], layers: &[NewWeights<'_>], parts: &[&str]| {
            let error = with_weights(file, layers).unwrap_err().to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        let whole = conv_relu();
        check(&whole, &[layer("nowhere")], &["'nowhere'"]);
        check(&whole, &[layer("y/1/x")], &["'y/1/x'"]);
        check(&whole, &[layer("x")], &["'x'"]);
        check(&whole, &[layer("y/1")], &["'the Conv of c'", "'y/1'"]);
        check(&whole, &[layer("y"), layer("c")], &["'the Conv of c'", "twice"]);
        check(&whole, &[NewWeights { weights: &[0.0; 107], ..layer("y") }], &["107 new weights", "[3, 4, 3, 3]"]);
        check(&whole, &[NewWeights { bias: &[0.0; 4], ..layer("y") }], &["4 biases"]);
        check(&whole, &[NewWeights { bias: &[f32::NAN; 3], ..layer("y") }], &["finite"]);
        let quantised = nodes("DequantizeLinear q s = w; Conv x w = y");
        let quantised = file(8, quantised, vec![tensor("q", &[3, 4, 3, 3]), tensor("s", &[])], &["y"]);
        check(&quantised, &[layer("y")], &["'the Conv of y'", "'the DequantizeLinear of w' (DequantizeLinear)"]);
        let circle = file(8, nodes("Relu b = a; Identity b = b"), vec![], &["a"]);
        check(&circle, &[layer("a")], &["'a'", "too many nodes"]);
    }

    #[test]
    fn no_cut_or_bent_file_panics() {
        let whole = conv_relu();
        let layer = NewWeights { output: "y", weights: &[0.0; 108], bias: &[0.0; 3] };
        for n in 0..whole.len() {
            let result = with_weights(&whole[..n], &[layer]);
            assert!(result.is_err() || n + 32 > whole.len(), "{n} of {} bytes", whole.len());
            let mut bent = whole.clone();
            for bits in [0x01, 0x80, 0xff] {
                bent[n] = whole[n] ^ bits;
                let _ = with_weights(&bent, &[layer]);
            }
        }
    }

    #[test]
    fn every_convolution_of_a_whole_model() {
        let before = include_bytes!("../../../models/street-nano.onnx");
        let after = check_at(before, [96, 160], &[]);
        let (old, new) = (decoded(before), decoded(&after));
        let n_convs = new.node.iter().filter(|n| n.op_type == "Conv").count();
        assert_eq!(new.initializer.len(), 2 * n_convs);
        assert!(!new.node.iter().any(|n| n.op_type == "Identity"), "they had shared weights");
        let is_other = |n: &&NodeProto| !["Conv", "Identity"].contains(&n.op_type.as_str());
        assert!(old.node.iter().filter(is_other).eq(new.node.iter().filter(is_other)));
        super::super::vet(&after).unwrap();
    }
}
