//! One camera's thinking, without its threads: what to compute of a frame,
//! and what is known after it was.

use crate::frame::Frame;
use crate::geom::{PatchGrid, PatchMask, Size};
use crate::infer::detector::computed_patches;
use crate::infer::{Coverage, Detection, Fresh};
use crate::merge::{MergeSettings, Merged, Merger};
use crate::skip::{Decision, SkipMode, SkipSettings, SkipStage};
use crate::track::predict::Predictor;
use crate::track::{Track, TrackSettings, Tracker};
use engine::gating::policy::Policy;

/// Skip stage, merge, tracks and what they predict, of one stream. Media time never goes back within an epoch, which is
/// [`crate::capture::Intake`]'s to see to; with another epoch all begins anew.
pub struct Stage {
    /// Of the last frame.
    epoch: Option<u64>,
    skip: Option<SkipStage>,
    merger: Merger,
    /// What is known of the last frame and wanted, faint detections too.
    followed: Vec<Merged>,
    tracker: Tracker,
    /// `None`: every change is looked at.
    predictor: Option<Predictor>,
    min_score: f32,
    /// What is asked for; all patches in mode `off`.
    asked: PatchMask,
    computed: PatchMask,
}

impl Stage {
    pub fn new(
        mode: SkipMode,
        input: Size,
        skip: &SkipSettings,
        merge: MergeSettings,
        tracking: TrackSettings,
    ) -> Self {
        let grid = PatchGrid::new(input, skip.patch_in(mode));
        let limit_ns = skip.predict_in(mode);
        let predictor = (mode != SkipMode::Off && limit_ns > 0).then(|| Predictor::new(limit_ns, grid));
        let skip = match mode {
            SkipMode::Off => None,
            SkipMode::Regions | SkipMode::Layers => Some(SkipStage::new(mode, skip.clone(), input)),
        };
        Self {
            epoch: None,
            skip,
            merger: Merger::new(merge),
            followed: Vec::new(),
            tracker: Tracker::new(tracking),
            predictor,
            min_score: merge.min_score,
            asked: PatchMask::full(grid),
            computed: PatchMask::empty(grid),
        }
    }

    /// By this policy.
    #[must_use]
    pub fn judging_by(mut self, policy: &Policy) -> Self {
        if let Some(skip) = &mut self.skip {
            skip.set_policy(&policy.picture);
        }
        self
    }

    /// Takes over who is followed from a stage that this one replaces; its next frame is computed as a whole.
    pub fn succeed(&mut self, before: &mut Self) {
        std::mem::swap(&mut self.tracker, &mut before.tracker);
        self.epoch = before.epoch;
    }

    /// How objects are followed from now on.
    pub fn set_tracking(&mut self, tracking: TrackSettings) {
        self.tracker.set(tracking);
    }

    /// Whether tracks have a say in what is computed.
    pub fn predicts(&self) -> bool {
        self.predictor.is_some()
    }

    pub fn grid(&self) -> PatchGrid {
        self.asked.grid()
    }

    /// Decides what to compute of the next frame.
    pub fn begin(&mut self, frame: &Frame) -> (&PatchMask, &[Detection]) {
        if self.epoch.replace(frame.epoch).is_some_and(|epoch| epoch != frame.epoch) {
            self.reset();
        }
        if let Some(skip) = &mut self.skip {
            let is_whole = skip.decide(frame).global.is_some();
            if let Some(predictor) = &mut self.predictor {
                if is_whole {
                    predictor.rest();
                } else {
                    skip.put_off(predictor.begin(frame.pts_ns, self.tracker.tracks(), &self.followed));
                }
            }
            self.asked.copy_from(&skip.decision().patches);
        }
        (&self.asked, self.merger.boxes())
    }

    /// Takes in what was computed of that frame. What is known then and `wanted` comes back, faint detections too.
    pub fn finish(&mut self, frame: &Frame, fresh: &Fresh, wanted: impl Fn(&Detection) -> bool) -> &[Merged] {
        computed_patches(&fresh.coverage, &self.asked, &mut self.computed);
        if let Some(skip) = &mut self.skip {
            skip.accept(frame, &self.computed);
            // What was not computed has nothing new to say.
            if fresh.coverage == Coverage::Layers {
                skip.follow(&fresh.tolerance);
                skip.weigh(fresh.layers.share_of_asked());
            }
        }
        let known = self.merger.merge(frame, fresh, &self.asked);
        self.followed.clear();
        self.followed.extend(known.iter().filter(|m| wanted(&m.detection)));
        if let Some(predictor) = &mut self.predictor {
            predictor.finish(&mut self.followed);
        }
        &self.followed
    }

