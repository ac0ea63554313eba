//! One place that chooses and opens detectors, for the daemon and for `passd eval`.

use super::detector::{DenseDetector, RegionsDetector};
use super::layers::{LayersDetector, LayersSettings, Plans};
use super::plan::PlanSettings;
use super::session::{Provider, Runtime, SessionSettings};
use super::{Detector, InferError};
use crate::detect::heads::Thresholds;
use crate::geom::Size;
use crate::models::model::Model;
use crate::skip::SkipMode;
use engine::exec::stream::Stream;
use engine::gating::policy::Policy;
use engine::gating::profile::Profile;
use engine::kernels::Kernels;
use std::sync::Arc;

/// Everything that a detector of any mode is made of.
#[derive(Debug, Clone)]
pub struct DetectorSpec {
    pub model: Arc<Model>,
    pub size: Size,
    /// Of what is reported; detectors hand on fainter ones ([`Thresholds::faint`]).
    pub thresholds: Thresholds,
    pub session: SessionSettings,
    pub regions: PlanSettings,
    /// Numbers of regions that run at once.
    pub batches: Vec<usize>,
    pub layers: LayersSettings,
    /// Gates of the layer engine; `None`: safe defaults.
    pub profile: Option<Profile>,
    pub plans: Plans,
}

/// A detector, and what it turned out to be.
pub struct Opened {
    pub detector: Box<dyn Detector>,
    pub mode: SkipMode,
    pub provider: Provider,
    /// Memory that each stream needs beside the model; 0 where frames leave nothing behind.
    pub state_bytes: usize,
    /// By what is decided.
    pub policy: Policy,
    /// Why this mode; for the log.
    pub why: String,
}

impl DetectorSpec {
    /// Opens a detector of the given mode, or of the best one that works.
    ///
    /// # Errors
    /// The model cannot be used like this.
    pub fn make(&self, runtime: &Runtime, mode: Option<SkipMode>) -> Result<Opened, InferError> {
        match mode {
            Some(mode) => self.open(runtime, mode, "configured".into()),
            None => self.choose(runtime),
        }
    }

    fn choose(&self, runtime: &Runtime) -> Result<Opened, InferError> {
        let dense = DenseDetector::open(runtime, self.model.clone(), self.size, self.thresholds, &self.session);
        let (provider, refused_by_runtime) = match dense {
            Ok(dense) => (dense.provider(), None),
            // Where the processor may serve.
            Err(e) if self.session.providers.contains(&Provider::Cpu) => (Provider::Cpu, Some(e)),
            Err(e) => return Err(e),
        };
        let kernels = Kernels::best();
        let refused = if provider != Provider::Cpu {
            format!("{provider} runs whole layers only")
        } else if !kernels.is_fast() {
            "this processor has no fused multiply-add that the layer engine could use".into()
        } else {
            let mut why = format!("the layer engine runs this model ({})", kernels.name);
            if let Some(e) = &refused_by_runtime {
                why += &format!("; ONNX Runtime does not: {e}");
            }
            match self.open(runtime, SkipMode::Layers, why) {
                Ok(made) => return Ok(made),
                Err(e) => e.to_string(),
            }
        };
        if let Some(e) = refused_by_runtime {
            return Err(e);
        }
        if self.model.sidecar.input.multiple_of.is_some() {
            return self.open(runtime, SkipMode::Regions, format!("not layers: {refused}"));
        }
        let why = format!("not layers: {refused}; not regions: the model runs at its own size only");
        self.open(runtime, SkipMode::Off, why)
    }

    fn open(&self, runtime: &Runtime, mode: SkipMode, why: String) -> Result<Opened, InferError> {
        let mut state_bytes = 0;
        let mut policy = Policy::default();
        let (model, size, t) = (self.model.clone(), self.size, self.thresholds.faint());
        let (detector, provider): (Box<dyn Detector>, Provider) = match mode {
            SkipMode::Off => {
                let d = DenseDetector::open(runtime, model, size, t, &self.session)?;
                let provider = d.provider();
                (Box::new(d), provider)
            }
            SkipMode::Regions => {
                let (plan, batches) = (self.regions.clone(), &self.batches);
                let d = RegionsDetector::open(runtime, model, size, t, plan, batches, &self.session)?;
                let provider = d.provider();
                (Box::new(d), provider)
            }
            SkipMode::Layers => {
                let layers = LayersSettings { reported: Some(self.thresholds.score), ..self.layers.clone() };
                let (threads, profile) = (self.session.threads, self.profile.as_ref());
                let d = LayersDetector::open(model, size, t, layers, threads, profile, &self.plans)?;
                state_bytes = Stream::bytes_of(d.plan());
                policy = d.policy().clone();
                (Box::new(d), Provider::Cpu)
            }
        };
        Ok(Opened { detector, mode, provider, state_bytes, policy, why })
    }
}
