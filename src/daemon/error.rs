//! Why the daemon does not run.

use crate::config::ConfigError;
use crate::infer::InferError;
use crate::pipeline::StartError;

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Infer(#[from] InferError),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("HTTP cannot listen on {address}: {source}")]
    Http { address: std::net::SocketAddr, source: std::io::Error },
    #[error("JSON lines cannot be written to {path}: {source}")]
    Jsonl { path: String, source: std::io::Error },
    #[error("events cannot be kept in {path}: {source}; give events.path, or set events.enabled = false")]
    Events { path: String, source: std::io::Error },
    /// Clips ended before their time.
    #[error("{0}")]
    Clips(String),
    #[error("{0}")]
    Other(String),
}
