//! What the learner sees of all cameras: the frame in which each event showed best, and everybody's tracks.

use super::trail::{Followed, Trail};
use crate::geom::{ModelInput, Rect};
use crate::outcome::FrameResult;
use crate::output::Sink;
use crate::wire::event::{EventJson, EventMessage};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use tracing_mutex::stdsync::Mutex;

/// Frames that may wait; more are left out.
const WAITING: usize = 4;

/// An event's best frame so far.
pub struct BestFrame {
    pub event: EventJson,
    pub result: Arc<FrameResult>,
    pub bbox: Rect<ModelInput>,
}

/// The tracks of those cameras that learn, by name.
#[derive(Default)]
pub struct Trails(BTreeMap<String, Mutex<Trail>>);

impl Trails {
    pub fn of(cameras: impl Iterator<Item = String>) -> Self {
        Self(cameras.map(|camera| (camera, Mutex::default())).collect())
    }

    /// What is known of a frame, as of now; `None`: it is not held.
    pub fn at(&self, result: &FrameResult) -> Option<Followed> {
        let trail = self.0.get(&*result.camera)?.lock().unwrap_or_else(PoisonError::into_inner);
        trail.at(&result.frame)
    }
}

/// Takes frames and events of all cameras.
pub struct LearnSink {
    best: Sender<BestFrame>,
    trails: Arc<Trails>,
}

impl LearnSink {
    pub fn new(trails: Arc<Trails>) -> (Self, Receiver<BestFrame>) {
        let (best, receiver) = bounded(WAITING);
        (Self { best, trails }, receiver)
    }
}

// Learning never holds up anybody: what it cannot take at once it does without.
impl Sink for LearnSink {
    fn publish(&self, result: &Arc<FrameResult>) {
        // A frame less, while the learner reads.
        if let Some(Ok(mut trail)) = self.trails.0.get(&*result.camera).map(Mutex::try_lock) {
            trail.see(&result.frame, &result.tracks);
        }
    }

    fn event(&self, message: &Arc<EventMessage>) {
        if let Some((result, bbox)) = &message.best {
            // One frame less to mark.
            let _ = self.best.try_send(BestFrame { event: message.event.clone(), result: result.clone(), bbox: *bbox });
        }
    }
}
