//! What is told of an object: when it came, where it was, what it crossed, when it left.

use crate::geom::{ModelInput, Rect};
use crate::track::State;

/// In which part of an object's stay a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    New,
    Update,
    End,
}

impl Phase {
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Update => "update",
            Self::End => "end",
        }
    }
}

/// A time in the stream and on the clock of the world, nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Moment {
    /// Presentation time.
    pub pts_ns: u64,
    /// Since 1970 UTC.
    pub unix_ns: u64,
}

/// A stay in a zone; zones by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    pub zone: usize,
    pub from: Moment,
    /// `None`: still there.
    pub to: Option<Moment>,
}

/// Which way a line was crossed, seen from its first point to its second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From the left to the right.
    Right,
    /// From the right to the left.
    Left,
}

/// A line that was crossed; lines by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crossing {
    pub line: usize,
    pub direction: Direction,
    pub at: Moment,
}

/// An object's stay so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub track: u64,
    pub class: u16,
    pub state: State,
    /// When it was first seen, and until when it was known to be there.
    pub from: Moment,
    pub to: Moment,
    /// Of the last look, and the best one.
    pub score: f32,
    pub top_score: f32,
    /// Where it was last.
    pub bbox: Rect<ModelInput>,
    /// All of them, in order; the first [`MOST`].
    pub stays: Vec<Stay>,
    pub crossings: Vec<Crossing>,
}

/// Stays and crossings that are kept of one event.
pub const MOST: usize = 64;

impl Event {
    /// Zones that it is in now, by number.
    pub fn zones(&self) -> impl Iterator<Item = usize> + '_ {
        self.stays.iter().filter(|s| s.to.is_none()).map(|s| s.zone)
    }
}

/// Something new about an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub phase: Phase,
    pub event: Event,
    /// The object shows better in this frame than in any before: its picture is to be taken.
    pub is_best: bool,
}
