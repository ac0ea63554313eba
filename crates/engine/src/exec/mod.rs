//! Running a plan on streams.
//!
//! What the `unsafe` blocks of this folder and of the kernels rely on, and who upholds it:
//!
//! 1. Taps and cells lie in their maps: the verifier checks windows ([`crate::graph::verify`]), the plan's layout places maps.
//! 2. Whole blocks can be read behind the last cell of a buffer: the layout's slack (`plan/layout.rs`), and zeros as wide as
//!    scratch rows.
//! 3. Each listed cell is listed once (`listing.rs`), and tiles go to one thread each (`threads::split`): no two threads write
//!    the same numbers.
//! 4. No step reads a map that it writes. Where whole blocks of an input reach into the output's channels, the step runs on one
//!    thread (`Step::reads_beside`).
//! 5. Weights are packed as the step says: both come of one node (`plan/lower.rs`), and other weights are taken only if they
//!    fit ([`crate::weights::Weights::fits`]).
//! 6. Scratch is large enough: a runner runs only streams whose needs its own cover (`scratch.rs`).
//! 7. The processor has the instruction set: a table of kernels exists only where it was found (`kernels()` of each set's file).
//! 8. Listed cells lie in their map: no change set has bits beyond its columns (`changes.rs`), and the picture's is of its size
//!    (`Runner::run`). Channels that decide lie in theirs (`Plan::given`).

pub mod counters;
pub mod executor;
mod job;
mod listing;
pub mod outputs;
mod required;
pub mod runner;
mod scratch;
pub mod standing;
pub mod stream;
pub mod threads;
mod tile;
mod weightless;
