//! `passd` watches cameras and says what is in the picture, without computing
//! again what has not changed.
pub mod clock;
pub mod frame;
pub mod geom;
pub mod infer;
pub mod merge;
pub mod sim;
pub mod skip;
