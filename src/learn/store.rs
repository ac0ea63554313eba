//! Marks and samples of one group on disk, within bounds.
//!
//! ```text
//! GROUP/marks/1700000000000-1.json      what was said
//! GROUP/samples/1700000000000-2.sample  the maps that training begins with, and what moved
//!               1700000000000-2.jpg     the picture, for people and teachers
//!               1700000000000-2.answer  what a teacher said of it
//! GROUP/models/0003.onnx, .toml, .report.json
//! GROUP/state.json                      which of them is in use, what waits, what was spent
//! GROUP/pairs.json                      what the last run changed in some of the pictures
//! ```
//!
//! Each file is whole or not there; a damaged one is left out and said. Samples that marks are of stay; of all others the
//! oldest goes first of the hour of the day that has the most. A mark's sample is written before the mark: whenever the power
//! goes, at most what was not answered yet is missing.

use super::error::LearnError;
use super::latents::Latents;
use super::mark::Mark;
use super::stored::{EventHead, MOST_HEAD, SampleHead, decode, encode, head};
use super::teacher::TeacherAnswer;
use crate::detect::Detection;
use crate::files::{Links, open_plain, read_at_most, read_open, write_whole};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Most marks that are kept.
pub const MOST_MARKS: usize = 10_000;
/// Most samples.
const MOST_SAMPLES: usize = 2000;
/// Largest files that are read.
const MOST_MARK: u64 = 64 << 10;
const MOST_SAMPLE: u64 = 256 << 20;
const MOST_ANSWER: u64 = 64 << 10;
const HOUR_MS: u64 = 3_600_000;
/// Letters of a base in the name of what was put away.
const LONGEST_BASE: usize = 100;

/// What is kept of a sample in memory.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    camera: String,
    time_ms: u64,
    n_bytes: u64,
    source: [u32; 2],
    event: Option<EventHead>,
    /// Of a picture from elsewhere: SHA-256 of its file.
    brought: Option<String>,
}

impl Kept {
    fn of(head: SampleHead, n_bytes: u64) -> Self {
        let SampleHead { camera, time_ms, source, event, brought, .. } = head;
        Self { camera, time_ms, n_bytes, source, event, brought }
    }
}

/// Marks and samples.
#[derive(Debug)]
pub struct MarkStore {
    folder: PathBuf,
    max_bytes: u64,
    max_age_ms: u64,
    marks: BTreeMap<String, Mark>,
    samples: BTreeMap<String, Kept>,
    /// Of this process, so that names differ.
    n_names: u64,
}

impl MarkStore {
    /// Opens a folder, which is made if it is not there. Marks and samples of another model than `base` are put away. What
    /// could not be read comes back in words.
    ///
    /// # Errors
    /// Nothing can be written there.
    pub fn open(folder: &Path, base: &str, max_bytes: u64, max_age_ms: u64) -> Result<(Self, Vec<String>), LearnError> {
        let mut store = Self {
            folder: folder.into(),
            max_bytes,
            max_age_ms,
            marks: BTreeMap::new(),
            samples: BTreeMap::new(),
            n_names: 0,
        };
        let mut lost = Vec::new();
        lost.extend(store.set_others_aside(base)?);
        for part in ["marks", "samples", "models"] {
            let path = folder.join(part);
            std::fs::create_dir_all(&path).map_err(|e| LearnError::file(&path, &e))?;
        }
        for path in files(&folder.join("samples"), "sample") {
            let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            match read_beginning(&path) {
                // It may be read another time.
                Err(e) => lost.push(named(&e)),
                Ok((file, n_sample)) => match head(&file) {
                    Ok((head, _)) if head.base != base => lost.push(named(&"is of another model; it is left out")),
                    Ok((head, _)) => {
                        let picture = path.with_extension("jpg");
                        let picture_bytes = plain_length(&picture);
                        if picture_bytes == 0 {
                            lost.push(format!("{}: there is no picture to look at", picture.display()));
                        }
                        let n_bytes = n_sample + picture_bytes + plain_length(&path.with_extension("answer"));
                        store.samples.insert(stem(&path), Kept::of(head, n_bytes));
                    }
                    Err(e) => {
                        lost.push(format!("{}; it is erased", named(&e)));
                        store.erase_sample(&stem(&path));
                    }
                },
            }
        }
        // A picture is written before its sample: without it nobody knows of it.
        for path in ["jpg", "answer"].iter().flat_map(|ending| files(&folder.join("samples"), ending)) {
            if !path.with_extension("sample").exists() {
                let _ = std::fs::remove_file(&path);
            }
        }
        for path in files(&folder.join("marks"), "json") {
            let named = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
            let read = read_at_most(&path, MOST_MARK, "a mark").map_err(|e| named(&e));
            match read.and_then(|text| serde_json::from_slice::<Mark>(&text).map_err(|e| named(&e))) {
                Ok(mark) if mark.id != stem(&path) || !mark.has_box() => {
                    lost.push(named(&"says what no mark of this name would; it is left out"));
                    let _ = std::fs::rename(&path, path.with_extension("damaged"));
                }
                Ok(mark) => {
                    if !store.samples.contains_key(&mark.sample) {
                        lost.push(named(&"its picture is gone: nothing can be learned from it"));
                    }
                    store.marks.insert(mark.id.clone(), mark);
                }
                Err(e) => {
                    lost.push(format!("{e}; it is left out"));
                    let _ = std::fs::rename(&path, path.with_extension("damaged"));
                }
            }
        }
        Ok((store, lost))
    }

