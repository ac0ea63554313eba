//! Objects whose way is known need no look in every frame.
//!
//! What moves changes the picture in every frame, though a detector that is sure of it
//! would say nothing new: a little later it is a little further on. As long as a track
//! proves to be where it was expected, the changes that its box explains wait for the
//! next look, and it is said to be where its way leads ([`Provenance::Predicted`]).
//! Changes that no such track explains are computed at once, so that whoever is new is
//! not seen later for it; neither is whoever is in doubt, or meets somebody who is.
//!
//! In: tracks, and the detections of the last frame that they stand for. Out: patches that
//! may wait, and the detections of this frame. Pure; the state of one stream.

use super::Track;
use crate::geom::{ModelInput, PatchGrid, PatchMask, Rect};
use crate::merge::{Merged, Provenance};

/// Less sure detections are looked at whenever they change. With 0.5, and a limit of 0.25 s, agreement on `room-sparse`
/// fell from 0.982 to 0.966; with this and 0.15 s to 0.980.
const SURE: f32 = 0.7;
/// What lies this near (pixels) to a box changes with it: shadows, the noise of compression.
const SHADOW_MARGIN: f32 = 8.0;
/// Nobody is predicted further than this share of a side: even one who stopped at once overlaps the prediction enough to count.
const FAR: f32 = 0.4;
/// Boxes of one class that overlap by this much are the same object.
const SAME_OBJECT: f32 = 0.5;

/// Says where objects are that are not looked at. The state of one stream.
#[derive(Debug, Clone)]
pub struct Predictor {
    limit_ns: u64,
    held: Vec<Held>,
    waiting: PatchMask,
    /// Scratch: where somebody is looked at.
    watched: PatchMask,
}

/// An object that is not looked at in this frame.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// Where it was last found.
    before: Rect<ModelInput>,
    now: Merged,
}

impl Predictor {
    /// Nobody goes without being looked for, while something changes around them, for longer than `limit_ns`.
    pub fn new(limit_ns: u64, grid: PatchGrid) -> Self {
        Self { limit_ns, held: Vec::new(), waiting: PatchMask::empty(grid), watched: PatchMask::empty(grid) }
    }

    /// Decides for the frame at `now_ns`: which patches may wait. `known` are the last frame's detections, to which
    /// the tracks' numbers refer.
    pub fn begin(&mut self, now_ns: u64, tracks: &[Track], known: &[Merged]) -> &PatchMask {
        self.rest();
        let last = |t: &Track| t.detection.and_then(|i| known.get(i));
        let is_foreseen = |t: &Track, m: &Merged| t.is_present() && m.detection.score >= SURE && t.patience_ns > 0;
        let is_due = |t: &Track| now_ns.saturating_sub(t.answered_ns) > t.patience_ns.min(self.limit_ns);
        // Who is due takes the others along: one frame for all costs less than one for each.
        if tracks.iter().any(|t| last(t).is_some_and(|m| is_foreseen(t, m) && is_due(t))) {
            return &self.waiting;
        }
        let picture = self.waiting.grid().size.rect();
        for t in tracks {
            let Some(m) = last(t) else { continue };
            let (before, now) = (t.answered, t.expected(now_ns));
            // At the picture's end a box is what is seen of an object, and does not move like it.
            if is_foreseen(t, m) && !is_due(t) && is_near(&before, &now) && picture.contains(&now) {
                self.waiting.set_rect(&before.grown(SHADOW_MARGIN));
                self.waiting.set_rect(&now.grown(SHADOW_MARGIN));
                let detection = m.detection.moved_to(now);
                self.held.push(Held { before, now: Merged { detection, provenance: Provenance::Predicted, ..*m } });
            } else {
                self.watched.set_rect(&t.seen.hull(&now));
            }
        }
        self.waiting.remove(&self.watched);
        &self.waiting
    }

    /// Everything is looked at: nothing waits.
    pub fn rest(&mut self) {
        self.held.clear();
        self.waiting.clear();
        self.watched.clear();
    }

