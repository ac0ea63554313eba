//! What is in a picture of the street, as it really is.

use crate::geom::{CameraPixels, Rect};

/// Class of an object of the street; the numbers are `street-nano`'s classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorKind {
    Person = 0,
    Car = 1,
}

/// What looks like an object and is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DecoyKind {
    /// A shop's, in clothes.
    Mannequin,
    /// A board with a person painted on it.
    Poster,
    /// Cut to a person's shape.
    Bush,
    /// Has a car's body and wheels.
    Trailer,
}

impl DecoyKind {
    pub const ALL: [(&'static str, DecoyKind); 4] = [
        ("mannequin", DecoyKind::Mannequin),
        ("poster", DecoyKind::Poster),
        ("bush", DecoyKind::Bush),
        ("trailer", DecoyKind::Trailer),
    ];
}

/// An object in a picture, as it really is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Truth {
    /// Stays the same for one object through the whole clip.
    pub track: u64,
    pub kind: ActorKind,
    /// Tight box of what would be seen of the object if nothing stood before
    /// it, clipped to the picture.
    pub bbox: Rect<CameraPixels>,
    /// The share of the object that is seen, 0..=1: what lies outside the
    /// picture or behind something nearer is not.
    pub visible: f32,
}

impl Truth {
    /// Whether a detector can be asked to find it: others are neither missed
    /// nor false (the "reasonable" subset of pedestrian benchmarks).
    pub fn counts(&self) -> bool {
        self.visible >= 0.35 && self.bbox.width() >= 6.0 && self.bbox.height() >= 12.0
    }
}

/// A decoy in a picture: who reports an object there is wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecoyTruth {
    pub kind: DecoyKind,
    /// As [`Truth::bbox`].
    pub bbox: Rect<CameraPixels>,
    /// As [`Truth::visible`].
    pub visible: f32,
}
