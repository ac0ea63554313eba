//! The JSON of an event, version 1: in files, over HTTP and MQTT.

use super::frame::{self, round};
use crate::geom::{Letterbox, ModelInput, Rect};
use crate::outcome::{FrameResult, Names};
use crate::scene::event::{Direction, Event, Moment, Phase};
use crate::track::State;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Version of [`EventJson`].
pub const VERSION: u32 = 1;

/// One object's stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EventJson {
    /// Version of this schema: 1.
    pub schema: u32,
    /// Time of the start in milliseconds since 1970 UTC, camera and track: `1700000000000-front-12`.
    pub id: String,
    pub camera: String,
    pub label: String,
    pub track: u64,
    /// When it was first seen, seconds since 1970 UTC.
    pub start: f64,
    /// When it was last known to be there.
    pub last: f64,
    /// When it left; absent: it is still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<f64>,
    pub state: State,
    /// Of the last look, 0 to 1.
    pub score: f64,
    /// Of the best one.
    pub top_score: f64,
    /// Left, top, right and bottom in pixels of the camera's picture.
    #[serde(rename = "box")]
    pub bbox: [f64; 4],
    /// Zones that it is in now.
    pub zones: Vec<String>,
    /// All of its stays in zones, in order, 64 at most.
    pub stays: Vec<StayJson>,
    /// Lines that it crossed, in order, 64 at most.
    pub crossings: Vec<CrossingJson>,
    /// Whether there is a picture; in files and over HTTP only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub has_picture: Option<bool>,
    /// The daemon ended before the object did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct StayJson {
    pub zone: String,
    pub from: f64,
    /// Absent: still there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CrossingJson {
    pub line: String,
    /// Seen from the line's first point to its second.
    pub direction: Direction,
    pub time: f64,
}

impl EventJson {
    pub fn new(event: &Event, phase: Phase, names: &Names, letterbox: &Letterbox) -> Self {
        let name = |names: &[String], i: usize| names.get(i).cloned().unwrap_or_default();
        let bbox = letterbox.to_source(&event.bbox).to_array();
        Self {
            schema: VERSION,
            id: id(event.from, &names.camera, event.track),
            camera: names.camera.to_string(),
            label: name(&names.labels, event.class.into()),
            track: event.track,
            start: seconds(event.from),
            last: seconds(event.to),
            end: (phase == Phase::End).then(|| seconds(event.to)),
            state: event.state,
            score: round(event.score, 4),
            top_score: round(event.top_score, 4),
            bbox: bbox.map(|v| round(v, 1)),
            zones: event.zones().map(|i| name(&names.zones, i)).collect(),
            stays: event
                .stays
                .iter()
                .map(|s| StayJson { zone: name(&names.zones, s.zone), from: seconds(s.from), to: s.to.map(seconds) })
                .collect(),
            crossings: event
                .crossings
                .iter()
                .map(|c| CrossingJson { line: name(&names.lines, c.line), direction: c.direction, time: seconds(c.at) })
                .collect(),
            has_picture: None,
            interrupted: false,
        }
    }

    /// The daemon that told of it is gone: it ended when it was last known to be there.
    pub fn interrupt(&mut self) {
        if self.end.is_none() {
            self.end = Some(self.last);
            self.interrupted = true;
            self.stays.iter_mut().filter(|s| s.to.is_none()).for_each(|s| s.to = Some(self.last));
            self.zones.clear();
        }
    }
}

/// An event's name; in the order of time.
fn id(from: Moment, camera: &str, track: u64) -> String {
    format!("{:013}-{camera}-{track}", from.unix_ns / 1_000_000)
}

/// Whether a text can be an event's name; nothing else is looked for in the file system.
pub fn is_id(text: &str) -> bool {
    let plain = text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_'));
    plain && text.len() <= 128 && text.split('-').next().is_some_and(|ms| ms.len() == 13)
}

/// When an event began, milliseconds since 1970, by its name.
pub fn start_ms(id: &str) -> Option<u64> {
    id.split('-').next()?.parse().ok()
}

fn seconds(m: Moment) -> f64 {
    frame::seconds(m.unix_ns)
}

/// Something new about an event, for all sinks.
#[derive(Debug, Clone)]
pub struct EventMessage {
    pub phase: Phase,
    pub event: EventJson,
    /// Where the object shows better than before, if it does.
    pub best: Option<(Arc<FrameResult>, Rect<ModelInput>)>,
    /// The source waits for the sinks: nothing may be dropped.
    pub lossless: bool,
}

/// The message as it goes over MQTT and to webhooks.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct MessageJson {
    /// `new`, `update` or `end`.
    #[serde(rename = "type")]
    pub phase: Phase,
    pub event: EventJson,
}

impl MessageJson {
    pub fn new(m: &EventMessage) -> Self {
        Self { phase: m.phase, event: m.event.clone() }
    }
}
