//! What is refused because it depends on what a picture shows: sizes, numbers of rounds, whole numbers that are divided by.
//! A trial with one picture says nothing of the next, which may take all memory, never end, or end the process. What comes
//! of shapes alone is the same for every picture, as no shape depends on one.

use super::error::OnnxError;
use super::tag;
use super::wire::{Fields, child, text};
use prost::Message;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::rc::Rc;

/// A node, of which only what matters here is read; graphs in it as they are.
#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
    #[prost(string, tag = "7")]
    domain: String,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(message, optional, tag = "5")]
    t: Option<Tensor>,
    /// Parts of one graph.
    #[prost(bytes = "vec", repeated, tag = "6")]
    graph: Vec<Vec<u8>>,
    #[prost(int64, repeated, tag = "8")]
    ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "11")]
    graphs: Vec<Vec<u8>>,
    #[prost(int32, tag = "20")]
    kind: i32,
    #[prost(string, tag = "21")]
    reference: String,
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(int32, repeated, tag = "5")]
    int32_data: Vec<i32>,
    #[prost(int64, repeated, tag = "7")]
    int64_data: Vec<i64>,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

/// A function of the model's own.
#[derive(Clone, PartialEq, Message)]
struct Function {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, repeated, tag = "4")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "5")]
    output: Vec<String>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    node: Vec<Vec<u8>>,
    #[prost(string, tag = "10")]
    domain: String,
}

const INT32: i32 = 6;
const INT64: i32 = 7;
/// Element types that are no whole numbers: floats of all kinds, texts, truth values, complex numbers.
const NO_INTEGERS: [i64; 13] = [1, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19, 20, 23];
/// Kinds of attribute.
const INT: i32 = 2;
const TENSOR: i32 = 4;
const INTS: i32 = 7;

/// Names of one node's inputs and outputs.
const MOST_NAMES: usize = 1 << 14;
/// Calls within calls; nodes, and bytes beyond a few times the file's, with all calls written out.
const MOST_CALLS: usize = 8;
const MOST_NODES: usize = 200_000;
const MOST_BYTES: usize = 64 << 20;
/// What a call costs beside its nodes.
const CALL: usize = 256;

const MALFORMED: OnnxError = OnnxError::Malformed("a node that cannot be read");
const TOO_MUCH: OnnxError =
    OnnxError::Malformed("nodes of thousands of inputs, or functions that call each other too often");

fn is_integer_type(kind: i64) -> bool {
    !NO_INTEGERS.contains(&kind)
}

impl Tensor {
    /// What it holds, as far as it may be divided by.
    fn numbers(&self) -> Option<Vec<i64>> {
        let raw = &self.raw_data;
        Some(match (self.data_type, raw.is_empty()) {
            (INT32, true) => self.int32_data.iter().map(|n| i64::from(*n)).collect(),
            (INT64, true) => self.int64_data.clone(),
            (INT32, false) => raw.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))).collect(),
            (INT64, false) => raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
            _ => return None,
        })
    }
}

/// -1 is no divisor: the least number divided by it ends the process.
fn are_divisors(numbers: &[i64]) -> bool {
    !numbers.is_empty() && numbers.iter().all(|n| *n > 0)
}

