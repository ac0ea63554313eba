//! What every camera shows right now: its state, its newest result, its sums.
//!
//! Written by the pipeline, read by HTTP, the status line and the watchdog.

use super::Sink;
use super::history::History;
use crate::capture::CameraState;
use crate::outcome::{FrameResult, SceneCounts};
use crate::schedule::load::Degraded;
use crate::skip::SkipMode;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use tokio::sync::watch;
use tracing_mutex::stdsync::Mutex;

/// Frames that failed in the model, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Failing {
    /// The first and the last, on the pipeline's clock.
    pub first_ns: u64,
    pub last_ns: u64,
    pub n: u64,
    /// Why the last one did.
    pub why: String,
}

/// The condition of a camera whose every frame fails in the model.
const FAILING: &str = "failing";

/// All cameras, by name.
#[derive(Default)]
pub struct Board {
    cameras: Mutex<BTreeMap<String, Arc<CameraBoard>>>,
    /// Models are loaded and cameras started.
    pub started: AtomicBool,
    /// Every camera that is up makes progress.
    pub healthy: AtomicBool,
    /// The config as it runs, without secrets.
    config: Mutex<Arc<str>>,
    /// Why the last config was not taken over.
    trouble: Mutex<Option<Arc<str>>>,
}

/// What is set of a camera, as commands can change it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Control {
    pub detection: bool,
    /// As it was asked for; what it became is [`Looks::mode`].
    pub skip_mode: &'static str,
    pub score: f32,
}

/// What looks at a camera's pictures, and how. It may change while the camera runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Looks {
    pub model: String,
    pub mode: &'static str,
    pub provider: String,
    pub size: String,
    pub control: Control,
}

impl Looks {
    /// Whether its detector has maps that stay from frame to frame.
    pub fn keeps_maps(&self) -> bool {
        self.mode == SkipMode::Layers.name()
    }
}

/// One camera's place on the board.
pub struct CameraBoard {
    pub id: Arc<str>,
    /// Address without credentials.
    pub source: String,
    looks: Mutex<Arc<Looks>>,
    state: Mutex<(CameraState, Option<String>)>,
    /// Since when every frame fails in the model, on the pipeline's clock, and why.
    failing: Mutex<Option<Failing>>,
    degraded: Mutex<Degraded>,
    latest: Mutex<Option<Arc<FrameResult>>>,
    counts: Mutex<Arc<SceneCounts>>,
    history: Mutex<History>,
    changed: watch::Sender<u64>,
    pub n_processed: AtomicU64,
    pub n_detections: AtomicU64,
    pub n_patches_computed: AtomicU64,
    pub n_patches: AtomicU64,
    pub n_dropped: AtomicU64,
    pub n_failed: AtomicU64,
    pub n_reconnects: AtomicU64,
    pub detect_ns: AtomicU64,
    pub n_detect_runs: AtomicU64,
    /// On the pipeline's clock: when the last result left, and when its frame had come.
    pub last_output_ns: AtomicU64,
    pub last_output_captured_ns: AtomicU64,
}

impl Board {
    pub fn add(&self, camera: Arc<CameraBoard>) {
        self.lock().insert(camera.id.to_string(), camera);
    }

    pub fn remove(&self, id: &str) {
        self.lock().remove(id);
    }

    pub fn get(&self, id: &str) -> Option<Arc<CameraBoard>> {
        self.lock().get(id).cloned()
    }

    /// A counter, all cameras together.
    pub fn sum(&self, counter: impl Fn(&CameraBoard) -> &AtomicU64) -> u64 {
        self.lock().values().map(|c| counter(c).load(Ordering::Relaxed)).sum()
    }

    /// The config as it runs, TOML.
    pub fn config(&self) -> Arc<str> {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_config(&self, toml: &str) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = toml.into();
    }

