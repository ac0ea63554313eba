//! From a detector's config to an open one: its model found, read and checked, and set up for a mode.

use crate::config::DetectorConfig;
use crate::infer::InferError;
use crate::infer::factory::{DetectorSpec, Opened};
use crate::infer::layers::{LayersSettings, Plans};
use crate::infer::plan::PlanSettings;
use crate::infer::session::Runtime;
use crate::models::model::{Model, ModelFolders};
use crate::models::profiles;
use crate::skip::SkipMode;
use std::sync::Arc;

/// Opens detectors on ONNX Runtime and the layer engine. Nothing is tried in another process here.
pub struct DetectorOpener {
    pub runtime: &'static Runtime,
    pub folders: ModelFolders,
    plans: Plans,
}

impl DetectorOpener {
    pub fn new(runtime: &'static Runtime, folders: ModelFolders) -> Self {
        Self { runtime, folders, plans: Plans::default() }
    }

    /// Reads the model that is asked for.
    ///
    /// # Errors
    /// There is none of that name, it cannot be read, or not be run at this size.
    pub fn load(&self, c: &DetectorConfig) -> Result<Model, InferError> {
        let model = Model::load(&c.model, &self.folders)?;
        model.check_size(c.size.unwrap_or(model.size))?;
        Ok(model)
    }

    /// Opens a detector of a model.
    ///
    /// # Errors
    /// The model cannot be used as configured.
    pub fn open(&self, model: Arc<Model>, c: &DetectorConfig, mode: Option<SkipMode>) -> Result<Opened, InferError> {
        let size = c.size.unwrap_or(model.size);
        let mut regions = PlanSettings::for_input(size, model.sidecar.input.multiple_of.unwrap_or(32));
        regions.context = c.context.unwrap_or(regions.context);
        regions.break_even = c.break_even.unwrap_or(regions.break_even);
        let spec = DetectorSpec {
            profile: profiles::find(&model, &self.folders, None)?,
            model,
            size,
            thresholds: c.thresholds(),
            session: c.session(),
            regions,
            batches: vec![c.batch],
            layers: LayersSettings { kept_maps: c.kept_maps.names.clone(), ..LayersSettings::default() },
            plans: self.plans.clone(),
        };
        spec.make(self.runtime, mode)
    }
}
