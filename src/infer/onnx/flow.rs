//! What is refused because it depends on what a picture shows: sizes, numbers of rounds, whole numbers that are divided by.
//! A trial with one picture says nothing of the next, which may take all memory, never end, or end the process. What comes
//! of shapes alone is the same for every picture.

use super::wire::{Fields, child, text};
use super::{OnnxError, tag};
use prost::Message;
use std::collections::{HashMap, HashSet};

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
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, tag = "3")]
    i: i64,
    #[prost(message, optional, tag = "5")]
    t: Option<Tensor>,
    /// Said in parts they are one.
    #[prost(bytes = "vec", repeated, tag = "6")]
    graph: Vec<Vec<u8>>,
    #[prost(bytes = "vec", repeated, tag = "11")]
    graphs: Vec<Vec<u8>>,
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

const INT32: i32 = 6;
const INT64: i32 = 7;
/// Element types that are no whole numbers: floats of all kinds, texts, truth values, complex numbers.
const NO_INTEGERS: [i64; 11] = [1, 8, 9, 10, 11, 14, 15, 16, 17, 18, 19];

impl Tensor {
    /// Whether all that it holds can be divided by: -1 is not, as the least number divided by it ends the process.
    fn is_positive(&self) -> bool {
        let all = |mut numbers: &mut dyn Iterator<Item = i64>| {
            let numbers: Vec<i64> = (&mut numbers).collect();
            !numbers.is_empty() && numbers.iter().all(|n| *n > 0)
        };
        match (self.data_type, self.raw_data.is_empty()) {
            (INT32, true) => all(&mut self.int32_data.iter().map(|n| i64::from(*n))),
            (INT64, true) => all(&mut self.int64_data.iter().copied()),
            (INT32, false) => {
                all(&mut self.raw_data.as_chunks().0.iter().map(|bytes| i64::from(i32::from_le_bytes(*bytes))))
            }
            (INT64, false) => all(&mut self.raw_data.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes))),
            _ => false,
        }
    }
}

/// Inputs by which an operation decides how much it computes or puts out.
fn sizes_of(op: &str) -> std::ops::Range<usize> {
    match op {
        // All of them; or what they put out is as long as something in it is often.
        "Range" | "ConstantOfShape" | "NonZero" | "Compress" | "Unique" | "NonMaxSuppression" => 0..usize::MAX,
        "HannWindow" | "HammingWindow" | "BlackmanWindow" | "MelWeightMatrix" => 0..usize::MAX,
        "Expand" | "Tile" | "Pad" | "Resize" | "Upsample" | "OneHot" | "Reshape" | "Slice" | "Split" | "TopK" => {
            1..usize::MAX
        }
        "CenterCropPad" | "AffineGrid" | "Col2Im" | "SplitToSequence" | "RoiAlign" | "MaxRoiPool" | "MaxUnpool" => {
            1..usize::MAX
        }
        "If" => 0..1,
        // Rounds, and whether to go on.
        "Loop" => 0..2,
        _ => 0..0,
    }
}

/// Whether an output holds whole numbers, where inputs do.
fn is_integer(node: &Node, output: usize, integers: &HashSet<String>) -> bool {
    let of = |range: std::ops::Range<usize>| {
        node.input.iter().skip(range.start).take(range.len()).any(|input| integers.contains(input))
    };
    match node.op_type.as_str() {
        "Cast" => {
            let to = node.attribute.iter().rfind(|a| a.name == "to").map_or(0, |a| a.i);
            !NO_INTEGERS.contains(&to)
        }
        "CastLike" | "ArgMax" | "ArgMin" | "QuantizeLinear" | "DynamicQuantizeLinear" => true,
        op if op.ends_with("Integer") || op.starts_with("QLinear") => true,
        "DequantizeLinear" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "IsNaN" | "IsInf" => {
            false
        }
        "TopK" if output == 1 => true,
        "Where" => of(1..3),
        "OneHot" => of(2..3),
        op if op.starts_with("Gather") || op.starts_with("Scatter") || op.starts_with("Reduce") => of(0..1),
        "TopK" | "CumSum" | "Squeeze" | "Unsqueeze" | "Expand" | "Tile" | "Reshape" | "Slice" | "Split" | "Pad"
        | "Resize" => of(0..1),
        _ => of(0..usize::MAX),
    }
}

/// Everything that a model does, graphs in graphs laid flat: names that are used twice count as one.
#[derive(Default)]
struct Flow<'a> {
    nodes: Vec<Node>,
    /// The model's own initialisers, by name.
    initialisers: HashMap<String, &'a [u8]>,
    constants: HashMap<String, Tensor>,
    /// Depends on the picture.
    seen: HashSet<String>,
}

