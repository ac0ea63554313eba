//! The stage thread of a camera: takes frames through skip stage, detector, merge, tracks and scene.

use super::Surroundings;
use super::counters::Handles;
use super::detectors::{DetectorHandle, Job};
use super::turns::{Place, SharedAllowance, Turn};
use crate::capture::{CameraState, Intake, Pace, Taken, Waiting};
use crate::clock::SteadyTime;
use crate::config::CameraConfig;
use crate::detect::Detection;
use crate::frame::Frame;
use crate::geom::{Letterbox, PatchMask};
use crate::infer::{Fresh, StreamId};
use crate::merge::{MergeSettings, Provenance};
use crate::outcome::Names;
use crate::outcome::{FrameResult, Reported, SceneCounts};
use crate::output::Sink;
use crate::output::board::CameraBoard;
use crate::output::metrics::ReasonLabel;
use crate::scene::Scene;
use crate::scene::event::{Message, Moment};
use crate::scene::filter::Filter;
use crate::schedule::load::{Degraded, Load};
use crate::skip::{Counts, GlobalChange};
use crate::stage::Stage;
use crate::wire::event::EventJson;
use crate::wire::event::EventMessage;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tracing_mutex::stdsync::Mutex;

/// Longest wait for a frame before something else is looked after.
const PATIENCE: Duration = Duration::from_millis(200);

/// What of a camera can be another while it runs, its source untouched.
pub(super) struct Setup {
    pub config: CameraConfig,
    pub detector: Arc<DetectorHandle>,
}

impl Setup {
    fn merge(&self) -> MergeSettings {
        MergeSettings {
            iou: self.config.detector.nms_iou,
            min_score: self.config.detector.score,
            max_age_ns: self.max_age_ns(),
            ..MergeSettings::default()
        }
    }

    fn stage(&self) -> Stage {
        let (info, config) = (&self.detector.info, &self.config);
        Stage::new(info.mode, info.size, &config.skip, self.merge(), config.tracking).judging_by(&info.policy)
    }

    /// As configured; it is longer while there is too much to do.
    fn max_age_ns(&self) -> u64 {
        self.config.skip.max_age_in(self.detector.info.mode)
    }

    /// One a class: whether it is reported.
    fn wanted(&self) -> Vec<bool> {
        let wanted = &self.config.labels;
        self.detector.info.labels.iter().map(|l| wanted.is_empty() || wanted.contains(l)).collect()
    }

    pub fn names(&self) -> Names {
        let own = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        Names {
            camera: self.config.id.as_str().into(),
            labels: self.detector.info.labels.clone(),
            zones: own(self.config.scene.zone_names()),
            lines: own(self.config.scene.line_names()),
        }
    }

    fn place(&self, at_turn: &Arc<AtomicBool>) -> Arc<Place> {
        Arc::new(self.detector.turns.join(self.config.priority.weight(), at_turn.clone()))
    }

    fn handles(&self, around: &Surroundings) -> Handles {
        Handles::new(&around.metrics, &self.config.id, self.detector.info.mode)
    }
}

/// A setup that waits to be taken over; a newer one takes its place.
pub(super) type NextSetup = Arc<Mutex<Option<Setup>>>;

/// What a stage thread works with all its life.
pub(super) struct Ground {
    pub stream: StreamId,
    pub intake: Intake,
    pub board: Arc<CameraBoard>,
    pub around: Surroundings,
    pub allowance: Arc<SharedAllowance>,
    pub stopping: Arc<AtomicBool>,
    /// Whether it waits for its turn at the detector, or has it.
    pub at_turn: Arc<AtomicBool>,
    pub next: NextSetup,
}

/// The stage thread.
pub(super) struct Worker {
    ground: Ground,
    setup: Setup,
    place: Arc<Place>,
    load: Load,
    degraded: Degraded,
    camera: Arc<str>,
    wanted: Vec<bool>,
    lossless: bool,
    stage: Stage,
    /// One a class.
    filters: Vec<Filter>,
    scene: Scene,
    /// What is to be told of the frame.
    messages: Vec<Message>,
    counts: Arc<SceneCounts>,
    time: SteadyTime,
    /// Of the last frame.
    letterbox: Option<Letterbox>,
    handles: Handles,
    reply: Sender<Job>,
    replies: Receiver<Job>,
    /// At home while no job is under way.
    buffers: Option<(PatchMask, Vec<Detection>, Fresh)>,
    epoch: u64,
    n_failures: u64,
    counted: Counted,
}

