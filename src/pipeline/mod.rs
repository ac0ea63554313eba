//! Threads, bounded channels and drop policy around the pure parts.
//!
//! ```text
//! supervisor ─ source ─ slot ──> stage thread ── job ──> detector thread (shared)
//!  (a camera)  (latest wins)     skip, merge  <─ reply ─┘
//!                                     └── FrameResult ──> board, sinks
//! ```
//!
//! Who waits for whom: a stage thread for its turn and its detector, and nobody else.
//! Capture never waits for inference (except a file at full speed), inference
//! never for output.

mod camera;
mod context;
mod counters;
mod detectors;
mod factory;
mod opener;
mod tally;
mod telling;
pub mod trial;
mod turns;
mod worker;

pub use camera::{Camera, open_source};
pub use context::{CameraContext, OpenFn};
pub use detectors::{DetectorFactory, DetectorInfo, Detectors};
pub use factory::OrtFactory;

use crate::config::{CameraConfig, DetectorConfig};
use crate::infer::{InferError, StreamId};
use crate::schedule::allowance::Budget;
use crate::skip::SkipMode;
use detectors::DetectorHandle;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// All running cameras.
pub struct Pipeline {
    cameras: Vec<Camera>,
    detectors: Arc<Detectors>,
    prepared: Prepared,
    around: CameraContext,
    next_stream: u32,
}

/// Detectors that were opened ahead, one a camera, and what they were opened for.
#[derive(Default)]
pub struct Prepared(Vec<(DetectorConfig, Option<SkipMode>, Arc<DetectorHandle>)>);

impl Prepared {
    fn take(&mut self, config: &DetectorConfig, mode: Option<SkipMode>) -> Option<Arc<DetectorHandle>> {
        let i = self.0.iter().position(|(c, m, _)| c == config && *m == mode)?;
        Some(self.0.swap_remove(i).2)
    }
}

/// Why a camera cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("camera {camera}: {source}")]
    Detector { camera: String, source: InferError },
    #[error("camera {camera}: no thread: {source}")]
    Thread { camera: String, source: std::io::Error },
    #[error("camera {camera}: {what}")]
    Model { camera: String, what: String },
}

impl StartError {
    /// Whose it is.
    pub fn camera(&self) -> &str {
        match self {
            Self::Detector { camera, .. } | Self::Thread { camera, .. } | Self::Model { camera, .. } => camera,
        }
    }
}

impl Pipeline {
    pub fn new(detectors: Detectors, around: CameraContext) -> Self {
        Self {
            cameras: Vec::new(),
            detectors: Arc::new(detectors),
            prepared: Prepared::default(),
            around,
            next_stream: 0,
        }
    }

    /// Opens the detectors of cameras that would be new, on whatever thread it is called; [`Pipeline::apply`] finds them.
    ///
    /// # Errors
    /// As [`Pipeline::apply`].
    pub fn preparation(&self, wanted: &[CameraConfig]) -> impl FnOnce() -> Result<Prepared, StartError> + Send + use<> {
        let is_new = |w: &&CameraConfig| {
            !self.cameras.iter().any(|c| c.config.detector == w.detector && c.config.skip_mode == w.skip_mode)
        };
        let new: Vec<CameraConfig> = wanted.iter().filter(is_new).cloned().collect();
        let detectors = self.detectors.clone();
        move || {
            let open = |w: &CameraConfig| {
                let named = |source| StartError::Detector { camera: w.id.clone(), source };
                let handle = detectors.get(&w.detector, w.skip_mode).map_err(named)?;
                Ok((w.detector.clone(), w.skip_mode, handle))
            };
            new.iter().map(open).collect::<Result<_, _>>().map(Prepared)
        }
    }

    /// The next [`Pipeline::apply`] takes what it needs of these.
    pub fn hold(&mut self, prepared: Prepared) {
        self.prepared = prepared;
    }