    /// Puts marks and samples of another base away, as long as that is not this one's: their maps mean nothing to this base,
    /// and may be wanted again. The note of whose they are is changed in between: whenever the power goes, the next start
    /// goes on with it.
    fn set_others_aside(&self, base: &str) -> Result<Option<String>, LearnError> {
        let file = self.folder.join("base");
        let noted = read_at_most(&file, MOST_MARK, "a base").ok().and_then(|b| String::from_utf8(b).ok());
        let is_name = |b: &String| !b.is_empty() && b.chars().all(|c| c.is_ascii_graphic());
        // Samples say themselves what they are of; where there are none, the note counts.
        let before = self.base_of_samples(base).or_else(|| noted.clone().filter(is_name));
        let aside = |base: &str| {
            let plain = base.chars().filter(char::is_ascii_alphanumeric).take(LONGEST_BASE).collect::<String>();
            self.folder.join(format!("of-{plain}"))
        };
        let theirs = before.filter(|before| before != base).map(|before| aside(&before));
        if let Some(theirs) = &theirs {
            move_parts(&self.folder, theirs)?;
        }
        if noted.as_deref() != Some(base) {
            if file.is_dir() {
                let _ = std::fs::rename(&file, file.with_extension("damaged"));
            }
            write_whole(&file, base.as_bytes()).map_err(|e| LearnError::file(&file, &e))?;
        }
        // What was put away of this one comes back.
        let ours = aside(base);
        if ours.is_dir() {
            move_parts(&ours, &self.folder)?;
            let _ = std::fs::remove_dir(&ours);
        }
        Ok(theirs.map(|theirs| {
            format!(
                "the model or its size is another one: marks and pictures of the one before are in {}",
                theirs.display()
            )
        }))
    }

    /// What the samples are of: `base`, if one of them is.
    fn base_of_samples(&self, base: &str) -> Option<String> {
        let mut other = None;
        for path in files(&self.folder.join("samples"), "sample") {
            let Ok((file, _)) = read_beginning(&path) else { continue };
            match head(&file) {
                Ok((head, _)) if head.base == base => return Some(head.base),
                Ok((head, _)) => other = other.or(Some(head.base)),
                Err(_) => {}
            }
        }
        other
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// By id, and so by time.
    pub fn marks(&self) -> impl DoubleEndedIterator<Item = &Mark> {
        self.marks.values()
    }

    pub fn mark(&self, id: &str) -> Option<&Mark> {
        self.marks.get(id)
    }

    /// Names of all samples, by time.
    pub fn samples(&self) -> impl Iterator<Item = &str> {
        self.samples.keys().map(String::as_str)
    }

    /// How many samples there are, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        (self.samples.len(), self.samples.values().map(|s| s.n_bytes).sum())
    }

    /// A name that is not taken: time, and a number.
    pub fn name(&mut self, time_ms: u64) -> String {
        loop {
            self.n_names += 1;
            let name = format!("{time_ms:013}-{}", self.n_names);
            if !self.samples.contains_key(&name) && !self.marks.contains_key(&name) {
                return name;
            }
        }
    }

