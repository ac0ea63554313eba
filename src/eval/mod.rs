//! `passd eval`: the same decoded frames through several modes, side by side.
//!
//! Modes take turns of 16 frames in one process and on one thread, in an
//! order that rotates, so that a busy machine slows them alike. A mode's time
//! runs from the decoded frame to the merged detections: skip stage, filling
//! the tensor, every run, decoding, suppression, merge.

pub mod calibrate;
pub mod followed;
pub mod mot;
mod report;
mod run;
pub mod score;
pub mod truth;

pub use report::{FloorReport, LayerReport, ModeReport, PatchReport, Percentiles, RawDifference, Report};
pub use run::{EvalProgress, EvalSettings, evaluate};
pub use truth::TruthOf;