    /// Why the last config was not taken over; `None`: it was.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_trouble(&self, why: Option<&str>) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = why.map(Into::into);
    }

    /// By name, in order.
    pub fn all(&self) -> Vec<Arc<CameraBoard>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> tracing_mutex::stdsync::MutexGuard<'_, BTreeMap<String, Arc<CameraBoard>>> {
        self.cameras.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CameraBoard {
    pub fn new(id: &str, source: String, looks: Looks, counts: Arc<SceneCounts>) -> Self {
        Self {
            looks: Mutex::new(Arc::new(looks)),
            counts: Mutex::new(counts),
            id: id.into(),
            source,
            state: Mutex::new((CameraState::Connecting, None)),
            failing: Mutex::default(),
            degraded: Mutex::default(),
            history: Mutex::default(),
            latest: Mutex::default(),
            changed: watch::Sender::new(0),
            n_processed: AtomicU64::new(0),
            n_detections: AtomicU64::new(0),
            n_patches_computed: AtomicU64::new(0),
            n_patches: AtomicU64::new(0),
            n_dropped: AtomicU64::new(0),
            n_failed: AtomicU64::new(0),
            n_reconnects: AtomicU64::new(0),
            detect_ns: AtomicU64::new(0),
            n_detect_runs: AtomicU64::new(0),
            last_output_ns: AtomicU64::new(0),
            last_output_captured_ns: AtomicU64::new(0),
        }
    }

    /// What looks at its pictures now.
    pub fn looks(&self) -> Arc<Looks> {
        self.looks.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_looks(&self, looks: Looks) {
        *self.looks.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(looks);
    }

    /// State and the cause of the last trouble.
    pub fn state(&self) -> (CameraState, Option<String>) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_state(&self, state: CameraState, cause: Option<&str>) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = (state, cause.map(str::to_owned));
    }

    /// Since when every frame has failed in the model, and why it does now.
    pub fn failing(&self) -> Option<Failing> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A frame failed.
    pub fn set_failing(&self, now_ns: u64, why: &str) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let (first_ns, n) = failing.as_ref().map_or((now_ns, 0), |f| (f.first_ns, f.n));
        *failing = Some(Failing { first_ns, last_ns: now_ns, n: n + 1, why: why.to_owned() });
    }

    /// A frame did not, or others follow.
    pub fn set_working(&self) {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// What is shown of it: the state of its source, unless what comes from there is of no use; and why.
    pub fn condition(&self) -> (&'static str, Option<String>) {
        let (state, cause) = self.state();
        match self.failing() {
            Some(failing) if state == CameraState::Live => (FAILING, Some(failing.why)),
            _ => (state.name(), cause),
        }
    }

    /// Whether it gets less than it should.
    pub fn degraded(&self) -> Degraded {
        *self.degraded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_degraded(&self, degraded: Degraded) {
        *self.degraded.lock().unwrap_or_else(PoisonError::into_inner) = degraded;
    }

    /// How many objects are where; nobody while the camera is off line.
    pub fn counts(&self) -> Arc<SceneCounts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_counts(&self, counts: Arc<SceneCounts>) {
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// The last hour, for as long as `look` takes.
    pub fn history<T>(&self, look: impl FnOnce(&History) -> T) -> T {
        look(&self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest result.
    pub fn latest(&self) -> Option<Arc<FrameResult>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes with every result.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

impl Sink for CameraBoard {
    fn publish(&self, result: &Arc<FrameResult>) {
        self.n_processed.fetch_add(1, Ordering::Relaxed);
        self.n_detections.fetch_add(result.detections.len() as u64, Ordering::Relaxed);
        // Where nothing is looked for nothing is saved.
        if self.looks().control.detection {
            self.n_patches.fetch_add(result.computed.grid().n_patches() as u64, Ordering::Relaxed);
            self.n_patches_computed.fetch_add(result.computed.count() as u64, Ordering::Relaxed);
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            history.add(result.frame.captured_unix_ns, result.executed_share, result.latency_ns);
        }
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(result.clone());
        self.changed.send_modify(|n| *n += 1);
    }
}
