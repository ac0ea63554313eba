//! One camera's threads: the supervisor that keeps its source alive, and the
//! stage thread that takes frames through skip stage, detector and merge.

use super::counters::Handles;
use super::detectors::{DetectorHandle, Job};
use super::stage::Stage;
use super::turns::{Place, SharedAllowance, Turn};
use crate::capture::{
    CameraState, Explainer, Intake, Opener, Pace, Slot, SlotMode, SourceSpec, Supervisor, SupervisorSettings, Taken,
    Waiting, diagnose, open_gst, open_sim,
};
use crate::clock::{Clock, SteadyTime};
use crate::config::CameraConfig;
use crate::frame::Frame;
use crate::geom::{Letterbox, PatchMask};
use crate::infer::{Detection, Fresh, StreamId};
use crate::merge::{MergeSettings, Provenance};
use crate::output::board::{Board, CameraBoard, Control, Failing};
use crate::output::events::EventMessage;
use crate::output::events::wire::{EventJson, Names};
use crate::output::metrics::{CameraLabel, DetectorLabel, Metrics, ReasonLabel};
use crate::output::{FrameResult, Reported, SceneCounts, Sink, Sinks};
use crate::scene::Scene;
use crate::scene::event::{Message, Moment};
use crate::scene::filter::Filter;
use crate::schedule::load::{Degraded, Load};
use crate::skip::{Counts, GlobalChange, SkipMode};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Makes the opener of a camera's source.
pub type OpenFn = dyn Fn(&CameraConfig, Arc<dyn Clock>) -> Opener + Send + Sync;

/// What a camera needs beside its config.
#[derive(Clone)]
pub struct Surroundings {
    pub clock: Arc<dyn Clock>,
    pub board: Arc<Board>,
    pub metrics: Arc<Metrics>,
    pub sinks: Arc<Sinks>,
    /// Opens sources; tests bring their own.
    pub open: Arc<OpenFn>,
}

/// A running camera. Dropping it does not stop it: see [`Camera::stop`].
pub struct Camera {
    pub config: CameraConfig,
    pub board: Arc<CameraBoard>,
    intake: Intake,
    stopping: Arc<AtomicBool>,
    stop_supervisor: Sender<()>,
    supervisor: JoinHandle<()>,
    stage: JoinHandle<()>,
    done: Receiver<()>,
    around: Surroundings,
    detector_label: DetectorLabel,
    pub(super) detector: Arc<DetectorHandle>,
}

/// Opens real sources.
pub fn open_source(config: &CameraConfig, clock: Arc<dyn Clock>) -> Opener {
    let (spec, pace) = (config.source.spec.clone(), config.pace);
    Arc::new(move |intake, epoch| match &spec {
        SourceSpec::Sim(settings) => Ok(open_sim(settings, pace, intake, epoch, clock.clone())),
        _ => open_gst(&spec, pace, intake, epoch),
    })
}

/// Finds out why a source shows nothing.
fn explainer(config: &CameraConfig) -> Option<Explainer> {
    let spec = config.source.spec.clone();
    let address = match &spec {
        SourceSpec::Rtsp(address) => address.clone(),
        SourceSpec::File { path } => {
            let name = path.display().to_string();
            return Some(Arc::new(move |said| if said.contains(&name) { said } else { spec.silence(&said) }));
        }
        _ => return None,
    };
    Some(Arc::new(move |said| match diagnose(&address, &said) {
        Some(found) => format!("{}. Remedy: {}", found.cause, found.remedy),
        None => said,
    }))
}