/// Inputs by which an operation decides how much it computes or puts out.
fn sizes_of(op: &str) -> Range<usize> {
    const ALL: Range<usize> = 0..usize::MAX;
    const ALL_BUT_FIRST: Range<usize> = 1..usize::MAX;
    match op {
        "Range" | "ConstantOfShape" | "HannWindow" | "HammingWindow" | "BlackmanWindow" | "MelWeightMatrix" => ALL,
        // What they put out is as long as something in it is often.
        "NonZero" | "Compress" | "Unique" | "NonMaxSuppression" | "StringSplit" | "ImageDecoder" => ALL,
        "Expand" | "Tile" | "Pad" | "Resize" | "Upsample" | "OneHot" | "Reshape" | "Slice" | "Split" | "TopK" => {
            ALL_BUT_FIRST
        }
        "Squeeze" | "Unsqueeze" | "DFT" | "STFT" | "CenterCropPad" | "AffineGrid" | "Col2Im" => ALL_BUT_FIRST,
        "SplitToSequence" | "SequenceAt" | "SequenceErase" | "SequenceInsert" | "RoiAlign" | "MaxRoiPool" => {
            ALL_BUT_FIRST
        }
        op if op.starts_with("Reduce") => ALL_BUT_FIRST,
        "MaxUnpool" => 2..usize::MAX,
        "If" => 0..1,
        // Rounds, and whether to go on.
        "Loop" => 0..2,
        _ => 0..0,
    }
}

/// Operations of ONNX Runtime's own whose outputs have a size that is known beforehand.
const OF_RUNTIME: [&str; 9] = [
    "Q",
    "Fused",
    "Nhwc",
    "DequantizeLinear",
    "DynamicQuantize",
    "MatMul",
    "Gelu",
    "BiasGelu",
    "SkipLayerNormalization",
];

/// Where an operation comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Onnx,
    Runtime,
    /// Nothing is known of it.
    Unknown,
    /// A link between names, not of the file.
    Link,
}

/// Everything that a model does, graphs in graphs and calls of functions laid flat: names that are used twice count as one.
#[derive(Default)]
struct Flow<'a> {
    nodes: Vec<(Origin, Node)>,
    functions: HashMap<(String, String), Rc<Function>>,
    /// Bytes of nodes that may still be read, calls written out.
    n_left: usize,
    initialisers: HashMap<String, &'a [u8]>,
    /// Numbers of constants that may be divided by.
    constants: HashMap<String, Vec<i64>>,
    /// How often a name is given a value.
    n_defined: HashMap<String, u32>,
    /// Depends on the picture.
    seen: HashSet<String>,
    /// Whole numbers.
    integers: HashSet<String>,
}

/// What names in a function's body stand for, at one call.
#[derive(Default)]
struct Scope {
    prefix: String,
    names: HashMap<String, String>,
    depth: usize,
}

impl Scope {
    fn name(&self, name: &str) -> String {
        match self.names.get(name) {
            _ if name.is_empty() => String::new(),
            Some(outer) => outer.clone(),
            None => format!("{}{name}", self.prefix),
        }
    }
}

impl<'a> Flow<'a> {
    fn define(&mut self, names: &[String]) {
        for name in names.iter().filter(|name| !name.is_empty()) {
            *self.n_defined.entry(name.clone()).or_default() += 1;
        }
    }

    fn link(&mut self, input: Vec<String>, output: Vec<String>) {
        self.nodes.push((Origin::Link, Node { input, output, ..Node::default() }));
    }

    fn node(&mut self, message: &[u8], scope: &Scope) -> Result<(), OnnxError> {
        self.n_left = self.n_left.checked_sub(message.len() + CALL).ok_or(TOO_MUCH)?;
        let mut node = Node::decode(message).map_err(|_| MALFORMED)?;
        if node.input.len() + node.output.len() > MOST_NAMES || self.nodes.len() > MOST_NODES {
            return Err(TOO_MUCH);
        }
        for name in node.input.iter_mut().chain(&mut node.output) {
            *name = scope.name(name);
        }
        self.define(&node.output);
        let attributes = std::mem::take(&mut node.attribute);
        let key = (node.domain.clone(), node.op_type.clone());
        if let Some(function) = self.functions.get(&key).cloned() {
            return self.call(&function, &node, scope);
        }
        let origin = match node.domain.as_str() {
            "" | "ai.onnx" => Origin::Onnx,
            "com.microsoft" if OF_RUNTIME.iter().any(|known| node.op_type.starts_with(known)) => Origin::Runtime,
            _ => Origin::Unknown,
        };
        if origin == Origin::Onnx {
            self.constant(&node, &attributes);
        }
        for attribute in &attributes {
            for graph in [attribute.graph.concat()].iter().chain(&attribute.graphs).filter(|graph| !graph.is_empty()) {
                self.graph_in(graph, &node, scope)?;
            }
        }
        // Of the rest only what a type depends on.
        node.attribute = attributes.into_iter().filter(|a| a.name == "to").collect();
        self.nodes.push((origin, node));
        Ok(())
    }

