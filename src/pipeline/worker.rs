//! The stage thread of a camera: takes frames through skip stage, detector, merge, tracks and scene.

use super::context::CameraContext;
use super::counters::Handles;
use super::detectors::{DetectorHandle, Job};
use super::tally::{Tally, Times};
use super::telling::Telling;
use super::turns::{SharedAllowance, Turn, TurnPlace};
use crate::capture::{CameraState, Intake, Pace, Taken, Waiting};
use crate::config::CameraConfig;
use crate::detect::Detection;
use crate::frame::Frame;
use crate::geom::PatchMask;
use crate::infer::tap::FrameMaps;
use crate::infer::{Inference, StreamId};
use crate::merge::MergeSettings;
use crate::outcome::{FrameResult, Names, Reported};
use crate::output::Sink;
use crate::output::board::CameraBoard;
use crate::scene::Scene;
use crate::scene::filter::Filter;
use crate::schedule::load::{Degraded, Load};
use crate::skip::{Decision, Reason};
use crate::stage::Stage;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tracing_mutex::stdsync::Mutex;

/// Longest wait for a frame before something else is looked after.
const FRAME_WAIT: Duration = Duration::from_millis(200);

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

    fn place(&self, at_turn: &Arc<AtomicBool>) -> Arc<TurnPlace> {
        Arc::new(self.detector.turns.join(self.config.priority.weight(), at_turn.clone()))
    }

    fn handles(&self, around: &CameraContext) -> Handles {
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
    pub around: CameraContext,
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
    place: Arc<TurnPlace>,
    load: Load,
    degraded: Degraded,
    camera: Arc<str>,
    wanted: Vec<bool>,
    lossless: bool,
    stage: Stage,
    /// One a class.
    filters: Vec<Filter>,
    telling: Telling,
    tally: Tally,
    reply: Sender<Job>,
    replies: Receiver<Job>,
    /// At home while no job is under way.
    buffers: Option<(PatchMask, Vec<Detection>, Inference)>,
    epoch: u64,
}

impl Worker {
    pub fn new(setup: Setup, scene: Scene, ground: Ground) -> Self {
        let labels = &setup.detector.info.labels;
        let (reply, replies) = bounded(1);
        let stage = setup.stage();
        let grid = stage.grid();
        let (camera, lossless): (Arc<str>, _) = (setup.config.id.as_str().into(), setup.config.pace == Pace::Fast);
        Self {
            place: setup.place(&ground.at_turn),
            load: Load::default(),
            degraded: Degraded::No,
            camera: camera.clone(),
            wanted: setup.wanted(),
            lossless,
            stage,
            filters: setup.config.filters.of(labels),
            telling: Telling::new(scene, ground.board.clone(), ground.around.sinks.clone(), lossless),
            tally: Tally::new(
                camera,
                ground.board.clone(),
                ground.around.metrics.clone(),
                setup.handles(&ground.around),
            ),
            reply,
            replies,
            buffers: Some((PatchMask::empty(grid), Vec::new(), Inference::default())),
            epoch: 0,
            setup,
            ground,
        }
    }

