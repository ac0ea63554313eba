//! Before and after as pictures: what the weights in use report of kept pictures, and what the new ones report of them.
//!
//! Kept of the last run, in `GROUP/pairs.json`; the pictures themselves are the samples' own, and go with them.

use super::error::LearnError;
use super::net::LearnNet;
use super::sample::Sample;
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::eval::score::IOU;
use crate::files::{read_at_most, write_whole};
use crate::geom::{Letterbox, Size};
use engine::kernels::Kernels;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use train::float::FloatTrainer;
use train::params::Params;

/// Pictures that are shown of a run; of marked ones so many at most, as long as others differ.
const SHOWN: usize = 6;
const SHOWN_MARKED: usize = 4;
/// Pictures that are looked at, marked ones and held-out ones each.
const LOOKED_AT: usize = 40;
/// Boxes that are kept of a picture with some weights, the surest.
const BOXES: usize = 50;
/// Largest file that is read.
const MOST: u64 = 1 << 20;

/// What is reported of a kept picture with the weights in use, and with the new ones.
#[derive(Debug, Clone, PartialEq)]
pub struct SeenTwice {
    pub sample: String,
    pub before: Vec<Detection>,
    pub after: Vec<Detection>,
}

impl SeenTwice {
    /// How sure all that is reported with one of them alone is, together.
    fn difference(&self) -> f32 {
        let alone =
            |a: &[Detection], b: &[Detection]| a.iter().filter(|d| !is_among(d, b)).map(|d| d.score).sum::<f32>();
        alone(&self.before, &self.after) + alone(&self.after, &self.before)
    }

    /// As it is kept: of a camera's picture of `source` at `time_ms` since 1970, seen by a model of `input` with `labels`.
    pub fn described(&self, camera: &str, time_ms: u64, source: Size, input: Size, labels: &[String]) -> PicturePair {
        let letterbox = Letterbox::fit(source, input);
        let boxes = |these: &[Detection], others: &[Detection]| {
            let described = |d: &Detection| PairBox {
                label: labels.get(usize::from(d.class)).cloned().unwrap_or_default(),
                score: d.score,
                bbox: letterbox.to_source(&d.bbox).to_array(),
                differs: !is_among(d, others),
            };
            these.iter().map(described).collect()
        };
        PicturePair {
            sample: self.sample.clone(),
            camera: camera.into(),
            time: time_ms as f64 / 1e3,
            width: source.width,
            height: source.height,
            before: boxes(&self.before, &self.after),
            after: boxes(&self.after, &self.before),
        }
    }
}

/// Whether others report it, too.
fn is_among(d: &Detection, others: &[Detection]) -> bool {
    others.iter().any(|o| o.class == d.class && o.bbox.iou(&d.bbox) >= IOU)
}

/// Of the pictures that people marked, and of those that were held out, the ones of which most is reported otherwise with
/// the weights `after` than `before`; the marked ones first. `score` is the least that is reported. `None`: it was stopped.
pub fn differing(
    net: &LearnNet,
    [before, after]: [&Params; 2],
    (learned, held_out): (&[Sample], &[Sample]),
    marked: &BTreeSet<String>,
    score: f32,
    go_on: &mut dyn FnMut() -> ControlFlow<()>,
) -> Option<Vec<SeenTwice>> {
    let is_marked = |s: &&Sample| s.picture.as_ref().is_some_and(|name| marked.contains(name));
    let all = learned.iter().chain(held_out);
    let held = held_out.iter().filter(|s| s.picture.is_some() && !is_marked(s));
    let mut trainer = FloatTrainer::new(net.plan(), 1, Kernels::best());
    let mut look = |samples: Vec<&Sample>| {
        let step = samples.len().div_ceil(LOOKED_AT).max(1);
        let mut seen = Vec::new();
        for sample in samples.into_iter().step_by(step) {
            if go_on().is_break() {
                return None;
            }
            net.feed(&mut trainer, &[&sample.latents]);
            let mut found = |params: &Params| {
                let mut found = net.shown(&mut trainer, params, Thresholds { score, iou: 0.5 });
                found.sort_by(|a, b| b.score.total_cmp(&a.score));
                found.truncate(BOXES);
                found
            };
            let (before, after) = (found(before), found(after));
            seen.push(SeenTwice { sample: sample.picture.clone().unwrap_or_default(), before, after });
        }
        Some(most_different(seen))
    };
    let (marked, held) = (look(all.filter(is_marked).collect())?, look(held.collect())?);
    Some(chosen(marked, held))
}

/// Those that differ at all, the most different ones first.
fn most_different(mut seen: Vec<SeenTwice>) -> Vec<SeenTwice> {
    seen.retain(|s| s.difference() > 0.0);
    seen.sort_by(|a, b| b.difference().total_cmp(&a.difference()));
    seen
}

fn chosen(mut marked: Vec<SeenTwice>, held: Vec<SeenTwice>) -> Vec<SeenTwice> {
    marked.truncate(SHOWN_MARKED.max(SHOWN.saturating_sub(held.len())));
    marked.extend(held);
    marked.truncate(SHOWN);
    marked
}

