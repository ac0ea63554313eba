//! The layer engine.
pub mod changes;
pub mod gate;
pub mod graph;
pub mod import;
pub mod kernels;
pub mod onnx;
pub mod oracle;
pub mod pack;
pub mod passes;
pub mod plan;
pub mod profile;
pub mod refresh;
pub mod resample;
pub mod run;
pub mod state;
pub mod verify;
pub mod view;