/// Frames that are in the counters already.
#[derive(Default, Clone, Copy)]
struct Counted {
    captured: u64,
    replaced: u64,
    lost: u64,
    surplus: u64,
    corrupt: u64,
    undecoded: u64,
}

impl Worker {
    pub fn new(setup: Setup, scene: Scene, ground: Ground) -> Self {
        let labels = &setup.detector.info.labels;
        let (reply, replies) = bounded(1);
        let stage = setup.stage();
        let grid = stage.grid();
        Self {
            place: setup.place(&ground.at_turn),
            load: Load::default(),
            degraded: Degraded::No,
            camera: setup.config.id.as_str().into(),
            wanted: setup.wanted(),
            lossless: setup.config.pace == Pace::Fast,
            stage,
            filters: setup.config.filters.of(labels),
            scene,
            messages: Vec::new(),
            counts: ground.board.counts(),
            time: SteadyTime::default(),
            letterbox: None,
            handles: setup.handles(&ground.around),
            reply,
            replies,
            buffers: Some((PatchMask::empty(grid), Vec::new(), Fresh::default())),
            epoch: 0,
            n_failures: 0,
            counted: Counted::default(),
            setup,
            ground,
        }
    }

    pub fn run(mut self) {
        self.work();
        self.degrade(Degraded::No);
        self.count_drops();
        self.end_scene();
        self.setup.detector.forget(self.ground.stream);
    }

    /// Goes on with another setup: who is followed, frame numbers and events stay.
    fn take_over(&mut self, setup: Setup) {
        let before = std::mem::replace(&mut self.setup, setup);
        let (old, new) = (&before.config, &self.setup.config);
        let labels = self.setup.detector.info.labels.clone();
        let is_other = !Arc::ptr_eq(&before.detector, &self.setup.detector);
        if is_other {
            before.detector.forget(self.ground.stream);
        }
        self.place = self.setup.place(&self.ground.at_turn);
        self.handles = self.setup.handles(&self.ground.around);
        if is_other || old.skip != new.skip || before.merge() != self.setup.merge() {
            let mut stage = self.setup.stage();
            stage.succeed(&mut self.stage);
            // Buffers are of its patches.
            (self.stage, self.buffers) = (stage, None);
        }
        self.stage.set_tracking(new.tracking);
        self.stage.set_max_age(self.max_age_now());
        self.wanted = self.setup.wanted();
        self.filters = new.filters.of(&labels);
        if old.scene != new.scene {
            let gone = old.scene.zone_names().into_iter().filter(|z| !new.scene.zone_names().contains(z));
            gone.for_each(|zone| self.handles.scene.forget_zone(zone, &labels));
            self.scene.change(new.scene.clone(), &labels);
            self.counts = Arc::new(SceneCounts::of(&self.scene, &self.setup.names()));
            self.ground.board.set_counts(self.counts.clone());
        }
        if old.detect && !new.detect {
            // Nobody looks any more: who was there is not known to be.
            self.stage.reset();
            self.end_scene();
        }
        tracing::info!(camera = &*self.camera, "goes on with other settings");
    }

    fn work(&mut self) {
        loop {
            let next = self.ground.next.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(setup) = next {
                self.take_over(setup);
            }
            match self.ground.intake.slot().wait(PATIENCE) {
                Waiting::Frame => {
                    let mut since_ns = self.ground.around.clock.monotonic_ns();
                    // The turn first, then the frame that is the newest by then.
                    let turn = match self.setup.config.detect {
                        true => match self.wait_for_turn(&mut since_ns) {
                            Some(turn) => Some(turn),
                            None => return,
                        },
                        false => None,
                    };
                    if let Taken::Frame(frame) = self.ground.intake.slot().take(Duration::ZERO) {
                        if !self.process(frame, turn) {
                            return;
                        }
                        self.weigh(&mut since_ns);
                    }
                }
                Waiting::Nothing if self.ground.stopping.load(Ordering::Acquire) => return,
                // Off line: whoever was there is not known to be.
                Waiting::Nothing if self.ground.board.state().0 != CameraState::Live => {
                    self.load.reset();
                    self.degrade(Degraded::No);
                    self.end_scene();
                }
                Waiting::Nothing => {}
                Waiting::Closed => return,
            }
            self.count_drops();
        }
    }

