//! A group of cameras that learn together, and what is going on with it.

use super::error::LearnError;
use super::in_use::InUse;
use super::latents::Latents;
use super::picture::{jpeg, moved, without};
use super::pupil::{KeptPicture, Pupil};
use super::run::LearnRun;
use super::settings::LearnCamera;
use super::shadow::Shadow;
use super::sink::Trails;
use super::stored::EventHead;
use super::trail::{Followed, SETTLED_NS};
use crate::frame::Frame;
use crate::outcome::FrameResult;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Stills that are held of a camera.
pub const STILLS: usize = 4;
/// Frames of a camera of which it is known that they are kept: its stills, and the latest.
const KEPT_FRAMES: usize = 2 * STILLS;
/// Pictures of a camera that wait for what comes after them, at most.
const WAITING: usize = 4;

/// A group, and what is going on with it.
pub struct Class {
    pub pupil: Pupil,
    pub run: Option<LearnRun>,
    pub shadow: Option<Shadow>,
    /// Somebody asked for a run.
    pub is_asked: bool,
    /// When the last mark was made, on the steady clock.
    pub marked_ns: u64,
    /// By camera: when a picture was kept last, and an event's.
    pub kept_ns: BTreeMap<String, u64>,
    pub event_ns: BTreeMap<String, u64>,
    pub looked_ns: u64,
    /// Nothing is begun before this, after something could not be written.
    pub not_before_ns: u64,
    /// The frames that were kept and looked along at last, by camera.
    pub last_kept: BTreeMap<String, u64>,
    pub last_looked: BTreeMap<String, u64>,
    /// Frames and their samples, by camera: a frame is kept once, however many marks are of it.
    frames: BTreeMap<String, VecDeque<KeptFrame>>,
    trails: Arc<Trails>,
    /// The first to be kept first.
    waiting: VecDeque<WaitingPicture>,
}

/// A frame that is kept: its number, when it was taken, and its sample.
struct KeptFrame {
    key: (u64, u64),
    sample: String,
}

/// A picture that is kept when it is known what came after it.
struct WaitingPicture {
    result: Arc<FrameResult>,
    latents: Option<Latents>,
    time_ms: u64,
    event: Option<EventHead>,
    due_ns: u64,
}

impl Class {
    pub fn new(pupil: Pupil, trails: Arc<Trails>) -> Self {
        Self {
            pupil,
            run: None,
            shadow: None,
            is_asked: false,
            marked_ns: 0,
            kept_ns: BTreeMap::new(),
            event_ns: BTreeMap::new(),
            looked_ns: 0,
            not_before_ns: 0,
            last_kept: BTreeMap::new(),
            last_looked: BTreeMap::new(),
            frames: BTreeMap::new(),
            trails,
            waiting: VecDeque::new(),
        }
    }

    fn camera(&self, id: &str) -> Option<&LearnCamera> {
        self.pupil.settings.cameras.iter().find(|c| c.id == id)
    }

    pub fn has(&self, camera: &str) -> bool {
        self.camera(camera).is_some()
    }

    /// Lets go of pictures that wait.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Ends what is being learned, and what looks along.
    pub fn cancel(&mut self, now_ms: u64) {
        self.end_run(now_ms);
        (self.shadow, self.is_asked) = (None, false);
    }

    /// Ends a run, and notes what it took; how long it worked.
    pub fn end_run(&mut self, now_ms: u64) -> Duration {
        let Some(run) = self.run.take() else { return Duration::ZERO };
        let worked = run.worked();
        if let Err(e) = self.pupil.spent(run.noted.as_millis() as u64, worked.as_millis() as u64, now_ms) {
            tracing::error!(group = self.pupil.settings.name, "{e}");
        }
        worked
    }

    /// Milliseconds that were spent on the day of `now_ms`, without what is only noted.
    pub fn spent_ms(&self, now_ms: u64) -> u64 {
        let ahead = self.run.as_ref().map_or(Duration::ZERO, |r| r.noted.saturating_sub(r.worked()));
        self.pupil.versions().spent_ms(now_ms).saturating_sub(ahead.as_millis() as u64)
    }

    pub fn in_use(&self) -> InUse {
        let cameras = self.pupil.settings.cameras.iter().map(|c| c.id.clone()).collect();
        InUse { cameras, model: self.pupil.in_use() }
    }

    /// A frame of one of its cameras, without what is masked; `None` if it is of another size.
    pub fn frame(&self, result: &FrameResult) -> Option<Frame> {
        let camera = self.camera(&result.camera)?;
        (result.frame.size() == self.pupil.net().input()).then(|| without(&result.frame, &camera.masks))
    }

