//! What learns, running, and which learned models are in use: laid over the config as what was set is.

use super::error::DaemonError;
use crate::clock::SystemClock;
use crate::config::{Config, LearnConfig};
use crate::learn::in_use::{InUse, NotUsable};
use crate::learn::learner::{LearnContext, Learner};
use crate::models::model::ModelFolders;
use crate::output::Sink;
use crate::output::board::Board;
use crate::output::desk::Desk;
use crate::skip::SkipMode;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Changes that may wait to be taken over.
const WAITING: usize = 64;

/// The learner, and what it had cameras use.
pub struct Learning {
    board: Arc<Board>,
    running: Option<(LearnConfig, Learner)>,
    /// By camera, the sidecar of its learned model.
    models: BTreeMap<String, PathBuf>,
    changes: (Sender<InUse>, Receiver<InUse>),
    failures: (Sender<NotUsable>, Receiver<NotUsable>),
}

impl Learning {
    /// Nobody learns yet.
    pub fn new(board: Arc<Board>) -> Self {
        let (changes, failures) = (bounded(WAITING), bounded(WAITING));
        Self { board, running: None, models: BTreeMap::new(), changes, failures }
    }

    /// Brings what learns to the config; whether it is another one now.
    ///
    /// # Errors
    /// It cannot be started: nobody learns then.
    pub fn apply(&mut self, config: &Config) -> Result<bool, DaemonError> {
        if self.running.as_ref().map(|(c, _)| c) == config.learn.as_ref() {
            return Ok(false);
        }
        // Two cannot be at work in one folder.
        self.running = None;
        self.models.clear();
        while self.changes.1.try_recv().is_ok() {}
        while self.failures.1.try_recv().is_ok() {}
        let Some(learn) = &config.learn else { return Ok(true) };
        let context = LearnContext {
            board: self.board.clone(),
            clock: Arc::new(SystemClock::new()),
            folders: ModelFolders::usual(config.models.as_deref()),
            in_use: self.changes.0.clone(),
            not_usable: self.failures.1.clone(),
        };
        let (learner, in_use) = Learner::start(&learn.settings, &learn.groups, &context)
            .map_err(|e| DaemonError::Other(format!("learning: {e}")))?;
        in_use.iter().for_each(|one| drop(self.use_model(one)));
        self.running = Some((learn.clone(), learner));
        Ok(true)
    }

    /// Where it is asked, and told of events.
    pub fn ends(&self) -> Option<(Desk, Arc<dyn Sink>)> {
        self.running.as_ref().map(|(_, learner)| (learner.desk.clone(), learner.sink.clone()))
    }

    /// Where changes of what is in use come from.
    pub fn in_use(&self) -> Receiver<InUse> {
        self.changes.1.clone()
    }

    /// Takes a change in; what was before comes back.
    pub fn use_model(&mut self, change: &InUse) -> BTreeMap<String, PathBuf> {
        let before = self.models.clone();
        for camera in &change.cameras {
            match &change.model {
                Some(path) => self.models.insert(camera.clone(), path.clone()),
                None => self.models.remove(camera),
            };
        }
        before
    }

    pub fn put_back(&mut self, before: BTreeMap<String, PathBuf>) {
        self.models = before;
    }

    /// Whether a learned model is in use.
    pub fn is_in_use(&self) -> bool {
        !self.models.is_empty()
    }

    /// The learned models in use, by camera.
    pub fn models(&self) -> &BTreeMap<String, PathBuf> {
        &self.models
    }

    /// A camera's learned model is not used any more, nor by others; which it was.
    pub fn leave_out(&mut self, camera: &str) -> Option<PathBuf> {
        let model = self.models.get(camera)?.clone();
        self.models.retain(|_, other| *other != model);
        Some(model)
    }

    /// Tells the learner what cannot be used. It never waits: the learner may be waiting for this thread.
    pub fn tell(&self, failed: NotUsable) {
        if let Err(e) = self.failures.0.try_send(failed) {
            tracing::error!("the learner is not told: {e}");
        }
    }

    /// A config whose cameras have their learned models, and keep the maps that learning begins with.
    pub fn lay_over(&self, mut config: Config) -> Config {
        for camera in &mut config.cameras {
            // Cameras of other modes go on sharing detectors with those that do not learn.
            let may_keep = matches!(camera.skip_mode, None | Some(SkipMode::Layers));
            let running = self.running.as_ref().filter(|_| may_keep);
            let kept = running.and_then(|(_, learner)| learner.kept_maps.get(&camera.id));
            camera.detector.kept_maps = kept.cloned().unwrap_or_default();
            if let Some(path) = self.models.get(&camera.id) {
                camera.detector.model = path.display().to_string();
            }
        }
        config
    }
}
