//! Which cells are computed: what a change will do, and when that is too little to matter now.

pub mod estimate;
pub mod gate;
pub mod policy;
pub mod profile;
pub mod refresh;
pub(crate) mod sensitivity;