    /// Keeps a sample and its picture, and lets others go for it; its name.
    ///
    /// # Errors
    /// It cannot be written, or there is no room beside what marks need.
    pub fn put_sample(&mut self, head: &SampleHead, latents: &Latents, jpeg: &[u8]) -> Result<String, LearnError> {
        let file = encode(head, latents);
        let n_bytes = (file.len() + jpeg.len()) as u64;
        let gone = self.surplus(1, n_bytes)?;
        let name = self.name(head.time_ms);
        let [sample, picture, _] = self.sample_files(&name);
        let written = write_whole(&picture, jpeg).and_then(|()| write_whole(&sample, &file));
        if let Err(e) = written {
            self.erase_sample(&name);
            return Err(LearnError::file(&sample, &e));
        }
        // Not before: where nothing can be written, nothing is lost for it.
        gone.iter().for_each(|name| self.drop_sample(name));
        self.samples.insert(name.clone(), Kept::of(head.clone(), n_bytes));
        Ok(name)
    }

    /// # Errors
    /// There is none of this name, it cannot be read, or is damaged; then it is erased.
    pub fn sample(&mut self, name: &str) -> Result<(SampleHead, Latents), LearnError> {
        if !self.samples.contains_key(name) {
            return Err(LearnError::Refused(format!("there is no sample {name}")));
        }
        let [path, ..] = self.sample_files(name);
        let file = read_at_most(&path, MOST_SAMPLE, "a sample").map_err(|e| LearnError::file(&path, &e))?;
        let decoded = decode(&file).map_err(|e| LearnError::file(&path, &e));
        // What cannot be read now may be read another time; what is damaged stays so.
        if decoded.is_err() {
            self.samples.remove(name);
            self.erase_sample(name);
        }
        decoded
    }

    /// The sample of an event: its name, its camera and what was reported.
    pub fn of_event(&self, id: &str) -> Option<(&str, &str, &EventHead)> {
        let is_it = |e: &EventHead| e.id == id;
        let found = self.samples.iter().rev().find(|(_, s)| s.event.as_ref().is_some_and(is_it));
        found.and_then(|(name, s)| Some((name.as_str(), s.camera.as_str(), s.event.as_ref()?)))
    }

    /// Erases the samples of an event but one, as far as no mark is of them.
    pub fn keep_one_of_event(&mut self, id: &str, but: &str) {
        let pinned = self.pinned();
        let is_other = |(name, s): &(&String, &Kept)| {
            s.event.as_ref().is_some_and(|e| e.id == id) && *name != but && !pinned.contains(*name)
        };
        let others: Vec<String> = self.samples.iter().filter(is_other).map(|(name, _)| name.clone()).collect();
        others.iter().for_each(|name| self.drop_sample(name));
    }

    /// Width and height of the camera's picture in a sample.
    pub fn source_of(&self, sample: &str) -> Option<[u32; 2]> {
        self.samples.get(sample).map(|s| s.source)
    }

    /// The camera of a sample, and when it was taken, milliseconds since 1970.
    pub fn origin_of(&self, sample: &str) -> Option<(&str, u64)> {
        self.samples.get(sample).map(|s| (s.camera.as_str(), s.time_ms))
    }

    /// The sample of a camera that holds a picture which comes from elsewhere, and the size of the camera's: it was
    /// brought before (`sum` is its file's SHA-256), or it went out from here by this name, and is the same.
    pub fn same_picture(&self, camera: &str, name: &str, sum: &str, data: &[u8]) -> Option<(String, [u32; 2])> {
        let is_file = |sample: &str| {
            let [_, picture, _] = self.sample_files(sample);
            let file = open_plain(&picture, Links::Refused).and_then(|f| read_open(f, data.len() as u64, "a picture"));
            file.is_ok_and(|file| file == data)
        };
        let stem = stem(Path::new(name));
        let mut of_camera = self.samples.iter().filter(|(_, s)| s.camera == camera);
        let found = of_camera.find(|(n, s)| s.brought.as_deref() == Some(sum) || **n == stem && is_file(n));
        found.map(|(name, s)| (name.clone(), s.source))
    }

    /// The picture of a sample, JPEG.
    pub fn picture(&self, sample: &str) -> Option<PathBuf> {
        self.samples.contains_key(sample).then(|| self.sample_files(sample)[1].clone())
    }

