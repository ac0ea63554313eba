//! The layer engine.
pub mod graph;
pub mod import;
pub mod kernels;
pub mod onnx;
pub mod oracle;
pub mod passes;
pub mod resample;
pub mod verify;
pub mod view;
