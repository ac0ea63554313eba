//! The task of finding objects: what a model is shown, what it says, and how that is read. Pure.

pub mod heads;
pub mod nms;
pub mod points;

use crate::geom::{ModelInput, Rect};
use points::Points;

/// One object that a model saw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Index into the model's labels.
    pub class: u16,
    /// 0..=1.
    pub score: f32,
    pub bbox: Rect<ModelInput>,
    pub points: Points,
}

impl Detection {
    /// Without points.
    pub const fn new(class: u16, score: f32, bbox: Rect<ModelInput>) -> Self {
        Self { class, score, bbox, points: Points::NONE }
    }

    /// The same object, where its box is `to`; its points come along.
    pub fn moved_to(&self, to: Rect<ModelInput>) -> Self {
        let from = &self.bbox;
        let scale = [to.width() / from.width().max(1.0), to.height() / from.height().max(1.0)];
        let point = |[x, y]: [f32; 2]| [to.x1 + (x - from.x1) * scale[0], to.y1 + (y - from.y1) * scale[1]];
        Self { bbox: to, points: self.points.map(point), ..*self }
    }
}

/// Order of the channels that a model expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    Bgr,
    Rgb,
}

/// `value = (byte - mean) * scale`, per channel in the model's order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalise {
    pub colour: Colour,
    pub mean: [f32; 3],
    pub scale: [f32; 3],
}
