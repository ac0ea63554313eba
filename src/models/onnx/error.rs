//! What is wrong with a model's file, for whoever exported it.

/// Why a file is no ONNX model that can be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OnnxError {
    #[error("the file is not an ONNX model, or is cut short ({0})")]
    Malformed(&'static str),
    #[error("the model has {} inputs ({}), expected one picture: export it with that input alone", .0.len(), .0.join(", "))]
    Inputs(Vec<String>),
    #[error("input '{name}' has shape {}, expected [batch, 3, height, width]{}", shown(dims), layout_remedy(dims))]
    InputShape { name: String, dims: Vec<Option<i64>> },
    #[error("input '{name}' takes {kind}, and passd feeds 32-bit floats: {remedy}")]
    InputType { name: String, kind: &'static str, remedy: &'static str },
    #[error("node '{node}' ({op}): {what}")]
    Node { node: String, op: String, what: String },
    #[error("tensor '{tensor}': {what}")]
    External { tensor: String, what: String },
    #[error("no convolution of the model makes '{output}': {what}")]
    Layer { output: String, what: String },
}

/// A shape as people write it; `?`: any size.
fn shown(dims: &[Option<i64>]) -> String {
    let dims: Vec<String> = dims.iter().map(|d| d.map_or_else(|| "?".into(), |d| d.to_string())).collect();
    format!("[{}]", dims.join(", "))
}

fn layout_remedy(dims: &[Option<i64>]) -> &'static str {
    match dims {
        [_, _, _, Some(3)] => ": its colours come last; export it with channels first (tf2onnx: --inputs-as-nchw NAME)",
        _ => "",
    }
}
