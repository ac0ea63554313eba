//! What is learned, how much of the machine it may take, and how much is kept.

use crate::geom::Size;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
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
    /// A larger model that says what pictures show.
    pub teacher: Option<TeacherSpec>,
}

/// A model that teaches, and the size at which it looks: `yolox_s`, `yolox_nano@640x384`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeacherSpec {
    /// Name or path.
    pub model: String,
    /// `None`: that of the model that is taught.
    pub size: Option<Size>,
}

impl FromStr for TeacherSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // Folders may have such names too.
        let (model, size) = match text.rsplit_once('@').filter(|(_, size)| !size.contains(['/', '.'])) {
            Some((model, size)) => (model, Some(size.parse()?)),
            None => (text, None),
        };
        match model.is_empty() {
            true => Err(format!("'{text}' names no model; expected one such as yolox_s or yolox_nano@640x384")),
            false => Ok(Self { model: model.into(), size }),
        }
    }
}

impl fmt::Display for TeacherSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.size {
            Some(size) => write!(f, "{}@{size}", self.model),
            None => f.write_str(&self.model),
        }
    }
}

/// Cameras that learn together: of one model at one size.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSettings {
    pub name: String,
    pub mode: LearnMode,
    pub model: String,
    pub size: Option<Size>,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn teachers_are_models_and_sizes() {
        let of = |text: &str| text.parse::<TeacherSpec>();
        let nano = of("yolox_nano@640x384").unwrap();
        assert_eq!((nano.model.as_str(), nano.size), ("yolox_nano", Some(Size::new(640, 384))));
        for text in ["yolox_s", "/data@home/x.onnx", "x.onnx@64x32"] {
            assert_eq!(of(text).unwrap().to_string(), text);
        }
        assert_eq!(of("/data@home/x.onnx").unwrap().size, None);
        for bad in ["", "@640x384", "yolox_s@", "yolox_s@640", "yolox_s@0x0"] {
            assert!(of(bad).unwrap_err().contains("such as"), "{bad}");
        }
    }
}