    /// Notes what a constant holds, or of what type it is.
    fn constant(&mut self, node: &Node, attributes: &[Attribute]) {
        let Some(output) = node.output.first() else { return };
        let is_whole = attributes.iter().any(|a| {
            let is_number = [INT, INTS].contains(&a.kind) || a.name.starts_with("value_int") || !a.reference.is_empty();
            is_number || a.t.as_ref().is_some_and(|t| is_integer_type(t.data_type.into()))
        });
        match node.op_type.as_str() {
            // Zeros of floats, if nothing else is said.
            "ConstantOfShape" if is_whole => drop(self.integers.insert(output.clone())),
            "Constant" => {
                let numbers = match attributes {
                    [a] if !a.reference.is_empty() => None,
                    [a] if a.name == "value" && a.kind == TENSOR => a.t.as_ref().and_then(Tensor::numbers),
                    [a] if a.name == "value_int" && a.kind == INT => Some(vec![a.i]),
                    [a] if a.name == "value_ints" && a.kind == INTS => Some(a.ints.clone()),
                    _ => None,
                };
                if is_whole {
                    self.integers.insert(output.clone());
                }
                self.constants.extend(numbers.map(|numbers| (output.clone(), numbers)));
            }
            _ => {}
        }
    }

    /// A function's body, with what it is called with.
    fn call(&mut self, function: &Function, call: &Node, scope: &Scope) -> Result<(), OnnxError> {
        if scope.depth >= MOST_CALLS {
            return Err(TOO_MUCH);
        }
        let given = |names: &[String], by: &[String]| {
            let outer = by.iter().cloned().chain(std::iter::repeat(String::new()));
            names.iter().cloned().zip(outer).collect::<Vec<_>>()
        };
        let mut names: HashMap<String, String> = given(&function.output, &call.output).into_iter().collect();
        names.extend(given(&function.input, &call.input));
        let scope = Scope { prefix: format!("{}{}/", scope.prefix, self.nodes.len()), names, depth: scope.depth + 1 };
        function.node.iter().try_for_each(|node| self.node(node, &scope))
    }

    /// What goes into a graph in a node, and what comes out.
    fn graph_in(&mut self, graph: &[u8], node: &Node, scope: &Scope) -> Result<(), OnnxError> {
        let (inputs, outputs) = self.graph(graph, scope)?;
        self.define(&inputs);
        if node.op_type == "Loop" {
            // The number of the round and whether to go on come first, then what is carried from round to round.
            let (goes_on, carried) = outputs.split_at(outputs.len().min(1));
            let of_node = |range: Range<usize>| node.input.iter().take(range.end).skip(range.start).cloned();
            let inner = |range: Range<usize>| inputs.iter().take(range.end).skip(range.start).cloned().collect();
            self.link(of_node(1..2).chain(goes_on.iter().cloned()).collect(), inner(1..2));
            self.link(of_node(2..usize::MAX).chain(carried.iter().cloned()).collect(), inner(2..usize::MAX));
            let asked = Node { op_type: "If".into(), name: node.name.clone(), ..Node::default() };
            self.nodes.push((Origin::Onnx, Node { input: goes_on.to_vec(), ..asked }));
        } else {
            self.link(node.input.iter().chain(&outputs).cloned().collect(), inputs);
        }
        self.link(outputs, node.output.clone());
        Ok(())
    }

