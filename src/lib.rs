//! `passd` watches cameras and says what is in the picture, without computing
//! again what has not changed.
//!
//! ```text
//! capture ──> skip ──> infer ──> merge ──> output
//! (frames)   (changed  (fresh    (whole    (JSON lines, HTTP, metrics)
//!             patches)  boxes)    frame)
//!    └────────── pipeline: threads and channels ──────────┘
//!    config ──> daemon: run, reload, stop      eval: the same, measured
//! ```
//!
//! Without default features only the pure core is built: geometry, skip stage,
//! planner, heads, merge and the simulated street. See `ARCHITECTURE.md`.

// In the order of the data flow; the leaves first.
#[cfg(feature = "daemon")]
pub mod backoff;
pub mod clock;
#[cfg(feature = "daemon")]
pub mod files;
pub mod frame;
pub mod geom;
#[cfg(feature = "daemon")]
pub mod process;
pub mod schedule;
#[cfg(feature = "daemon")]
pub mod secret;
#[cfg(feature = "daemon")]
pub mod text;
#[cfg(feature = "daemon")]
pub mod web;

pub mod sim;

#[cfg(feature = "daemon")]
pub mod capture;
pub mod skip;

pub mod detect;
pub mod models;

pub mod infer;
pub mod merge;
pub mod scene;
pub mod stage;
pub mod track;

pub mod outcome;
#[cfg(feature = "daemon")]
pub mod output;
pub mod wire;

#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod pipeline;

#[cfg(feature = "daemon")]
pub mod cli;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod doctor;
#[cfg(feature = "daemon")]
pub mod eval;
#[cfg(feature = "daemon")]
pub mod learn;
