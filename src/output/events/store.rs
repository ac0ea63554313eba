//! Events on disk: one JSON file and two pictures each, in a folder a camera.
//!
//! ```text
//! FOLDER/front/1700000000000-front-12.json       the event
//!              1700000000000-front-12.jpg        the frame in which it showed best
//!              1700000000000-front-12.crop.jpg   the object alone
//! ```
//!
//! Limits of age, size and number hold at all times: the oldest events go first. What is known of them is
//! in memory, apart from the files ([`Index`]): who asks never waits for the disk.

use super::wire::{EventJson, is_id, start_ms};
use crate::files::{read_at_most, write_whole};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub bytes: u64,
    pub age_ms: u64,
    pub n: usize,
}

/// Most events of any setting: each is kept in memory too, half a kilobyte.
pub const MOST_EVENTS: usize = 10_000;
/// Largest event file that is read.
const MAX_JSON: u64 = 1 << 20;

/// All events on disk, by name and so by time.
#[derive(Debug, Default)]
pub struct Index {
    folder: PathBuf,
    events: BTreeMap<String, Kept>,
    n_bytes: u64,
}

/// Writes events and removes them. Only one may be at work in a folder.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    index: Arc<Mutex<Index>>,
}

#[derive(Debug)]
struct Kept {
    event: EventJson,
    n_json: u64,
    n_pictures: u64,
}

impl Kept {
    fn n_bytes(&self) -> u64 {
        self.n_json + self.n_pictures
    }
}

/// Pictures of an event, as JPEG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    Frame,
    Crop,
}

impl Picture {
    const fn ending(self) -> &'static str {
        match self {
            Self::Frame => "jpg",
            Self::Crop => "crop.jpg",
        }
    }
}

/// What is asked of the events.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    pub camera: Option<String>,
    pub label: Option<String>,
    /// Was in this zone.
    pub zone: Option<String>,
    /// Began before, milliseconds since 1970.
    pub before_ms: Option<u64>,
    pub n: usize,
}

impl Index {
    fn insert(&mut self, kept: Kept) {
        self.n_bytes += kept.n_bytes();
        if let Some(old) = self.events.insert(kept.event.id.clone(), kept) {
            self.n_bytes -= old.n_bytes();
        }
    }

    fn path(&self, event: &EventJson, ending: &str) -> PathBuf {
        self.folder.join(&event.camera).join(format!("{}.{ending}", event.id))
    }

    pub fn get(&self, id: &str) -> Option<&EventJson> {
        self.events.get(id).map(|k| &k.event)
    }

    /// The file of a picture; `None`: no such event, or none was taken.
    pub fn picture(&self, id: &str, picture: Picture) -> Option<PathBuf> {
        let event = self.get(id).filter(|e| e.has_picture == Some(true))?;
        Some(self.path(event, picture.ending()))
    }

    /// Newest first.
    pub fn find(&self, q: &Query) -> Vec<EventJson> {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|w| w == found);
        let fits = |e: &&EventJson| {
            is(&q.camera, &e.camera)
                && is(&q.label, &e.label)
                && q.zone.as_ref().is_none_or(|zone| e.stays.iter().any(|s| s.zone == *zone))
                && q.before_ms.is_none_or(|ms| start_ms(&e.id).is_some_and(|start| start < ms))
        };
        self.events.values().rev().map(|k| &k.event).filter(fits).take(q.n).cloned().collect()
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }
}

