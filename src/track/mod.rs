//! Which detection is which object, from frame to frame.
//!
//! After ByteTrack (Zhang et al., ECCV 2022): boxes are predicted, strong detections are
//! matched with them first, then faint ones with what is left, so that somebody who
//! is half hidden keeps the number. What differs is owed to skipping: a carried
//! detection is no new evidence. It neither moves a track nor makes it surer; it
//! says that nothing changed enough to be looked at, so that the track is neither lost.
//! A predicted one ([`predict`]) is where the track itself expects it, and no evidence either.
//!
//! In: a frame's merged detections, faint ones too. Out: tracks with their states. Pure; the state of one stream.

pub mod assign;
mod kalman;
mod motion;
pub mod predict;
mod votes;

use crate::detect::Detection;
use crate::geom::{ModelInput, Rect, Size};
use crate::merge::{Merged, Provenance};
use assign::Assigner;
use motion::{Motion, side};
use votes::Votes;

/// What becomes of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Seen too little to be believed.
    Tentative,
    /// Believed.
    Confirmed,
    /// Believed, and has not moved for a while.
    Stationary,
    /// Not seen now; expected to come back.
    Lost,
}

/// When a track begins, changes its state and ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TrackSettings {
    /// So long a track is kept while it is not seen.
    pub lost_ns: u64,
    /// So long one that stood still is: what hid it passes by.
    pub lost_stationary_ns: u64,
    /// Standing for so long, it is stationary.
    pub stationary_ns: u64,
}

impl Default for TrackSettings {
    fn default() -> Self {
        Self { lost_ns: 2_000_000_000, lost_stationary_ns: 10_000_000_000, stationary_ns: 5_000_000_000 }
    }
}

/// Looks after which a track is confirmed.
const HITS: u32 = 3;
/// A track that was there in every frame for so long is confirmed with fewer: nothing changed.
const UNBROKEN_NS: u64 = 200_000_000;
/// Least fit of a strong detection with a known track, of a faint one, and of one with a tentative track.
const FIT: f32 = 0.15;
const FIT_FAINT: f32 = 0.4;
const FIT_TENTATIVE: f32 = 0.25;
/// Least overlap of a strong detection of another class with a track that has none: a car that is a truck in this frame.
const FIT_OTHER: f32 = 0.5;
/// A box that overlaps by this much with one that has a track is the same thing under another name, and begins none.
const DUPLICATE: f32 = 0.8;
/// So long faint looks keep a track in sight: what is seen no better for longer may be the background.
const FAINT_FOR_NS: u64 = 1_000_000_000;
/// Boxes are compared with margins of this share of their side, so that what is small and fast
/// still overlaps (C-BIoU, Yang et al., WACV 2023).
const BOX_MARGIN: f32 = 0.2;
/// Carried for so long, it stands still.
const RESTS_NS: u64 = 500_000_000;
/// Moved by less than this share of its side, an object stands.
const STANDS: f32 = 0.15;
/// Overlap of a box with where it was expected, from which that may be relied on for longer, and less than which for no time.
const AS_EXPECTED: f32 = 0.8;
const ABOUT_THERE: f32 = 0.6;
/// Longer gaps between frames are taken for this one, seconds.
const MAX_STEP: f32 = 2.0;
/// Most tracks of a stream; beyond, the longest lost ones go.
const MAX_TRACKS: usize = 1000;

/// An object that is followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// Given once in a stream's life.
    pub id: u64,
    /// That most looks saw.
    pub class: u16,
    pub state: State,
    /// Of the last look.
    pub score: f32,
    /// When it was first seen, presentation time.
    pub first_ns: u64,
    /// When the model last saw it.
    pub looked_ns: u64,
    /// Until when it is known to be there, be it that nothing changed.
    pub known_ns: u64,
    /// Since when it has been standing where it stands.
    pub still_ns: u64,
    /// How often the model saw it.
    pub n_looks: u32,
    /// Its detection in the last frame, by number; `None`: not seen.
    pub detection: Option<usize>,
    votes: Votes,
    motion: Motion,
    /// Its last detection's box.
    seen: Rect<ModelInput>,
    /// Where it was when it was last looked for, be it that nothing changed there, and when.
    answered: Rect<ModelInput>,
    answered_ns: u64,
    /// Nothing had changed there then.
    rests: bool,
    /// So long after that it is where it is expected, as far as has been seen.
    patience_ns: u64,
    /// Where it has been standing.
    anchor: Rect<ModelInput>,
    was_stationary: bool,
    is_carried: bool,
    /// When its detection was last a strong one.
    strong_ns: u64,
}