const MALFORMED: OnnxError = OnnxError::Malformed("a node that cannot be read");

impl<'a> Flow<'a> {
    fn node(&mut self, message: &[u8]) -> Result<(), OnnxError> {
        let node = Node::decode(message).map_err(|_| MALFORMED)?;
        if node.op_type == "Constant"
            && let (Some(tensor), Some(output)) = (node.attribute.iter().find_map(|a| a.t.clone()), node.output.first())
        {
            self.constants.insert(output.clone(), tensor);
        }
        // What goes into a graph in it, and what comes out, as if by nodes that do nothing.
        for graph in node.attribute.iter().flat_map(|a| a.graph.iter().chain(&a.graphs)) {
            let first = usize::from(node.op_type == "Loop");
            let (inputs, outputs) = self.inner(graph)?;
            let inner = inputs.into_iter().skip(first).collect();
            let from = node.input.iter().skip(2 * first).cloned().collect();
            self.nodes.push(Node { input: from, output: inner, ..Node::default() });
            if node.op_type == "Loop" {
                // Whether it goes on is decided as at the beginning.
                let goes_on = outputs.iter().take(1).cloned().collect();
                self.nodes.push(Node {
                    input: goes_on,
                    op_type: "If".into(),
                    name: node.name.clone(),
                    ..Node::default()
                });
            }
            self.nodes.push(Node { input: outputs, output: node.output.clone(), ..Node::default() });
        }
        self.nodes.push(node);
        Ok(())
    }

    /// Names of what goes into a graph, and comes out.
    fn inner(&mut self, message: &[u8]) -> Result<(Vec<String>, Vec<String>), OnnxError> {
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        for field in Fields(message) {
            let field = field?;
            let name = || Ok(child(field.body, tag::VALUE_NAME)?.map(text).unwrap_or_default());
            match field.tag {
                tag::GRAPH_NODE => self.node(field.body)?,
                tag::GRAPH_INPUT => inputs.push(name()?),
                tag::GRAPH_OUTPUT => outputs.push(name()?),
                _ => {}
            }
        }
        Ok((inputs, outputs))
    }