    /// Brings the tracks to the finished frame; see [`Tracker::update`].
    pub fn track(&mut self, frame: &Frame, is_strong: impl Fn(&Detection) -> bool) -> &[Track] {
        self.tracker.update(frame.pts_ns, frame.size(), &self.followed, is_strong)
    }

    /// The skip stage's last decision; `None` in mode `off`.
    pub fn decision(&self) -> Option<&Decision> {
        self.skip.as_ref().map(SkipStage::decision)
    }

    /// Patches whose picture was computed in the last frame.
    pub fn computed(&self) -> &PatchMask {
        &self.computed
    }

    /// What is known of the last finished frame and wanted, faint detections too.
    pub fn followed(&self) -> &[Merged] {
        &self.followed
    }

    /// What is reported of it.
    pub fn detections(&self) -> impl Iterator<Item = &Merged> {
        self.followed.iter().filter(|m| m.detection.score >= self.min_score)
    }

    pub fn tracks(&self) -> &[Track] {
        self.tracker.tracks()
    }

    /// Age that nothing exceeds from now on.
    pub fn set_max_age(&mut self, max_age_ns: u64) {
        if let Some(skip) = &mut self.skip {
            skip.set_max_age(max_age_ns);
        }
        self.merger.set_max_age(max_age_ns);
    }

    /// The stream was interrupted: nothing that is known holds any more.
    pub fn reset(&mut self) {
        if let Some(skip) = &mut self.skip {
            skip.reset();
        }
        self.merger.reset();
        self.forget_tracks();
    }

    /// Nobody who was there is known to be.
    pub fn forget_tracks(&mut self) {
        self.tracker.reset();
        self.followed.clear();
    }

