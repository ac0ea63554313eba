//! Learning on the device: from what was said of a camera's pictures to weights that do not err there twice.
//!
//! ```text
//! clips, marks -> samples (latents in eight bits, labels) -> fit (steps) -> gate (never worse) -> a model like any other
//! ```
//!
//! A sample holds the maps that training begins with, not the picture: the backbone does not run again. Method and numbers
//! are those of `crates/train`.

mod answers;
pub mod backbone;
pub mod base;
pub mod brought;
mod class;
pub mod coco;
mod deck;
pub mod draft;
pub mod error;
mod exchange;
pub mod export;
pub mod fit;
pub mod follow;
pub mod frames;
pub mod gate;
pub mod gather;
pub mod in_use;
pub mod labelling;
pub mod latents;
pub mod learner;
pub mod lesson;
pub mod mark;
pub mod net;
pub mod pairs;
pub mod picture;
pub mod pupil;
pub mod run;
pub mod sample;
pub mod settings;
pub mod shadow;
pub mod sink;
pub mod skipping;
pub mod store;
pub mod stored;
pub mod teacher;
pub mod teaching;
pub mod trail;
pub mod versions;
