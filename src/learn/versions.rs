//! Which learned model is in use, which waits, and what was spent: one small file, whole or not there.
//!
//! A model's files are written first, this file last: whenever the power goes, it names files that are there.

use super::error::LearnError;
use super::gate::Judgement;
use crate::files::{read_at_most, write_whole};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Largest file that is read.
const MOST: u64 = 1 << 20;
/// Learned models that are kept beside those that are named.
const KEPT: u32 = 3;
const DAY_MS: u64 = 86_400_000;

/// The last run of learning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastRun {
    /// When it ended, seconds since 1970 UTC.
    pub time: f64,
    pub seconds: f64,
    pub curve: Vec<f32>,
    #[serde(flatten)]
    pub verdict: Judgement,
}

/// As it stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Versions {
    /// SHA-256 of the model that all of them were learned from.
    pub base: String,
    /// In use; `None`: the base.
    pub current: Option<u32>,
    /// In use before it; `None`: the base.
    pub previous: Option<u32>,
    /// Learned, and not accepted yet.
    pub waiting: Option<u32>,
    /// The number of the last one.
    pub last_number: u32,
    /// Milliseconds of learning, and of which day.
    pub spent_ms: u64,
    pub day: u64,
    pub last: Option<LastRun>,
    /// The number of the latest mark that was learned from.
    pub learned_mark: u64,
    /// Why the one that was in use last is not.
    pub trouble: Option<String>,
}

/// Why a learned model is not in use any more.
pub fn not_usable(n: u32, why: &str) -> String {
    format!("learned {n} cannot be used, and what was before it is in use: {why}")
}

impl Versions {
    /// What is kept in a group's folder, for a base; of another base nothing is kept but the numbers. A file that is damaged
    /// is put away, and all begins anew; what is lost is said.
    pub fn open(folder: &Path, base: &str) -> (Self, Vec<String>) {
        let path = folder.join("state.json");
        let blank = || Self { base: base.into(), ..Self::default() };
        let read = match read_at_most(&path, MOST, "the state of learning") {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && numbers(folder).is_empty() => {
                return (blank(), Vec::new());
            }
            Err(e) => Err(e.to_string()),
            Ok(text) => match serde_json::from_slice::<Self>(&text) {
                Ok(state) if state.base.is_empty() => Err("it names no base".into()),
                read => read.map_err(|e| e.to_string()),
            },
        };
        match read {
            Ok(mut state) if state.base == base => {
                let mut lost = Vec::new();
                for n in [&mut state.previous, &mut state.waiting] {
                    let gone = n.map(|n| model_file(folder, n)).filter(|path| !path.is_file());
                    if let Some(path) = gone {
                        lost.push(format!("{}: a learned model is gone, and is not used", path.display()));
                        *n = None;
                    }
                }
                if let Some(n) = state.current.filter(|n| !model_file(folder, *n).is_file()) {
                    let why = not_usable(n, &format!("{} is no file", model_file(folder, n).display()));
                    lost.push(why.clone());
                    state.step_back(why);
                }
                (state, lost)
            }
            Ok(state) => {
                let said = "the model is another one: what was learned from the one before is not used".to_owned();
                (Self { last_number: state.last_number, ..blank() }, vec![said])
            }
            Err(e) => {
                let last_number = numbers(folder).into_iter().max().unwrap_or(0);
                // Else a folder of that name would be in the way for ever.
                let _ = std::fs::rename(&path, path.with_extension("damaged"));
                (Self { last_number, ..blank() }, vec![format!("{}: {e}; the base model is used", path.display())])
            }
        }
    }

    /// # Errors
    /// It cannot be written.
    pub fn write(&self, folder: &Path) -> Result<(), LearnError> {
        let path = folder.join("state.json");
        let text = serde_json::to_vec_pretty(self).map_err(|e| LearnError::file(&path, &e))?;
        write_whole(&path, &text).map_err(|e| LearnError::file(&path, &e))
    }

