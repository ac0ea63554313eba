//! What the world gets to see: JSON lines, HTTP, metrics, pictures.
//!
//! In: one [`FrameResult`] a frame and camera, from the pipeline. A sink takes
//! it without waiting; whatever is slow behind it has a bounded queue and
//! counts what it drops. Wire types live in `wire.rs`. Nothing here reaches
//! back into the core.

pub mod board;
pub mod draw;
pub mod events;
pub mod history;
pub mod http;
pub mod jsonl;
pub mod metrics;
mod mounts;
pub mod mqtt;
pub mod patches;
pub mod restream;
pub mod webhook;
pub mod wire;

use crate::frame::Frame;
use crate::geom::PatchMask;
use crate::merge::Merged;
use crate::scene::Scene;
use crate::skip::{ModeChoice, Reason};
use crate::track::{State, Track};
use crossbeam_channel::Sender;
use events::EventMessage;
use events::wire::Names;
use std::sync::{Arc, PoisonError};
use tracing_mutex::stdsync::RwLock;

/// Everything that is known of one frame when it leaves the pipeline.
#[derive(Debug, Clone)]
pub struct FrameResult {
    pub camera: Arc<str>,
    pub frame: Frame,
    pub detections: Vec<Reported>,
    /// All tracks, lost ones too.
    pub tracks: Vec<Track>,
    pub labels: Arc<[String]>,
    /// Patches that were computed in this frame.
    pub computed: PatchMask,
    /// Why each patch was or was not; empty in mode `off`.
    pub reasons: Vec<Reason>,
    /// Area that went through the model, against the model input's.
    pub executed_share: f32,
    /// From the decoder to here.
    pub latency_ns: u64,
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

/// What somebody wants to be set while the daemon runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    pub camera: String,
    pub setting: Setting,
}

/// What can be set of a camera while the daemon runs; `None`: as the config has it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Setting {
    /// Whether anything is looked for.
    Detection(Option<bool>),
    SkipMode(Option<ModeChoice>),
    /// Least score of a detection, 0 to 1.
    Score(Option<f32>),
}

/// Queues something for a sink's thread; whether it was taken. Where the source waits for its sinks, so does this.
fn hand_over<T>(queue: &Sender<T>, what: T, lossless: bool) -> bool {
    if lossless { queue.send(what).is_ok() } else { queue.try_send(what).is_ok() }
}

/// All sinks; they can be exchanged while results come.
pub struct Sinks(RwLock<Arc<[Arc<dyn Sink>]>>);

impl Sinks {
    pub fn new(sinks: Vec<Arc<dyn Sink>>) -> Self {
        Self(RwLock::new(sinks.into()))
    }

    pub fn set(&self, sinks: Vec<Arc<dyn Sink>>) {
        let before = std::mem::replace(&mut *self.0.write().unwrap_or_else(PoisonError::into_inner), sinks.into());
        // Their ends may take a while: not while others wait.
        drop(before);
    }

    fn now(&self) -> Arc<[Arc<dyn Sink>]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Sink for Sinks {
    fn publish(&self, result: &Arc<FrameResult>) {
        self.now().iter().for_each(|sink| sink.publish(result));
    }

    fn event(&self, message: &Arc<EventMessage>) {
        self.now().iter().for_each(|sink| sink.event(message));
    }
}

/// Takes results. Must return at once, except where `lossless` allows to wait.
pub trait Sink: Send + Sync {
    fn publish(&self, _result: &Arc<FrameResult>) {}

    /// Something new about an object. Comes after the frame in which it happened.
    fn event(&self, _message: &Arc<EventMessage>) {}
}