    /// The next frame is computed as a whole.
    pub fn request_full(&mut self) {
        if let Some(skip) = &mut self.skip {
            skip.request_full();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Intake, Slot, SlotMode, Taken};
    use crate::clock::SimClock;
    use crate::frame::{FrameId, Pixels};
    use crate::geom::{Letterbox, Rect};
    use crate::infer::Seen;
    use crate::merge::Provenance;
    use crate::scene::event::{Message, Moment, Phase};
    use crate::scene::{Scene, SceneSettings};
    use crate::skip::GlobalChange;
    use engine::exec::counters::Counters;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    #[test]
    fn where_nothing_is_in_doubt_little_changes_are_not_asked_for() {
        let size = Size::new(128, 64);
        let skip = SkipSettings { max_age_ns: Some(1_000_000_000_000), ..SkipSettings::default() };
        let mut stage = Stage::new(SkipMode::Layers, size, &skip, MergeSettings::default(), TrackSettings::default());
        let mut n = 0;
        let mut asked = |level: u8, tolerance: Option<f32>| {
            let mut data = vec![100; size.area() * 3];
            for y in 0..32 {
                data[y * 128 * 3..][..32 * 3].fill(level);
            }
            let frame = Frame::new(FrameId(n), n * 40_000_000, Letterbox::fit(size, size), Pixels::owned(data));
            n += 1;
            let n_asked = stage.begin(&frame).0.count();
            let mut fresh = Fresh::default();
            if let Some(factor) = tolerance {
                fresh.coverage = Coverage::Layers;
                fresh.tolerance.fill(size.rows_and_columns(), factor);
            }
            stage.finish(&frame, &fresh, |_| true);
            n_asked
        };
        assert_eq!(asked(100, Some(1.0)), 128, "the first frame");
        (0..20).for_each(|_| assert_eq!(asked(100, None), 0));
        assert_eq!(asked(102, Some(5.0)), 16, "two levels are a change");
        assert_eq!(asked(104, None), 0, "not where there is tolerance");
        assert_eq!(asked(104, None), 16, "but what came to rest is looked at once more");
        assert_eq!(asked(104, None), 16, "until it has been computed");
        assert_eq!(asked(107, Some(1.0)), 16, "what adds up is one");
        assert_eq!(asked(109, None), 16);
    }

    #[test]
    fn what_moves_as_expected_is_asked_for_every_second_time_and_what_is_new_at_once() {
        let size = Size::new(256, 128);
        let settings =
            |predict_ns| SkipSettings { predict_ns, max_age_ns: Some(u64::MAX / 4), ..SkipSettings::default() };
        let walk = |predict_ns: Option<u64>| {
            let skip = settings(predict_ns);
            let mut stage =
                Stage::new(SkipMode::Layers, size, &skip, MergeSettings::default(), TrackSettings::default());
            let mut n_idle = 0;
            for n in 0..50u64 {
                let walker = Rect::new(20.0 + 3.0 * n as f32, 32.0, 60.0 + 3.0 * n as f32, 112.0);
                let newcomer = Rect::new(216.0, 8.0, 240.0, 24.0);
                let mut data = vec![90; size.area() * 3];
                let mut paint = |r: &Rect<crate::geom::ModelInput>| {
                    for y in r.y1 as usize..r.y2 as usize {
                        data[(y * 256 + r.x1 as usize) * 3..(y * 256 + r.x2 as usize) * 3].fill(200);
                    }
                };
                paint(&walker);
                if n == 45 {
                    paint(&newcomer);
                }
                let frame = Frame::new(FrameId(n), n * 100_000_000, Letterbox::fit(size, size), Pixels::owned(data));
                let asked = stage.begin(&frame).0.clone();
                assert!(n != 45 || asked.touches(&newcomer), "nobody waits for who is new");
                let mut fresh = Fresh::default();
                if !asked.is_empty() {
                    fresh.coverage = Coverage::Layers;
                    fresh.detections.push(Detection { class: 0, score: 0.9, bbox: walker, landmarks: None });
                    fresh.seen.push(crate::infer::Seen { frame: frame.id, pts_ns: frame.pts_ns });
                }
                let found = stage.finish(&frame, &fresh, |_| true).to_vec();
                stage.track(&frame, |_| true);
                assert!(found.len() == 1 && (found[0].detection.bbox.x1 - walker.x1).abs() < 3.0, "{n}: {found:?}");
                assert!(found[0].age_ns(&frame) <= 150_000_000);
                assert_eq!(found[0].provenance == Provenance::Predicted, !asked.touches(&walker), "{n}");
                n_idle += u32::from(asked.is_empty());
            }
            n_idle
        };
        assert_eq!(walk(Some(0)), 0);
        assert!((18..=24).contains(&walk(None)));
    }

    /// The left half flickers; the right half grows lighter by a level a frame, too little to be asked for.
    #[test]
    fn what_takes_nearly_all_work_is_asked_for_as_a_whole_and_taken_over_as_a_whole() {
        let size = Size::new(128, 64);
        let skip = SkipSettings { max_age_ns: Some(1_000_000_000_000), ..SkipSettings::default() };
        let mut stage = Stage::new(SkipMode::Layers, size, &skip, MergeSettings::default(), TrackSettings::default());
        let mut show = |n: u64, right: u8, executed_macs: u64| {
            let left = if n.is_multiple_of(2) { 40 } else { 200 };
            let data = (0..size.area()).flat_map(|i| [if i % 128 < 64 { left } else { right }; 3]).collect();
            let frame = Frame::new(FrameId(n), n * 40_000_000, Letterbox::fit(size, size), Pixels::owned(data));
            let n_asked = stage.begin(&frame).0.count();
            let layers = Counters { dense_macs: 120, asked_macs: 100, executed_macs, ..Counters::default() };
            stage.finish(&frame, &Fresh { coverage: Coverage::Layers, layers, ..Fresh::default() }, |_| true);
            (n_asked, stage.decision().and_then(|d| d.global))
        };
        let whole = (128, Some(GlobalChange::Motion));
        assert_eq!(show(0, 100, 100), (128, Some(GlobalChange::Start)));
        (1..5).for_each(|n| assert_eq!(show(n, 100, 70), (64, None), "frame {n}"));
        assert_eq!(show(5, 100, 80), (64, None), "most of the work is known when it is done");
        (6..13).for_each(|n| assert_eq!(show(n, 95 + n as u8, 100), whole, "frame {n}"));
        assert_eq!(show(13, 100, 70), (128, None), "looked through; what is as it was before is not as it was last");
        assert_eq!(show(14, 100, 70).1, None, "and it took less");
    }

    /// A tree sways beside a box that is not there any more: though the box's own patches never
    /// change and are computed with the tree all the time, the box is gone after `max_age`.
    #[test]
    fn nothing_unseen_is_carried_for_longer_than_max_age() {
        let size = Size::new(256, 128);
        let skip = SkipSettings { max_age_ns: Some(2_000_000_000), ..SkipSettings::default() };
        let merge = MergeSettings { max_age_ns: skip.max_age_in(SkipMode::Regions), ..MergeSettings::default() };
        let mut stage = Stage::new(SkipMode::Regions, size, &skip, merge, TrackSettings::default());
        let ghost = Detection { class: 0, score: 0.9, bbox: Rect::new(64.0, 16.0, 112.0, 96.0), landmarks: None };
        let mut last_seen = 0;
        for n in 0..60u64 {
            let mut data = vec![90; size.area() * 3];
            // The tree: a column of patches right of the box.
            for y in 0..128 {
                data[(y * 256 + 128) * 3..][..48].fill(if n % 2 == 0 { 10 } else { 200 });
            }
            let frame = Frame::new(FrameId(n), n * 100_000_000, Letterbox::fit(size, size), Pixels::owned(data));
            let (asked, _) = stage.begin(&frame);
            let mut fresh = Fresh::default();
            if n == 0 {
                fresh = Fresh { detections: vec![ghost], cut: vec![false], coverage: Coverage::Full, ..fresh };
            } else if !asked.is_empty() {
                fresh.coverage = Coverage::Regions(vec![Rect::new(32.0, 0.0, 192.0, 128.0)]);
            }
            if !stage.finish(&frame, &fresh, |_| true).is_empty() {
                last_seen = n;
            }
        }
        assert!((1..=21).contains(&last_seen), "carried until frame {last_seen}");
    }

    const MS: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MS;

    /// A stage behind a camera whose time stamps are whatever they are, and a detector that finds who is in the patches that
    /// it is asked for.
    struct Street {
        clock: Arc<SimClock>,
        intake: Intake,
        incarnation: u64,
        mode: SkipMode,
        stage: Stage,
        scene: Scene,
        epoch: u64,
        /// What the layer engine knows of the one who is there: when it last looked.
        seen: Option<Seen>,
        told: Vec<Message>,
    }

    const STREET: Size = Size::new(256, 128);
    const MAX_AGE: u64 = 5 * SECOND;
    const WALKER: Detection =
        Detection { class: 0, score: 0.9, bbox: Rect::new(64.0, 16.0, 112.0, 112.0), landmarks: None };

    impl Street {
        fn new(mode: SkipMode) -> Self {
            let clock = Arc::new(SimClock::default());
            let slot = Arc::new(Slot::new(SlotMode::Latest));
            let intake = Intake::new(STREET, clock.clone(), slot, None);
            let skip = SkipSettings { max_age_ns: Some(MAX_AGE), ..SkipSettings::default() };
            let merge = MergeSettings { max_age_ns: MAX_AGE, ..MergeSettings::default() };
            Self {
                clock,
                incarnation: intake.begin(),
                intake,
                mode,
                stage: Stage::new(mode, STREET, &skip, merge, TrackSettings::default()),
                scene: Scene::new(SceneSettings::default(), &["person".into()]),
                epoch: 0,
                seen: None,
                told: Vec::new(),
            }
        }

        /// A picture with or without the walker, `pts_ns` being its own time. The frame that comes of it.
        fn show(&mut self, pts_ns: u64, is_there: bool) -> Frame {
            let mut picture = vec![90; STREET.area() * 3];
            if is_there {
                let r = WALKER.bbox;
                for y in r.y1 as usize..r.y2 as usize {
                    picture[(y * 256 + r.x1 as usize) * 3..(y * 256 + r.x2 as usize) * 3].fill(200);
                }
            }
            let letterbox = Letterbox::fit(STREET, STREET);
            self.intake.deliver(self.incarnation, pts_ns, &letterbox, &picture, 256 * 3, &AtomicBool::new(false));
            let Taken::Frame(frame) = self.intake.slot().take(Duration::ZERO) else { panic!("no frame") };
            if frame.epoch != self.epoch {
                self.epoch = frame.epoch;
                self.scene.end(&mut self.told);
            }
            let asked = self.stage.begin(&frame).0;
            let mut fresh = Fresh::default();
            let looks = asked.touches(&WALKER.bbox);
            if looks {
                self.seen = Some(Seen { frame: frame.id, pts_ns: frame.pts_ns });
            }
            fresh.coverage = match self.mode {
                _ if asked.is_empty() => Coverage::Nothing,
                SkipMode::Off => Coverage::Full,
                SkipMode::Layers => Coverage::Layers,
                SkipMode::Regions => Coverage::Regions(vec![STREET.rect()]),
            };
            fresh.tolerance.fill(STREET.rows_and_columns(), 1.0);
            if fresh.coverage != Coverage::Nothing && is_there {
                fresh.detections.push(WALKER);
                fresh.cut.push(false);
                fresh.seen.extend(self.seen);
            }
            self.stage.finish(&frame, &fresh, |_| true);
            self.stage.track(&frame, |_| true);
            let now = Moment { pts_ns: frame.pts_ns, unix_ns: frame.captured_unix_ns };
            self.scene.update(now, STREET, self.stage.tracks(), &mut self.told);
            frame
        }

        fn phases(&mut self) -> Vec<Phase> {
            self.told.drain(..).map(|m| m.phase).collect()
        }
    }

    const MODES: [SkipMode; 3] = [SkipMode::Off, SkipMode::Regions, SkipMode::Layers];

    /// A camera's stamps tremble, stand, go back and leap; people come and go. Nothing is older than it may be, or younger
    /// than the frame; nobody is followed, and nothing told, out of another epoch; who leaves is gone in time.
    #[test]
    fn whatever_a_camera_stamps_nothing_lasts_longer_than_it_may() {
        for (mode, seed) in MODES.into_iter().flat_map(|mode| (0..40).map(move |seed| (mode, seed))) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut street = Street::new(mode);
            let (mut pts, mut is_there, mut absent_since) = (random.u64(..1 << 40), false, None::<u64>);
            let (mut last, mut epoch_began) = ((0, 0), 0);
            let mut open: Option<u64> = None;
            for n in 0..400 {
                street.clock.advance(Duration::from_millis(random.u64(0..200)));
                match random.u8(..30) {
                    0 => pts = random.u64(..u64::MAX / 2),
                    1 => pts = pts.saturating_sub(random.u64(..100 * SECOND)),
                    2 => pts += random.u64(..50 * SECOND),
                    3 => street.clock.advance(Duration::from_secs(random.u64(..10_000))),
                    4 => street.incarnation = street.intake.begin(),
                    5..8 => pts = pts.saturating_sub(random.u64(..500 * MS)),
                    8 => {}
                    9..11 => is_there = !is_there,
                    _ => pts += random.u64(1..200 * MS),
                }
                let frame = street.show(pts, is_there);
                let (now, what) = (frame.pts_ns, format!("{mode:?}, seed {seed}, frame {n}"));
                assert!(frame.epoch > last.0 || (frame.epoch == last.0 && now >= last.1), "{what}");
                if frame.epoch != last.0 {
                    (epoch_began, absent_since) = (now, None);
                }
                last = (frame.epoch, now);
                for m in street.stage.followed() {
                    assert!((epoch_began..=now).contains(&m.pts_ns), "{what}: {m:?}");
                    assert!(now - m.pts_ns <= MAX_AGE, "{what}: {} ns old", now - m.pts_ns);
                }
                for t in street.stage.tracks() {
                    let times = [epoch_began, t.first_ns, t.looked_ns, t.known_ns, now];
                    assert!(times.is_sorted(), "{what}: {times:?}");
                }
                for told in street.told.drain(..) {
                    let event = &told.event;
                    assert!(event.from.pts_ns <= event.to.pts_ns && event.from.unix_ns <= event.to.unix_ns, "{what}");
                    match told.phase {
                        Phase::New => assert_eq!(open.replace(event.track), None, "{what}: two of one walker"),
                        Phase::Update => assert_eq!(open, Some(event.track), "{what}"),
                        Phase::End => assert_eq!(open.take(), Some(event.track), "{what}"),
                    }
                }
                absent_since = (!is_there).then(|| absent_since.unwrap_or(now));
                let longest = MAX_AGE + TrackSettings::default().lost_stationary_ns;
                if absent_since.is_some_and(|since| now - since > longest) {
                    assert!(open.is_none() && street.scene.is_empty(), "{what}: still there");
                }
            }
        }
    }

    /// A camera's time goes back by an hour while somebody is there, who leaves then; a minute later the next one comes.
    #[test]
    fn who_leaves_after_time_went_back_is_gone_and_the_next_one_is_new() {
        for mode in MODES {
            let mut street = Street::new(mode);
            let mut minutes = |from: u64, n: u64, is_there: bool| {
                for i in 0..n * 600 {
                    street.clock.advance(Duration::from_millis(100));
                    street.show(from + i * 100 * MS, is_there);
                }
                (street.phases(), street.stage.tracks().iter().map(|t| t.id).collect::<Vec<_>>())
            };
            let (told, first) = minutes(3600 * SECOND, 1, true);
            let comes = |told: &[Phase]| told.iter().filter(|phase| **phase != Phase::Update).eq([&Phase::New]);
            assert!(comes(&told), "{mode:?}: {told:?}");
            assert_eq!(minutes(0, 1, false), (vec![Phase::End], vec![]), "{mode:?}");
            let (told, next) = minutes(60 * SECOND, 1, true);
            assert!(comes(&told), "{mode:?}: {told:?}");
            assert!(next[0] > first[0], "{mode:?}: {next:?} after {first:?}");
        }
    }
}
