//! Which model cameras are to use, told to whoever runs them, and what of it cannot be used.

use std::path::PathBuf;

/// Which model some cameras are to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    pub cameras: Vec<String>,
    /// The learned model's sidecar; `None`: the model of the config.
    pub model: Option<PathBuf>,
}

/// A learned model that cameras were to use, and cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUsable {
    /// Its sidecar.
    pub model: PathBuf,
    pub why: String,
}
