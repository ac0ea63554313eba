//! The config: as written, checked, resolved.
//!
//! ```text
//! file.toml + PASSD__… + ${SECRET} -> file.rs (serde) -> resolved.rs (typed, related, complete)
//!                 \-> locate.rs: every complaint with file, line and key
//! ```
//!
//! Starts nothing.

mod checks;
mod effective;
mod file;
mod learn;
mod load;
mod locate;
mod mqtt;
mod reference;
mod resolved;
mod scene;
mod state;
mod webhook;

pub use effective::effective;
pub use file::{File, schema};
pub use learn::LearnConfig;
pub use load::{load, load_text};
pub use locate::{ConfigError, Problem};
pub use reference::reference;
pub use resolved::{
    CameraConfig, Config, DetectorConfig, EventsConfig, JsonlConfig, JsonlTarget, ProviderPolicy, SCORE,
};
pub use state::state_directory;
