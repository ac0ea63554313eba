//! Why nothing can be learned.

/// Says what, and of which file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LearnError {
    #[error("{file}: {reason}")]
    Model { file: String, reason: String },
    #[error("{clip}: {reason}")]
    Clip { clip: String, reason: String },
    #[error("{file}: {reason}")]
    File { file: String, reason: String },
    #[error("{0}")]
    Refused(String),
    /// Learning waits for more.
    #[error("{n} pictures are too few to learn from and to judge by: it waits for {least}")]
    TooFew { n: usize, least: usize },
}

impl LearnError {
    pub fn model(file: &str, reason: &dyn std::fmt::Display) -> Self {
        Self::Model { file: file.into(), reason: reason.to_string() }
    }

    pub fn clip(clip: &str, reason: &dyn std::fmt::Display) -> Self {
        Self::Clip { clip: clip.into(), reason: reason.to_string() }
    }

    pub fn file(file: &std::path::Path, reason: &dyn std::fmt::Display) -> Self {
        Self::File { file: file.display().to_string(), reason: reason.to_string() }
    }
}