impl Track {
    /// Where it is, or is expected to be.
    pub fn bbox(&self) -> Rect<ModelInput> {
        if self.detection.is_some() { self.seen } else { self.motion.bbox() }
    }

    /// Pixels of the model input a second.
    pub fn speed(&self) -> [f32; 2] {
        self.motion.speed()
    }

    /// Whether it is believed, and in the picture now.
    pub fn is_present(&self) -> bool {
        matches!(self.state, State::Confirmed | State::Stationary)
    }

    /// Where its way leads, from where it was when it was last looked for.
    pub fn expected(&self, now_ns: u64) -> Rect<ModelInput> {
        if self.rests {
            return self.answered;
        }
        self.motion.ahead(&self.answered, now_ns.saturating_sub(self.answered_ns) as f32 / 1e9)
    }

    fn fit(&self, m: &Merged, now_ns: u64, classes: Classes) -> f32 {
        let d = &m.detection;
        match (classes, d.class == self.class) {
            (Classes::Same, true) => {}
            (Classes::Other, false) => {
                let here = if self.is_carried { self.seen } else { self.motion.bbox() };
                return here.iou(&d.bbox);
            }
            _ => return 0.0,
        }
        match m.provenance {
            Provenance::Carried => return self.seen.iou(&d.bbox),
            Provenance::Predicted => return self.expected(now_ns).iou(&d.bbox),
            Provenance::Computed => {}
        }
        let wide = |b: Rect<ModelInput>| b.grown(BOX_MARGIN * side(&b));
        let fit = wide(self.motion.bbox()).iou(&wide(d.bbox));
        // Carried before this frame, it may have stood still or have gone on unnoticed.
        if self.is_carried { fit.max(wide(self.seen).iou(&wide(d.bbox))) } else { fit }
    }

    /// How long it may go without being looked for after it was found at `bbox`: what is where it was expected may be
    /// expected for longer.
    fn patience(&self, bbox: &Rect<ModelInput>, now_ns: u64) -> u64 {
        let gap_ns = now_ns.saturating_sub(self.answered_ns);
        let fit = self.expected(now_ns).iou(bbox);
        if fit >= AS_EXPECTED {
            gap_ns.saturating_mul(2)
        } else if fit >= ABOUT_THERE {
            self.patience_ns.min(gap_ns)
        } else {
            0
        }
    }

    fn take(&mut self, m: &Merged, i: usize, now_ns: u64, is_strong: bool, s: &TrackSettings) {
        let bbox = m.detection.bbox;
        if m.provenance != Provenance::Predicted {
            self.patience_ns = self.patience(&bbox, now_ns);
            (self.answered, self.answered_ns) = (bbox, now_ns);
            self.rests = m.provenance == Provenance::Carried;
        }
        match m.provenance {
            Provenance::Computed => {
                self.class = self.votes.cast(m.detection.class, m.detection.score);
                self.motion.update(&bbox);
                self.score = m.detection.score;
                self.looked_ns = now_ns;
                self.n_looks = self.n_looks.saturating_add(1);
            }
            Provenance::Carried if now_ns.saturating_sub(self.looked_ns) >= RESTS_NS => self.motion.rest(&bbox),
            Provenance::Carried | Provenance::Predicted => {}
        }
        if is_strong {
            self.strong_ns = now_ns;
        }
        self.is_carried = m.provenance == Provenance::Carried;
        (self.detection, self.seen, self.known_ns) = (Some(i), bbox, now_ns);
        let moved = |a: f32, b: f32| (a - b).abs() > STANDS * side(&self.anchor);
        let (a, b) = (self.anchor.to_array(), bbox.to_array());
        // Sides may grow and shrink, as when a door opens; a box moves with both of its sides.
        if (moved(a[0], b[0]) && moved(a[2], b[2])) || (moved(a[1], b[1]) && moved(a[3], b[3])) {
            (self.anchor, self.still_ns) = (bbox, now_ns);
        }
        let is_believed = self.state != State::Tentative
            || self.n_looks >= HITS
            || now_ns.saturating_sub(self.first_ns) >= UNBROKEN_NS;
        self.was_stationary = now_ns.saturating_sub(self.still_ns) >= s.stationary_ns;
        self.state = match (is_believed, self.was_stationary) {
            (false, _) => State::Tentative,
            (true, false) => State::Confirmed,
            (true, true) => State::Stationary,
        };
    }
}

