//! Weights in the order in which the kernels read them.

pub mod packed;
pub mod winograd;
