//! Cameras: pictures in, whatever happens to the stream.
//!
//! ```text
//! SourceSpec -> open() -> Source (own threads) -- deliver --> Intake (letterbox, number, stamp) -> slot
//!      ^                      |
//!      +---- supervisor <-----+ events: failed, ended; stall; back-off; state
//! ```
//!
//! Nothing here knows of detectors. Only `gst/`, `video.rs` and `survey.rs` name GStreamer.

mod address;
mod clip;
mod custom;
mod diagnosis;
mod gst;
mod intake;
mod sim;
mod spec;
mod supervisor;
mod survey;
mod template;
mod video;

pub use clip::Clip;
pub use diagnosis::{Diagnosis, diagnose};
pub use gst::{Pace, init, n_left_behind, open_gst};
pub use intake::{Intake, Slot, SlotMode, Taken, Waiting};
pub use sim::open_sim;
pub use spec::{CameraSource, SourceSpec};
pub use supervisor::{CameraState, Explainer, Observer, Opener, Supervisor, SupervisorSettings};
pub use survey::{Ability, probe, survey};
pub use video::VideoWriter;

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
