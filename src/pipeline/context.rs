//! What cameras need beside their config.

use crate::capture::Opener;
use crate::clock::Clock;
use crate::config::CameraConfig;
use crate::output::Sinks;
use crate::output::board::Board;
use crate::output::metrics::Metrics;
use std::sync::Arc;

/// Makes the opener of a camera's source.
pub type OpenFn = dyn Fn(&CameraConfig, Arc<dyn Clock>) -> Opener + Send + Sync;

/// What a camera needs beside its config.
#[derive(Clone)]
pub struct CameraContext {
    pub clock: Arc<dyn Clock>,
    pub board: Arc<Board>,
    pub metrics: Arc<Metrics>,
    pub sinks: Arc<Sinks>,
    /// Opens sources; tests bring their own.
    pub open: Arc<OpenFn>,
}
