//! What somebody said of a place in a picture, as it is kept.

use crate::output::desk::Said;
use serde::{Deserialize, Serialize};

/// A mark. Its picture is the sample's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// Milliseconds since 1970 UTC, and a number: `1700000000000-1`.
    pub id: String,
    /// Marks are numbered as they are made, whatever the clock says: the later one counts.
    pub number: u64,
    pub camera: String,
    pub said: Said,
    /// What it is; for [`Said::NotAnObject`] what it was reported as, if that is known.
    pub label: Option<String>,
    /// Left, top, right and bottom in pixels of the camera's picture.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    pub event: Option<String>,
    /// Seconds since 1970 UTC.
    pub time: f64,
    /// The sample that holds its picture.
    pub sample: String,
}

impl Mark {
    /// Whether its box is one: a file may say anything.
    pub fn has_box(&self) -> bool {
        let [x1, y1, x2, y2] = self.bbox;
        self.bbox.iter().all(|v| v.is_finite()) && x2 > x1 && y2 > y1
    }
}
