//! Why a model cannot be read.

use super::onnx;

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
pub(super) enum Fail {
    /// The model is broken.
    Invalid(String),
    /// The model may be right, but the engine does not do this.
    Unsupported(String),
}

pub(super) fn unsupported<T>(why: impl Into<String>) -> Result<T, Fail> {
    Err(Fail::Unsupported(why.into()))
}

pub(super) fn invalid<T>(why: impl Into<String>) -> Result<T, Fail> {
    Err(Fail::Invalid(why.into()))
}

impl Fail {
    pub(super) fn of(self, node: &onnx::NodeProto) -> ImportError {
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