    /// `None`: told to stop. Who waits for long sees what that means for it meanwhile.
    fn wait_for_turn(&mut self, since_ns: &mut u64) -> Option<Turn> {
        let (place, stopping) = (self.place.clone(), self.ground.stopping.clone());
        place.wait(&stopping, || self.weigh(since_ns))
    }

    /// Sees whether the camera gets what it should, and spares the machine where it does not.
    /// `since_ns`: since when it has been busy that is not counted yet.
    fn weigh(&mut self, since_ns: &mut u64) {
        let now_ns = self.ground.around.clock.monotonic_ns();
        let busy_ns = now_ns.saturating_sub(std::mem::replace(since_ns, now_ns));
        let surplus = self.ground.intake.n_surplus();
        let due = (self.ground.intake.n_frames() + self.ground.intake.n_queue_drops()).saturating_sub(surplus);
        let done =
            self.ground.board.n_processed.load(Ordering::Relaxed) + self.ground.board.n_failed.load(Ordering::Relaxed);
        let degraded = match self.lossless {
            // Its source waits: it always gets what it should.
            true => Degraded::No,
            false => self.load.update(now_ns, due, done, busy_ns),
        };
        self.ground.intake.set_behind(degraded != Degraded::No);
        let degraded = if self.ground.intake.is_spared() { Degraded::KeyFrames } else { degraded };
        self.degrade(degraded);
    }

    /// It is longer while there is too much to do.
    fn max_age_now(&self) -> u64 {
        self.setup.max_age_ns().saturating_mul(self.degraded.patience())
    }

    fn degrade(&mut self, degraded: Degraded) {
        if degraded != self.degraded {
            self.degraded = degraded;
            self.stage.set_max_age(self.max_age_now());
            match degraded {
                Degraded::No => tracing::info!(camera = &*self.camera, "no longer degraded"),
                _ => tracing::warn!(camera = &*self.camera, kind = degraded.name(), "degraded: {}", degraded.why()),
            }
            self.ground.board.set_degraded(degraded);
            self.handles.set_degraded(degraded);
        }
    }

    /// Takes one frame through; false: there is no detector any more.
    fn process(&mut self, frame: Frame, turn: Option<Turn>) -> bool {
        let clock = self.ground.around.clock.clone();
        let started_ns = clock.monotonic_ns();
        if frame.epoch != self.epoch {
            // Another connection: nothing that is known holds any more, for the stage either.
            self.epoch = frame.epoch;
            self.load.reset();
            self.ground.board.set_working();
            self.end_scene();
        }
        if !self.setup.config.detect {
            self.show(frame);
            return true;
        }
        let (mut patches, mut known, mut fresh) =
            self.buffers.take().unwrap_or_else(|| (PatchMask::empty(self.stage.grid()), Vec::new(), Fresh::default()));
        let (asked, boxes) = self.stage.begin(&frame);
        let decided_ns = clock.monotonic_ns();
        let mut detect_ns = 0;
        if asked.is_empty() {
            fresh.clear();
        } else {
            patches.copy_from(asked);
            known.clear();
            known.extend_from_slice(boxes);
            let job = Job {
                stream: self.ground.stream,
                frame: frame.clone(),
                patches,
                known,
                max_age_ns: self.max_age_now(),
                fresh,
                result: Ok(()),
                took: Duration::ZERO,
                reply: self.reply.clone(),
            };
            let Some(job) = self.setup.detector.detect(job).then(|| self.replies.recv().ok()).flatten() else {
                tracing::error!(camera = &*self.camera, "the detector is gone");
                return false;
            };
            detect_ns = job.took.as_nanos() as u64;
            (patches, known, fresh) = (job.patches, job.known, job.fresh);
            if let Err(e) = job.result {
                self.buffers = Some((patches, known, fresh));
                self.fail(&e);
                return true;
            }
            self.ground.board.detect_ns.fetch_add(detect_ns, Ordering::Relaxed);
            self.ground.board.n_detect_runs.fetch_add(1, Ordering::Relaxed);
        }
        drop(turn);
        let detected_ns = clock.monotonic_ns();
        self.n_failures = 0;
        self.ground.board.set_working();
        let (content, filters, labels) = (frame.letterbox.content, &self.filters, &self.wanted);
        let wanted = |d: &Detection| {
            let class = d.class as usize;
            labels.get(class).is_none_or(|w| *w) && filters.get(class).is_none_or(|f| f.fits(d, content))
        };
        self.stage.finish(&frame, &fresh, wanted);
        let detections = self.report(&frame);
        self.watch(&frame);
        let finished_ns = clock.monotonic_ns();
        let result = Arc::new(FrameResult {
            camera: self.camera.clone(),
            detections,
            tracks: self.stage.tracks().to_vec(),
            labels: self.setup.detector.info.labels.clone(),
            computed: self.stage.computed().clone(),
            reasons: self.stage.decision().map(|d| d.reasons.clone()).unwrap_or_default(),
            executed_share: fresh.executed_px as f32 / frame.size().area() as f32,
            latency_ns: finished_ns.saturating_sub(frame.captured_ns),
            lossless: self.lossless,
            frame,
        });
        let h = &self.handles;
        let s = |ns: u64| ns as f64 / 1e9;
        h.skip.observe(s((decided_ns - started_ns) + (finished_ns - detected_ns)));
        h.wait.observe(s((detected_ns - decided_ns).saturating_sub(detect_ns)));
        h.detect.observe(s(detect_ns));
        h.latency.observe(s(result.latency_ns));
        if !self.lossless {
            self.ground.allowance.observe(result.latency_ns);
        }
        h.executed.inc_by(fresh.executed_px);
        h.dense.inc_by(result.frame.size().area() as u64);
        h.runs.inc_by(u64::from(fresh.n_runs));
        if let Some(layers) = &h.layers {
            layers.count(&fresh.layers);
        }
        self.count_decision();
        self.buffers = Some((patches, known, fresh));
        self.publish(&result);
        self.tell(Some(&result));
        true
    }

