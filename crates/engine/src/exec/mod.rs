//! Running a plan on streams.

mod asked;
mod listing;
pub mod outputs;
pub mod runner;
pub mod stream;
pub mod threads;
mod tile;