    fn model(&mut self, model: &'a [u8]) -> Result<(), OnnxError> {
        let mut inputs = Vec::new();
        for field in Fields(model) {
            let field = field?;
            match field.tag {
                tag::MODEL_GRAPH => {
                    inputs.extend(self.inner(field.body)?.0);
                    for field in Fields(field.body) {
                        let field = field?;
                        if field.tag == tag::GRAPH_INITIALIZER {
                            let name = child(field.body, tag::TENSOR_NAME)?.map(text).unwrap_or_default();
                            self.initialisers.insert(name, field.body);
                        }
                    }
                }
                // Whatever they are called with.
                tag::MODEL_FUNCTIONS => {
                    for field in Fields(field.body) {
                        let field = field?;
                        match field.tag {
                            tag::FUNCTION_NODE => self.node(field.body)?,
                            tag::FUNCTION_INPUT => drop(self.seen.insert(text(field.body))),
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        // Weights may be listed among the inputs.
        self.seen.extend(inputs.into_iter().filter(|name| !self.initialisers.contains_key(name)));
        Ok(())
    }

    /// What depends on the picture, and which of it is whole numbers.
    fn follow(&mut self) -> HashSet<String> {
        let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
        for (i, node) in self.nodes.iter().enumerate() {
            node.input.iter().for_each(|input| readers.entry(input).or_default().push(i));
        }
        let mut integers = HashSet::new();
        let mut changed: Vec<String> = self.seen.iter().cloned().collect();
        while let Some(value) = changed.pop() {
            for i in readers.get(value.as_str()).into_iter().flatten() {
                let node = &self.nodes[*i];
                if matches!(node.op_type.as_str(), "Shape" | "Size") {
                    continue;
                }
                for (n, output) in node.output.iter().enumerate() {
                    let is_new = self.seen.insert(output.clone());
                    let is_int = is_integer(node, n, &integers) && integers.insert(output.clone());
                    if is_new || is_int {
                        changed.push(output.clone());
                    }
                }
            }
        }
        integers
    }

    /// Whether whole numbers may be divided by this.
    fn is_divisor(&self, name: &str) -> bool {
        let initialiser = self.initialisers.get(name).and_then(|bytes| Tensor::decode(*bytes).ok());
        initialiser.as_ref().or_else(|| self.constants.get(name)).is_some_and(Tensor::is_positive)
    }

    fn check(&self, integers: &HashSet<String>) -> Result<(), OnnxError> {
        for node in &self.nodes {
            let refuse = |what: &str| {
                let what = format!(
                    "{what} depends on what the picture shows, which could take all memory, or end the process. Export the \
                     model without what comes after its network: `yolo export format=onnx nms=False end2end=False`"
                );
                Err(OnnxError::Node { node: node.name.clone(), op: node.op_type.clone(), what })
            };
            let op = node.op_type.as_str();
            let sizes = sizes_of(op);
            if node.input.iter().skip(sizes.start).take(sizes.len()).any(|input| self.seen.contains(input)) {
                return refuse("how much it computes");
            }
            let divides = matches!(op, "Div" | "Mod") && node.input.iter().any(|input| integers.contains(input));
            if divides && !node.input.get(1).is_some_and(|by| self.is_divisor(by)) {
                return refuse("what whole numbers are divided by or what is divided");
            }
        }
        Ok(())
    }
}

/// Looks through a file that has been vetted.
///
/// # Errors
/// The node and its operation.
pub fn follow(model: &[u8]) -> Result<(), OnnxError> {
    let mut flow = Flow::default();
    flow.model(model)?;
    let integers = flow.follow();
    flow.check(&integers)
}

#[cfg(test)]
mod tests {
    use super::super::wire::put_message;
    use super::*;
    use crate::engine::onnx::{self, ValueInfo};

    fn node(op: &str, inputs: &[&str], outputs: &[&str]) -> onnx::Node {
        let names = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        onnx::Node {
            op_type: op.into(),
            name: op.into(),
            input: names(inputs),
            output: names(outputs),
            ..Default::default()
        }
    }

    fn cast(from: &str, to: &str, kind: i64) -> onnx::Node {
        let attribute = vec![onnx::Attribute { name: "to".into(), i: kind, ..Default::default() }];
        onnx::Node { attribute, ..node("Cast", &[from], &[to]) }
    }

    fn numbers(name: &str, numbers: &[i64]) -> onnx::Tensor {
        onnx::Tensor { name: name.into(), data_type: INT64, int64_data: numbers.to_vec(), ..Default::default() }
    }

    fn graph(nodes: Vec<onnx::Node>) -> onnx::Graph {
        onnx::Graph {
            node: nodes,
            initializer: vec![numbers("three", &[3]), numbers("minus", &[3, -1]), numbers("w", &[0])],
            // Weights, too, as old exports have it.
            input: vec![ValueInfo::floats("picture", &[1, 3, 8, 8]), ValueInfo::floats("w", &[1])],
            output: vec![ValueInfo::floats("out", &[1])],
            ..Default::default()
        }
    }

    fn said(nodes: Vec<onnx::Node>) -> Result<(), String> {
        follow(&onnx::Model { graph: Some(graph(nodes)), ..Default::default() }.encode_to_vec())
            .map_err(|e| e.to_string())
    }

    #[track_caller]
    fn refused(nodes: Vec<onnx::Node>, op: &str) {
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
    fn with_graph(outer: &onnx::Node, inner: &onnx::Graph) -> Vec<u8> {
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
        let body = |nodes: Vec<onnx::Node>| onnx::Graph {
            node: nodes,
            input: vec![value("i"), value("before"), value("carried")],
            output: vec![value("again"), value("next")],
            ..Default::default()
        };
        let said =
            |outer: &onnx::Node, inner: &onnx::Graph| follow(&with_graph(outer, inner)).map_err(|e| e.to_string());
        let rounds = node("Loop", &["three", "", "picture"], &["out"]);
        let harmless = body(vec![node("Less", &["i", "three"], &["again"]), node("Relu", &["carried"], &["next"])]);
        assert_eq!(said(&rounds, &harmless), Ok(()));
        let endless = body(vec![node("Less", &["carried", "w"], &["again"]), node("Relu", &["carried"], &["next"])]);
        assert!(said(&rounds, &endless).unwrap_err().contains("depends on what the picture shows"));
        let counted = node("Loop", &["picture", "", "w"], &["out"]);
        assert!(said(&counted, &harmless).unwrap_err().contains("(Loop)"));
        let large = body(vec![node("ConstantOfShape", &["carried"], &["next"])]);
        assert!(said(&rounds, &large).unwrap_err().contains("(ConstantOfShape)"));
        let chosen = node("If", &["picture"], &["out"]);
        assert!(said(&chosen, &harmless).unwrap_err().contains("(If)"));
    }
}
