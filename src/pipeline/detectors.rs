//! Detector threads: one or a few for every distinct way to detect, shared by
//! all cameras that ask for it.
//!
//! Who hands in a job has the detector's turn ([`super::turns`]), so that there
//! is one at a time.

use super::turns::{SharedAllowance, Turns};
use crate::config::DetectorConfig;
use crate::detect::Detection;
use crate::frame::Frame;
use crate::geom::{PatchMask, Size};
use crate::infer::tap::WholeMap;
use crate::infer::{Detector, InferError, Inference, StreamId, Work};
use crate::skip::SkipMode;
use crossbeam_channel::{Receiver, Sender, bounded};
use engine::gating::policy::Policy;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};
use tracing_mutex::stdsync::Mutex;

/// Name of the provider whose runs do not wait for one another.
const CPU: &str = "cpu";

/// What a camera hands over, and gets back with `fresh` filled in. Its buffers
/// travel to and fro, so that a frame allocates none.
pub struct Job {
    pub stream: StreamId,
    pub frame: Frame,
    pub patches: PatchMask,
    pub known: Vec<Detection>,
    pub max_age_ns: u64,
    pub wants_maps: bool,
    pub fresh: Inference,
    /// Where they were wanted, and the detector keeps some.
    pub maps: Vec<WholeMap>,
    pub result: Result<(), InferError>,
    /// Time the detector took, without the wait for its turn.
    pub took: Duration,
    pub reply: Sender<Job>,
}

/// What a camera wants of a detector.
#[expect(clippy::large_enum_variant, reason = "nearly all are jobs, and a box would be an allocation a frame")]
enum Request {
    Detect(Job),
    /// The stream has ended: its state goes.
    Forget(StreamId),
}

/// What a detector turned out to be.
#[derive(Debug, Clone)]
pub struct DetectorInfo {
    pub model: String,
    pub labels: Arc<[String]>,
    /// For `sim://` alone.
    pub simulated: bool,
    pub size: Size,
    pub provider: String,
    pub mode: SkipMode,
    /// By what is decided.
    pub policy: Policy,
    /// Memory that each stream needs beside the model; 0 where frames leave nothing behind.
    pub state_bytes: usize,
}

/// Makes detectors. The daemon's is [`super::OrtFactory`]; tests bring their own.
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
    requests: Sender<Request>,
    pub info: DetectorInfo,
    pub turns: Arc<Turns>,
}

impl DetectorHandle {
    /// Queues a job, whose answer comes over its `reply`; false: the detector is gone.
    pub fn detect(&self, job: Job) -> bool {
        self.requests.send(Request::Detect(job)).is_ok()
    }

    /// Lets go of what the detector keeps for a stream.
    pub fn forget(&self, stream: StreamId) {
        // A detector that is gone has forgotten everything.
        let _ = self.requests.send(Request::Forget(stream));
    }
}

/// All running detectors; one ends when no camera uses it any more.
pub struct Detectors {
    factory: Arc<dyn DetectorFactory>,
    running: Mutex<Vec<Running>>,
    pub(super) allowance: Arc<SharedAllowance>,
}

/// What a detector was made of, and the detector while somebody uses it.
type Running = (DetectorConfig, Option<SkipMode>, Weak<DetectorHandle>);

impl Detectors {
    pub fn new(factory: Arc<dyn DetectorFactory>) -> Self {
        Self { factory, running: Mutex::default(), allowance: Arc::default() }
    }

    /// A detector for this configuration: a new one while there may be more of them at a time, then the one
    /// with the fewest cameras.
    ///
    /// # Errors
    /// As [`DetectorFactory::make`].
    pub fn get(&self, config: &DetectorConfig, mode: Option<SkipMode>) -> Result<Arc<DetectorHandle>, InferError> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(_, _, handle)| handle.strong_count() > 0);
        let same: Vec<_> = running.iter().filter(|(c, m, _)| c == config && *m == mode).collect();
        let least = same.iter().min_by_key(|(.., handle)| handle.strong_count());
        if let Some(handle) = least.and_then(|(.., handle)| handle.upgrade())
            && same.len() >= most_workers(config, &handle.info)
        {
            return Ok(handle);
        }
        let (mut detector, info) = self.factory.make(config, mode)?;
        let (requests, queue) = bounded(64);
        let name = format!("detect-{}", info.model);
        std::thread::Builder::new()
            .name(name.chars().take(15).collect())
            .spawn(move || work(detector.as_mut(), &queue))
            .map_err(|e| InferError::Runtime(format!("no thread for a detector: {e}")))?;
        let turns = Turns::new(self.allowance.clone());
        let handle = Arc::new(DetectorHandle { requests, info, turns });
        running.push((config.clone(), mode, Arc::downgrade(&handle)));
        Ok(handle)
    }
}

/// How many detectors of a kind may run at a time.
fn most_workers(config: &DetectorConfig, info: &DetectorInfo) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match (config.workers, info.mode) {
        // A device does one thing after the other.
        _ if info.provider != CPU => 1,
        (Some(n), _) => n,
        // Each would open a session for every shape of a region.
        (None, SkipMode::Regions) => 1,
        (None, SkipMode::Off | SkipMode::Layers) => cores.checked_div(config.threads).unwrap_or(1).max(1),
    }
}

fn work(detector: &mut dyn Detector, queue: &Receiver<Request>) {
    for request in queue {
        let mut job = match request {
            Request::Detect(job) => job,
            Request::Forget(stream) => {
                detector.forget(stream);
                continue;
            }
        };
        let start = Instant::now();
        let work = Work { frame: &job.frame, patches: &job.patches, known: &job.known, max_age_ns: job.max_age_ns };
        job.result = detector.detect(job.stream, &work, &mut job.fresh);
        if job.wants_maps && job.result.is_ok() {
            job.maps = detector.read_maps(job.stream);
        }
        job.took = start.elapsed();
        // A camera that was removed meanwhile wants no answer.
        let reply = job.reply.clone();
        let _ = reply.send(job);
    }
}