    /// Names of what goes into a graph, and comes out.
    fn graph(&mut self, message: &[u8], scope: &Scope) -> Result<(Vec<String>, Vec<String>), OnnxError> {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for field in Fields(message) {
            let field = field?;
            let named = |tag| Ok(scope.name(&child(field.body, tag)?.map(text).unwrap_or_default()));
            match field.tag {
                tag::GRAPH_NODE => self.node(field.body, scope)?,
                tag::GRAPH_INPUT => inputs.push(named(tag::VALUE_NAME)?),
                tag::GRAPH_OUTPUT => outputs.push(named(tag::VALUE_NAME)?),
                tag::GRAPH_INITIALIZER => {
                    let name = named(tag::TENSOR_NAME)?;
                    self.define(std::slice::from_ref(&name));
                    // Only its type: the last one said counts.
                    let kind = Fields(field.body).filter_map(Result::ok).filter(|f| f.tag == tag::TENSOR_TYPE).last();
                    if kind.is_none_or(|f| is_integer_type(f.varint as i64)) {
                        self.integers.insert(name);
                    }
                }
                _ => {}
            }
        }
        Ok((inputs, outputs))
    }

    fn model(&mut self, model: &'a [u8]) -> Result<(), OnnxError> {
        let of = |wanted: u32| Fields(model).filter(move |f| f.as_ref().is_ok_and(|f| f.tag == wanted));
        for function in of(tag::MODEL_FUNCTIONS) {
            let function = Function::decode(function?.body).map_err(|_| MALFORMED)?;
            self.functions.insert((function.domain.clone(), function.name.clone()), Rc::new(function));
        }
        let mut inputs = Vec::new();
        for graph in of(tag::MODEL_GRAPH) {
            let graph = graph?.body;
            inputs.extend(self.graph(graph, &Scope::default())?.0);
            for field in Fields(graph) {
                let field = field?;
                if field.tag == tag::GRAPH_INITIALIZER {
                    let name = child(field.body, tag::TENSOR_NAME)?.map(text).unwrap_or_default();
                    self.initialisers.insert(name, field.body);
                }
            }
        }
        // Weights may be listed among the inputs.
        self.seen.extend(inputs.into_iter().filter(|name| !self.initialisers.contains_key(name)));
        Ok(())
    }

    /// Follows what depends on the picture, and what is whole numbers, from node to node.
    fn follow(&mut self) {
        let mut readers: HashMap<&str, Vec<(usize, usize)>> = HashMap::new();
        for (i, (_, node)) in self.nodes.iter().enumerate() {
            for (at, input) in node.input.iter().enumerate().filter(|(_, input)| !input.is_empty()) {
                readers.entry(input).or_default().push((i, at));
            }
        }
        for (origin, node) in &self.nodes {
            let whole = node.output.iter().enumerate().filter(|(n, _)| makes_integers(*origin, node, *n));
            self.integers.extend(whole.map(|(_, output)| output.clone()));
        }
        // Each node hands each of both on once.
        let mut done = vec![[false; 2]; self.nodes.len()];
        let mut changed: Vec<(String, bool)> = self.seen.iter().map(|name| (name.clone(), true)).collect();
        changed.extend(self.integers.iter().map(|name| (name.clone(), false)));
        while let Some((value, is_seen)) = changed.pop() {
            for &(i, at) in readers.get(value.as_str()).into_iter().flatten() {
                let (origin, node) = &self.nodes[i];
                let goes_on = match is_seen {
                    true => *origin != Origin::Onnx || !matches!(node.op_type.as_str(), "Shape" | "Size"),
                    false => *origin == Origin::Link || *origin == Origin::Onnx && hands_integers_on(node, at),
                };
                if !goes_on || std::mem::replace(&mut done[i][usize::from(is_seen)], true) {
                    continue;
                }
                let known = if is_seen { &mut self.seen } else { &mut self.integers };
                let new = node.output.iter().filter(|output| !output.is_empty() && known.insert((*output).clone()));
                changed.extend(new.map(|output| (output.clone(), is_seen)));
            }
        }
    }

