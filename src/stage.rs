//! One camera's thinking, without its threads: what to compute of a frame,
//! and what is known after it was.

use crate::detect::Detection;
use crate::frame::Frame;
use crate::geom::{PatchGrid, PatchMask, Size};
use crate::infer::{Coverage, Inference};
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
    pub fn finish(&mut self, frame: &Frame, fresh: &Inference, wanted: impl Fn(&Detection) -> bool) -> &[Merged] {
        fresh.coverage.patches(&self.asked, &mut self.computed);
        if let Some(skip) = &mut self.skip {
            skip.accept(frame, &self.computed);
            // What was not computed has nothing new to say.
            if fresh.coverage == Coverage::Layers {
                skip.follow(&fresh.tolerance);
                skip.weigh(fresh.layers.share_of_required());
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
    use crate::frame::{FrameId, Pixels};
    use crate::geom::{Letterbox, Rect};
    use crate::merge::Provenance;
    use crate::skip::GlobalChange;
    use engine::exec::counters::Counters;

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
            let mut fresh = Inference::default();
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
                let mut fresh = Inference::default();
                if !asked.is_empty() {
                    fresh.coverage = Coverage::Layers;
                    fresh.detections.push(Detection::new(0, 0.9, walker));
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
            let layers = Counters { dense_macs: 120, required_macs: 100, executed_macs, ..Counters::default() };
            stage.finish(&frame, &Inference { coverage: Coverage::Layers, layers, ..Inference::default() }, |_| true);
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
        let ghost = Detection::new(0, 0.9, Rect::new(64.0, 16.0, 112.0, 96.0));
        let mut last_seen = 0;
        for n in 0..60u64 {
            let mut data = vec![90; size.area() * 3];
            // The tree: a column of patches right of the box.
            for y in 0..128 {
                data[(y * 256 + 128) * 3..][..48].fill(if n % 2 == 0 { 10 } else { 200 });
            }
            let frame = Frame::new(FrameId(n), n * 100_000_000, Letterbox::fit(size, size), Pixels::owned(data));
            let (asked, _) = stage.begin(&frame);
            let mut fresh = Inference::default();
            if n == 0 {
                fresh = Inference { detections: vec![ghost], cut: vec![false], coverage: Coverage::Full, ..fresh };
            } else if !asked.is_empty() {
                fresh.coverage = Coverage::Regions(vec![Rect::new(32.0, 0.0, 192.0, 128.0)]);
            }
            if !stage.finish(&frame, &fresh, |_| true).is_empty() {
                last_seen = n;
            }
        }
        assert!((1..=21).contains(&last_seen), "carried until frame {last_seen}");
    }
}
