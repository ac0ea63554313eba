//! The skip stage: which patches of a picture have changed.
//!
//! In: frames of one stream, in order. Out: for each frame the set of patches
//! that must be computed again, and why. Pure: no clock, thread, file or log;
//! the same frames and settings give the same decisions.
//!
//! A patch is compared with its **last accepted** picture, never with frame
//! t-1: slow drift would be lost. Whoever computes
//! patches reports them with [`SkipStage::accept`]; only there the reference moves.

mod breakeven;
mod decision;
mod diff;
mod light;
mod masks;
mod mode;
mod noise;
mod prescreen;
mod stage;

pub use decision::{Counts, Decision, GlobalChange, Reason};
pub use diff::{CELL, Differ};
pub use mode::{ModeChoice, ModePolicy, PatchCost, SkipMode};
pub use stage::{SkipSettings, SkipStage};
