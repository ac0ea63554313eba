//! What was learned, as a model: an ONNX file that any runtime takes, and a sidecar that says what it was made from.

use super::error::LearnError;
use super::net::LearnNet;
use crate::files::write_whole;
use crate::models::model::{Learned, Model, Sidecar, hex};
use crate::models::onnx::{NewWeights, with_weights};
use engine::graph::Op;
use std::path::Path;
use train::params::Params;

/// The model's file with other weights.
///
/// # Errors
/// The file holds its weights in a way in which they cannot be replaced.
pub fn learned_file(model: &Model, net: &LearnNet, params: &Params) -> Result<Vec<u8>, LearnError> {
    let graph = params.write_to(net.plan());
    let nodes = net.plan().layers().iter().map(|layer| &graph.nodes[layer.node]);
    let layers: Vec<NewWeights<'_>> = nodes
        .filter_map(|node| match &node.op {
            Op::Conv(conv) => {
                Some(NewWeights { output: graph.name(node.output), weights: &conv.weights, bias: &conv.bias })
            }
            _ => None,
        })
        .collect();
    with_weights(&model.onnx, &layers).map_err(|e| LearnError::model(&model.file, &e))
}

/// Writes `NAME.onnx` and `NAME.toml` into a folder, the sidecar last: without it the file is no model.
///
/// # Errors
/// Nothing can be written there.
pub fn write_model(folder: &Path, name: &str, model: &Model, onnx: &[u8], learned: Learned) -> Result<(), LearnError> {
    let file = format!("{name}.onnx");
    let sidecar = Sidecar {
        description: format!("{}, learned further", model.sidecar.description),
        sha256: hex(onnx),
        file: file.clone(),
        learned: Some(learned),
        ..model.sidecar.clone()
    };
    let text = toml::to_string(&sidecar).map_err(|e| LearnError::file(&folder.join(name), &e))?;
    for (file, bytes) in [(file, onnx), (format!("{name}.toml"), text.as_bytes())] {
        let path = folder.join(file);
        write_whole(&path, bytes).map_err(|e| LearnError::file(&path, &e))?;
    }
    Ok(())
}
