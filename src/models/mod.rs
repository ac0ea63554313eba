//! Models as files: sidecars, folders, downloads, gate profiles, and ONNX files as bytes. Runs nothing.

mod error;
#[cfg(feature = "daemon")]
pub mod model;
#[cfg(feature = "daemon")]
pub mod onnx;
#[cfg(feature = "daemon")]
pub mod profiles;
#[cfg(feature = "daemon")]
pub mod pull;

pub use error::ModelError;
