//! What comes out of a camera's pipeline, frame by frame.

use crate::frame::Frame;
use crate::geom::PatchMask;
use crate::infer::tap::FrameMaps;
use crate::merge::Merged;
use crate::scene::Scene;
use crate::skip::Reason;
use crate::track::{State, Track};
use std::sync::Arc;

/// Everything that is known of one frame when it leaves the pipeline.
#[derive(Debug, Clone)]
pub struct FrameResult {
    pub camera: Arc<str>,
    pub frame: Frame,
    pub detections: Vec<Reported>,
    /// All tracks, lost ones too.
    pub tracks: Vec<Track>,
    pub labels: Arc<[String]>,
    /// Patches whose picture is known as of this frame; in mode `layers` those that were asked for.
    pub computed: PatchMask,
    /// Why each patch was or was not; empty in mode `off`.
    pub reasons: Vec<Reason>,
    /// Area that went through the model, against the model input's.
    pub executed_share: f32,
    /// From the decoder to here.
    pub latency_ns: u64,
    /// The detector's whole maps, where a sink wanted them.
    pub maps: Option<Arc<FrameMaps>>,
    /// The source waits for the sinks: nothing may be dropped.
    pub lossless: bool,
}

/// How many objects are in a camera's picture and in its zones, and how many crossed its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SceneCounts {
    pub names: Names,
    /// `[class]`
    pub present: Vec<u32>,
    /// `[zone][class]`
    pub inside: Vec<Vec<u32>>,
    /// `[line][class]`: to the right and to the left, since the camera's start.
    pub crossed: Vec<Vec<[u64; 2]>>,
}

impl SceneCounts {
    pub fn of(scene: &Scene, names: &Names) -> Self {
        Self {
            names: names.clone(),
            present: scene.present().to_vec(),
            inside: scene.inside().to_vec(),
            crossed: scene.crossed().to_vec(),
        }
    }
}

/// A detection that is strong enough to be reported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reported {
    pub merged: Merged,
    /// Number and state of the object's track.
    pub track: Option<(u64, State)>,
}

/// What the numbers of classes, zones and lines mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub camera: Arc<str>,
    pub labels: Arc<[String]>,
    pub zones: Arc<[String]>,
    pub lines: Arc<[String]>,
}
