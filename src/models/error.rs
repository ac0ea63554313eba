//! Why a model is refused.

/// A model, or what stands beside it, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct ModelError {
    pub file: String,
    pub reason: String,
}

impl ModelError {
    pub fn new(file: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self { file: file.into(), reason: reason.to_string() }
    }
}