    /// Whether whole numbers may be divided by this: by a constant, which nothing else has the name of.
    fn is_divisor(&self, name: &str) -> bool {
        if self.seen.contains(name) || self.n_defined.get(name) != Some(&1) {
            return false;
        }
        let initialiser = self.initialisers.get(name).and_then(|bytes| Tensor::decode(*bytes).ok()?.numbers());
        initialiser.or_else(|| self.constants.get(name).cloned()).is_some_and(|numbers| are_divisors(&numbers))
    }

    fn check(&self) -> Result<(), OnnxError> {
        for (origin, node) in &self.nodes {
            let refuse = |what: &str| {
                let what = format!(
                    "{what} depends on what the picture shows, which could take all memory, or end the process. Export the \
                     model without what comes after its network: `yolo export format=onnx nms=False end2end=False`"
                );
                Err(OnnxError::Node { node: node.name.clone(), op: node.op_type.clone(), what })
            };
            let op = node.op_type.as_str();
            let is_seen = |inputs: Range<usize>| {
                node.input.iter().take(inputs.end).skip(inputs.start).any(|input| self.seen.contains(input))
            };
            let sizes = match origin {
                Origin::Onnx => sizes_of(op),
                Origin::Unknown => 0..usize::MAX,
                Origin::Runtime | Origin::Link => 0..0,
            };
            if is_seen(sizes) {
                return refuse("how much it computes");
            }
            let divides = *origin == Origin::Onnx
                && matches!(op, "Div" | "Mod")
                && node.input.iter().any(|input| self.integers.contains(input))
                && is_seen(0..usize::MAX);
            if divides && !node.input.get(1).is_some_and(|by| self.is_divisor(by)) {
                return refuse("what whole numbers are divided by or what is divided");
            }
        }
        Ok(())
    }
}

/// Whether an output holds whole numbers, whatever goes in.
fn makes_integers(origin: Origin, node: &Node, output: usize) -> bool {
    let op = node.op_type.as_str();
    match (origin, op) {
        (Origin::Link, _) => false,
        (Origin::Unknown, _) => true,
        (Origin::Runtime, _) => op.starts_with('Q') || op.ends_with("Integer"),
        (_, "Cast") => is_integer_type(node.attribute.iter().rfind(|a| a.name == "to").map_or(0, |a| a.i)),
        (_, "Shape" | "Size" | "ArgMax" | "ArgMin" | "NonZero" | "NonMaxSuppression" | "Unique" | "CastLike") => true,
        (_, "QuantizeLinear" | "Multinomial" | "Bernoulli" | "EyeLike" | "BitCast") => true,
        (_, "DynamicQuantizeLinear") => output != 1,
        (_, "TopK" | "MaxPool") => output == 1,
        _ => op.ends_with("Integer") || op.starts_with("QLinear") || op.starts_with("Random"),
    }
}

/// Whether an output holds whole numbers because the input at this place does.
fn hands_integers_on(node: &Node, at: usize) -> bool {
    match node.op_type.as_str() {
        "Cast" | "DequantizeLinear" | "MaxPool" | "Shape" | "Size" => false,
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "IsNaN" | "IsInf" => false,
        "Where" => at > 0,
        "OneHot" => at == 2,
        "Loop" | "If" | "Scan" => true,
        "TopK" | "CumSum" | "Squeeze" | "Unsqueeze" | "Expand" | "Tile" | "Reshape" | "Slice" | "Split" | "Pad"
        | "Resize" => at == 0,
        "Upsample" | "Compress" | "Trilu" | "DFT" | "RoiAlign" | "Dropout" | "ReverseSequence" | "MaxUnpool" => at == 0,
        op if op.starts_with("Gather") || op.starts_with("Scatter") || op.starts_with("Reduce") => at == 0,
        // What draws no numbers, but looks at shapes.
        "ConstantOfShape" | "LSTM" | "GRU" | "RNN" | "Pow" => at == 0 && node.op_type == "Pow",
        _ => true,
    }
}

