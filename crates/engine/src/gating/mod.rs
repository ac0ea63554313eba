//! Which cells are computed now, and which can wait: gates, estimates, deferred changes, refresh.

pub mod estimate;
pub mod gate;
pub mod policy;
pub mod profile;
pub mod refresh;
pub(crate) mod sensitivity;