impl Camera {
    /// Starts the camera's threads.
    ///
    /// # Errors
    /// No more threads are to be had.
    pub fn start(
        config: CameraConfig,
        stream: StreamId,
        detector: Arc<DetectorHandle>,
        allowance: Arc<SharedAllowance>,
        delay: Duration,
        around: &Surroundings,
    ) -> std::io::Result<Self> {
        let info = detector.info.clone();
        let lossless = config.pace == Pace::Fast;
        let slot = Arc::new(Slot::new(if lossless { SlotMode::Blocking } else { SlotMode::Latest }));
        let intake = Intake::new(info.size, around.clock.clone(), slot, config.max_fps);
        let scene = Scene::new(config.scene.clone(), &info.labels);
        let names = Names {
            camera: config.id.as_str().into(),
            labels: info.labels.clone(),
            zones: config.scene.zones.iter().map(|z| z.name.clone()).collect(),
            lines: config.scene.lines.iter().map(|l| l.name.clone()).collect(),
        };
        let counts = Arc::new(SceneCounts::of(&scene, &names));
        let board = Arc::new(CameraBoard::new(
            &config.id,
            config.source.shown.clone(),
            info.model.clone(),
            info.mode.name(),
            info.provider.clone(),
            info.size.to_string(),
            Control {
                detection: config.detect,
                skip_mode: config.skip_mode.map_or("auto", SkipMode::name),
                score: config.detector.score,
            },
            counts.clone(),
        ));
        around.board.add(board.clone());
        let label = DetectorLabel {
            camera: config.id.clone(),
            model: info.model.clone(),
            size: info.size.to_string(),
            provider: info.provider.clone(),
            mode: info.mode.name(),
        };
        around.metrics.detector.get_or_create(&label).set(1);
        if info.state_bytes > 0 {
            let camera = CameraLabel { camera: config.id.clone() };
            around.metrics.layer_state_bytes.get_or_create(&camera).set(info.state_bytes as i64);
        }

        let (stop_supervisor, stop) = bounded(1);
        let stopping = Arc::new(AtomicBool::new(false));
        let supervisor = Supervisor {
            settings: SupervisorSettings { delay, ..config.capture.clone() },
            opener: (around.open)(&config, around.clock.clone()),
            explainer: explainer(&config),
            intake: intake.clone(),
            clock: around.clock.clone(),
            observer: observer(&config, board.clone(), around.metrics.clone()),
            stop,
            seed: config.id.bytes().fold(7u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(b))),
            live_source: config.source.spec.is_live(),
            helpers: Arc::default(),
        };
        let thread = |prefix: &str| {
            std::thread::Builder::new().name(format!("{prefix}-{}", config.id).chars().take(15).collect())
        };
        let supervisor = thread("cam").spawn(move || supervisor.run())?;

        let merge = MergeSettings {
            iou: config.detector.nms_iou,
            min_score: config.detector.score,
            max_age_ns: config.skip.max_age_in(info.mode),
            ..MergeSettings::default()
        };
        let stage = Stage::new(info.mode, info.size, &config.skip, merge, config.tracking);
        let (reply, replies) = bounded(1);
        let grid = stage.grid();
        let worker = Worker {
            max_age_ns: config.skip.max_age_in(info.mode),
            place: Arc::new(detector.turns.join(config.priority.weight())),
            allowance,
            load: Load::default(),
            degraded: Degraded::No,
            camera: config.id.as_str().into(),
            stream,
            wanted: info.labels.iter().map(|l| config.labels.is_empty() || config.labels.contains(l)).collect(),
            labels: info.labels.clone(),
            lossless,
            detects: config.detect,
            stage,
            min_score: config.detector.score,
            filters: config.filters.of(&info.labels),
            counts,
            scene,
            messages: Vec::new(),
            letterbox: None,
            time: SteadyTime::default(),
            intake: intake.clone(),
            board: board.clone(),
            handles: Handles::new(&around.metrics, &config.id, info.mode),
            around: around.clone(),
            stopping: stopping.clone(),
            detector: detector.clone(),
            reply,
            replies,
            buffers: Some((PatchMask::empty(grid), Vec::new(), Fresh::default())),
            epoch: 0,
            n_failures: 0,
            counted: Counted::default(),
        };
        let (finished, done) = bounded(1);
        let stage = thread("stage").spawn(move || {
            worker.run();
            let _ = finished.send(());
        })?;
        Ok(Self {
            config,
            board,
            intake,
            stopping,
            stop_supervisor,
            supervisor,
            stage,
            done,
            around: around.clone(),
            detector_label: label,
            detector,
        })
    }

    /// Tells the camera to stop; returns at once.
    pub fn tell_to_stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let _ = self.stop_supervisor.try_send(());
        self.intake.slot().close();
    }

    /// Stops the camera and waits up to `deadline` for what it is computing to come out.
    ///
    /// Returns whether it ended in time; else its threads are left behind.
    pub fn stop(self, deadline: Duration) -> bool {
        self.tell_to_stop();
        let ended = self.done.recv_timeout(deadline).is_ok();
        if ended {
            let _ = self.stage.join();
            let _ = self.supervisor.join();
        } else {
            tracing::error!(camera = self.config.id, "does not stop; left behind");
        }
        self.around.metrics.forget_camera(&self.config.id, &self.detector_label);
        ended
    }

    /// The clip is over and everything of it has been put out.
    pub fn is_finished(&self) -> bool {
        self.stage.is_finished() && self.board.state().0 == CameraState::Ended
    }

    /// Why a clip ended before its time, if it did.
    pub fn failure(&self) -> Option<String> {
        let (state, cause) = self.board.state();
        cause.filter(|_| state == CameraState::Ended)
    }

    /// Frames are taken, and every one of them has failed in the model for `limit`.
    pub fn is_failing(&self, limit: Duration) -> bool {
        let lasts = |f: &Failing| Duration::from_nanos(f.last_ns.saturating_sub(f.first_ns)) > limit;
        self.is_live() && self.board.failing().is_some_and(|f| f.n >= MANY && lasts(&f))
    }

    pub fn is_live(&self) -> bool {
        self.board.state().0 == CameraState::Live
    }

    /// Frames come, but for `limit` nothing has been put out.
    pub fn is_stuck(&self, limit: Duration) -> bool {
        let state = self.board.state().0;
        if self.stage.is_finished() {
            // Nobody told it to: its detector is gone.
            return state != CameraState::Ended;
        }
        if state != CameraState::Live {
            return false;
        }
        let now_ns = self.around.clock.monotonic_ns();
        let answered = self.board.last_output_captured_ns.load(Ordering::Relaxed) >= self.intake.last_put_ns();
        let since_ns = self.board.last_output_ns.load(Ordering::Relaxed).max(self.intake.waiting_since_ns());
        !answered && Duration::from_nanos(now_ns.saturating_sub(since_ns)) > limit
    }
}