/// Looks through a file that has been vetted.
///
/// # Errors
/// The node and its operation.
pub fn follow(model: &[u8]) -> Result<(), OnnxError> {
    let mut flow = Flow { n_left: MOST_BYTES + 8 * model.len(), ..Flow::default() };
    flow.model(model)?;
    flow.follow();
    flow.check()
}

#[cfg(test)]
mod tests {
    use super::super::wire::put_message;
    use super::*;
    use engine::import::onnx::{self, ValueInfo};

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> onnx::NodeProto {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        onnx::NodeProto {
            op_type: op.into(),
            name: op.into(),
            input: names(inputs),
            output: names(outputs),
            ..Default::default()
        }
    }

    fn cast(from: &str, to: &str, kind: i64) -> onnx::NodeProto {
        let attribute = vec![onnx::AttributeProto { name: "to".into(), i: kind, ..Default::default() }];
        onnx::NodeProto { attribute, ..node("Cast", &[from], &[to]) }
    }

    fn numbers(name: &str, numbers: &[i64]) -> onnx::TensorProto {
        onnx::TensorProto { name: name.into(), data_type: INT64, int64_data: numbers.to_vec(), ..Default::default() }
    }

    fn graph(nodes: Vec<onnx::NodeProto>) -> onnx::GraphProto {
        onnx::GraphProto {
            node: nodes,
            initializer: vec![numbers("three", &[3]), numbers("minus", &[3, -1]), numbers("w", &[0])],
            // Weights, too, as old exports have it.
            input: vec![ValueInfo::floats("picture", &[1, 3, 8, 8]), ValueInfo::floats("w", &[1])],
            output: vec![ValueInfo::floats("out", &[1])],
            ..Default::default()
        }
    }

    fn said(nodes: Vec<onnx::NodeProto>) -> Result<(), String> {
        follow(&onnx::ModelProto { graph: Some(graph(nodes)), ..Default::default() }.encode_to_vec())
            .map_err(|e| e.to_string())
    }

    #[track_caller]
    fn refused(nodes: Vec<onnx::NodeProto>, op: &str) {
        let said = said(nodes).unwrap_err();
        assert!(said.contains(&format!("({op})")) && said.contains("depends on what the picture shows"), "{said}");
    }

    #[test]
    fn sizes_that_depend_on_the_picture_are_refused() {
        let whole = || cast("picture", "n", 7);
        refused(vec![whole(), node("ConstantOfShape", &["n"], &["out"])], "ConstantOfShape");
        refused(vec![whole(), node("Tile", &["w", "n"], &["out"])], "Tile");
        refused(
            vec![node("ReduceMax", &["picture"], &["m"]), cast("m", "k", 7), node("Range", &["w", "k", "w"], &["out"])],
            "Range",
        );
        refused(vec![node("NonZero", &["picture"], &["out"])], "NonZero");
        refused(vec![whole(), node("Resize", &["picture", "", "", "n"], &["out"])], "Resize");
        // Whatever the order of the nodes.
        refused(vec![node("Expand", &["w", "n"], &["out"]), whole()], "Expand");
    }

    #[test]
    fn whole_numbers_are_divided_by_positive_constants_alone() {
        let best = || node("TopK", &["picture", "three"], &["best", "which"]);
        let divided = |by: &str| vec![best(), node("Div", &["which", by], &["out"])];
        assert_eq!(said(divided("three")), Ok(()), "which class, of a cell's number");
        refused(divided("minus"), "Div");
        refused(divided("which"), "Div");
        refused(divided("nowhere"), "Div");
        refused(vec![best(), node("Sub", &["three", "which"], &["d"]), node("Mod", &["three", "d"], &["out"])], "Mod");
        let float = vec![best(), node("ReduceSum", &["best"], &["sum"]), node("Div", &["best", "sum"], &["out"])];
        assert_eq!(said(float), Ok(()), "nothing ends by dividing floats");
    }

