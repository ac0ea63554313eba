//! Threads, bounded channels and drop policy around the pure parts.
mod stage;

pub use stage::{SkipMode, Stage};
