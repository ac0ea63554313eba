//! Learning on the device: from what was said of a camera's pictures to weights that do not err there twice.
//!
//! ```text
//! clips, marks -> samples (latents in eight bits, labels) -> fit (steps) -> gate (never worse) -> a model like any other
//! ```
//!
//! A sample holds the maps that training begins with, not the picture: the backbone does not run again. Method and numbers
//! are those of `crates/train`.

pub mod backbone;
pub mod coco;
pub mod error;
pub mod export;
pub mod fit;
pub mod frames;
pub mod gate;
pub mod latents;
pub mod lesson;
pub mod net;
pub mod sample;