impl Store {
    /// Opens a folder, and reads what is there. Events that have no end are interrupted.
    ///
    /// # Errors
    /// The folder cannot be made, read or written to.
    pub fn open(folder: &Path, limits: Limits) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let probe = folder.join(".probe");
        std::fs::write(&probe, b"")?;
        std::fs::remove_file(&probe)?;
        let limits = Limits { n: limits.n.min(MOST_EVENTS), ..limits };
        let mut index = Index { folder: folder.into(), ..Index::default() };
        for camera in std::fs::read_dir(folder)?.flatten().filter(|e| e.path().is_dir()) {
            let files = match std::fs::read_dir(camera.path()) {
                Ok(files) => files.flatten().map(|f| f.path()).collect::<Vec<_>>(),
                Err(e) => {
                    tracing::warn!(folder = %camera.path().display(), "left alone: {e}");
                    continue;
                }
            };
            files.iter().for_each(|path| read(&mut index, path));
            files.iter().for_each(|path| remove_leftover(&index, path));
        }
        Ok(Self { limits, index: Arc::new(Mutex::new(index)) })
    }

    /// What is known, for others to look at.
    pub fn index(&self) -> Arc<Mutex<Index>> {
        self.index.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes an event, and its pictures if there are new ones. Each file is written whole or not at all.
    ///
    /// # Errors
    /// A file cannot be written, the oldest events having made room already.
    pub fn put(&mut self, mut event: EventJson, pictures: Option<[Vec<u8>; 2]>, now_ms: u64) -> io::Result<()> {
        let (is_new, old_pictures, paths, folder) = {
            let index = self.lock();
            let known = index.events.get(&event.id);
            let had_picture = known.is_some_and(|k| k.event.has_picture == Some(true));
            event.has_picture = Some(pictures.is_some() || had_picture);
            let old_pictures = known.map_or(0, |k| k.n_pictures);
            let paths = ENDINGS.map(|ending| index.path(&event, ending));
            (known.is_none(), old_pictures, paths, index.folder.join(&event.camera))
        };
        let text = serde_json::to_vec(&event)?;
        let mut files: Vec<(&PathBuf, &[u8])> = Vec::new();
        if let Some(pictures) = &pictures {
            files.extend(paths[..2].iter().zip(pictures.iter().map(Vec::as_slice)));
        }
        // The event comes last: pictures without one are leftovers.
        files.push((&paths[2], &text));
        std::fs::create_dir_all(folder)?;
        for (path, data) in files {
            while let Err(e) = write_whole(path, data) {
                // A full disk: the oldest go, as long as there are any.
                if e.kind() == io::ErrorKind::StorageFull && self.remove_oldest(Some(&event.id)) {
                    continue;
                }
                if is_new {
                    remove(&paths);
                }
                return Err(e);
            }
        }
        let n_pictures = pictures.map_or(old_pictures, |p| p.iter().map(|p| p.len() as u64).sum());
        self.lock().insert(Kept { event, n_json: text.len() as u64, n_pictures });
        self.trim(now_ms);
        Ok(())
    }

    /// Holds the limits.
    pub fn trim(&mut self, now_ms: u64) {
        loop {
            let exceeds = {
                let (index, limits) = (self.lock(), &self.limits);
                let is_old = |id: &String| start_ms(id).is_some_and(|ms| ms.saturating_add(limits.age_ms) < now_ms);
                index.events.len() > limits.n
                    || index.n_bytes > limits.bytes
                    || index.events.keys().next().is_some_and(is_old)
            };
            if !exceeds || !self.remove_oldest(None) {
                return;
            }
        }
    }

    fn remove_oldest(&mut self, but: Option<&str>) -> bool {
        let paths = {
            let mut index = self.lock();
            let Some(id) = index.events.keys().find(|id| Some(id.as_str()) != but).cloned() else { return false };
            let Some(kept) = index.events.remove(&id) else { return false };
            index.n_bytes -= kept.n_bytes();
            ENDINGS.map(|ending| index.path(&kept.event, ending))
        };
        remove(&paths);
        true
    }
}

/// Of an event's files; the event itself is the last.
const ENDINGS: [&str; 3] = [Picture::Frame.ending(), Picture::Crop.ending(), "json"];

fn remove(paths: &[PathBuf]) {
    for path in paths {
        // What is gone already is gone.
        let _ = std::fs::remove_file(path);
    }
}

/// Takes in one file of a folder; what is none of ours is left alone.
fn read(index: &mut Index, path: &Path) {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(id) = name.strip_suffix(".json").filter(|id| is_id(id)) else { return };
    let text = read_at_most(path, MAX_JSON, "an event").unwrap_or_default();
    let Ok(mut event) = serde_json::from_slice::<EventJson>(&text) else {
        tracing::warn!(file = %path.display(), "is no event; left alone");
        return;
    };
    if event.id != id || path.parent() != Some(&*index.folder.join(&event.camera)) {
        return;
    }
    event.interrupt();
    let size = |p: Picture| std::fs::metadata(index.path(&event, p.ending())).map_or(0, |m| m.len());
    let n_pictures = size(Picture::Frame) + size(Picture::Crop);
    index.insert(Kept { event, n_json: text.len() as u64, n_pictures });
}

/// Removes what an interrupted write has left of an event: half a file, or pictures of none.
fn remove_leftover(index: &Index, path: &Path) {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((id, ending)) = name.split_once('.').filter(|(id, _)| is_id(id)) else { return };
    let is_half = ending.strip_suffix(".part").is_some_and(|e| ENDINGS.contains(&e));
    let is_orphan = ENDINGS[..2].contains(&ending) && index.get(id).is_none();
    // An event that cannot be read keeps its pictures.
    if is_half || (is_orphan && !path.with_file_name(format!("{id}.json")).exists()) {
        remove(&[path.to_path_buf()]);
    }
}

