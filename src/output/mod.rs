//! What the world gets to see: JSON lines, HTTP, metrics, pictures.
//!
//! In: one [`FrameResult`] a frame and camera, from the pipeline. A sink takes
//! it without waiting; whatever is slow behind it has a bounded queue and
//! counts what it drops. Nothing here reaches back into the core, but that a sink is asked what it wants to be told of a frame.

pub mod board;
pub mod desk;
pub mod draw;
pub mod events;
pub mod history;
pub mod http;
pub mod jsonl;
pub mod metrics;
mod mounts;
pub mod mqtt;
pub mod parcel;
pub mod patches;
pub mod restream;
pub mod webhook;

use crate::outcome::FrameResult;
use crate::skip::ModeChoice;
use crate::wire::event::EventMessage;
use crossbeam_channel::Sender;
use std::sync::{Arc, PoisonError};
use tracing_mutex::stdsync::RwLock;

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

    fn wants_maps(&self, camera: &str) -> bool {
        self.now().iter().any(|sink| sink.wants_maps(camera))
    }
}

/// Takes results. Must return at once, except where `lossless` allows to wait.
pub trait Sink: Send + Sync {
    fn publish(&self, _result: &Arc<FrameResult>) {}

    /// Something new about an object. Comes after the frame in which it happened.
    fn event(&self, _message: &Arc<EventMessage>) {}

    /// Whether a camera's next frame is to come with the detector's maps ([`FrameResult::maps`]), where there are some.
    fn wants_maps(&self, _camera: &str) -> bool {
        false
    }
}
