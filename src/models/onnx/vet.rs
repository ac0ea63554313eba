//! What is refused before anybody runs a file: numbers by which runtimes divide without looking (a stride of 0 ends the
//! process), and data that they would read from other files.

use super::error::OnnxError;
use super::flow;
use super::tag;
use super::wire::{Field, Fields, child, numbers, text};
use std::ops::RangeInclusive;

/// Sides of windows, strides and the like, pixels.
const SIDES: RangeInclusive<i64> = 1..=1 << 16;
const PADS: RangeInclusive<i64> = -(1 << 16)..=1 << 16;

/// Attributes whose numbers are within bounds, whatever the operation: lists, then single numbers.
const LISTS: [(&str, RangeInclusive<i64>); 5] = [
    ("kernel_shape", SIDES),
    ("strides", SIDES),
    ("dilations", SIDES),
    ("pads", PADS),
    ("output_padding", 0..=1 << 16),
];
const SINGLES: [(&str, RangeInclusive<i64>); 5] = [
    ("group", 1..=1 << 20),
    ("num_groups", 1..=1 << 20),
    ("blocksize", 1..=1 << 12),
    ("num_outputs", 1..=1 << 12),
    ("size", 1..=1 << 20),
];
/// Graphs in graphs.
const MOST_DEPTH: usize = 8;
/// Nodes of all graphs together.
const MOST_NODES: usize = 100_000;

