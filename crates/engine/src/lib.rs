//! The layer engine: a network computed layer by layer, only where a feature map changed.
//!
//! ```text
//! ONNX file -> import -> Graph -> passes (verifier after each) -> Plan        once a model
//!                                                                  |
//! picture + what changed of it -> Runner -> Stream (maps, change sets, gates)  every frame
//!                                   |
//!            for each step: Spread (which cells may differ) -> DeltaEstimator (which by more than their gate)
//!                           -> kernels -> store, and measure the change for the steps that read it
//! ```
//!
//! In: an ONNX file, a picture and the cells of it that changed. Out: feature maps (`[rows][columns][channels]`, f32). They
//! equal a dense run's, except for cells whose change was estimated below the gate, and for cells that are not required. Also
//! out: which cells changed. Pure: no clock (but for counters), file or log, and no thread that was not asked for. It knows
//! nothing of detection. Its identities are held by `crates/engine/tests/identities.rs`.

pub mod buffer;
pub mod changes;
pub mod exec;
pub mod gating;
pub mod graph;
pub mod import;
pub mod kernels;
pub mod oracle;
pub mod passes;
pub mod plan;
pub mod tolerance;
pub mod weights;