    /// Milliseconds that were spent on the day of `now_ms`.
    pub fn spent_ms(&self, now_ms: u64) -> u64 {
        if self.day == now_ms / DAY_MS { self.spent_ms.min(DAY_MS) } else { 0 }
    }

    pub fn spend(&mut self, ms: u64, now_ms: u64) {
        self.spent_ms = self.spent_ms(now_ms) + ms;
        self.day = now_ms / DAY_MS;
    }

    /// What was noted as spent and was not.
    pub fn refund(&mut self, ms: u64, now_ms: u64) {
        self.spent_ms = self.spent_ms(now_ms).saturating_sub(ms);
        self.day = now_ms / DAY_MS;
    }

    /// What was in use before is in use.
    pub fn step_back(&mut self, why: String) {
        (self.current, self.previous, self.trouble) = (self.previous, None, Some(why));
    }

    /// Erases models that nobody names any more, but the last few.
    pub fn tidy(&self, folder: &Path) {
        let named = [self.current, self.previous, self.waiting];
        for n in numbers(folder) {
            if !named.contains(&Some(n)) && n.saturating_add(KEPT) <= self.last_number {
                for ending in ["onnx", "toml", "report.json"] {
                    let _ = std::fs::remove_file(folder.join("models").join(format!("{n:04}.{ending}")));
                }
            }
        }
    }
}

/// The sidecar of a learned model, by which it is loaded.
pub fn model_file(folder: &Path, n: u32) -> PathBuf {
    folder.join("models").join(format!("{n:04}.toml"))
}

fn numbers(folder: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(folder.join("models")).map(|all| all.flatten().collect::<Vec<_>>());
    let number = |e: std::fs::DirEntry| e.path().file_stem()?.to_str()?.split('.').next()?.parse().ok();
    let mut all: Vec<u32> = entries.unwrap_or_default().into_iter().filter_map(number).collect();
    all.sort_unstable();
    all.dedup();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_is_there_and_of_this_base() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("models")).unwrap();
        let (mut state, said) = Versions::open(folder.path(), "abc");
        assert!(said.is_empty() && state.current.is_none());
        for n in 1..=8 {
            std::fs::write(model_file(folder.path(), n), "").unwrap();
        }
        (state.current, state.previous, state.waiting, state.last_number) = (Some(2), Some(99), None, 8);
        state.spend(500, 3 * DAY_MS);
        state.write(folder.path()).unwrap();
        state.tidy(folder.path());
        assert_eq!(numbers(folder.path()), [2, 6, 7, 8]);
        let (mut again, said) = Versions::open(folder.path(), "abc");
        assert_eq!((again.current, again.previous), (Some(2), None), "what is gone is not named");
        assert!(said.len() == 1 && said[0].contains("0099"), "{said:?}");
        assert_eq!((again.spent_ms(3 * DAY_MS + 7), again.spent_ms(4 * DAY_MS)), (500, 0));
        again.refund(600, 3 * DAY_MS);
        assert_eq!(again.spent_ms(3 * DAY_MS), 0);
        std::fs::remove_file(model_file(folder.path(), 2)).unwrap();
        (state.previous, state.spent_ms) = (Some(7), 0);
        state.write(folder.path()).unwrap();
        let (again, said) = Versions::open(folder.path(), "abc");
        assert_eq!((again.current, again.previous), (Some(7), None), "the one before is used");
        assert!(said.len() == 1 && said.last() == again.trouble.as_ref(), "{said:?}");
        let (other, said) = Versions::open(folder.path(), "another");
        assert!(said.iter().any(|s| s.contains("another one")) && other.current.is_none() && other.last_number == 8);
        std::fs::write(folder.path().join("state.json"), "{").unwrap();
        for _ in 0..2 {
            // Damaged; then gone, as what is damaged is put away.
            let (blank, said) = Versions::open(folder.path(), "abc");
            assert!(said.iter().any(|s| s.contains("state.json")) && blank.last_number == 8, "no number comes twice");
        }
    }
}