    #[test]
    fn whole_numbers_are_known_wherever_they_come_from() {
        let less = || node("Less", &["picture", "w"], &["dark"]);
        refused(
            vec![less(), node("Where", &["dark", "w", "three"], &["d"]), node("Div", &["three", "d"], &["out"])],
            "Div",
        );
        let best = || node("ArgMax", &["picture"], &["at"]);
        refused(vec![best(), node("Gather", &["minus", "at"], &["d"]), node("Mod", &["three", "d"], &["out"])], "Mod");
        let pooled = || node("MaxPool", &["picture"], &["y", "where"]);
        refused(vec![pooled(), node("Div", &["three", "where"], &["out"])], "Div");
        // A constant is what its kind says; one name is one value.
        let constant = |kind: i32| {
            let t = Some(numbers("", &[3]));
            let value = onnx::AttributeProto { name: "value".into(), i: -1, t, kind, ..Default::default() };
            onnx::NodeProto { attribute: vec![value], ..node("Constant", &[], &["by"]) }
        };
        let divided = |more: Vec<onnx::NodeProto>| [more, vec![best(), node("Div", &["at", "by"], &["out"])]].concat();
        assert_eq!(said(divided(vec![constant(TENSOR)])), Ok(()));
        refused(divided(vec![constant(INT)]), "Div");
        refused(divided(vec![constant(TENSOR), constant(TENSOR)]), "Div");
        refused(divided(vec![constant(TENSOR), node("Sub", &["w", "at"], &["by"])]), "Div");
        let mut float = constant(1);
        (float.attribute[0].name, float.attribute[0].t) = ("value_float".into(), None);
        assert_eq!(said(vec![float, node("Div", &["picture", "by"], &["out"])]), Ok(()));
    }

    #[test]
    fn functions_are_what_they_are_called_with() {
        let function = |domain: &str, name: &str, nodes: Vec<onnx::NodeProto>| Function {
            name: name.into(),
            input: vec!["x".into(), "n".into()],
            output: vec!["y".into()],
            node: nodes.iter().map(onnx::NodeProto::encode_to_vec).collect(),
            domain: domain.into(),
        };
        let said = |function: &Function, nodes: Vec<onnx::NodeProto>| {
            let mut model = onnx::ModelProto { graph: Some(graph(nodes)), ..Default::default() }.encode_to_vec();
            put_message(&mut model, tag::MODEL_FUNCTIONS, &function.encode_to_vec());
            follow(&model).map_err(|e| e.to_string())
        };
        let call = |op: &str, inputs: &[&str], output: &str| onnx::NodeProto {
            domain: "own".into(),
            ..node(op, inputs, &[output])
        };
        let view = function("own", "view", vec![node("Reshape", &["x", "n"], &["y"])]);
        assert_eq!(
            said(&view, vec![call("view", &["picture", "three"], "out")]),
            Ok(()),
            "a size that is no picture's"
        );
        let seen = said(&view, vec![call("view", &["w", "picture"], "out")]).unwrap_err();
        assert!(seen.contains("(Reshape)"), "{seen}");
        // One that is called as what cuts the flow.
        let shape = function("own", "Shape", vec![cast("x", "y", 7)]);
        let sizes = vec![call("Shape", &["picture"], "n"), node("ConstantOfShape", &["n"], &["out"])];
        assert!(said(&shape, sizes).unwrap_err().contains("(ConstantOfShape)"));
        // Calls itself.
        let endless = function("own", "again", vec![call("again", &["x"], "y"), call("again", &["y"], "z")]);
        assert!(said(&endless, vec![call("again", &["picture"], "out")]).is_err());
        let thousands = function("own", "again", vec![call("again", &["x"], "y"); 3000]);
        assert!(said(&thousands, vec![call("again", &["picture"], "out")]).is_err());
        let unknown = said(&view, vec![call("other", &["picture"], "out")]).unwrap_err();
        assert!(unknown.contains("(other)"), "{unknown}");
    }