    /// Keeps what a teacher said of a sample, in place of what one said before, and lets others go for it; nothing, if the
    /// sample is gone.
    ///
    /// # Errors
    /// It cannot be written, or there is no room beside what marks need.
    pub fn put_answer(&mut self, sample: &str, answer: &TeacherAnswer) -> Result<(), LearnError> {
        if !self.samples.contains_key(sample) {
            return Ok(());
        }
        let [_, _, path] = self.sample_files(sample);
        let text = serde_json::to_vec(answer).map_err(|e| LearnError::file(&path, &e))?;
        let (n_bytes, before) = (text.len() as u64, plain_length(&path));
        let gone = self.surplus(0, n_bytes.saturating_sub(before))?;
        write_whole(&path, &text).map_err(|e| LearnError::file(&path, &e))?;
        if let Some(kept) = self.samples.get_mut(sample) {
            kept.n_bytes = (kept.n_bytes + n_bytes).saturating_sub(before);
        }
        gone.iter().for_each(|name| self.drop_sample(name));
        Ok(())
    }

    /// What a teacher said of a sample; `None`: it was not asked, or what it said cannot be read.
    pub fn answer(&self, sample: &str, teacher: &str) -> Option<Vec<Detection>> {
        let [_, _, path] = self.sample_files(sample);
        let text = open_plain(&path, Links::Refused).and_then(|file| read_open(file, MOST_ANSWER, "an answer")).ok()?;
        serde_json::from_slice::<TeacherAnswer>(&text).ok()?.of(teacher)
    }

    /// Whether there may be one more mark.
    ///
    /// # Errors
    /// There are too many.
    pub fn expect_room(&self) -> Result<(), LearnError> {
        match self.marks.len() < MOST_MARKS {
            true => Ok(()),
            false => Err(LearnError::Refused(format!("there are {MOST_MARKS} marks, and no room for more: undo some"))),
        }
    }

    /// Keeps a mark.
    ///
    /// # Errors
    /// It cannot be written, or there are too many.
    pub fn put_mark(&mut self, mark: Mark) -> Result<(), LearnError> {
        self.expect_room()?;
        let path = self.mark_file(&mark.id);
        let text = serde_json::to_vec(&mark).map_err(|e| LearnError::file(&path, &e))?;
        write_whole(&path, &text).map_err(|e| LearnError::file(&path, &e))?;
        self.marks.insert(mark.id.clone(), mark);
        Ok(())
    }

