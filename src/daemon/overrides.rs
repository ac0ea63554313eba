//! What was set while the daemon ran: kept apart from the config, in a file of its own, and laid
//! over it at every start and reload.

use crate::config::{Config, state_directory};
use crate::files::{read_at_most, write_whole};
use crate::output::{Command, Setting};
use crate::skip::ModeChoice;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Largest file that is read.
const MAX_BYTES: u64 = 1 << 20;
const FILE: &str = "overrides.json";

/// Everything that was set, by camera.
#[derive(Debug, Default)]
pub struct Overrides {
    cameras: BTreeMap<String, Override>,
    /// `None`: forgotten at the end.
    path: Option<PathBuf>,
}

/// What was set of one camera.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Override {
    #[serde(skip_serializing_if = "Option::is_none")]
    detection: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    skip_mode: Option<ModeChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<f32>,
}

impl Overrides {
    /// What is kept in `STATE_DIRECTORY`. A file that cannot be read is said, and left out.
    pub fn from_environment() -> Self {
        let path = state_directory().map(|folder| folder.join(FILE));
        let mut overrides = Self { cameras: BTreeMap::new(), path };
        match overrides.read() {
            Ok(cameras) => overrides.cameras = cameras,
            Err(e) => tracing::warn!("what was set while running is lost: {e}"),
        }
        overrides
    }

    fn read(&self) -> Result<BTreeMap<String, Override>, String> {
        let Some(path) = self.path.as_ref().filter(|p| p.exists()) else { return Ok(BTreeMap::new()) };
        let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
        let text = read_at_most(path, MAX_BYTES, "what was set").map_err(|e| named(&e))?;
        serde_json::from_slice(&text).map_err(|e| named(&e))
    }

    /// What was set of a camera.
    pub fn get(&self, camera: &str) -> Option<Override> {
        self.cameras.get(camera).copied()
    }

    /// Undoes what was set of a camera since [`Overrides::get`].
    pub fn put_back(&mut self, camera: &str, before: Option<Override>) {
        match before {
            Some(before) => self.cameras.insert(camera.into(), before),
            None => self.cameras.remove(camera),
        };
    }

    pub fn is_empty(&self) -> bool {
        self.cameras.is_empty()
    }

    /// Forgets everything; the file stays until something is set again.
    pub fn clear(&mut self) {
        self.cameras.clear();
    }

    /// Where it is kept, in words.
    pub fn place(&self) -> String {
        self.path.as_ref().map_or_else(|| "memory alone".into(), |p| p.display().to_string())
    }

    /// Takes a command in.
    pub fn set(&mut self, command: &Command) {
        let camera = self.cameras.entry(command.camera.clone()).or_default();
        match command.setting {
            Setting::Detection(on) => camera.detection = on,
            Setting::SkipMode(mode) => camera.skip_mode = mode,
            Setting::Score(score) => camera.score = score,
        }
        if *camera == Override::default() {
            self.cameras.remove(&command.camera);
        }
    }

    /// What a new config says in vain, for the log.
    pub fn hidden(&self, before: &Config, now: &Config) -> Vec<String> {
        let mut hidden = Vec::new();
        for (camera, set) in &self.cameras {
            let of = |config: &Config| {
                let camera = config.cameras.iter().find(|c| c.id == *camera)?;
                Some((camera.detect, camera.skip_mode, camera.detector.score))
            };
            let (Some(before), Some(now)) = (of(before), of(now)) else { continue };
            let keys = [
                ("detect", set.detection.is_some() && before.0 != now.0),
                ("skip.mode", set.skip_mode.is_some() && before.1 != now.1),
                ("detector.score", set.score.is_some() && before.2 != now.2),
            ];
            hidden.extend(keys.iter().filter(|(_, is_hidden)| *is_hidden).map(|(key, _)| format!("{camera}: {key}")));
        }
        hidden
    }

    /// Keeps what was set for the next start.
    ///
    /// # Errors
    /// It cannot be written, or there is no state directory.
    pub fn write(&self) -> io::Result<()> {
        let none = || io::Error::new(io::ErrorKind::NotFound, "there is no STATE_DIRECTORY");
        let path = self.path.as_ref().ok_or_else(none)?;
        write_whole(path, &serde_json::to_vec_pretty(&self.cameras)?)
    }

    /// The config as it is to run.
    pub fn apply(&self, config: &Config) -> Config {
        let mut config = config.clone();
        for camera in &mut config.cameras {
            let Some(set) = self.cameras.get(&camera.id) else { continue };
            camera.detect = set.detection.unwrap_or(camera.detect);
            camera.skip_mode = set.skip_mode.map_or(camera.skip_mode, ModeChoice::fixed);
            camera.detector.score = set.score.unwrap_or(camera.detector.score);
        }
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::SkipMode;

    #[test]
    fn what_was_set_outlives_the_daemon_and_yields_to_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = Some(folder.path().join(FILE));
        let config = "[cameras.a]\nsource = \"sim://street\"\n[cameras.b]\nsource = \"sim://street\"\n";
        let config = crate::config::load_text("x", config, std::iter::empty()).unwrap();
        let mut overrides = Overrides { cameras: BTreeMap::new(), path: path.clone() };
        for setting in
            [Setting::Detection(Some(false)), Setting::SkipMode(Some(ModeChoice::Regions)), Setting::Score(Some(0.7))]
        {
            overrides.set(&Command { camera: "a".into(), setting });
        }
        overrides.set(&Command { camera: "b".into(), setting: Setting::SkipMode(Some(ModeChoice::Auto)) });
        overrides.write().unwrap();
        let mut again = Overrides { cameras: BTreeMap::new(), path: path.clone() };
        again.cameras = again.read().unwrap();
        let set = again.apply(&config);
        let [a, b] = &set.cameras[..] else { panic!() };
        assert_eq!((a.detect, a.skip_mode, a.detector.score), (false, Some(SkipMode::Regions), 0.7));
        assert_eq!((b.detect, b.skip_mode), (true, None));
        let mut edited = config.clone();
        (edited.cameras[0].detector.score, edited.cameras[1].detector.score) = (0.5, 0.5);
        assert_eq!(again.hidden(&config, &edited), ["a: detector.score"], "of b it is not set");
        again.set(&Command { camera: "a".into(), setting: Setting::Score(None) });
        assert_eq!(again.apply(&edited).cameras[0].detector.score, 0.5, "as the config has it");
        again.set(&Command { camera: "b".into(), setting: Setting::SkipMode(None) });
        assert_eq!(again.get("b"), None, "nothing is left of it");
        std::fs::write(path.as_ref().unwrap(), "{\"a\": 3}").unwrap();
        assert!(again.read().unwrap_err().contains(FILE));
    }
}
