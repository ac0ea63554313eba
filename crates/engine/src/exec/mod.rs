//! Running a plan on streams.

mod asked;
pub mod counters;
pub mod executor;
mod listing;
pub mod outputs;
pub mod runner;
pub mod stream;
pub mod threads;
mod tile;