fn observer(config: &CameraConfig, board: Arc<CameraBoard>, metrics: Arc<Metrics>) -> crate::capture::Observer {
    let (camera, secrets) = (config.id.clone(), config.source.secrets.clone());
    metrics.set_camera_state(&camera, CameraState::Connecting);
    Box::new(move |state, cause| {
        // All that is said of a source comes through here.
        let cause = cause.map(|cause| secrets.hide(cause));
        board.set_state(state, cause.as_deref());
        metrics.set_camera_state(&camera, state);
        let cause = cause.unwrap_or_default();
        match state {
            CameraState::Connecting if cause.is_empty() => tracing::debug!(camera, "connecting"),
            CameraState::Connecting => tracing::info!(camera, "connecting: {cause}"),
            CameraState::Live => tracing::info!(camera, "live"),
            CameraState::Stalled => tracing::warn!(camera, "stalled: {cause}"),
            CameraState::Ended if cause.is_empty() => tracing::info!(camera, "ended"),
            CameraState::Ended => tracing::error!(camera, "ended before its time: {cause}"),
            CameraState::BackingOff => {
                metrics.reconnects.get_or_create(&CameraLabel { camera: camera.clone() }).inc();
                board.n_reconnects.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(camera, "off line: {cause}");
            }
        }
    })
}

/// Fewer failures are no series.
const MANY: u64 = 8;
/// Longest wait for a frame before something else is looked after.
const PATIENCE: Duration = Duration::from_millis(200);

/// The stage thread.
struct Worker {
    /// As configured.
    max_age_ns: u64,
    place: Arc<Place>,
    allowance: Arc<SharedAllowance>,
    load: Load,
    degraded: Degraded,
    camera: Arc<str>,
    stream: StreamId,
    labels: Arc<[String]>,
    /// One a class: whether it is reported.
    wanted: Vec<bool>,
    lossless: bool,
    detects: bool,
    stage: Stage,
    min_score: f32,
    /// One a class.
    filters: Vec<Filter>,
    scene: Scene,
    /// What is to be told of the frame.
    messages: Vec<Message>,
    counts: Arc<SceneCounts>,
    time: SteadyTime,
    /// Of the last frame.
    letterbox: Option<Letterbox>,
    intake: Intake,
    board: Arc<CameraBoard>,
    handles: Handles,
    around: Surroundings,
    stopping: Arc<AtomicBool>,
    detector: Arc<DetectorHandle>,
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
}

impl Worker {
    fn run(mut self) {
        self.work();
        self.degrade(Degraded::No);
        self.count_drops();
        self.end_scene();
        self.detector.forget(self.stream);
    }