    #[test]
    fn what_comes_of_shapes_is_the_same_for_every_picture() {
        let nodes = vec![
            node("Shape", &["picture"], &["shape"]),
            node("Div", &["shape", "minus"], &["half"]),
            node("Range", &["w", "half", "three"], &["row"]),
            node("Expand", &["row", "shape"], &["grid"]),
            node("Reshape", &["picture", "shape"], &["flat"]),
            node("Add", &["flat", "grid"], &["out"]),
        ];
        assert_eq!(said(nodes), Ok(()));
        assert_eq!(
            said(vec![node("ConstantOfShape", &["w"], &["out"])]),
            Ok(()),
            "a weight that is listed as an input"
        );
    }

    /// A node with a graph in it.
    fn with_graph(outer: &onnx::NodeProto, inner: &onnx::GraphProto) -> Vec<u8> {
        let (mut attribute, mut message) = (Vec::new(), outer.encode_to_vec());
        put_message(&mut attribute, tag::ATTRIBUTE_GRAPH, &inner.encode_to_vec());
        put_message(&mut message, tag::NODE_ATTRIBUTE, &attribute);
        let mut model = graph(Vec::new()).encode_to_vec();
        put_message(&mut model, tag::GRAPH_NODE, &message);
        let mut whole = Vec::new();
        put_message(&mut whole, tag::MODEL_GRAPH, &model);
        whole
    }

    #[test]
    fn graphs_in_graphs_are_followed() {
        let value = |name: &str| ValueInfo::floats(name, &[1]);
        let body = |nodes: Vec<onnx::NodeProto>| onnx::GraphProto {
            node: nodes,
            input: vec![value("i"), value("before"), value("carried")],
            output: vec![value("again"), value("next")],
            ..Default::default()
        };
        let said = |outer: &onnx::NodeProto, inner: &onnx::GraphProto| {
            follow(&with_graph(outer, inner)).map_err(|e| e.to_string())
        };
        let rounds = node("Loop", &["three", "", "picture"], &["out"]);
        let harmless = body(vec![node("Less", &["i", "three"], &["again"]), node("Relu", &["carried"], &["next"])]);
        assert_eq!(said(&rounds, &harmless), Ok(()));
        let endless = body(vec![node("Less", &["carried", "w"], &["again"]), node("Relu", &["carried"], &["next"])]);
        assert!(said(&rounds, &endless).unwrap_err().contains("depends on what the picture shows"));
        let counted = node("Loop", &["picture", "", "w"], &["out"]);
        assert!(said(&counted, &harmless).unwrap_err().contains("(Loop)"));
        let large = body(vec![node("ConstantOfShape", &["carried"], &["next"])]);
        assert!(said(&rounds, &large).unwrap_err().contains("(ConstantOfShape)"));
        let step =
            body(vec![node("Identity", &["before"], &["again"]), node("Add", &["carried", "picture"], &["next"])]);
        let from_nothing = node("Loop", &["three", "", "w"], &["out"]);
        assert_eq!(said(&from_nothing, &step), Ok(()), "as often as at the beginning");
        let later =
            body(vec![node("Expand", &["w", "carried"], &["x"]), node("Add", &["carried", "picture"], &["next"])]);
        assert!(said(&from_nothing, &later).unwrap_err().contains("(Expand)"), "from the second round on");
        let chosen = node("If", &["picture"], &["out"]);
        assert!(said(&chosen, &harmless).unwrap_err().contains("(If)"));
    }
}