    /// Puts the predicted detections into what is known of the frame, each in the place of the one that it is:
    /// what is computed beside it may have seen a part of it.
    pub fn finish(&mut self, known: &mut Vec<Merged>) {
        for Held { before, now } in self.held.drain(..) {
            let d = &now.detection;
            let overlap = |m: &Merged| m.detection.bbox.iou(&before).max(m.detection.bbox.iou(&d.bbox));
            let others = known.iter().enumerate().filter(|(_, m)| {
                m.provenance != Provenance::Predicted && m.detection.class == d.class && overlap(m) >= SAME_OBJECT
            });
            match others.max_by(|(_, a), (_, b)| overlap(a).total_cmp(&overlap(b))).map(|(i, _)| i) {
                Some(i) => known[i] = now,
                None => known.push(now),
            }
        }
    }
}

fn is_near(a: &Rect<ModelInput>, b: &Rect<ModelInput>) -> bool {
    let within = |by: f32, side: f32| by.abs() <= FAR * side;
    within(b.x1 - a.x1, a.width())
        && within(b.x2 - a.x2, a.width())
        && within(b.y1 - a.y1, a.height())
        && within(b.y2 - a.y2, a.height())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Detection;
    use crate::detect::points::Points;
    use crate::frame::FrameId;
    use crate::geom::Size;
    use crate::track::{TrackSettings, Tracker};

    const SIZE: Size = Size::new(640, 384);
    /// 10 frames a second.
    const STEP: u64 = 100_000_000;

    fn walker(score: f32, x: f32) -> Detection {
        let points = Points::from_fn(5, |_| [x + 10.0, 120.0]);
        Detection { points, ..Detection::new(0, score, Rect::new(x, 100.0, x + 40.0, 200.0)) }
    }

    /// Tracks, the predictor, and a detector that sees what it is asked for.
    struct Rig {
        tracker: Tracker,
        predictor: Predictor,
        known: Vec<Merged>,
        now_ns: u64,
    }

    impl Rig {
        fn new(limit_ns: u64) -> Self {
            let grid = PatchGrid::new(SIZE, 8);
            Self {
                tracker: Tracker::new(TrackSettings::default()),
                predictor: Predictor::new(limit_ns, grid),
                known: Vec::new(),
                now_ns: 0,
            }
        }

        /// One more frame, in which `all` are really there; provenance and left side of each that is known then.
        fn see(&mut self, all: &[Detection]) -> Vec<(Provenance, f32)> {
            self.now_ns += STEP;
            let waiting = self.predictor.begin(self.now_ns, self.tracker.tracks(), &self.known).clone();
            let is_seen = |d: &Detection| {
                let (cols, mut rows) = waiting.grid().span(&d.bbox);
                !rows.all(|row| cols.clone().all(|col| waiting.at(col, row)))
            };
            let before = std::mem::take(&mut self.known);
            for (i, d) in all.iter().enumerate() {
                if is_seen(d) {
                    let m = Merged {
                        detection: *d,
                        provenance: Provenance::Computed,
                        frame: FrameId(0),
                        pts_ns: self.now_ns,
                    };
                    self.known.push(m);
                } else if let Some(m) = before.get(i) {
                    self.known.push(Merged { provenance: Provenance::Carried, ..*m });
                }
            }
            self.predictor.finish(&mut self.known);
            self.tracker.update(self.now_ns, SIZE, &self.known, |d| d.score >= 0.4);
            self.known.iter().map(|m| (m.provenance, m.detection.bbox.x1)).collect()
        }
    }

    use Provenance::{Computed, Predicted};

    #[test]
    fn a_steady_walk_is_looked_at_every_second_time_and_said_where_it_is() {
        let mut rig = Rig::new(150_000_000);
        let mut predicted = 0;
        for i in 0..40 {
            let x = 50.0 + 6.0 * i as f32;
            let found = rig.see(&[walker(0.9, x)]);
            assert_eq!(found.len(), 1);
            assert!((found[0].1 - x).abs() < 4.0, "frame {i}: {found:?} at {x}");
            let m = rig.known[0];
            let eye = m.detection.points.as_slice()[0][0] - m.detection.bbox.x1;
            assert!((eye - 10.0).abs() < 0.5, "points come along: {eye}");
            assert!(rig.now_ns - m.pts_ns <= 150_000_000);
            predicted += u32::from(found[0].0 == Predicted);
            assert_eq!(rig.tracker.tracks().len(), 1);
        }
        assert!((15..=20).contains(&predicted), "{predicted}");
        assert_eq!(rig.tracker.tracks()[0].id, 1);
        assert!((rig.tracker.tracks()[0].speed()[0] - 60.0).abs() < 6.0, "{:?}", rig.tracker.tracks());
    }

    #[test]
    fn the_limit_bounds_how_long_nobody_looks() {
        let looks = |limit_ns: u64| {
            let mut rig = Rig::new(limit_ns);
            (0..60).filter(|i| rig.see(&[walker(0.9, 50.0 + 2.0 * *i as f32)])[0].0 == Computed).count()
        };
        assert_eq!(looks(0), 60);
        let (short, long) = (looks(150_000_000), looks(350_000_000));
        assert!((30..=36).contains(&short) && (15..=22).contains(&long), "{short} {long}");
    }

    #[test]
    fn who_is_in_doubt_or_at_the_end_of_the_picture_is_looked_at_every_time() {
        for (score, x, step) in [(0.6, 50.0, 4.0), (0.9, -20.0, 0.3)] {
            let mut rig = Rig::new(150_000_000);
            for i in 0..30 {
                assert_eq!(rig.see(&[walker(score, x + step * i as f32)])[0].0, Computed, "{score} {x} frame {i}");
            }
        }
    }

    #[test]
    fn who_turns_suddenly_is_looked_at_again_until_the_way_is_known() {
        let mut rig = Rig::new(150_000_000);
        (0..20).for_each(|i| drop(rig.see(&[walker(0.9, 100.0 + 8.0 * i as f32)])));
        let mut states = Vec::new();
        for i in 0..12 {
            // Back by half of its width at once, and to and fro.
            states.push(rig.see(&[walker(0.9, if i % 2 == 0 { 220.0 } else { 245.0 })])[0].0);
        }
        let n = states[1..].iter().filter(|p| **p == Computed).count();
        assert!(n >= 9, "{states:?}");
    }

    #[test]
    fn where_somebody_in_doubt_is_met_nothing_waits() {
        let mut rig = Rig::new(150_000_000);
        let at = |i: usize| [walker(0.9, 100.0 + 4.0 * i as f32), walker(0.5, 400.0 - 4.0 * i as f32)];
        (0..20).for_each(|i| drop(rig.see(&at(i))));
        let mut n_held = 0;
        for i in 20..33 {
            rig.see(&at(i));
            n_held += usize::from(!rig.predictor.waiting.is_empty());
            for d in rig.known.iter().filter(|m| m.detection.score < SURE) {
                assert!(!rig.predictor.waiting.touches(&d.detection.bbox) || d.provenance == Computed);
            }
        }
        assert!(n_held > 0, "the sure one waits by itself");
    }

    #[test]
    fn a_prediction_takes_the_place_of_what_was_seen_beside_it() {
        let mut rig = Rig::new(150_000_000);
        let mut found = Vec::new();
        for i in 0..12 {
            found = rig.see(&[walker(0.9, 100.0 + 4.0 * i as f32)]);
        }
        if found[0].0 == Predicted {
            rig.see(&[walker(0.9, 148.0)]);
        }
        rig.now_ns += STEP;
        assert!(!rig.predictor.begin(rig.now_ns, rig.tracker.tracks(), &rig.known).is_empty());
        let other = Detection { class: 1, ..walker(0.9, 150.0) };
        let merged = |detection: Detection| Merged { detection, ..rig.known[0] };
        let mut known = vec![merged(walker(0.4, 140.0)), merged(other)];
        rig.predictor.finish(&mut known);
        assert_eq!(known.iter().map(|m| m.provenance).collect::<Vec<_>>(), [Predicted, Computed]);
        let mut nobody = Vec::new();
        rig.predictor.finish(&mut nobody);
        assert!(nobody.is_empty(), "said once");
    }
}
