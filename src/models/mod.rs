//! Models as files: sidecars, folders, downloads, gate profiles, and ONNX files as bytes. Runs nothing.

pub mod model;
pub mod onnx;
pub mod profiles;
pub mod pull;
