//! Detector threads: one for every distinct way to detect, shared by all
//! cameras that ask for it.
//!
//! Jobs wait in a bounded channel in the order in which they came, so that
//! cameras take turns. A camera has at most one job under way.

use crate::config::DetectorConfig;
use crate::frame::Frame;
use crate::geom::{PatchMask, Size};
use crate::infer::detector::{DenseDetector, RegionsDetector};
use crate::infer::layers::{LayersDetector, LayersSettings};
use crate::infer::model::{Model, ModelFolders};
use crate::infer::plan::PlanSettings;
use crate::infer::session::Runtime;
use crate::infer::{Detection, Detector, Fresh, InferError, StreamId, Work};
use crate::skip::SkipMode;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// What a camera hands over, and gets back with `fresh` filled in. Its buffers
/// travel to and fro, so that a frame allocates none.
pub struct Job {
    pub stream: StreamId,
    pub frame: Frame,
    pub patches: PatchMask,
    pub known: Vec<Detection>,
    pub fresh: Fresh,
    pub result: Result<(), InferError>,
    /// Time the detector took, without the wait for its turn.
    pub took: Duration,
    pub reply: Sender<Job>,
}

/// What a detector turned out to be.
#[derive(Debug, Clone)]
pub struct DetectorInfo {
    pub model: String,
    pub labels: Arc<[String]>,
    pub size: Size,
    pub provider: String,
    pub mode: SkipMode,
}

/// Makes detectors. The daemon's is [`OrtFactory`]; tests bring their own.
pub trait DetectorFactory: Send + Sync {
    /// # Errors
    /// The model cannot be used as configured.
    fn make(
        &self,
        config: &DetectorConfig,
        mode: Option<SkipMode>,
    ) -> Result<(Box<dyn Detector>, DetectorInfo), InferError>;
}

/// A running detector.
pub struct DetectorHandle {
    pub jobs: Sender<Job>,
    pub info: DetectorInfo,
}

/// All running detectors; one ends when no camera uses it any more.
pub struct Detectors {
    factory: Arc<dyn DetectorFactory>,
    running: Mutex<Vec<Running>>,
}

/// What a detector was made of, and the detector while somebody uses it.
type Running = (DetectorConfig, Option<SkipMode>, Weak<DetectorHandle>);

impl Detectors {
    pub fn new(factory: Arc<dyn DetectorFactory>) -> Self {
        Self { factory, running: Mutex::default() }
    }

    /// The detector for this configuration, made if there is none yet.
    ///
    /// # Errors
    /// As [`DetectorFactory::make`].
    pub fn get(&self, config: &DetectorConfig, mode: Option<SkipMode>) -> Result<Arc<DetectorHandle>, InferError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(_, _, handle)| handle.strong_count() > 0);
        let same = running.iter().find(|(c, m, _)| c == config && *m == mode);
        if let Some(handle) = same.and_then(|(_, _, handle)| handle.upgrade()) {
            return Ok(handle);
        }
        let (mut detector, info) = self.factory.make(config, mode)?;
        let (jobs, queue) = bounded::<Job>(64);
        let name = format!("detect-{}", info.model);
        std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || work(detector.as_mut(), &queue))
            .map_err(|e| InferError::Runtime(format!("no thread for a detector: {e}")))?;
        let handle = Arc::new(DetectorHandle { jobs, info });
        running.push((config.clone(), mode, Arc::downgrade(&handle)));
        Ok(handle)
    }
}

fn work(detector: &mut dyn Detector, queue: &Receiver<Job>) {
    for mut job in queue {
        let start = Instant::now();
        let work = Work { frame: &job.frame, patches: &job.patches, known: &job.known };
        job.result = detector.detect(job.stream, &work, &mut job.fresh);
        job.took = start.elapsed();
        // A camera that was removed meanwhile wants no answer.
        let reply = job.reply.clone();
        let _ = reply.send(job);
    }
}

/// Detectors on ONNX Runtime.
pub struct OrtFactory {
    pub runtime: &'static Runtime,
    pub folders: ModelFolders,
}

impl DetectorFactory for OrtFactory {
    fn make(
        &self,
        c: &DetectorConfig,
        mode: Option<SkipMode>,
    ) -> Result<(Box<dyn Detector>, DetectorInfo), InferError> {
        let model = Arc::new(Model::load(&c.model, &self.folders)?);
        let size = c.size.unwrap_or(model.size);
        model.check_size(size)?;
        let lattice = model.sidecar.input.multiple_of;
        let mode = mode.unwrap_or(if lattice.is_some() { SkipMode::Regions } else { SkipMode::Off });
        let (thresholds, session) = (c.thresholds(), c.session());
        let (detector, provider): (Box<dyn Detector>, _) = match mode {
            SkipMode::Off => {
                let d = DenseDetector::open(self.runtime, model.clone(), size, thresholds, &session)?;
                let provider = d.provider();
                (Box::new(d), provider)
            }
            SkipMode::Regions => {
                let mut plan = PlanSettings::for_input(size, lattice.unwrap_or(32));
                plan.context = c.context.unwrap_or(plan.context);
                plan.break_even = c.break_even.unwrap_or(plan.break_even);
                let d =
                    RegionsDetector::open(self.runtime, model.clone(), size, thresholds, plan, &[c.batch], &session)?;
                let provider = d.provider();
                (Box::new(d), provider)
            }
            SkipMode::Layers => {
                let layers = LayersSettings::default();
                (
                    Box::new(LayersDetector::open(model.clone(), size, thresholds, layers, None)?),
                    super::super::infer::session::Provider::Cpu,
                )
            }
        };
        tracing::info!(model = model.name, %size, %provider, mode = mode.name(), library = %self.runtime.library.display(), "detector is ready");
        let info = DetectorInfo {
            model: model.name.clone(),
            labels: model.labels.clone(),
            size,
            provider: provider.to_string(),
            mode,
        };
        Ok((detector, info))
    }
}
