//! `passd` watches cameras and says what is in the picture, without computing
//! again what has not changed.
#[cfg(feature = "daemon")]
pub mod capture;
#[cfg(feature = "daemon")]
pub mod cli;
pub mod clock;
#[cfg(feature = "daemon")]
pub mod config;
#[cfg(feature = "daemon")]
pub mod daemon;
#[cfg(feature = "daemon")]
pub mod eval;
pub mod frame;
pub mod geom;
pub mod infer;
pub mod merge;
#[cfg(feature = "daemon")]
pub mod output;
#[cfg(feature = "daemon")]
pub mod pipeline;
pub mod sim;
pub mod skip;