/// Looks through a file.
///
/// # Errors
/// The node, its operation and what is wrong with it; or a tensor that is said to be elsewhere.
pub fn vet(model: &[u8]) -> Result<(), OnnxError> {
    let mut n_nodes = 0;
    for field in Fields(model) {
        let field = field?;
        match field.tag {
            tag::MODEL_GRAPH => graph(field.body, 0, &mut n_nodes)?,
            tag::MODEL_FUNCTIONS => {
                for field in Fields(field.body) {
                    let field = field?;
                    match field.tag {
                        tag::FUNCTION_NODE => node(field.body, 0, &mut n_nodes)?,
                        // What an attribute of its nodes is where a call leaves it out.
                        tag::FUNCTION_ATTRIBUTE => attribute(field.body, 0, &mut n_nodes)
                            .map_err(|e| e.of("in a function".into(), "function".into()))?,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    flow::follow(model)
}

const SPARSE: OnnxError = OnnxError::Malformed("sparse tensors, which are not read");

fn graph(message: &[u8], depth: usize, n_nodes: &mut usize) -> Result<(), OnnxError> {
    if depth > MOST_DEPTH {
        return Err(OnnxError::Malformed("graphs in graphs, too deep"));
    }
    for field in Fields(message) {
        let field = field?;
        match field.tag {
            tag::GRAPH_NODE => node(field.body, depth, n_nodes)?,
            tag::GRAPH_INITIALIZER => tensor(field.body)?,
            tag::GRAPH_SPARSE_INITIALIZER => return Err(SPARSE),
            _ => {}
        }
    }
    Ok(())
}

/// A tensor's data are in the file.
fn tensor(message: &[u8]) -> Result<(), OnnxError> {
    for field in Fields(message) {
        let field = field?;
        let is_elsewhere = match field.tag {
            tag::TENSOR_DATA_LOCATION => field.varint != 0,
            tag => tag == tag::TENSOR_EXTERNAL_DATA,
        };
        if is_elsewhere {
            let name = child(message, tag::TENSOR_NAME)?.map(text).unwrap_or_default();
            return Err(OnnxError::External { tensor: name, what: "its data are in another file".into() });
        }
    }
    Ok(())
}

fn node(message: &[u8], depth: usize, n_nodes: &mut usize) -> Result<(), OnnxError> {
    *n_nodes += 1;
    if *n_nodes > MOST_NODES {
        return Err(OnnxError::Malformed("more than 100000 nodes"));
    }
    for field in Fields(message) {
        let field = field?;
        if field.tag == tag::NODE_ATTRIBUTE {
            attribute(field.body, depth, n_nodes).map_err(|e| {
                let get = |tag| child(message, tag).ok().flatten().map(text).unwrap_or_default();
                e.of(get(tag::NODE_NAME), get(tag::NODE_OP_TYPE))
            })?;
        }
    }
    Ok(())
}

/// What is wrong with an attribute: its own numbers, or something in it.
enum Wrong {
    Here(String),
    Within(OnnxError),
}

impl Wrong {
    fn of(self, node: String, op: String) -> OnnxError {
        match self {
            Self::Here(what) => OnnxError::Node { node, op, what },
            Self::Within(e) => e,
        }
    }
}

impl From<OnnxError> for Wrong {
    fn from(e: OnnxError) -> Self {
        Self::Within(e)
    }
}

fn attribute(message: &[u8], depth: usize, n_nodes: &mut usize) -> Result<(), Wrong> {
    let name = last(message, tag::ATTRIBUTE_NAME)?.unwrap_or_default();
    let single = SINGLES.iter().find(|(bounded, _)| *bounded == name);
    let bound = single.or_else(|| LISTS.iter().find(|(bounded, _)| *bounded == name));
    let mut is_missing = single.is_some();
    for field in Fields(message) {
        let field: Field<'_> = field?;
        match field.tag {
            tag::ATTRIBUTE_INT | tag::ATTRIBUTE_INTS => {
                is_missing = false;
                if let Some((_, range)) = bound {
                    numbers(&field)?.into_iter().try_for_each(|v| within(&name, v, range))?;
                }
            }
            // The number is that of the function's call, and looked at there.
            tag::ATTRIBUTE_REFERENCE => is_missing = false,
            tag::ATTRIBUTE_SPARSE_TENSOR | tag::ATTRIBUTE_SPARSE_TENSORS => return Err(SPARSE.into()),
            tag::ATTRIBUTE_TENSOR | tag::ATTRIBUTE_TENSORS => tensor(field.body)?,
            tag::ATTRIBUTE_GRAPH | tag::ATTRIBUTE_GRAPHS => graph(field.body, depth + 1, n_nodes)?,
            _ => {}
        }
    }
    match single {
        // A nought may be left out.
        Some((_, range)) if is_missing => within(&name, 0, range),
        _ => Ok(()),
    }
}

/// A text that may be said several times: the last one counts, as for every reader of protobuf.
fn last(message: &[u8], tag: u32) -> Result<Option<String>, OnnxError> {
    let mut found = None;
    for field in Fields(message) {
        let field = field?;
        if field.tag == tag {
            found = Some(text(field.body));
        }
    }
    Ok(found)
}

fn within(name: &str, v: i64, range: &RangeInclusive<i64>) -> Result<(), Wrong> {
    match range.contains(&v) {
        true => Ok(()),
        false => Err(Wrong::Here(format!("{name} holds {v}, expected {} to {}", range.start(), range.end()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::import::onnx;
    use prost::Message as _;

    fn file(op: &str, attribute: onnx::AttributeProto) -> Vec<u8> {
        let node =
            onnx::NodeProto { op_type: op.into(), name: "n".into(), attribute: vec![attribute], ..Default::default() };
        let graph = onnx::GraphProto { node: vec![node], ..Default::default() };
        onnx::ModelProto { graph: Some(graph), ..Default::default() }.encode_to_vec()
    }

    #[test]
    fn numbers_that_end_a_process_are_refused() {
        let ints = |name: &str, ints: &[i64]| onnx::AttributeProto {
            name: name.into(),
            ints: ints.to_vec(),
            ..Default::default()
        };
        let int = |name: &str, i: i64| onnx::AttributeProto { name: name.into(), i, ..Default::default() };
        let check = |op: &str, attribute: onnx::AttributeProto, part: &str| {
            let error = vet(&file(op, attribute)).unwrap_err().to_string();
            assert!(error.contains(&format!("node 'n' ({op}): {part}")), "{error}");
        };
        check("Conv", ints("strides", &[1, 0]), "strides holds 0");
        check("MaxPool", ints("dilations", &[-1, 1]), "dilations holds -1");
        check("AveragePool", ints("kernel_shape", &[i64::MAX, 1]), "kernel_shape holds 9223372036854775807");
        check("Conv", ints("pads", &[0, 0, 1 << 40, 0]), "pads holds");
        check("Conv", int("group", 0), "group holds 0");
        check("SpaceToDepth", int("blocksize", 0), "blocksize holds 0");
        // Readers take the last of several names.
        let mut twice = onnx::AttributeProto { name: "harmless".into(), ..Default::default() }.encode_to_vec();
        twice.extend(ints("strides", &[0]).encode_to_vec());
        assert!(matches!(attribute(&twice, 0, &mut 0), Err(Wrong::Here(what)) if what.contains("strides holds 0")));
        // A function's attribute is the call's.
        let mut of_call = int("group", 0).encode_to_vec();
        super::super::wire::put_message(&mut of_call, tag::ATTRIBUTE_REFERENCE, b"g");
        assert!(attribute(&of_call, 0, &mut 0).is_ok());
        super::super::wire::put_message(&mut of_call, tag::ATTRIBUTE_SPARSE_TENSOR, b"");
        assert!(attribute(&of_call, 0, &mut 0).is_err());
        vet(&file("Conv", ints("strides", &[2, 2]))).unwrap();
        vet(include_bytes!("../../../models/street-nano.onnx")).unwrap();
    }

    #[test]
    fn graphs_in_graphs_are_looked_through_and_bounded() {
        // If -> then_branch, many times.
        let mut inner =
            file("Conv", onnx::AttributeProto { name: "strides".into(), ints: vec![0], ..Default::default() });
        let mut graph = child(&inner, tag::MODEL_GRAPH).unwrap().unwrap().to_vec();
        for depth in 0..MOST_DEPTH + 2 {
            let mut attribute = Vec::new();
            super::super::wire::put_message(&mut attribute, tag::ATTRIBUTE_GRAPH, &graph);
            let (mut node, mut outer) = (Vec::new(), Vec::new());
            super::super::wire::put_message(&mut node, tag::NODE_ATTRIBUTE, &attribute);
            super::super::wire::put_message(&mut outer, tag::GRAPH_NODE, &node);
            graph = outer;
            inner.clear();
            super::super::wire::put_message(&mut inner, tag::MODEL_GRAPH, &graph);
            let error = vet(&inner).unwrap_err().to_string();
            let part = if depth < MOST_DEPTH { "strides holds 0" } else { "too deep" };
            assert!(error.contains(part), "{depth}: {error}");
        }
    }
}
