//! The JSON of a frame, version 1. `passd schema --output` prints its schema.
//!
//! Fields are only ever added within a version.

use crate::detect::points::Points;
use crate::merge::Provenance;
use crate::outcome::{FrameResult, SceneCounts};
use crate::track::State;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeMap;

/// Version of [`FrameJson`].
pub const VERSION: u32 = 1;

/// Everything that is seen in one frame of one camera.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct FrameJson {
    /// Version of this schema: 1.
    pub schema: u32,
    /// The camera's name in the config.
    pub camera: String,
    /// Number of the frame since the daemon's start, counting every frame that was captured.
    pub frame: u64,
    /// Presentation time in the stream, seconds.
    pub pts: f64,
    /// When the frame left the decoder, seconds since 1970 UTC.
    pub time: f64,
    /// From the decoder to this line, seconds.
    pub latency: f64,
    /// Width of the camera's picture, in whose pixels boxes are given.
    pub width: u32,
    pub height: u32,
    /// Area that went through the model for this frame, against the whole: 0 is nothing, 1 all of it.
    pub computed_share: f64,
    pub detections: Vec<DetectionJson>,
}

/// One object.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct DetectionJson {
    /// Number of the class in the model.
    pub class: u16,
    pub label: String,
    /// 0 to 1.
    pub score: f64,
    /// Left, top, right and bottom in pixels of the camera's picture; may reach over its border.
    #[serde(rename = "box")]
    pub bbox: [f64; 4],
    /// Faces: eyes, nose, corners of the mouth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landmarks: Option<Vec<[f64; 2]>>,
    /// `computed`: the model saw it in this frame. `carried`: it saw it before, and nothing changed since.
    /// `predicted`: it saw it before, and it is where its way since then leads.
    pub source: Provenance,
    /// The frame in which the model saw it.
    pub computed_frame: u64,
    /// How old that knowledge is, seconds.
    pub age: f64,
    /// Number of the object's track: the same from frame to frame. Absent: too faint to begin one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub track: Option<u64>,
    /// `tentative`: seen too little to be believed. `confirmed`. `stationary`: has not moved for a while.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<State>,
}

impl FrameJson {
    pub fn new(r: &FrameResult) -> Self {
        let l = &r.frame.letterbox;
        let scale = (l.source.width as f32 / l.content.width as f32, l.source.height as f32 / l.content.height as f32);
        let points = |points: &Points| {
            let in_source = points.as_slice().iter().map(|[x, y]| [round(x * scale.0, 1), round(y * scale.1, 1)]);
            (!points.is_empty()).then(|| in_source.collect())
        };
        let detections = r.detections.iter().map(|reported| {
            let (m, d) = (&reported.merged, &reported.merged.detection);
            DetectionJson {
                class: d.class,
                label: r.labels.get(d.class as usize).cloned().unwrap_or_default(),
                score: round(d.score, 4),
                bbox: l.to_source(&d.bbox).to_array().map(|v| round(v, 1)),
                landmarks: points(&d.points),
                source: m.provenance,
                computed_frame: m.frame.0,
                age: seconds(m.age_ns(&r.frame)),
                track: reported.track.map(|t| t.0),
                state: reported.track.map(|t| t.1),
            }
        });
        Self {
            schema: VERSION,
            camera: r.camera.to_string(),
            frame: r.frame.id.0,
            pts: seconds(r.frame.pts_ns),
            time: seconds(r.frame.captured_unix_ns),
            latency: seconds(r.latency_ns),
            width: l.source.width,
            height: l.source.height,
            computed_share: round(r.executed_share, 4),
            detections: detections.collect(),
        }
    }
}

/// How many objects are where, by label; labels of which there are none are left out.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct CountsJson {
    /// In the picture.
    pub present: BTreeMap<String, u32>,
    /// In each zone.
    pub zones: BTreeMap<String, BTreeMap<String, u32>>,
    /// Crossings of each line since the camera's start.
    pub lines: BTreeMap<String, BTreeMap<String, CrossedJson>>,
}

/// To the right and to the left, as seen from the line's first point to its second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct CrossedJson {
    pub right: u64,
    pub left: u64,
}

impl CountsJson {
    pub fn new(c: &SceneCounts) -> Self {
        let labelled = |counts: &[u32]| {
            let some = c.names.labels.iter().zip(counts).filter(|(_, n)| **n > 0);
            some.map(|(label, n)| (label.clone(), *n)).collect::<BTreeMap<_, _>>()
        };
        let crossed = |counts: &[[u64; 2]]| {
            let some = c.names.labels.iter().zip(counts).filter(|(_, n)| **n != [0; 2]);
            some.map(|(label, [right, left])| (label.clone(), CrossedJson { right: *right, left: *left })).collect()
        };
        Self {
            present: labelled(&c.present),
            zones: c.names.zones.iter().cloned().zip(c.inside.iter().map(|n| labelled(n))).collect(),
            lines: c.names.lines.iter().cloned().zip(c.crossed.iter().map(|n| crossed(n))).collect(),
        }
    }
}

/// Nanoseconds as seconds, to the millisecond.
pub(super) fn seconds(ns: u64) -> f64 {
    (ns as f64 / 1e6).round() / 1e3
}

/// To `digits` places, of a float of 32 bits, so that 0.3 is written as 0.3.
pub fn round(v: f32, digits: i32) -> f64 {
    let unit = 10f64.powi(digits);
    (f64::from(v) * unit).round() / unit
}
