//! What several tests need.
#![allow(dead_code)] // each test takes what it needs

pub mod graphs;
pub mod model;
pub mod mutants;
pub mod zoo;
