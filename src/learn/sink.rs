//! What the learner sees of all cameras: the frame in which each event showed best, everybody's tracks, and maps that it wished
//! for.

use super::trail::{Followed, Trail};
use crate::geom::{ModelInput, Rect};
use crate::outcome::FrameResult;
use crate::output::Sink;
use crate::wire::event::{EventJson, EventMessage};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tracing_mutex::stdsync::Mutex;

/// Frames that may wait; more are left out.
const WAITING: usize = 4;
/// A frame that was wished for and is older is not taken any more.
const LATELY: Duration = Duration::from_secs(2);

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

/// Whose next frame is to come with the detector's maps, and frames that came with them.
#[derive(Default)]
pub struct MapWishes(BTreeMap<String, Mutex<MapWish>>);

#[derive(Default)]
enum MapWish {
    #[default]
    None,
    Waiting,
    /// A frame, and when it came.
    Granted(Arc<FrameResult>, Instant),
}

impl MapWishes {
    /// Of cameras whose maps may be taken, by name.
    pub fn of(cameras: impl Iterator<Item = String>) -> Self {
        Self(cameras.map(|camera| (camera, Mutex::default())).collect())
    }

    /// Whether a camera's maps may be wished for.
    pub fn can_be_granted(&self, camera: &str) -> bool {
        self.0.contains_key(camera)
    }

    /// The frame that came with maps; where none has come yet, or not lately, it is wished for.
    pub fn take(&self, camera: &str) -> Option<Arc<FrameResult>> {
        let mut wish = self.0.get(camera)?.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *wish, MapWish::Waiting) {
            MapWish::Granted(result, came) if came.elapsed() < LATELY => {
                *wish = MapWish::None;
                Some(result)
            }
            _ => None,
        }
    }

    /// Wishes no more, and lets go of what came.
    pub fn give_up(&self, camera: &str) {
        if let Some(wish) = self.0.get(camera) {
            *wish.lock().unwrap_or_else(PoisonError::into_inner) = MapWish::None;
        }
    }

    fn is_waiting(&self, camera: &str) -> bool {
        let wish = self.0.get(camera).map(|wish| wish.lock().unwrap_or_else(PoisonError::into_inner));
        wish.is_some_and(|wish| matches!(*wish, MapWish::Waiting))
    }

    fn grant(&self, result: &Arc<FrameResult>) {
        let Some(wish) = self.0.get(&*result.camera) else { return };
        let mut wish = wish.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*wish, MapWish::Waiting) {
            *wish = MapWish::Granted(result.clone(), Instant::now());
        }
    }
}

/// Takes frames and events of all cameras.
pub struct LearnSink {
    best: Sender<BestFrame>,
    trails: Arc<Trails>,
    wishes: Arc<MapWishes>,
}

impl LearnSink {
    pub fn new(trails: Arc<Trails>, wishes: Arc<MapWishes>) -> (Self, Receiver<BestFrame>) {
        let (best, receiver) = bounded(WAITING);
        (Self { best, trails, wishes }, receiver)
    }
}

// Learning never holds up anybody: what it cannot take at once it does without.
impl Sink for LearnSink {
    fn publish(&self, result: &Arc<FrameResult>) {
        // A frame less, while the learner reads.
        if let Some(Ok(mut trail)) = self.trails.0.get(&*result.camera).map(Mutex::try_lock) {
            trail.see(&result.frame, &result.tracks);
        }
        if result.maps.is_some() {
            self.wishes.grant(result);
        }
    }

    fn wants_maps(&self, camera: &str) -> bool {
        self.wishes.is_waiting(camera)
    }

    fn event(&self, message: &Arc<EventMessage>) {
        if let Some((result, bbox)) = &message.best {
            // One frame less to mark.
            let _ = self.best.try_send(BestFrame { event: message.event.clone(), result: result.clone(), bbox: *bbox });
        }
    }
}