    /// Passes a frame on as it is: detection is switched off.
    fn show(&mut self, frame: Frame) {
        let latency_ns = self.ground.around.clock.monotonic_ns().saturating_sub(frame.captured_ns);
        self.handles.latency.observe(latency_ns as f64 / 1e9);
        self.publish(&Arc::new(FrameResult {
            camera: self.camera.clone(),
            detections: Vec::new(),
            tracks: Vec::new(),
            labels: self.setup.detector.info.labels.clone(),
            computed: PatchMask::empty(self.stage.grid()),
            reasons: Vec::new(),
            executed_share: 0.0,
            latency_ns,
            lossless: self.lossless,
            frame,
        }));
    }

    /// Brings the tracks to the frame. What is reported of it comes back, with their numbers.
    fn report(&mut self, frame: &Frame) -> Vec<Reported> {
        let (filters, min_score) = (&self.filters, self.setup.config.detector.score);
        let is_strong = |d: &Detection| {
            let least = filters.get(d.class as usize).map_or(0.0, |f| f.min_score);
            d.score >= min_score.max(least)
        };
        self.stage.track(frame, is_strong);
        let tracks = self.stage.tracks();
        let track = |i: usize| tracks.iter().find(|t| t.detection == Some(i)).map(|t| (t.id, t.state));
        let strong = self.stage.followed().iter().enumerate().filter(|(_, m)| is_strong(&m.detection));
        strong.map(|(i, m)| Reported { merged: *m, track: track(i) }).collect()
    }

    /// Brings zones, lines and events to the frame.
    fn watch(&mut self, frame: &Frame) {
        let has_moved = self.time.has_moved(frame.captured_ns, frame.captured_unix_ns);
        if has_moved {
            self.scene.end(&mut self.messages);
        }
        let is_free = has_moved || (self.stage.tracks().is_empty() && self.scene.is_empty());
        let unix_ns = self.time.at(frame.captured_ns, frame.captured_unix_ns, is_free);
        let now = Moment { pts_ns: frame.pts_ns, unix_ns };
        self.letterbox = Some(frame.letterbox);
        let before = self.scene.n_refused();
        self.scene.update(now, frame.letterbox.content, self.stage.tracks(), &mut self.messages);
        self.handles.scene.refused.inc_by(self.scene.n_refused() - before);
        self.count_scene();
    }

