//! What several tests need.
#![allow(dead_code)] // each test takes what it needs

pub mod exact;
#[path = "../../../engine/tests/common/graphs.rs"]
pub mod graphs;
