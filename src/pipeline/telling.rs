//! Telling: what becomes of zones, lines and events, and who is told.

use super::counters::Handles;
use crate::clock::SteadyTime;
use crate::frame::Frame;
use crate::geom::Letterbox;
use crate::outcome::{FrameResult, Names, SceneCounts};
use crate::output::board::CameraBoard;
use crate::output::{Sink, Sinks};
use crate::scene::event::{Message, Moment};
use crate::scene::{Scene, SceneSettings};
use crate::track::Track;
use crate::wire::event::{EventJson, EventMessage};
use std::sync::Arc;

/// The scene of one camera, and those who hear of it.
pub(super) struct Telling {
    scene: Scene,
    /// What is to be told of the frame.
    messages: Vec<Message>,
    counts: Arc<SceneCounts>,
    time: SteadyTime,
    /// Of the last frame.
    letterbox: Option<Letterbox>,
    board: Arc<CameraBoard>,
    sinks: Arc<Sinks>,
    /// The source waits for the sinks: nothing may be dropped.
    lossless: bool,
}

impl Telling {
    pub fn new(scene: Scene, board: Arc<CameraBoard>, sinks: Arc<Sinks>, lossless: bool) -> Self {
        let (messages, counts, time) = (Vec::new(), board.counts(), SteadyTime::default());
        Self { scene, messages, counts, time, letterbox: None, board, sinks, lossless }
    }

    /// Other zones and lines.
    pub fn change(&mut self, scene: SceneSettings, labels: &[String], names: &Names) {
        self.scene.change(scene, labels);
        self.show(SceneCounts::of(&self.scene, names));
    }

    fn show(&mut self, counts: SceneCounts) {
        self.counts = Arc::new(counts);
        self.board.set_counts(self.counts.clone());
    }

    /// Brings zones, lines and events to a frame.
    pub fn update(&mut self, frame: &Frame, tracks: &[Track], handles: &Handles) {
        let has_moved = self.time.has_moved(frame.captured_ns, frame.captured_unix_ns);
        if has_moved {
            self.scene.end(&mut self.messages);
        }
        let is_free = has_moved || (tracks.is_empty() && self.scene.is_empty());
        let unix_ns = self.time.at(frame.captured_ns, frame.captured_unix_ns, is_free);
        let now = Moment { pts_ns: frame.pts_ns, unix_ns };
        self.letterbox = Some(frame.letterbox);
        let before = self.scene.n_refused();
        self.scene.update(now, frame.letterbox.content, tracks, &mut self.messages);
        handles.scene.refused.inc_by(self.scene.n_refused() - before);
        self.count(handles);
    }

    /// Takes the scene's counts over, if they changed.
    fn count(&mut self, handles: &Handles) {
        let (scene, known) = (&self.scene, &self.counts);
        let same =
            scene.present() == known.present && scene.inside() == known.inside && scene.crossed() == known.crossed;
        if !same {
            handles.scene.count(known, scene);
            self.show(SceneCounts::of(scene, &known.names));
        }
    }

    /// Tells the sinks what is new about objects, `frame` being the one in which it happened.
    pub fn tell(&mut self, frame: Option<&Arc<FrameResult>>, handles: &Handles) {
        let Some(letterbox) = self.letterbox else { return };
        for message in self.messages.drain(..) {
            let event = EventJson::new(&message.event, message.phase, &self.counts.names, &letterbox);
            handles.scene.tell(message.phase);
            let best = frame.filter(|_| message.is_best).map(|f| (f.clone(), message.event.bbox));
            let told = Arc::new(EventMessage { phase: message.phase, event, best, lossless: self.lossless });
            self.sinks.event(&told);
        }
    }

    /// Every object leaves: the stream is interrupted or over.
    pub fn end(&mut self, handles: &Handles) {
        self.scene.end(&mut self.messages);
        self.count(handles);
        self.tell(None, handles);
    }
}