    /// A frame's maps, as the camera's detector has computed them. `None`: it has not, or also of what is masked.
    fn computed_maps(&self, result: &FrameResult) -> Option<Latents> {
        let camera = self.camera(&result.camera)?;
        let maps = result.maps.as_deref().filter(|maps| camera.masks.is_empty() && *maps.of == *self.pupil.base())?;
        let latents = Latents::of(&maps.maps);
        self.pupil.net().fits(&latents).then_some(latents)
    }

    /// A frame's maps; `None` if it is of another size.
    pub fn latents(&mut self, result: &FrameResult) -> Option<Latents> {
        if let Some(latents) = self.computed_maps(result) {
            return Some(latents);
        }
        let frame = self.frame(result)?;
        Some(self.pupil.latents(&frame))
    }

    /// Keeps a frame, if it is not kept yet; the sample's name.
    pub fn keep(&mut self, result: &FrameResult, time_ms: u64, event: Option<EventHead>) -> Result<String, LearnError> {
        let latents = self.computed_maps(result);
        self.keep_with(result, latents, time_ms, event)
    }

    fn keep_with(
        &mut self,
        result: &FrameResult,
        latents: Option<Latents>,
        time_ms: u64,
        event: Option<EventHead>,
    ) -> Result<String, LearnError> {
        let key = (result.frame.id.0, result.frame.captured_unix_ns);
        let known = self.frames.get(&*result.camera).into_iter().flatten().find(|f| f.key == key);
        // What is of an event says so in its own sample.
        let is_there = |name: &&String| event.is_none() && self.pupil.store().source_of(name).is_some();
        if let Some(name) = known.map(|f| &f.sample).filter(is_there) {
            return Ok(name.clone());
        }
        let size = self.pupil.net().input();
        let frame = self
            .frame(result)
            .ok_or_else(|| LearnError::Refused(format!("the frame is not of {size}, at which is learned")))?;
        let jpeg = jpeg(&frame).ok_or_else(|| LearnError::Refused("the picture could not be made".into()))?;
        let at_once = || Followed { objects: moved(result), doubtful: Vec::new() };
        let mut followed = self.trails.at(result).unwrap_or_else(at_once);
        if let Some(camera) = self.camera(&result.camera) {
            followed.hide(&camera.masks, frame.letterbox.content);
        }
        let from = if latents.is_some() { "the detector" } else { "the picture" };
        tracing::debug!(camera = &*result.camera, frame = result.frame.id.0, "a picture is kept, its maps from {from}");
        let picture = KeptPicture {
            camera: &result.camera,
            time_ms,
            frame: &frame,
            latents,
            jpeg: &jpeg,
            followed,
            event,
            brought: None,
        };
        let name = self.pupil.keep(&picture)?;
        let frames = self.frames.entry(result.camera.to_string()).or_default();
        if frames.len() >= KEPT_FRAMES {
            frames.pop_front();
        }
        frames.push_back(KeptFrame { key, sample: name.clone() });
        Ok(name)
    }

    /// Has a frame kept when it is known what came after it.
    pub fn put_off(&mut self, result: &Arc<FrameResult>, (now_ns, time_ms): (u64, u64), event: Option<EventHead>) {
        if self.waiting.len() >= WAITING * self.pupil.settings.cameras.len().max(1) {
            self.waiting.pop_front();
        }
        let due_ns = now_ns.saturating_add(SETTLED_NS);
        // In eight bits they take a quarter of the memory.
        let latents = self.computed_maps(result);
        let result = match &result.maps {
            Some(_) => Arc::new(FrameResult { maps: None, ..FrameResult::clone(result) }),
            None => result.clone(),
        };
        self.waiting.push_back(WaitingPicture { result, latents, time_ms, event, due_ns });
    }

    /// Keeps what has waited long enough.
    pub fn keep_due(&mut self, now_ns: u64) {
        while self.waiting.front().is_some_and(|w| w.due_ns <= now_ns) {
            let Some(WaitingPicture { result, latents, time_ms, event, .. }) = self.waiting.pop_front() else { return };
            let id = event.as_ref().map(|e| e.id.clone());
            match (self.keep_with(&result, latents, time_ms, event), id) {
                (Ok(name), Some(id)) => self.pupil.store_mut().keep_one_of_event(&id, &name),
                (Ok(_), None) => {}
                (Err(e), Some(_)) => {
                    tracing::debug!(camera = &*result.camera, "no picture of an event is kept: {e}");
                }
                (Err(e), None) => tracing::warn!(camera = &*result.camera, "no picture is kept: {e}"),
            }
        }
    }
}