    pub fn run(mut self) {
        self.work();
        self.degrade(Degraded::No);
        self.tally.drops(&self.ground.intake);
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
        self.tally.set_handles(self.setup.handles(&self.ground.around));
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
            gone.for_each(|zone| self.tally.handles().scene.forget_zone(zone, &labels));
            self.telling.change(new.scene.clone(), &labels, &self.setup.names());
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
            match self.ground.intake.slot().wait(FRAME_WAIT) {
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
            self.tally.drops(&self.ground.intake);
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
        let degraded = match self.lossless {
            // Its source waits: it always gets what it should.
            true => Degraded::No,
            false => self.load.update(now_ns, due, self.tally.n_done(), busy_ns),
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
            self.tally.degraded(degraded);
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
            self.tally.working();
            self.end_scene();
        }
        if !self.setup.config.detect {
            self.show(frame);
            return true;
        }
        let (mut patches, mut known, mut fresh) = self
            .buffers
            .take()
            .unwrap_or_else(|| (PatchMask::empty(self.stage.grid()), Vec::new(), Inference::default()));
        let (asked, boxes) = self.stage.begin(&frame);
        let decided_ns = clock.monotonic_ns();
        let (mut detect_ns, mut maps) = (0, Vec::new());
        if asked.is_empty() {
            fresh.clear();
        } else {
            patches.copy_from(asked);
            known.clear();
            known.extend_from_slice(boxes);
            // Where something moved that the detector is not shown, its maps are of an earlier frame.
            let is_shown = |d: &Decision| !d.reasons.contains(&Reason::Predicted);
            let wants_maps =
                self.stage.decision().is_some_and(is_shown) && self.ground.around.sinks.wants_maps(&self.camera);
            let job = Job {
                stream: self.ground.stream,
                frame: frame.clone(),
                patches,
                known,
                max_age_ns: self.max_age_now(),
                wants_maps,
                fresh,
                maps,
                result: Ok(()),
                took: Duration::ZERO,
                reply: self.reply.clone(),
            };
            let Some(job) = self.setup.detector.detect(job).then(|| self.replies.recv().ok()).flatten() else {
                tracing::error!(camera = &*self.camera, "the detector is gone");
                return false;
            };
            detect_ns = job.took.as_nanos() as u64;
            (patches, known, fresh, maps) = (job.patches, job.known, job.fresh, job.maps);
            if let Err(e) = job.result {
                self.buffers = Some((patches, known, fresh));
                self.tally.failed(&e, clock.monotonic_ns());
                return true;
            }
            self.tally.ran(detect_ns);
        }
        drop(turn);
        let detected_ns = clock.monotonic_ns();
        self.tally.working();
        let (content, filters, labels) = (frame.letterbox.content, &self.filters, &self.wanted);
        let wanted = |d: &Detection| {
            let class = d.class as usize;
            labels.get(class).is_none_or(|w| *w) && filters.get(class).is_none_or(|f| f.fits(d, content))
        };
        self.stage.finish(&frame, &fresh, wanted);
        let detections = self.report(&frame);
        self.telling.update(&frame, self.stage.tracks(), self.tally.handles());
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
            maps: (!maps.is_empty())
                .then(|| Arc::new(FrameMaps { of: self.setup.config.detector.kept_maps.of.clone(), maps })),
            lossless: self.lossless,
            frame,
        });
        if !self.lossless {
            self.ground.allowance.observe(result.latency_ns);
        }
        let times = Times {
            started: started_ns,
            decided: decided_ns,
            detected: detected_ns,
            finished: finished_ns,
            detecting: detect_ns,
        };
        self.tally.computed(times, &result, &fresh, self.stage.decision());
        self.buffers = Some((patches, known, fresh));
        self.publish(&result);
        self.telling.tell(Some(&result), self.tally.handles());
        true
    }

    /// Passes a frame on as it is: detection is switched off.
    fn show(&mut self, frame: Frame) {
        let latency_ns = self.ground.around.clock.monotonic_ns().saturating_sub(frame.captured_ns);
        self.publish(&Arc::new(FrameResult {
            camera: self.camera.clone(),
            detections: Vec::new(),
            tracks: Vec::new(),
            labels: self.setup.detector.info.labels.clone(),
            computed: PatchMask::empty(self.stage.grid()),
            reasons: Vec::new(),
            executed_share: 0.0,
            latency_ns,
            maps: None,
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

    /// Every object leaves: the stream is interrupted or over.
    fn end_scene(&mut self) {
        self.stage.forget_tracks();
        self.telling.end(self.tally.handles());
    }

    fn publish(&self, result: &Arc<FrameResult>) {
        self.tally.shown(result);
        self.ground.around.sinks.publish(result);
        self.tally.published(result, self.ground.around.clock.monotonic_ns());
    }
}
