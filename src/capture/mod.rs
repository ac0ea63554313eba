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
mod source;
mod spec;
mod supervisor;
mod survey;
mod template;
mod video;

pub use clip::Clip;
pub use diagnosis::{Diagnosis, diagnose};
pub use gst::{init, n_left_behind, open_gst};
pub use intake::{Intake, Slot, SlotMode, Taken, Waiting};
pub use sim::open_sim;
pub use source::{CaptureError, Pace, Source, SourceEvent};
pub use spec::{CameraSource, SourceSpec};
pub use supervisor::{CameraState, Explainer, Observer, Opener, Supervisor, SupervisorSettings};
pub use survey::{Ability, probe, survey};
pub use video::VideoWriter;
