//! What leaves the process: the JSON of frames and events. Knows nothing of who sends it.

pub mod event;
pub mod frame;