/// Which detections a track may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Classes {
    /// Those of its own class.
    Same,
    /// Those of others.
    Other,
}

/// The tracks of one stream.
#[derive(Debug, Clone, Default)]
pub struct Tracker {
    settings: TrackSettings,
    tracks: Vec<Track>,
    last_ns: u64,
    n_given: u64,
    assigner: Assigner,
    /// Scratch: numbers of tracks and of detections that are to be matched, and detections that have a track.
    rows: Vec<usize>,
    columns: Vec<usize>,
    taken: Vec<bool>,
}

impl Tracker {
    pub fn new(settings: TrackSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// From now on these count, for the tracks that are there too.
    pub fn set(&mut self, settings: TrackSettings) {
        self.settings = settings;
    }

    /// All tracks, oldest first.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    /// Another stream follows; numbers go on.
    pub fn reset(&mut self) {
        self.tracks.clear();
    }

    /// Brings the tracks to the frame at `now_ns` of a picture of `size`. Strong detections are matched
    /// first, and may begin tracks.
    pub fn update(
        &mut self,
        now_ns: u64,
        size: Size,
        detections: &[Merged],
        is_strong: impl Fn(&Detection) -> bool,
    ) -> &[Track] {
        let dt = (now_ns.saturating_sub(self.last_ns) as f32 / 1e9).min(MAX_STEP);
        self.last_ns = now_ns;
        for track in &mut self.tracks {
            if track.detection.take().is_none() || track.is_carried {
                track.motion.slow_down(dt);
            }
            track.motion.predict(dt);
        }
        self.taken.clear();
        self.taken.resize(detections.len(), false);
        let strong = |m: &Merged| is_strong(&m.detection);
        let believed = |t: &Track| t.state != State::Tentative;
        self.pass(now_ns, detections, (FIT, true, Classes::Same), believed, strong);
        let in_sight =
            |t: &Track| believed(t) && t.state != State::Lost && now_ns.saturating_sub(t.strong_ns) <= FAINT_FOR_NS;
        self.pass(now_ns, detections, (FIT_FAINT, false, Classes::Same), in_sight, |m| !strong(m));
        self.pass(now_ns, detections, (FIT_TENTATIVE, true, Classes::Same), |t| !believed(t), strong);
        let computed = |m: &Merged| strong(m) && m.provenance == Provenance::Computed;
        self.pass(now_ns, detections, (FIT_OTHER, true, Classes::Other), |t| t.state != State::Lost, computed);
        self.let_go(now_ns, size);
        self.begin(now_ns, detections, strong);
        &self.tracks
    }

    /// Matches those tracks that have no detection yet with those detections that have no track.
    fn pass(
        &mut self,
        now_ns: u64,
        detections: &[Merged],
        (least, is_strong, classes): (f32, bool, Classes),
        is_row: impl Fn(&Track) -> bool,
        is_column: impl Fn(&Merged) -> bool,
    ) {
        let Self { settings, tracks, assigner, rows, columns, taken, .. } = self;
        rows.clear();
        rows.extend((0..tracks.len()).filter(|i| tracks[*i].detection.is_none() && is_row(&tracks[*i])));
        columns.clear();
        columns.extend((0..detections.len()).filter(|i| !taken[*i] && is_column(&detections[*i])));
        let fit = |row: usize, column: usize| tracks[rows[row]].fit(&detections[columns[column]], now_ns, classes);
        for &(row, column) in assigner.assign(rows.len(), columns.len(), least, fit) {
            let (row, column) = (rows[row], columns[column]);
            taken[column] = true;
            tracks[row].take(&detections[column], column, now_ns, is_strong, settings);
        }
    }

    /// What is not seen is lost, and after a while gone.
    fn let_go(&mut self, now_ns: u64, size: Size) {
        let (s, picture) = (self.settings, size.rect());
        self.tracks.retain_mut(|t| {
            if t.detection.is_some() {
                return true;
            }
            if t.state == State::Tentative {
                return false;
            }
            t.state = State::Lost;
            let limit_ns = if t.was_stationary { s.lost_stationary_ns } else { s.lost_ns };
            let is_inside = t.motion.bbox().intersects(&picture);
            is_inside && now_ns.saturating_sub(t.known_ns) <= limit_ns
        });
        if self.tracks.len() > MAX_TRACKS {
            // Those that were known last stay, in their order.
            let mut times: Vec<u64> = self.tracks.iter().map(|t| t.known_ns).collect();
            times.sort_unstable();
            let oldest = times[times.len() - MAX_TRACKS];
            self.tracks.retain(|t| t.known_ns >= oldest);
        }
    }

    /// Strong detections that are nobody's begin tracks, if the model saw them now.
    fn begin(&mut self, now_ns: u64, detections: &[Merged], is_strong: impl Fn(&Merged) -> bool) {
        for (i, m) in detections.iter().enumerate() {
            let d = &m.detection;
            let begins = !self.taken[i] && m.provenance == Provenance::Computed && is_strong(m);
            if !begins || self.tracks.len() >= 2 * MAX_TRACKS {
                continue;
            }
            let is_same = |t: &Track| t.detection.is_some() && t.class != d.class && t.seen.iou(&d.bbox) >= DUPLICATE;
            if self.tracks.iter().any(is_same) {
                continue;
            }
            let mut votes = Votes::default();
            votes.cast(d.class, d.score);
            self.n_given += 1;
            self.tracks.push(Track {
                id: self.n_given,
                class: d.class,
                state: State::Tentative,
                score: d.score,
                first_ns: now_ns,
                looked_ns: now_ns,
                known_ns: now_ns,
                still_ns: now_ns,
                n_looks: 1,
                detection: Some(i),
                votes,
                motion: Motion::new(&d.bbox),
                seen: d.bbox,
                answered: d.bbox,
                answered_ns: now_ns,
                rests: false,
                patience_ns: 0,
                anchor: d.bbox,
                was_stationary: false,
                is_carried: false,
                strong_ns: now_ns,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameId;

    const SIZE: Size = Size::new(640, 384);
    /// 10 frames a second.
    const STEP: u64 = 100_000_000;

    fn seen(class: u16, score: f32, x: f32, y: f32) -> Merged {
        let bbox = Rect::new(x, y, x + 30.0, y + 60.0);
        Merged {
            detection: Detection::new(class, score, bbox),
            provenance: Provenance::Computed,
            frame: FrameId(0),
            pts_ns: 0,
        }
    }

    fn carried(m: Merged) -> Merged {
        Merged { provenance: Provenance::Carried, ..m }
    }

    struct Rig {
        tracker: Tracker,
        frame: u64,
    }

    impl Rig {
        fn new() -> Self {
            Self { tracker: Tracker::new(TrackSettings::default()), frame: 0 }
        }

        /// Number and state of every track, after one more frame.
        fn see(&mut self, all: &[Merged]) -> Vec<(u64, State)> {
            self.frame += 1;
            self.tracker
                .update(self.frame * STEP, SIZE, all, |d| d.score >= 0.4)
                .iter()
                .map(|t| (t.id, t.state))
                .collect()
        }
    }

    #[test]
    fn three_looks_confirm_and_one_miss_ends_what_was_tentative() {
        let mut rig = Rig::new();
        let person = seen(0, 0.8, 100.0, 100.0);
        assert_eq!(rig.see(&[person]), [(1, State::Tentative)]);
        assert_eq!(rig.see(&[]), []);
        assert_eq!(rig.see(&[person]), [(2, State::Tentative)]);
        assert_eq!(rig.see(&[person]), [(2, State::Tentative)]);
        assert_eq!(rig.see(&[person]), [(2, State::Confirmed)]);
        assert_eq!(rig.see(&[]), [(2, State::Lost)]);
        assert_eq!(rig.see(&[person]), [(2, State::Confirmed)]);
        assert_eq!(rig.see(&[seen(0, 0.3, 300.0, 100.0)]), [(2, State::Lost)], "a faint one begins nothing");
    }

    #[test]
    fn a_carried_detection_is_no_new_evidence() {
        let mut rig = Rig::new();
        let person = seen(0, 0.8, 100.0, 100.0);
        rig.see(&[person]);
        assert_eq!(rig.see(&[carried(person)]), [(1, State::Tentative)]);
        let track = &rig.tracker.tracks()[0];
        assert_eq!((track.n_looks, track.looked_ns, track.known_ns), (1, STEP, 2 * STEP));
        // Unbroken for two tenths of a second, it is believed.
        assert_eq!(rig.see(&[carried(person)]), [(1, State::Confirmed)]);
        assert_eq!(Rig::new().see(&[carried(person)]), [], "nor does it begin a track");
        // Nothing changed, so it has not moved, whatever its speed was.
        let mut rig = Rig::new();
        (0..5).for_each(|i| drop(rig.see(&[seen(0, 0.8, 100.0 + 10.0 * i as f32, 100.0)])));
        assert!(rig.tracker.tracks()[0].speed()[0] > 60.0);
        let stopped = carried(seen(0, 0.8, 140.0, 100.0));
        (0..20).for_each(|_| assert_eq!(rig.see(&[stopped]), [(1, State::Confirmed)]));
        let track = &rig.tracker.tracks()[0];
        assert_eq!((track.speed(), track.bbox()), ([0.0; 2], stopped.detection.bbox));
        assert_eq!(rig.see(&[seen(0, 0.8, 142.0, 100.0)]), [(1, State::Confirmed)]);
    }

    #[test]
    fn numbers_survive_an_occlusion_and_a_crossing() {
        // Left to right behind a pillar for a second, another comes towards it.
        let mut rig = Rig::new();
        for i in 0..60 {
            let (a, b) = (50.0 + 8.0 * i as f32, 530.0 - 8.0 * i as f32);
            let mut all = Vec::new();
            if !(20..28).contains(&i) {
                all.push(seen(0, 0.8, a, 100.0));
            }
            all.push(seen(0, 0.7, b, 120.0));
            let found = rig.see(&all);
            assert_eq!(found.len(), 2, "frame {i}: {found:?}");
        }
        let x = |id: u64| rig.tracker.tracks().iter().find(|t| t.id == id).unwrap().bbox().x1;
        assert!((x(1) - 522.0).abs() < 1.0 && (x(2) - 58.0).abs() < 1.0, "{:?}", rig.tracker.tracks());
    }

    #[test]
    fn a_faint_look_keeps_a_track_in_sight() {
        let mut rig = Rig::new();
        (0..5).for_each(|_| drop(rig.see(&[seen(0, 0.8, 100.0, 100.0)])));
        (0..10).for_each(|_| assert_eq!(rig.see(&[seen(0, 0.25, 100.0, 101.0)]), [(1, State::Confirmed)]));
        assert_eq!(rig.see(&[seen(0, 0.25, 100.0, 101.0)]), [(1, State::Lost)], "but not for ever");
        assert_eq!(rig.see(&[seen(0, 0.5, 100.0, 101.0)]), [(1, State::Confirmed)]);
    }

    #[test]
    fn what_stands_is_stationary_and_is_waited_for_longer() {
        let mut rig = Rig::new();
        let parked = seen(1, 0.8, 100.0, 100.0);
        let mut states: Vec<State> = (0..60).map(|_| rig.see(&[parked])[0].1).collect();
        states.dedup();
        assert_eq!(states, [State::Tentative, State::Confirmed, State::Stationary]);
        // A bus stands before it for eight seconds.
        (0..80).for_each(|_| assert_eq!(rig.see(&[]), [(1, State::Lost)]));
        assert_eq!(rig.see(&[parked]), [(1, State::Stationary)]);
        assert_eq!(rig.see(&[seen(1, 0.8, 125.0, 100.0)]), [(1, State::Confirmed)], "it drives off");
        (0..20).for_each(|_| assert_eq!(rig.see(&[]), [(1, State::Lost)]));
        assert_eq!(rig.see(&[]), [], "what moves is not waited for as long");
    }

    #[test]
    fn who_leaves_the_picture_is_gone_and_classes_are_kept_apart() {
        let mut rig = Rig::new();
        (0..8).for_each(|i| drop(rig.see(&[seen(0, 0.8, 540.0 + 12.0 * i as f32, 100.0)])));
        let n_frames = (0..20).take_while(|_| !rig.see(&[]).is_empty()).count();
        assert!((1..8).contains(&n_frames), "{n_frames}");
        let mut rig = Rig::new();
        (0..4).for_each(|_| drop(rig.see(&[seen(0, 0.8, 100.0, 100.0)])));
        assert_eq!(rig.see(&[seen(1, 0.9, 125.0, 100.0)]), [(1, State::Lost), (2, State::Tentative)]);
    }

    #[test]
    fn classes_vote_within_a_track() {
        let mut rig = Rig::new();
        let looks = [2, 2, 7, 2, 2, 7, 7, 2, 2];
        for class in looks {
            let found = rig.see(&[seen(class, 0.8, 100.0, 100.0)]);
            assert_eq!(found.len(), 1, "{found:?}");
            assert_eq!((found[0].0, rig.tracker.tracks()[0].class), (1, 2));
        }
        // Both at once, in one place: one thing under two names.
        let found = rig.see(&[seen(2, 0.8, 100.0, 100.0), seen(7, 0.7, 101.0, 100.0)]);
        assert_eq!(found, [(1, State::Confirmed)]);
        // Somebody before it is somebody else.
        let person = Merged {
            detection: Detection { bbox: Rect::new(105.0, 110.0, 125.0, 160.0), ..seen(0, 0.8, 0.0, 0.0).detection },
            ..seen(0, 0.8, 0.0, 0.0)
        };
        let found = rig.see(&[seen(2, 0.8, 100.0, 100.0), person]);
        assert_eq!(found, [(1, State::Confirmed), (2, State::Tentative)]);
        // Looks enough, and it is what they say.
        (0..40).for_each(|_| drop(rig.see(&[seen(7, 0.8, 100.0, 100.0)])));
        assert_eq!(rig.tracker.tracks()[0].class, 7);
    }

    #[test]
    fn tracks_are_bounded_whatever_comes() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut rig = Rig::new();
        for _ in 0..30 {
            let all: Vec<Merged> = (0..400)
                .map(|_| seen(rng.u16(..3), rng.f32(), rng.f32() * 700.0 - 50.0, rng.f32() * 450.0 - 50.0))
                .collect();
            rig.see(&all);
            assert!(rig.tracker.tracks().len() <= 2 * MAX_TRACKS);
        }
        let mut ids: Vec<u64> = rig.tracker.tracks().iter().map(|t| t.id).collect();
        ids.dedup();
        assert_eq!(ids.len(), rig.tracker.tracks().len(), "each number is given once");
    }
}
