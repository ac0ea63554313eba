//! Events on disk: one JSON file and two pictures each, in a folder a camera.
//!
//! ```text
//! FOLDER/front/1700000000000-front-12.json       the event
//!              1700000000000-front-12.jpg        the frame in which it showed best
//!              1700000000000-front-12.crop.jpg   the object alone
//! ```
//!
//! Limits of age, size and number hold at all times: what was written first goes first, whatever the clock said then.
//! Ages are measured, not read off the clock: of what this process wrote by its monotonic clock, of what it found by the
//! clock of the world, once that has been steady for an hour ([`Ages`]). What is known of events is in memory, apart
//! from the files ([`Index`]): who asks never waits for the disk.

use crate::files::{Links, OwnFolder, open_plain, read_open, try_to_write, write_whole};
use crate::wire::event::{EventJson, is_id, start_ms};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use tracing_mutex::stdsync::{Mutex, MutexGuard};

/// How much is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    pub bytes: u64,
    pub age_ms: u64,
    pub n: usize,
}

/// The time, by both clocks, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since 1970 UTC; may jump.
    pub unix_ms: u64,
    /// Never jumps.
    pub steady_ms: u64,
}

/// No event is older, and no clock before it is right: 2020-01-01.
const PLAUSIBLE_MS: u64 = 1_577_836_800_000;
/// A clock of the world that has kept step with the steady one for so long is believed.
const STEADY_MS: u64 = 3_600_000;
/// Between two looks at the ages of all events.
const AGE_EVERY_MS: u64 = 500;
/// It may be off by this much between two looks.
const TREMBLE_MS: i64 = 60_000;

/// How old events are, whatever happens to the clock of the world.
#[derive(Debug)]
struct Ages {
    /// Between the clocks, at the last look.
    offset_ms: i64,
    steady_since_ms: u64,
}

impl Ages {
    fn offset(now: Now) -> i64 {
        now.unix_ms.cast_signed().saturating_sub(now.steady_ms.cast_signed())
    }

    fn new(now: Now) -> Self {
        Self { offset_ms: Self::offset(now), steady_since_ms: now.steady_ms }
    }

    /// Looks at the clocks.
    fn look(&mut self, now: Now) {
        let offset_ms = Self::offset(now);
        if (offset_ms - self.offset_ms).abs() > TREMBLE_MS {
            self.steady_since_ms = now.steady_ms;
        }
        self.offset_ms = offset_ms;
    }

    /// The age of an event; 0 where it is not known.
    fn of(&self, kept: &Kept, now: Now) -> u64 {
        match kept.written_ms {
            Some(written_ms) => now.steady_ms.saturating_sub(written_ms),
            None => {
                let start_ms = start_ms(&kept.event.id).filter(|ms| *ms >= PLAUSIBLE_MS);
                let is_believed =
                    now.unix_ms >= PLAUSIBLE_MS && now.steady_ms.saturating_sub(self.steady_since_ms) >= STEADY_MS;
                start_ms.filter(|_| is_believed).map_or(0, |ms| now.unix_ms.saturating_sub(ms))
            }
        }
    }
}

/// Places beyond are no places of ours.
const MOST_PLACES: u64 = 1 << 53;
/// Most events of any setting: each is kept in memory too, half a kilobyte.
pub const MOST_EVENTS: usize = 10_000;
/// Largest event file that is read.
const MAX_JSON: u64 = 1 << 20;

/// All events on disk, by name and so by time.
#[derive(Debug, Default)]
pub struct Index {
    folder: PathBuf,
    events: BTreeMap<String, Kept>,
    /// Their names in the order in which they were first written.
    order: BTreeMap<u64, String>,
    n_bytes: u64,
}

/// Writes events and removes them. Only one may be at work in a folder.
#[derive(Debug)]
pub struct Store {
    limits: Limits,
    index: Arc<Mutex<Index>>,
    ages: Ages,
    /// When ages were last looked at, on the steady clock.
    aged_ms: u64,
    _folder: OwnFolder,
}

/// An event's file.
#[derive(serde::Serialize, serde::Deserialize)]
struct OnDisk {
    #[serde(flatten)]
    event: EventJson,
    /// Its place among all that were written.
    #[serde(default)]
    order: Option<u64>,
}

#[derive(Debug)]
struct Kept {
    event: EventJson,
    n_json: u64,
    n_pictures: u64,
    order: u64,
    /// On the steady clock; `None`: by another process.
    written_ms: Option<u64>,
}

impl Kept {
    fn n_bytes(&self) -> u64 {
        self.n_json + self.n_pictures
    }
}

/// Pictures of an event, as JPEG.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventPicture {
    Frame,
    Crop,
}

