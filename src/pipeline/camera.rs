//! One camera: its config, its detector, and its threads: the supervisor that keeps its source alive, and the
//! stage thread ([`super::worker`]).

use super::context::CameraContext;
use super::detectors::{DetectorHandle, DetectorInfo};
use super::turns::SharedAllowance;
use super::worker::{Ground, NextSetup, Setup, Worker};
use crate::capture::{
    CameraState, Explainer, Intake, Opener, Pace, Slot, SlotMode, SourceSpec, Supervisor, SupervisorSettings, diagnose,
    open_gst, open_sim,
};
use crate::clock::Clock;
use crate::config::CameraConfig;
use crate::infer::StreamId;
use crate::outcome::SceneCounts;
use crate::output::board::{CameraBoard, Control, Failing, Looks};
use crate::output::metrics::{CameraLabel, DetectorLabel, Metrics};
use crate::scene::Scene;
use crate::skip::SkipMode;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

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
    around: CameraContext,
    detector_label: DetectorLabel,
    pub(super) detector: Arc<DetectorHandle>,
    /// Lets the threads run.
    gate: Sender<()>,
    /// What the stage thread goes on with.
    next: NextSetup,
    /// It waits for its turn at the detector, or has it.
    at_turn: Arc<AtomicBool>,
}

/// Of a camera: supervisor and stage.
const N_THREADS: usize = 2;

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

fn looks(config: &CameraConfig, info: &DetectorInfo) -> Looks {
    Looks {
        model: info.model.clone(),
        mode: info.mode.name(),
        provider: info.provider.clone(),
        size: info.size.to_string(),
        control: Control {
            detection: config.detect,
            skip_mode: config.skip_mode.map_or("auto", SkipMode::name),
            score: config.detector.score,
        },
    }
}

fn detector_label(config: &CameraConfig, info: &DetectorInfo) -> DetectorLabel {
    DetectorLabel {
        camera: config.id.clone(),
        model: info.model.clone(),
        size: info.size.to_string(),
        provider: info.provider.clone(),
        mode: info.mode.name(),
    }
}

/// Fewer failures are no series.
const MANY: u64 = 8;

impl Camera {
    /// Makes everything that a camera needs, its threads too, which wait: what fails, fails here. [`Camera::go`] lets
    /// them run; dropped before, they end.
    ///
    /// # Errors
    /// No more threads are to be had.
    pub fn ready(
        config: CameraConfig,
        stream: StreamId,
        detector: Arc<DetectorHandle>,
        allowance: Arc<SharedAllowance>,
        delay: Duration,
        around: &CameraContext,
    ) -> std::io::Result<Self> {
        let lossless = config.pace == Pace::Fast;
        let slot = Arc::new(Slot::new(if lossless { SlotMode::Blocking } else { SlotMode::Latest }));
        let intake = Intake::new(detector.info.size, around.clock.clone(), slot, config.max_fps);
        let setup = Setup { config: config.clone(), detector: detector.clone() };
        let scene = Scene::new(config.scene.clone(), &detector.info.labels);
        let counts = Arc::new(SceneCounts::of(&scene, &setup.names()));
        let shown = config.source.shown.clone();
        let board = Arc::new(CameraBoard::new(&config.id, shown, looks(&config, &detector.info), counts));
        let (stop_supervisor, stop) = bounded(1);
        let (gate, opens) = bounded::<()>(N_THREADS);
        let stopping = Arc::new(AtomicBool::new(false));
        let thread = |prefix: &str| {
            std::thread::Builder::new().name(format!("{prefix}-{}", config.id).chars().take(15).collect())
        };
        let supervisor = {
            let (opens, config, intake, board, around) =
                (opens.clone(), config.clone(), intake.clone(), board.clone(), around.clone());
            thread("cam").spawn(move || {
                if opens.recv().is_err() {
                    return;
                }
                let supervisor = Supervisor {
                    settings: SupervisorSettings { delay, ..config.capture.clone() },
                    opener: (around.open)(&config, around.clock.clone()),
                    explainer: explainer(&config),
                    intake,
                    clock: around.clock.clone(),
                    observer: observer(&config, board, around.metrics.clone()),
                    stop,
                    seed: config.id.bytes().fold(7u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(b))),
                    live_source: config.source.spec.is_live(),
                    helpers: Arc::default(),
                };
                supervisor.run();
            })?
        };
        let (next, at_turn) = (NextSetup::default(), Arc::new(AtomicBool::new(false)));
        let ground = Ground {
            stream,
            intake: intake.clone(),
            board: board.clone(),
            around: around.clone(),
            allowance,
            stopping: stopping.clone(),
            at_turn: at_turn.clone(),
            next: next.clone(),
        };
        let (finished, done) = bounded(1);
        let stage = thread("stage").spawn(move || {
            if opens.recv().is_ok() {
                Worker::new(setup, scene, ground).run();
            }
            let _ = finished.send(());
        })?;
        Ok(Self {
            detector_label: detector_label(&config, &detector.info),
            config,
            board,
            intake,
            stopping,
            stop_supervisor,
            supervisor,
            stage,
            done,
            around: around.clone(),
            detector,
            gate,
            next,
            at_turn,
        })
    }

    /// Lets the camera run.
    pub fn go(&self) {
        self.around.board.add(self.board.clone());
        self.show_detector();
        for _ in 0..N_THREADS {
            // There is room for each, and they wait.
            let _ = self.gate.try_send(());
        }
    }

    fn show_detector(&self) {
        let (metrics, info) = (&self.around.metrics, &self.detector.info);
        metrics.detector.get_or_create(&self.detector_label).set(1);
        let camera = CameraLabel { camera: self.config.id.clone() };
        if info.state_bytes > 0 {
            metrics.layer_state_bytes.get_or_create(&camera).set(info.state_bytes as i64);
        } else {
            metrics.layer_state_bytes.remove(&camera);
        }
    }

    /// Whether it can go on as `config` says, with that detector, without its source being opened anew.
    pub fn can_become(&self, config: &CameraConfig, detector: &DetectorHandle) -> bool {
        let (old, new) = (&self.config, config);
        old.id == new.id
            && old.source == new.source
            && old.pace == new.pace
            && old.capture == new.capture
            && old.max_fps == new.max_fps
            && self.detector.info.size == detector.info.size
            && self.detector.info.labels == detector.info.labels
    }

    /// Goes on as `config` says from the next frame on; see [`Camera::can_become`].
    pub fn become_as(&mut self, config: CameraConfig, detector: Arc<DetectorHandle>) {
        let label = detector_label(&config, &detector.info);
        if label != self.detector_label {
            self.around.metrics.detector.remove(&self.detector_label);
        }
        self.board.set_looks(looks(&config, &detector.info));
        (self.config, self.detector, self.detector_label) = (config.clone(), detector.clone(), label);
        self.show_detector();
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(Setup { config, detector });
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

    /// Frames come, but for `limit` nothing has been put out. One that waits for its turn, or has it, is not stuck
    /// as long as turns go round: there is too much to do, and to begin anew would not make it less.
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
        let is_late = !answered && Duration::from_nanos(now_ns.saturating_sub(since_ns)) > limit;
        is_late && !(self.at_turn.load(Ordering::Acquire) && self.detector.turns.rested() < limit)
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