    fn work(&mut self) {
        loop {
            match self.intake.slot().wait(PATIENCE) {
                Waiting::Frame => {
                    let asked_ns = self.around.clock.monotonic_ns();
                    // The turn first, then the frame that is the newest by then.
                    let turn = match self.detects {
                        true => match self.place.wait(&self.stopping) {
                            Some(turn) => Some(turn),
                            None => return,
                        },
                        false => None,
                    };
                    if let Taken::Frame(frame) = self.intake.slot().take(Duration::ZERO) {
                        if !self.process(frame, turn) {
                            return;
                        }
                        self.weigh(asked_ns);
                    }
                }
                Waiting::Nothing if self.stopping.load(Ordering::Acquire) => return,
                // Off line: whoever was there is not known to be.
                Waiting::Nothing if self.board.state().0 != CameraState::Live => {
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

    /// Sees whether the camera gets what it should, and spares the machine where it does not.
    fn weigh(&mut self, asked_ns: u64) {
        let now_ns = self.around.clock.monotonic_ns();
        let surplus = self.intake.n_surplus();
        let due = (self.intake.n_frames() + self.intake.n_queue_drops()).saturating_sub(surplus);
        let done = self.board.n_processed.load(Ordering::Relaxed) + self.board.n_failed.load(Ordering::Relaxed);
        let degraded = match self.lossless {
            // Its source waits: it always gets what it should.
            true => Degraded::No,
            false => self.load.update(now_ns, due, done, now_ns.saturating_sub(asked_ns)),
        };
        self.degrade(degraded);
    }

    /// It is longer while there is too much to do.
    fn max_age_now(&self) -> u64 {
        self.max_age_ns.saturating_mul(self.degraded.patience())
    }

    fn degrade(&mut self, degraded: Degraded) {
        if degraded != self.degraded {
            self.degraded = degraded;
            self.stage.set_max_age(self.max_age_now());
            match degraded {
                Degraded::No => tracing::info!(camera = &*self.camera, "no longer degraded"),
                _ => tracing::warn!(camera = &*self.camera, "degraded, too much to do: {}", degraded.name()),
            }
            self.board.set_degraded(degraded);
            self.handles.set_degraded(degraded);
        }
    }

    /// Takes one frame through; false: there is no detector any more.
    fn process(&mut self, frame: Frame, turn: Option<Turn>) -> bool {
        let clock = self.around.clock.clone();
        let started_ns = clock.monotonic_ns();
        if frame.epoch != self.epoch {
            // Another connection: nothing that is known holds any more.
            self.epoch = frame.epoch;
            self.stage.reset();
            self.load.reset();
            self.board.set_working();
            self.end_scene();
        }
        if !self.detects {
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
                stream: self.stream,
                frame: frame.clone(),
                patches,
                known,
                max_age_ns: self.max_age_now(),
                fresh,
                result: Ok(()),
                took: Duration::ZERO,
                reply: self.reply.clone(),
            };
            let Some(job) = self.detector.detect(job).then(|| self.replies.recv().ok()).flatten() else {
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
            self.board.detect_ns.fetch_add(detect_ns, Ordering::Relaxed);
            self.board.n_detect_runs.fetch_add(1, Ordering::Relaxed);
        }
        drop(turn);
        let detected_ns = clock.monotonic_ns();
        self.n_failures = 0;
        self.board.set_working();
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
            labels: self.labels.clone(),
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
            self.allowance.observe(result.latency_ns);
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
        let latency_ns = self.around.clock.monotonic_ns().saturating_sub(frame.captured_ns);
        self.handles.latency.observe(latency_ns as f64 / 1e9);
        self.publish(&Arc::new(FrameResult {
            camera: self.camera.clone(),
            detections: Vec::new(),
            tracks: Vec::new(),
            labels: self.labels.clone(),
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
        let (filters, min_score) = (&self.filters, self.min_score);
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
            self.board.set_counts(self.counts.clone());
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
            self.around.sinks.event(&told);
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
        self.board.publish(result);
        self.around.sinks.publish(result);
        self.handles.processed.inc();
        self.board.last_output_captured_ns.store(result.frame.captured_ns, Ordering::Relaxed);
        self.board.last_output_ns.store(self.around.clock.monotonic_ns(), Ordering::Relaxed);
    }

    fn fail(&mut self, e: &crate::infer::InferError) {
        self.n_failures += 1;
        self.handles.failed.inc();
        self.board.n_failed.fetch_add(1, Ordering::Relaxed);
        self.board.set_failing(self.around.clock.monotonic_ns(), &e.to_string());
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
            self.around.metrics.global_changes.get_or_create(&label).inc();
        }
    }

    /// Brings the counters to what slot and queue have seen.
    fn count_drops(&mut self) {
        let now = Counted {
            captured: self.intake.n_frames(),
            replaced: self.intake.slot().n_replaced(),
            lost: self.intake.n_queue_drops(),
            surplus: self.intake.n_surplus(),
            corrupt: self.intake.n_corrupt(),
        };
        let (h, before) = (&self.handles, self.counted);
        h.captured.inc_by(now.captured - before.captured);
        h.replaced.inc_by(now.replaced - before.replaced);
        h.lost.inc_by(now.lost - before.lost);
        h.surplus.inc_by(now.surplus - before.surplus);
        h.corrupt.inc_by(now.corrupt - before.corrupt);
        self.board.n_dropped.store(now.replaced + now.lost + now.corrupt, Ordering::Relaxed);
        self.counted = now;
    }
}