impl EventPicture {
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
        self.order.insert(kept.order, kept.event.id.clone());
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
    pub fn picture(&self, id: &str, picture: EventPicture) -> Option<PathBuf> {
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
    pub fn open(folder: &Path, limits: Limits, now: Now) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let own = OwnFolder::claim(folder, ".events.lock")?;
        try_to_write(folder)?;
        let limits = Limits { n: limits.n.min(MOST_EVENTS), ..limits };
        let mut index = Index { folder: folder.into(), ..Index::default() };
        let mut found = Vec::new();
        // What is a link may lead anywhere: it is left alone.
        let is =
            |e: &std::fs::DirEntry, wanted: fn(&std::fs::FileType) -> bool| e.file_type().is_ok_and(|t| wanted(&t));
        for camera in std::fs::read_dir(folder)?.flatten().filter(|e| is(e, std::fs::FileType::is_dir)) {
            let files = match std::fs::read_dir(camera.path()) {
                Ok(files) => {
                    let files = files.flatten().filter(|e| is(e, std::fs::FileType::is_file));
                    files.map(|f| f.path()).collect::<Vec<_>>()
                }
                Err(e) => {
                    tracing::warn!(folder = %camera.path().display(), "left alone: {e}");
                    continue;
                }
            };
            found.extend(files.iter().filter_map(|path| read(&index, path)));
            let is_event = |id: &str| found.iter().any(|(kept, _)| kept.event.id == id);
            files.iter().for_each(|path| remove_leftover(&is_event, path));
        }
        // Those without a place, of an earlier version, come first, as they began.
        found.sort_by(|(a, a_at), (b, b_at)| (a_at, &a.event.id).cmp(&(b_at, &b.event.id)));
        let mut next = 0;
        for (kept, place) in found {
            // Places are kept, so that those of files and those in memory stay the same.
            let order = place.filter(|p| *p < MOST_PLACES).unwrap_or(next).max(next);
            index.insert(Kept { order, ..kept });
            next = order + 1;
        }
        Ok(Self {
            limits,
            index: Arc::new(Mutex::new(index)),
            ages: Ages::new(now),
            aged_ms: now.steady_ms,
            _folder: own,
        })
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
    pub fn put(&mut self, mut event: EventJson, pictures: Option<[Vec<u8>; 2]>, now: Now) -> io::Result<()> {
        let (is_new, order, old_pictures, paths, folder) = {
            let index = self.lock();
            let known = index.events.get(&event.id);
            let had_picture = known.is_some_and(|k| k.event.has_picture == Some(true));
            event.has_picture = Some(pictures.is_some() || had_picture);
            let old_pictures = known.map_or(0, |k| k.n_pictures);
            let paths = ENDINGS.map(|ending| index.path(&event, ending));
            let next = index.order.last_key_value().map_or(0, |(last, _)| last + 1);
            (known.is_none(), known.map_or(next, |k| k.order), old_pictures, paths, index.folder.join(&event.camera))
        };
        let on_disk = OnDisk { event, order: Some(order) };
        let text = serde_json::to_vec(&on_disk)?;
        let OnDisk { event, .. } = on_disk;
        let mut files: Vec<(&PathBuf, &[u8])> = Vec::new();
        if let Some(pictures) = &pictures {
            files.extend(paths[..2].iter().zip(pictures.iter().map(Vec::as_slice)));
        }
        // The event comes last: pictures without one are leftovers.
        files.push((&paths[2], &text));
        std::fs::create_dir_all(&folder)?;
        if !std::fs::symlink_metadata(&folder)?.is_dir() {
            return Err(io::Error::other(format!("{} is a link; it is not written through", folder.display())));
        }
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
        let written_ms = Some(now.steady_ms);
        self.lock().insert(Kept { event, n_json: text.len() as u64, n_pictures, order, written_ms });
        self.trim(now);
        Ok(())
    }

    /// Holds the limits.
    pub fn trim(&mut self, now: Now) {
        self.ages.look(now);
        loop {
            let exceeds = {
                let (index, limits) = (self.lock(), &self.limits);
                index.events.len() > limits.n || index.n_bytes > limits.bytes
            };
            if !exceeds || !self.remove_oldest(None) {
                break;
            }
        }
        if now.steady_ms.saturating_sub(self.aged_ms) >= AGE_EVERY_MS {
            self.aged_ms = now.steady_ms;
            let is_old = |kept: &&Kept| self.ages.of(kept, now) > self.limits.age_ms;
            let old: Vec<String> = self.lock().events.values().filter(is_old).map(|k| k.event.id.clone()).collect();
            old.iter().for_each(|id| {
                self.remove_event(id);
            });
        }
    }

    fn remove_oldest(&mut self, but: Option<&str>) -> bool {
        let Some(id) = self.lock().order.values().find(|id| Some(id.as_str()) != but).cloned() else { return false };
        self.remove_event(&id)
    }

    fn remove_event(&mut self, id: &str) -> bool {
        let paths = {
            let mut index = self.lock();
            let Some(kept) = index.events.remove(id) else { return false };
            index.order.remove(&kept.order);
            index.n_bytes -= kept.n_bytes();
            ENDINGS.map(|ending| index.path(&kept.event, ending))
        };
        remove(&paths);
        true
    }
}

/// Of an event's files; the event itself is the last.
const ENDINGS: [&str; 3] = [EventPicture::Frame.ending(), EventPicture::Crop.ending(), "json"];

fn remove(paths: &[PathBuf]) {
    for path in paths {
        // What is gone already is gone.
        let _ = std::fs::remove_file(path);
    }
}

/// Reads one file of a folder: the event and its place; what is none of ours is left alone.
fn read(index: &Index, path: &Path) -> Option<(Kept, Option<u64>)> {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let id = name.strip_suffix(".json").filter(|id| is_id(id))?;
    let text = open_plain(path, Links::Refused).and_then(|f| read_open(f, MAX_JSON, "an event")).unwrap_or_default();
    let Ok(OnDisk { mut event, order }) = serde_json::from_slice::<OnDisk>(&text) else {
        tracing::warn!(file = %path.display(), "is no event; left alone");
        return None;
    };
    if event.id != id || path.parent() != Some(&*index.folder.join(&event.camera)) {
        return None;
    }
    event.interrupt();
    let size = |p: EventPicture| std::fs::metadata(index.path(&event, p.ending())).map_or(0, |m| m.len());
    let n_pictures = size(EventPicture::Frame) + size(EventPicture::Crop);
    Some((Kept { event, n_json: text.len() as u64, n_pictures, order: 0, written_ms: None }, order))
}

/// Removes what an interrupted write has left of an event: half a file, or pictures of none.
fn remove_leftover(is_event: &dyn Fn(&str) -> bool, path: &Path) {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let Some((id, ending)) = name.split_once('.').filter(|(id, _)| is_id(id)) else { return };
    let is_half = ending.strip_suffix(".part").is_some_and(|e| ENDINGS.contains(&e));
    let is_orphan = ENDINGS[..2].contains(&ending) && !is_event(id);
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
        stays: vec![crate::wire::event::StayJson { zone: "door".into(), from: 1.0, to: None }],
        crossings: Vec::new(),
        has_picture: None,
        interrupted: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { bytes: 1 << 20, age_ms: 1_000_000, n: 100 };
    /// 2026.
    const DAY_1: u64 = 1_790_000_000_000;
    const HOUR: u64 = 3_600_000;

    /// Both clocks agree.
    fn at(ms: u64) -> Now {
        Now { unix_ms: ms, steady_ms: ms }
    }

    fn files(folder: &Path) -> usize {
        std::fs::read_dir(folder).map_or(0, |all| all.flatten().count())
    }

    #[test]
    fn events_come_back_after_a_restart_with_their_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), LIMITS, at(0)).unwrap();
        store.put(event(5000, "front", "car"), Some([vec![1; 300], vec![2; 200]]), at(5000)).unwrap();
        store.put(EventJson { score: 0.9, ..event(5000, "front", "car") }, None, at(5000)).unwrap();
        store.put(event(6000, "back", "person"), None, at(6000)).unwrap();
        assert_eq!(files(&folder.path().join("front")), 3);
        std::fs::write(folder.path().join("front/0000000000001-x-1.json"), "{").unwrap();
        std::fs::write(folder.path().join("front/notes.txt"), "mine").unwrap();
        std::fs::write(folder.path().join("front/film.part"), "mine").unwrap();
        std::fs::write(folder.path().join("front/0000000000003-x-1.crop.jpg"), "of none").unwrap();
        std::fs::write(folder.path().join("front/0000000000002-x-1.jpg.part"), "half").unwrap();
        let n_bytes = store.lock().n_bytes();
        drop(store);
        let store = Store::open(folder.path(), LIMITS, at(0)).unwrap();
        let store = store.lock();
        assert_eq!((store.len(), store.n_bytes()), (2, n_bytes));
        let back = store.get("0000000005000-front-5000").unwrap();
        assert_eq!((back.score, back.end, back.interrupted, back.has_picture), (0.9, Some(6.0), true, Some(true)));
        assert_eq!((back.zones.len(), back.stays[0].to), (0, Some(6.0)));
        assert_eq!(std::fs::read(store.picture(&back.id, EventPicture::Crop).unwrap()).unwrap(), [2; 200]);
        assert_eq!(store.picture("0000000006000-back-6000", EventPicture::Frame), None);
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
            let mut store = Store::open(folder.path(), limits.clone(), at(0)).unwrap();
            for ms in (1000..=20_000).step_by(1000) {
                store.put(event(ms, "a", "car"), Some([vec![0; 1000], vec![0; 1000]]), at(ms)).unwrap();
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

    /// Field report 3: nothing that is newer in the order of writing is lost to a clock.
    #[test]
    fn a_clock_that_jumps_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { age_ms: 14 * 24 * HOUR, n: 100, ..LIMITS };
        let ids = |store: &Store| store.lock().order.values().cloned().collect::<Vec<_>>();
        // At boot it is 1970, then the time comes; then it leaps by fifteen days, and ten years ahead and back.
        let mut store = Store::open(folder.path(), limits.clone(), at(0)).unwrap();
        let clocks = [5_000, DAY_1, DAY_1 + 15 * 24 * HOUR, DAY_1 + 87_600 * HOUR, DAY_1 + 1000];
        for (steady_ms, unix_ms) in (0..).map(|n| n * 1000).zip(clocks) {
            store.put(event(unix_ms, "a", "car"), None, Now { unix_ms, steady_ms }).unwrap();
        }
        let all = ids(&store);
        assert_eq!(all.len(), 5, "{all:?}");
        // Found again by another process, they are as they were, and are not old because the clock says so just now.
        drop(store);
        let later = |steady_ms: u64, ahead: u64| Now { unix_ms: DAY_1 + 2000 + steady_ms + ahead, steady_ms };
        let mut store = Store::open(folder.path(), limits.clone(), later(0, 0)).unwrap();
        assert_eq!(ids(&store), all, "in the order of writing");
        store.trim(later(HOUR / 2, 0));
        store.trim(later(HOUR / 2 + 1000, 30 * 24 * HOUR));
        store.trim(later(HOUR, 30 * 24 * HOUR));
        assert_eq!(ids(&store), all);
        // A clock that has been steady for an hour is believed; 1970 and the future are no ages.
        store.trim(later(2 * HOUR, 30 * 24 * HOUR));
        assert_eq!(ids(&store), [all[0].clone(), all[3].clone()]);
        // Full of the future, it takes what is new: what was written first goes.
        drop(store);
        let mut store = Store::open(folder.path(), Limits { n: 3, ..limits }, later(0, 0)).unwrap();
        for n in 0..10 {
            let id = event(DAY_1 + n, "b", "car").id;
            store.put(event(DAY_1 + n, "b", "car"), None, later(n, 0)).unwrap();
            assert!(store.lock().get(&id).is_some(), "the newest is kept");
        }
        assert!(ids(&store).iter().all(|id| id.contains("-b-")));
        // What this process wrote grows old by the steady clock.
        store.trim(later(15 * 24 * HOUR, 0));
        assert_eq!(ids(&store).len(), 0);
    }

    #[test]
    fn the_order_of_writing_outlives_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let limits = Limits { n: 3, ..LIMITS };
        let mut want = Vec::new();
        for round in 0..5u64 {
            let mut store = Store::open(folder.path(), limits.clone(), at(0)).unwrap();
            for n in 0..2 {
                // By their names they come in the opposite order.
                let e = event(DAY_1 - round * 10 - n, "a", "car");
                want.push(e.id.clone());
                store.put(e, None, at(0)).unwrap();
            }
            let kept: Vec<String> = store.lock().order.values().cloned().collect();
            assert_eq!(kept, want[want.len().saturating_sub(3)..], "round {round}");
        }
    }

    #[test]
    fn links_in_the_folder_are_left_alone() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut store = Store::open(other.path(), LIMITS, at(0)).unwrap();
        store.put(event(5000, "front", "car"), None, at(0)).unwrap();
        drop(store);
        std::os::unix::fs::symlink(other.path().join("front"), folder.path().join("front")).unwrap();
        let mut store = Store::open(folder.path(), LIMITS, at(0)).unwrap();
        assert_eq!(store.lock().len(), 0);
        assert!(store.put(event(6000, "front", "car"), None, at(0)).unwrap_err().to_string().contains("link"));
        assert!(Store::open(folder.path(), LIMITS, at(0)).unwrap_err().to_string().contains("another passd"));
    }

    #[test]
    fn questions_are_answered_newest_first() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = Store::open(folder.path(), LIMITS, at(0)).unwrap();
        for (ms, camera, label) in [(1000, "a", "car"), (2000, "b", "car"), (3000, "a", "person"), (4000, "a", "car")] {
            store.put(event(ms, camera, label), None, at(ms)).unwrap();
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