    /// Takes the scene's counts over, if they changed.
    fn count_scene(&mut self) {
        let (scene, known) = (&self.scene, &self.counts);
        let same =
            scene.present() == known.present && scene.inside() == known.inside && scene.crossed() == known.crossed;
        if !same {
            self.handles.scene.count(known, scene);
            self.counts = Arc::new(SceneCounts::of(scene, &known.names));
            self.ground.board.set_counts(self.counts.clone());
        }
    }

    /// Tells the sinks what is new about objects, `frame` being the one in which it happened.
    fn tell(&mut self, frame: Option<&Arc<FrameResult>>) {
        let Some(letterbox) = self.letterbox else { return };
        for message in self.messages.drain(..) {
            let event = EventJson::new(&message.event, message.phase, &self.counts.names, &letterbox);
            self.handles.scene.tell(message.phase);
            let best = frame.filter(|_| message.is_best).map(|f| (f.clone(), message.event.bbox));
            let told = Arc::new(EventMessage { phase: message.phase, event, best, lossless: self.lossless });
            self.ground.around.sinks.event(&told);
        }
    }

    /// Every object leaves: the stream is interrupted or over.
    fn end_scene(&mut self) {
        self.stage.forget_tracks();
        self.scene.end(&mut self.messages);
        self.count_scene();
        self.tell(None);
    }

    fn publish(&self, result: &Arc<FrameResult>) {
        for d in &result.detections {
            match d.merged.provenance {
                Provenance::Computed => &self.handles.computed,
                Provenance::Carried => &self.handles.carried,
                Provenance::Predicted => &self.handles.predicted,
            }
            .inc();
        }
        self.ground.board.publish(result);
        self.ground.around.sinks.publish(result);
        self.handles.processed.inc();
        self.ground.board.last_output_captured_ns.store(result.frame.captured_ns, Ordering::Relaxed);
        self.ground.board.last_output_ns.store(self.ground.around.clock.monotonic_ns(), Ordering::Relaxed);
    }

    fn fail(&mut self, e: &crate::infer::InferError) {
        self.n_failures += 1;
        self.handles.failed.inc();
        self.ground.board.n_failed.fetch_add(1, Ordering::Relaxed);
        self.ground.board.set_failing(self.ground.around.clock.monotonic_ns(), &e.to_string());
        // The first of a series, then ever rarer.
        if self.n_failures.is_power_of_two() {
            tracing::error!(camera = &*self.camera, failures = self.n_failures, "frame is dropped: {e}");
        }
    }

    fn count_decision(&self) {
        let Some(d) = self.stage.decision() else { return };
        let Counts { kept, masked, changed, stale, forced, predicted } = d.counts;
        for (counter, n) in self.handles.patches.iter().zip([kept, masked, changed, stale, forced, predicted]) {
            counter.inc_by(u64::from(n));
        }
        if let Some(why) = d.global {
            let reason = match why {
                GlobalChange::Start => "start",
                GlobalChange::Requested => "requested",
                GlobalChange::Light => "light",
                GlobalChange::Scene => "scene",
                GlobalChange::Motion => "motion",
            };
            let label = ReasonLabel { camera: self.camera.to_string(), reason };
            self.ground.around.metrics.global_changes.get_or_create(&label).inc();
        }
    }

    /// Brings the counters to what slot and queue have seen.
    fn count_drops(&mut self) {
        let now = Counted {
            captured: self.ground.intake.n_frames(),
            replaced: self.ground.intake.slot().n_replaced(),
            lost: self.ground.intake.n_queue_drops(),
            surplus: self.ground.intake.n_surplus(),
            corrupt: self.ground.intake.n_corrupt(),
            undecoded: self.ground.intake.n_undecoded(),
        };
        let (h, before) = (&self.handles, self.counted);
        h.captured.inc_by(now.captured - before.captured);
        h.replaced.inc_by(now.replaced - before.replaced);
        h.lost.inc_by(now.lost - before.lost);
        h.surplus.inc_by(now.surplus - before.surplus);
        h.corrupt.inc_by(now.corrupt - before.corrupt);
        h.undecoded.inc_by(now.undecoded - before.undecoded);
        self.ground.board.n_dropped.store(now.replaced + now.lost + now.corrupt, Ordering::Relaxed);
        self.counted = now;
    }
}
