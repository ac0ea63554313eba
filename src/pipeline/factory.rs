//! The daemon's detectors: opened here once they have been tried elsewhere.

use super::detectors::{DetectorFactory, DetectorInfo};
use super::opener::DetectorOpener;
use super::trial::{TrialVerdict, Trials};
use crate::config::DetectorConfig;
use crate::infer::session::{Provider, Runtime};
use crate::infer::{Detector, InferError};
use crate::models::model::{Model, ModelFolders};
use crate::skip::SkipMode;
use std::sync::Arc;

/// Detectors on ONNX Runtime and the layer engine.
pub struct OrtFactory {
    opener: DetectorOpener,
    trials: Trials,
}

impl OrtFactory {
    pub fn new(runtime: &'static Runtime, folders: ModelFolders) -> Self {
        Self { opener: DetectorOpener::new(runtime, folders), trials: Trials::default() }
    }

    /// Whether a model can be used as configured, on the CPU, and how: in a process of its own, where that is known.
    ///
    /// # Errors
    /// The model cannot be used as configured.
    pub fn examine(
        &self,
        c: &DetectorConfig,
        mode: Option<SkipMode>,
    ) -> Result<(Arc<Model>, TrialVerdict), InferError> {
        let model = Arc::new(self.opener.load(c)?);
        let verdict = match self.trials.pass(c, mode, &model, &self.opener)? {
            Some(verdict) => verdict,
            None => {
                let on_cpu = DetectorConfig { providers: vec![Provider::Cpu], ..c.clone() };
                TrialVerdict::of(&self.opener.open(model.clone(), &on_cpu, mode)?)
            }
        };
        Ok((model, verdict))
    }

    /// Tries a model in a process of its own, where there is need of it.
    ///
    /// # Errors
    /// The model cannot be used as configured.
    pub fn try_out(&self, model: &Model, c: &DetectorConfig, mode: Option<SkipMode>) -> Result<(), InferError> {
        self.trials.pass(c, mode, model, &self.opener).map(|_| ())
    }
}

impl DetectorFactory for OrtFactory {
    fn make(
        &self,
        c: &DetectorConfig,
        mode: Option<SkipMode>,
    ) -> Result<(Box<dyn Detector>, DetectorInfo), InferError> {
        // Read once: what is opened is what was tried.
        let model = Arc::new(self.opener.load(c)?);
        self.try_out(&model, c, mode)?;
        let made = self.opener.open(model.clone(), c, mode)?;
        let (mode, provider, size) = (made.mode, made.provider, c.size.unwrap_or(model.size));
        tracing::info!(model = model.name, %size, %provider, mode = mode.name(), why = made.why,
            library = %self.opener.runtime.library.display(), "detector is ready");
        let info = DetectorInfo {
            model: model.name.clone(),
            labels: model.labels.clone(),
            simulated: model.sidecar.simulated,
            size,
            provider: provider.to_string(),
            mode,
            policy: made.policy,
            state_bytes: made.state_bytes,
        };
        Ok((made.detector, info))
    }
}