    /// Brings the running cameras to `wanted`: those that are the same go on undisturbed, those of which only what is
    /// done with their pictures differs go on with that, others are stopped, started or restarted.
    ///
    /// Whatever can fail is done first: on an error nothing changes.
    ///
    /// # Errors
    /// A detector cannot be made, or there are no more threads.
    pub fn apply(&mut self, wanted: &[CameraConfig]) -> Result<(), StartError> {
        let mut prepared = std::mem::take(&mut self.prepared);
        let (mut changes, mut starts) = (Vec::new(), Vec::new());
        for config in wanted.iter().filter(|w| !self.cameras.iter().any(|c| c.config == **w)) {
            let detector = self.detector_of(config, &mut prepared)?;
            if let Some(i) = self.cameras.iter().position(|c| c.can_become(config, &detector)) {
                changes.push((i, config.clone(), detector));
                continue;
            }
            // Cameras behind one switch do not all connect in the same instant.
            let delay = Duration::from_millis(150) * starts.len().min(40) as u32;
            let stream = StreamId(self.next_stream);
            self.next_stream += 1;
            let allowance = self.detectors.allowance.clone();
            let ready = Camera::ready(config.clone(), stream, detector, allowance, delay, &self.around);
            starts.push(ready.map_err(|source| StartError::Thread { camera: config.id.clone(), source })?);
        }
        for (i, config, detector) in changes {
            self.cameras[i].become_as(config, detector);
        }
        let (stay, go): (Vec<_>, Vec<_>) = self.cameras.drain(..).partition(|c| wanted.contains(&c.config));
        self.cameras = stay;
        let end = Instant::now() + Duration::from_secs(3);
        go.iter().for_each(Camera::tell_to_stop);
        for camera in go {
            tracing::info!(camera = camera.config.id, "stopping");
            // Who comes back keeps the place on the board.
            if !wanted.iter().any(|w| w.id == camera.config.id) {
                self.around.board.remove(&camera.config.id);
            }
            camera.stop(end.saturating_duration_since(Instant::now()));
        }
        starts.iter().for_each(Camera::go);
        self.cameras.extend(starts);
        self.around.board.started.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// The detector of a camera: the one that it has, one that was opened ahead, or another; it knows what is asked of it.
    fn detector_of(&self, config: &CameraConfig, prepared: &mut Prepared) -> Result<Arc<DetectorHandle>, StartError> {
        let camera = || config.id.clone();
        // Who goes on with the same detector keeps it.
        let same = |c: &&Camera| {
            let old = &c.config;
            old.id == config.id && old.detector == config.detector && old.skip_mode == config.skip_mode
        };
        let detector = match self.cameras.iter().find(same) {
            Some(camera) => camera.detector.clone(),
            None => match prepared.take(&config.detector, config.skip_mode) {
                Some(detector) => detector,
                None => self
                    .detectors
                    .get(&config.detector, config.skip_mode)
                    .map_err(|source| StartError::Detector { camera: camera(), source })?,
            },
        };
        let info = &detector.info;
        config
            .check_model(&info.model, info.simulated)
            .and_then(|()| config.check_labels(&info.model, &info.labels))
            .map_err(|what| StartError::Model { camera: camera(), what })?;
        for label in config.needless_filters(&info.labels) {
            tracing::warn!(
                camera = config.id,
                model = info.model,
                "the filter for '{label}' is for nothing: the model has no such label"
            );
        }
        Ok(detector)
    }

    /// What all cameras together keep to from now on.
    pub fn set_budget(&self, budget: Budget) {
        self.detectors.allowance.set(budget);
    }

    /// Names of cameras that get frames and put nothing out for `limit`. One whose model fails is among them only if
    /// they all do: to begin anew would hardly mend the one, and cost the others.
    pub fn stuck(&self, limit: Duration) -> Vec<&str> {
        let n_failing = self.cameras.iter().filter(|c| c.is_failing(limit)).count();
        let all_fail = n_failing > 0 && n_failing == self.cameras.iter().filter(|c| c.is_live()).count();
        let is_stuck = |c: &&Camera| c.is_stuck(limit) || (all_fail && c.is_failing(limit));
        let stuck: Vec<&str> = self.cameras.iter().filter(is_stuck).map(|c| c.config.id.as_str()).collect();
        self.around.board.healthy.store(stuck.is_empty() && n_failing == 0, Ordering::Relaxed);
        stuck
    }

    /// Every camera is a clip, and over.
    pub fn is_finished(&self) -> bool {
        !self.cameras.is_empty() && self.cameras.iter().all(Camera::is_finished)
    }

    /// Clips that could not be played to their end, each with the reason.
    pub fn failures(&self) -> Vec<String> {
        let failure = |c: &Camera| c.failure().map(|cause| format!("camera {}: {cause}", c.config.id));
        self.cameras.iter().filter_map(failure).collect()
    }

    /// Stops all cameras; what is being computed comes out, within `deadline` for all together.
    pub fn stop(self, deadline: Duration) {
        let end = Instant::now() + deadline;
        self.cameras.iter().for_each(Camera::tell_to_stop);
        for camera in self.cameras {
            camera.stop(end.saturating_duration_since(Instant::now()));
        }
    }
}