    /// Takes a mark back; whether it was there.
    ///
    /// # Errors
    /// It cannot be erased.
    pub fn undo(&mut self, id: &str) -> Result<bool, LearnError> {
        if !self.marks.contains_key(id) {
            return Ok(false);
        }
        let path = self.mark_file(id);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(LearnError::file(&path, &e)),
            _ => {}
        }
        self.marks.remove(id);
        self.sync();
        Ok(true)
    }

    /// Erases all marks and samples, also those that were put away.
    ///
    /// # Errors
    /// Something cannot be erased.
    pub fn forget(&mut self) -> Result<(), LearnError> {
        for part in ["marks", "samples"] {
            let path = self.folder.join(part);
            std::fs::remove_dir_all(&path).map_err(|e| LearnError::file(&path, &e))?;
            std::fs::create_dir(&path).map_err(|e| LearnError::file(&path, &e))?;
        }
        let others = std::fs::read_dir(&self.folder).map_err(|e| LearnError::file(&self.folder, &e))?.flatten();
        for other in others.filter(|e| e.file_name().to_string_lossy().starts_with("of-")) {
            std::fs::remove_dir_all(other.path()).map_err(|e| LearnError::file(&other.path(), &e))?;
        }
        self.marks.clear();
        self.samples.clear();
        self.sync();
        Ok(())
    }

    /// What is erased stays so, whenever the power goes.
    fn sync(&self) {
        for part in ["marks", "samples"] {
            if let Ok(folder) = std::fs::File::open(self.folder.join(part)) {
                let _ = folder.sync_all();
            }
        }
    }

    /// Lets what is too old go; `now_ms` since 1970.
    pub fn trim(&mut self, now_ms: u64) {
        let pinned = self.pinned();
        let is_old = |s: &Kept| now_ms.saturating_sub(s.time_ms) > self.max_age_ms;
        let old: Vec<String> =
            self.samples.iter().filter(|(n, s)| is_old(s) && !pinned.contains(*n)).map(|(n, _)| n.clone()).collect();
        old.iter().for_each(|name| self.drop_sample(name));
    }

    /// Samples that go for so many others and so many bytes.
    fn surplus(&self, n_samples: usize, n_bytes: u64) -> Result<Vec<String>, LearnError> {
        let (mut n, mut left) = self.size();
        let is_full = |n: usize, left: u64| left + n_bytes > self.max_bytes || n + n_samples > MOST_SAMPLES;
        let mut gone = Vec::new();
        if !is_full(n, left) {
            return Ok(gone);
        }
        let hour = |s: &Kept| (s.camera.clone(), s.time_ms / HOUR_MS % 24);
        let mut hours: BTreeMap<(String, u64), usize> = BTreeMap::new();
        // Those from elsewhere are of no hour.
        let own = self.samples.values().filter(|s| s.brought.is_none());
        own.for_each(|s| *hours.entry(hour(s)).or_default() += 1);
        let pinned = self.pinned();
        let mut free: BTreeMap<&String, &Kept> =
            self.samples.iter().filter(|(name, _)| !pinned.contains(*name)).collect();
        while is_full(n, left) {
            let weight = |(name, s): &(&&String, &&Kept)| {
                (hours.get(&hour(s)).copied().unwrap_or(0), std::cmp::Reverse((**name).clone()))
            };
            let Some((name, kept)) = free.iter().max_by_key(weight).map(|(name, s)| (*name, *s)) else {
                return Err(LearnError::Refused(format!(
                    "the pictures of {} marks take all of learn.max_mib: undo some marks, or raise it",
                    self.marks.len()
                )));
            };
            free.remove(name);
            if kept.brought.is_none() {
                hours.entry(hour(kept)).and_modify(|n| *n -= 1);
            }
            (n, left) = (n - 1, left - kept.n_bytes);
            gone.push(name.clone());
        }
        Ok(gone)
    }

    /// Samples that marks are of.
    fn pinned(&self) -> BTreeSet<String> {
        self.marks.values().map(|m| m.sample.clone()).collect()
    }

    fn drop_sample(&mut self, name: &str) {
        self.samples.remove(name);
        self.erase_sample(name);
    }

    fn erase_sample(&self, name: &str) {
        for path in self.sample_files(name) {
            let _ = std::fs::remove_file(path);
        }
    }

    fn sample_files(&self, name: &str) -> [PathBuf; 3] {
        ["sample", "jpg", "answer"].map(|ending| self.folder.join("samples").join(format!("{name}.{ending}")))
    }

    fn mark_file(&self, id: &str) -> PathBuf {
        self.folder.join("marks").join(format!("{id}.json"))
    }
}

/// As much of a sample's file as may hold its head, and the file's length.
fn read_beginning(path: &Path) -> std::io::Result<(Vec<u8>, u64)> {
    let file = open_plain(path, Links::Refused)?;
    let (length, mut data) = (file.metadata()?.len(), Vec::new());
    file.take(MOST_HEAD as u64).read_to_end(&mut data)?;
    Ok((data, length))
}

/// Moves all marks and samples, one by one: who is interrupted goes on where it was.
fn move_parts(from: &Path, to: &Path) -> Result<(), LearnError> {
    for part in ["marks", "samples"] {
        let (from, to) = (from.join(part), to.join(part));
        let entries = match std::fs::read_dir(&from) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.map_err(|e| LearnError::file(&from, &e))?.flatten(),
        };
        std::fs::create_dir_all(&to).map_err(|e| LearnError::file(&to, &e))?;
        for entry in entries {
            let path = to.join(entry.file_name());
            std::fs::rename(entry.path(), &path).map_err(|e| LearnError::file(&path, &e))?;
        }
        let _ = std::fs::remove_dir(&from);
    }
    Ok(())
}

/// Of a plain file; 0 if it is not there: what lies elsewhere takes no room here.
fn plain_length(path: &Path) -> u64 {
    let plain = std::fs::symlink_metadata(path).ok().filter(std::fs::Metadata::is_file);
    plain.map_or(0, |m| m.len())
}