/// A picture before and after, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PicturePair {
    /// Whose picture it is.
    pub sample: String,
    pub camera: String,
    /// Seconds since 1970 UTC.
    pub time: f64,
    /// Of the camera's picture.
    pub width: u32,
    pub height: u32,
    pub before: Vec<PairBox>,
    pub after: Vec<PairBox>,
}

/// What is reported in one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairBox {
    pub label: String,
    pub score: f32,
    /// Left, top, right and bottom in pixels of the camera's picture.
    #[serde(rename = "box")]
    pub bbox: [f32; 4],
    /// The other one does not report it.
    pub differs: bool,
}

/// The file: of which run it is, by the time at which that ended.
#[derive(Serialize, Deserialize)]
struct PairsFile {
    run_ms: u64,
    pairs: Vec<PicturePair>,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("pairs.json")
}

fn ms(time: f64) -> u64 {
    (time * 1e3).round() as u64
}

/// Keeps the pairs of the run that ended at `time`, seconds since 1970, in place of those of the one before.
///
/// # Errors
/// They cannot be written.
pub fn write(folder: &Path, time: f64, pairs: Vec<PicturePair>) -> Result<(), LearnError> {
    let path = path(folder);
    let text = serde_json::to_vec(&PairsFile { run_ms: ms(time), pairs }).map_err(|e| LearnError::file(&path, &e))?;
    if path.is_dir() {
        // Else a folder of that name would be in the way for ever.
        let _ = std::fs::remove_dir_all(&path);
    }
    write_whole(&path, &text).map_err(|e| LearnError::file(&path, &e))
}

/// The pairs of the run that ended at `time`; none if they are of another one, or damaged.
pub fn read(folder: &Path, time: f64) -> Vec<PicturePair> {
    let text = read_at_most(&path(folder), MOST, "pictures of before and after").ok();
    let file = text.and_then(|text| serde_json::from_slice::<PairsFile>(&text).ok());
    file.filter(|f| f.run_ms == ms(time)).map(|f| f.pairs).unwrap_or_default()
}

/// # Errors
/// They cannot be erased.
pub fn erase(folder: &Path) -> Result<(), LearnError> {
    let path = path(folder);
    let gone = if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
    match gone {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(LearnError::file(&path, &e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geom::Rect;

    fn found(class: u16, left: f32, score: f32) -> Detection {
        Detection::new(class, score, Rect::new(left, 0.0, left + 10.0, 10.0))
    }

    fn seen(sample: &str, before: &[Detection], after: &[Detection]) -> SeenTwice {
        SeenTwice { sample: sample.into(), before: before.to_vec(), after: after.to_vec() }
    }

    fn names(seen: &[SeenTwice]) -> Vec<&str> {
        seen.iter().map(|s| s.sample.as_str()).collect()
    }

    #[test]
    fn the_most_different_come_first_and_what_is_the_same_is_not_shown() {
        let all = vec![
            seen("same", &[found(0, 0.0, 0.9)], &[found(0, 1.0, 0.5)]),
            seen("fainter", &[found(0, 0.0, 0.5)], &[]),
            seen("another class", &[found(0, 0.0, 0.9)], &[found(1, 0.0, 0.8)]),
            seen("surer", &[], &[found(0, 0.0, 0.7)]),
        ];
        assert_eq!(names(&most_different(all)), ["another class", "surer", "fainter"]);
    }

    #[test]
    fn marked_ones_come_first_and_leave_room_for_held_out_ones() {
        let some = |name: &str, n: usize| vec![seen(name, &[], &[found(0, 0.0, 0.7)]); n];
        let shown = |marked: usize, held: usize| {
            let shown = chosen(some("marked", marked), some("held", held));
            let n = shown.iter().take_while(|s| s.sample == "marked").count();
            (n, shown.len() - n)
        };
        assert_eq!(shown(9, 9), (4, 2));
        assert_eq!(shown(9, 1), (5, 1));
        assert_eq!(shown(9, 0), (6, 0));
        assert_eq!(shown(1, 9), (1, 5));
        assert_eq!(shown(0, 0), (0, 0));
    }

    #[test]
    fn pairs_are_of_their_run_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (before, after) = (Vec::new(), Vec::new());
        let pair =
            PicturePair { sample: "s".into(), camera: "front".into(), time: 1.0, width: 64, height: 32, before, after };
        let time = 1_700_000_000.123;
        write(folder.path(), time, vec![pair.clone()]).unwrap();
        assert_eq!(read(folder.path(), time), [pair]);
        assert_eq!(read(folder.path(), time + 1.0), []);
        std::fs::write(path(folder.path()), "{").unwrap();
        assert_eq!(read(folder.path(), time), []);
        erase(folder.path()).unwrap();
        erase(folder.path()).unwrap();
        assert!(!path(folder.path()).exists());
    }
}
