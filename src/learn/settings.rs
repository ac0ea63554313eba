//! What is learned, how much of the machine it may take, and how much is kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Whether a camera learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LearnMode {
    /// Nothing is kept and nothing is learned.
    #[default]
    Off,
    /// What was learned waits until somebody accepts it.
    Ask,
    /// What was learned and passed is taken over.
    Auto,
}

/// The same for all cameras.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnSettings {
    /// Folder for marks, pictures and learned models.
    pub path: PathBuf,
    /// Of learning, a day.
    pub daily: Duration,
    /// Of one core, 0 to 1.
    pub share: f32,
    /// Bytes of pictures and samples, a group.
    pub max_bytes: u64,
    pub max_age: Duration,
    /// Between two pictures that are kept of a camera.
    pub every: Duration,
    /// Steps of a run.
    pub n_steps: u32,
    /// Without a new mark for so long, it begins.
    pub quiet: Duration,
}

/// Cameras that learn together: of one model at one size.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSettings {
    pub name: String,
    pub mode: LearnMode,
    pub model: String,
    pub size: Option<crate::geom::Size>,
    /// Least score that is reported.
    pub score: f32,
    pub cameras: Vec<LearnCamera>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct LearnCamera {
    pub id: String,
    /// Areas that are blackened before anything is kept: polygons, shares of the picture's sides.
    pub masks: Vec<Vec<[f32; 2]>>,
}