fn stem(path: &Path) -> String {
    path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Files of a folder with an ending, by name; drafts of what was never finished go.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).map(|all| all.flatten().map(|e| e.path()).collect::<Vec<_>>());
    let mut paths = entries.unwrap_or_default();
    for draft in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "part")) {
        let _ = std::fs::remove_file(draft);
    }
    paths.retain(|p| p.extension().is_some_and(|e| e == ending));
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::super::latents::LatentMap;
    use super::*;
    use crate::geom::Size;
    use crate::output::desk::Said;
    use engine::graph::MapShape;

    const BASE: &str = "abc";

    fn open(folder: &Path, max_bytes: u64) -> (MarkStore, Vec<String>) {
        MarkStore::open(folder, BASE, max_bytes, 1000 * HOUR_MS).unwrap()
    }

    fn put(store: &mut MarkStore, hour: u64) -> Result<String, LearnError> {
        let latents = Latents(vec![LatentMap::of(MapShape::new(10, 10, 10), &[1.0; 1000])]);
        let head = SampleHead::new(BASE, "front", hour * HOUR_MS, Size::new(640, 360), Vec::new());
        store.put_sample(&head, &latents, b"jpeg")
    }

    fn answer() -> TeacherAnswer {
        TeacherAnswer::new("large abc", &[Detection::new(0, 0.5, crate::geom::Rect::new(1.0, 2.0, 3.0, 4.0))])
    }

    fn mark(id: &str, sample: &str) -> Mark {
        Mark {
            id: id.into(),
            number: 1,
            camera: "front".into(),
            said: Said::NotAnObject,
            label: None,
            bbox: [1.0, 2.0, 3.0, 4.0],
            event: None,
            time: 1.0,
            sample: sample.into(),
        }
    }

    #[test]
    fn the_fullest_hour_gives_way_and_what_is_marked_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path(), 6000);
        let first = put(&mut store, 3).unwrap();
        store.put_mark(mark("1-1", &first)).unwrap();
        let lonely = put(&mut store, 9).unwrap();
        let at_three: Vec<String> = (0..5).map(|day| put(&mut store, 24 * day + 27).unwrap()).collect();
        let names: Vec<&str> = store.samples().collect();
        assert!(names.contains(&first.as_str()) && names.contains(&lonely.as_str()), "{names:?}");
        assert!(!names.contains(&at_three[0].as_str()) && names.contains(&at_three[4].as_str()), "{names:?}");
        assert!(store.size().1 <= 6000);
        store.trim(24 * 400 * HOUR_MS);
        assert_eq!(store.samples().collect::<Vec<_>>(), [first.as_str()], "all others are too old");
        assert!(store.undo("1-1").unwrap() && !store.undo("1-1").unwrap());
        store.trim(24 * 400 * HOUR_MS);
        assert_eq!(store.size(), (0, 0));
    }

    #[test]
    fn pictures_from_elsewhere_are_known_again_and_fill_no_hour() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path(), 7500);
        let lonely = put(&mut store, 9).unwrap();
        let _ = [27, 51].map(|hour| put(&mut store, hour).unwrap());
        let latents = Latents(vec![LatentMap::of(MapShape::new(10, 10, 10), &[1.0; 1000])]);
        let mut head = SampleHead::new(BASE, "front", 33 * HOUR_MS, Size::new(640, 360), Vec::new());
        let mut bring = |store: &mut MarkStore, sum: &str| {
            head.brought = Some(sum.into());
            let name = store.put_sample(&head, &latents, sum.as_bytes()).unwrap();
            store.put_mark(mark(&format!("{sum}-1"), &name)).unwrap();
            name
        };
        let brought = ["a", "b"].map(|sum| bring(&mut store, sum));
        drop(store);
        let (mut store, _) = open(folder.path(), 7500);
        bring(&mut store, "c");
        assert!(store.samples().any(|name| name == lonely), "the fullest hour is that of two of the camera's own");
        let known = |name: &str, sum: &str, data: &[u8]| store.same_picture("front", name, sum, data).map(|(n, _)| n);
        assert_eq!(known("x.jpg", "b", b"other").as_ref(), Some(&brought[1]));
        assert_eq!(known(&format!("images/{lonely}.jpg"), "d", b"jpeg").as_ref(), Some(&lonely));
        assert_eq!(known(&format!("images/{lonely}.jpg"), "d", b"jpegs"), None, "its name alone is not enough");
        assert_eq!(store.same_picture("back", "x.jpg", "b", b"b"), None, "another camera's");
    }

    #[test]
    fn marks_without_room_are_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path(), 4000);
        let mut n = 0;
        let error = loop {
            match put(&mut store, n) {
                Ok(sample) => store.put_mark(mark(&format!("{n}-1"), &sample)).unwrap(),
                Err(e) => break e.to_string(),
            }
            n += 1;
        };
        assert!(n >= 2 && error.contains("learn.max_mib"), "{error}");
    }

    #[test]
    fn what_cannot_be_written_lets_nothing_go() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path(), 4000);
        (0..8).for_each(|h| drop(put(&mut store, h).unwrap()));
        let before: Vec<String> = store.samples().map(str::to_owned).collect();
        // Where the next draft would lie, something is in the way.
        let blocked = folder.path().join(format!("samples/{:013}-9.sample.part/x", 9 * HOUR_MS));
        std::fs::create_dir_all(&blocked).unwrap();
        assert!(put(&mut store, 9).is_err());
        assert_eq!(store.samples().collect::<Vec<_>>(), before);
        let files = std::fs::read_dir(folder.path().join("samples")).unwrap().count();
        assert_eq!(files, 2 * before.len() + 1, "nothing of it is left");
        put(&mut store, 9).unwrap();
        assert!(store.size().1 <= 4000 && store.size().0 == before.len());
    }

    /// Everything below a folder but notes of whose it is.
    fn parts(folder: &Path) -> BTreeSet<String> {
        let all = [("marks", "json"), ("samples", "sample"), ("samples", "answer")];
        let names = all.into_iter().flat_map(|(part, ending)| files(&folder.join(part), ending));
        names.filter_map(|p| Some(p.file_name()?.to_string_lossy().into_owned())).collect()
    }

    #[test]
    fn what_is_put_away_comes_back_wherever_it_was_interrupted() {
        let other = |folder: &Path| MarkStore::open(folder, "another", 1 << 20, HOUR_MS).map(|(_, lost)| lost);
        for n_moved in 0..=6usize {
            for back_first in [false, true] {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path();
                let (mut store, _) = open(path, 1 << 20);
                for h in 0..3 {
                    let sample = put(&mut store, h).unwrap();
                    store.put_mark(mark(&format!("{h}-77"), &sample)).unwrap();
                    store.put_answer(&sample, &answer()).unwrap();
                }
                let all = parts(path);
                assert_eq!(all.len(), 9);
                // Cut while it is put away.
                let aside = path.join("of-abc");
                let n_each = [("marks", "json", n_moved.min(3)), ("samples", "sample", n_moved.saturating_sub(3))];
                for (part, ending, n) in n_each {
                    std::fs::create_dir_all(aside.join(part)).unwrap();
                    for file in files(&path.join(part), ending).into_iter().take(n) {
                        std::fs::rename(&file, aside.join(part).join(file.file_name().unwrap())).unwrap();
                    }
                }
                if !back_first {
                    other(path).unwrap();
                    assert_eq!((parts(path).len(), parts(&aside)), (0, all.clone()), "{n_moved}");
                    // Cut while it comes back: the note is changed, and some are there.
                    std::fs::write(path.join("base"), BASE).unwrap();
                    let first = files(&aside.join("marks"), "json").remove(0);
                    std::fs::rename(&first, path.join("marks").join(first.file_name().unwrap())).unwrap();
                }
                let (store, lost) = open(path, 1 << 20);
                assert_eq!((parts(path), store.marks().count(), store.size().0), (all, 3, 3), "{n_moved} {lost:?}");
                assert!(lost.is_empty() && !aside.exists(), "{n_moved}: {lost:?}");
            }
        }
    }

    #[test]
    fn a_damaged_note_of_whose_they_are_costs_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path(), 1 << 20);
        let sample = put(&mut store, 1).unwrap();
        store.put_mark(mark("1-1", &sample)).unwrap();
        for note in [&b""[..], b"ab", b"abd", &[0; 3], &[b'a'; 5000]] {
            std::fs::write(folder.path().join("base"), note).unwrap();
            let (store, lost) = open(folder.path(), 1 << 20);
            assert!(lost.is_empty() && store.size().0 == 1 && store.marks().count() == 1, "{note:?}: {lost:?}");
        }
    }

    #[test]
    fn answers_are_kept_beside_their_pictures_and_go_with_them() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path(), 1 << 20);
        let name = put(&mut store, 3).unwrap();
        let path = folder.path().join("samples").join(format!("{name}.answer"));
        let bare = store.size().1;
        for _ in 0..2 {
            store.put_answer(&name, &answer()).unwrap();
        }
        store.put_answer("1-1", &answer()).unwrap();
        assert_eq!(store.size().1, bare + plain_length(&path), "it counts once");
        let before = store.size();
        std::fs::copy(&path, path.with_file_name("1-1.answer")).unwrap();
        drop(store);
        let (store, lost) = open(folder.path(), 1 << 20);
        assert!(lost.is_empty() && store.size() == before && !path.with_file_name("1-1.answer").exists(), "{lost:?}");
        assert_eq!(store.answer(&name, "large abc"), answer().of("large abc"));
        assert_eq!(store.answer(&name, "large abd"), None, "another teacher, or another file of it");
        std::fs::write(&path, b"{").unwrap();
        assert_eq!(store.answer(&name, "large abc"), None, "what is damaged is asked again");
        // What a link names lies elsewhere: it is not read, takes no room, and stays.
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, serde_json::to_vec(&answer()).unwrap()).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        drop(store);
        let (mut store, _) = open(folder.path(), 1 << 20);
        assert_eq!((store.answer(&name, "large abc"), store.size().1), (None, bare));
        store.trim(24 * 400 * HOUR_MS);
        assert!(path.symlink_metadata().is_err() && elsewhere.exists());
    }

    #[test]
    fn answers_make_room_for_themselves_once_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, _) = open(folder.path(), 1 << 20);
        let names: Vec<String> = (0..3).map(|h| put(&mut store, h).unwrap()).collect();
        let full = store.size().1;
        drop(store);
        let (mut store, _) = open(folder.path(), full);
        let path = folder.path().join("samples").join(format!("{}.answer", names[2]));
        std::fs::create_dir(&path).unwrap();
        assert!(store.put_answer(&names[2], &answer()).is_err());
        assert_eq!(store.size(), (3, full), "where nothing can be written, nothing is lost for it");
        std::fs::remove_dir(&path).unwrap();
        store.put_answer(&names[2], &answer()).unwrap();
        assert_eq!(store.samples().collect::<Vec<_>>(), [&names[1], &names[2]]);
        assert!(store.size().1 <= full && path.is_file());
    }

    #[test]
    fn everything_is_there_again_but_what_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let (mut store, lost) = open(folder.path(), 1 << 20);
        assert!(lost.is_empty());
        let samples: Vec<String> = (0..3).map(|h| put(&mut store, h).unwrap()).collect();
        for (i, sample) in samples.iter().enumerate() {
            store.put_mark(mark(&format!("{i}-1"), sample)).unwrap();
        }
        drop(store);
        let file = |name: &str| folder.path().join("samples").join(format!("{name}.sample"));
        std::fs::write(file(&samples[0]), b"passd").unwrap();
        std::fs::write(folder.path().join("marks/2-1.json"), b"{").unwrap();
        std::fs::write(folder.path().join("samples/x.sample.part"), b"half").unwrap();
        let (mut store, lost) = open(folder.path(), 1 << 20);
        assert_eq!(lost.len(), 3, "{lost:?}");
        assert_eq!(store.marks().map(|m| m.id.as_str()).collect::<Vec<_>>(), ["0-1", "1-1"], "what was said stays");
        assert!(!folder.path().join("samples/x.sample.part").exists());
        // Damaged where its head does not show it: found when it is read.
        let mut bytes = std::fs::read(file(&samples[1])).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file(&samples[1]), bytes).unwrap();
        assert!(store.sample(&samples[1]).unwrap_err().to_string().contains("damaged"));
        assert!(store.sample(&samples[2]).is_ok());
        // Maps of another model mean nothing to this one; those of the one before come back with it.
        drop(store);
        let (other, lost) = MarkStore::open(folder.path(), "another", 1 << 20, HOUR_MS).unwrap();
        assert!(lost.len() == 1 && lost[0].contains("of-abc"), "{lost:?}");
        assert_eq!((other.size().0, other.marks().count()), (0, 0));
        drop(other);
        let (mut store, _) = open(folder.path(), 1 << 20);
        assert_eq!((store.size().0, store.marks().count()), (1, 2));
        let (mut other, _) = MarkStore::open(folder.path(), "another", 1 << 20, HOUR_MS).unwrap();
        other.forget().unwrap();
        assert!(!folder.path().join("of-abc").exists(), "what was put away is erased too");
        store.forget().unwrap();
        assert_eq!(std::fs::read_dir(folder.path().join("samples")).unwrap().count(), 0);
    }
}
