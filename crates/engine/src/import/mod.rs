//! ONNX in, [`Graph`] out.
//!
//! Nodes are read in the file's order. A value is a constant, or a list of
//! [`View`]s of feature maps, one after another along one axis: layout
//! operations change views only, and a node is added to the graph where
//! something is computed. What cannot be expressed is left over, with all that
//! follows it ([`Tail`]), or refused by the name of its operation. The picture's
//! size is chosen by the caller; shapes that the file declares are not looked at.

pub mod onnx;

mod consts;
mod error;
mod importer;
mod known;
mod layout;
mod ops;
mod tail;

pub use error::ImportError;
pub use tail::Tail;

use crate::graph::view::View;
use crate::graph::{Graph, MapShape, ValueId};
use consts::Const;
use error::Fail;
use importer::{Importer, MAX_EDGES, MAX_NODES};
use known::{Known, Pieces};
use prost::Message as _;
use std::collections::{HashMap, HashSet};
use tail::Leftover;

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
    let model = &onnx::ModelProto::decode(file).map_err(|e| ImportError::Malformed(e.to_string()))?;
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
    let graph =
        Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
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

    let mut left = Leftover::default();
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

/// Channels of the picture as declared; 3 where the file does not say.
fn input_channels(file: &onnx::GraphProto, picture: &str) -> usize {
    let declared = file.input.iter().find(|i| i.name == picture).and_then(|i| {
        let dims = &i.kind.as_ref()?.tensor.as_ref()?.shape.as_ref()?.dim;
        usize::try_from(dims.get(1)?.value).ok()
    });
    declared.filter(|c| (1..=64).contains(c)).unwrap_or(3)
}