/// One for tests, here and of the writer.
#[cfg(test)]
pub(super) fn event(ms: u64, camera: &str, label: &str) -> EventJson {
    EventJson {
        schema: 1,
        id: format!("{ms:013}-{camera}-{ms}"),
        camera: camera.into(),
        label: label.into(),
        track: ms,
        start: ms as f64 / 1e3,
        last: ms as f64 / 1e3 + 1.0,
        end: None,
        state: crate::track::State::Confirmed,
        score: 0.5,
        top_score: 0.75,
        bbox: [0.0, 1.0, 2.0, 3.5],
        zones: vec!["door".into()],
        stays: vec![super::wire::StayJson { zone: "door".into(), from: 1.0, to: None }],
        crossings: Vec::new(),
        has_picture: None,
        interrupted: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1 << 20, age_ms: 1_000_000, n: 100 };

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).map_or(0, |all| all.flatten().count())
    }

    #[test]
    fn events_come_back_after_a_restart_with_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), LIMITS).unwrap();
        store.put(event(5000, "front", "car"), Some([vec![1; 300], vec![2; 200]]), 5000).unwrap();
        store.put(EventJson { score: 0.9, ..event(5000, "front", "car") }, None, 5000).unwrap();
        store.put(event(6000, "back", "person"), None, 6000).unwrap();
        assert_eq!(files(&folder.path().join("front")), 3);
        std::fs::write(folder.path().join("front/0000000000001-x-1.json"), "{").unwrap();
        std::fs::write(folder.path().join("front/notes.txt"), "mine").unwrap();
        std::fs::write(folder.path().join("front/film.part"), "mine").unwrap();
        std::fs::write(folder.path().join("front/0000000000003-x-1.crop.jpg"), "of none").unwrap();
        std::fs::write(folder.path().join("front/0000000000002-x-1.jpg.part"), "half").unwrap();
        let n_bytes = store.lock().n_bytes();
        let store = Store::open(folder.path(), LIMITS).unwrap();
        let store = store.lock();
        assert_eq!((store.len(), store.n_bytes()), (2, n_bytes));
        let back = store.get("0000000005000-front-5000").unwrap();
        assert_eq!((back.score, back.end, back.interrupted, back.has_picture), (0.9, Some(6.0), true, Some(true)));
        assert_eq!((back.zones.len(), back.stays[0].to), (0, Some(6.0)));
        assert_eq!(std::fs::read(store.picture(&back.id, Picture::Crop).unwrap()).unwrap(), [2; 200]);
        assert_eq!(store.picture("0000000006000-back-6000", Picture::Frame), None);
        let left = |name: &str| folder.path().join("front").join(name).exists();
        assert!(
            !left("0000000000002-x-1.jpg.part") && !left("0000000000003-x-1.crop.jpg"),
            "halves and pictures of none go"
        );
        assert!(left("film.part") && left("notes.txt") && left("0000000000001-x-1.json"), "what is none of ours stays");
    }

    #[test]
    fn limits_hold_and_the_oldest_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let check = |limits: Limits, first_kept: u64| {
            let _ = std::fs::remove_dir_all(folder.path().join("a"));
            let mut store = Store::open(folder.path(), limits.clone()).unwrap();
            for ms in (1000..=20_000).step_by(1000) {
                store.put(event(ms, "a", "car"), Some([vec![0; 1000], vec![0; 1000]]), ms).unwrap();
                assert!(store.lock().n_bytes() <= limits.bytes && store.lock().len() <= limits.n);
            }
            let all = store.lock().find(&Query { n: 100, ..Query::default() });
            assert_eq!(all.last().unwrap().track, first_kept);
            assert_eq!(files(&folder.path().join("a")), 3 * all.len());
        };
        check(Limits { n: 5, ..LIMITS }, 16_000);
        check(Limits { age_ms: 4_500, ..LIMITS }, 16_000);
        check(Limits { bytes: 12_500, ..LIMITS }, 16_000);
    }

    #[test]
    fn questions_are_answered_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), LIMITS).unwrap();
        for (ms, camera, label) in [(1000, "a", "car"), (2000, "b", "car"), (3000, "a", "person"), (4000, "a", "car")] {
            store.put(event(ms, camera, label), None, ms).unwrap();
        }
        let check = |q: Query, wanted: &[u64]| {
            assert_eq!(store.lock().find(&q).iter().map(|e| e.track).collect::<Vec<_>>(), wanted, "{q:?}");
        };
        let all = Query { n: 10, ..Query::default() };
        check(all.clone(), &[4000, 3000, 2000, 1000]);
        check(Query { n: 2, ..all.clone() }, &[4000, 3000]);
        check(Query { camera: Some("a".into()), label: Some("car".into()), ..all.clone() }, &[4000, 1000]);
        check(Query { before_ms: Some(3000), ..all.clone() }, &[2000, 1000]);
        check(Query { zone: Some("hall".into()), ..all }, &[]);
    }

    #[test]
    fn names_are_plain() {
        assert!(is_id("1700000000000-front-12"));
        for bad in
            ["", "12", "../../etc/passwd", "1700000000000-front/12", "1700000000000-Front-12", "1700000000000.json"]
        {
            assert!(!is_id(bad) || bad.starts_with("1700000000000."), "{bad}");
        }
        assert!(!is_id("1700000000000-a\0"));
    }
}
