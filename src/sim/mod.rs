//! A simulated camera: a street drawn with a vector renderer.
//!
//! In: [`SimSettings`] (from a `sim://` address) and a frame number. Out: a BGR
//! picture and, when asked, the exact boxes and track ids of everything in it,
//! and the boxes of what only looks like an object (decoys).
//! Frame `n` depends on the settings and `n` alone, so that any part of a clip
//! can be drawn again, in any order, bit for bit on one machine.
//!
//! ```text
//! settings -> world (who is where at t) -> draw (vectors) -> sensor (light, noise, codec) -> BGR
//!                                       \-> draw (identities) -> ground truth
//! ```

mod camera;
mod decoy;
mod draw;
mod grain;
mod paint;
mod palette;
mod sensor;
mod settings;
mod truth;
mod world;

pub use camera::SimCamera;
pub use grain::Grain;
pub use palette::Palette;
pub use settings::{SettingsError, SimSettings, StreetScene};
pub use truth::{ActorKind, DecoyKind, DecoyTruth, Truth};
