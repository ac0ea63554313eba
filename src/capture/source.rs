//! What every source is, whatever it plays: a guard that stops it, and what it says of itself.

use crossbeam_channel::Receiver;

/// Why a source does not deliver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// May be better next time: network, camera, stream.
    #[error("{0}")]
    Transient(String),
    /// Will not get better by itself: a missing plugin, a bad address.
    #[error("{0}")]
    Setup(String),
}

/// What a source says of itself, beside its frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    /// The file or the simulated clip is over; a live source never says this.
    Ended,
    Failed(CaptureError),
}

/// An open source. Dropping it stops it; that may block, so it is dropped off
/// the supervisor's thread.
pub struct Source {
    pub events: Receiver<SourceEvent>,
    /// Stops the source when dropped.
    pub guard: Box<dyn Send>,
}

/// How fast pictures come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As the camera sends them; decoded ones may be dropped.
    Live,
    /// A file at its own rate.
    Realtime,
    /// A file as fast as the pipeline takes it; nothing is dropped.
    Fast,
}
