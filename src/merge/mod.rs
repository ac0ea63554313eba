//! Fresh and carried detections become one list for the whole frame.
//!
//! In: what the detector computed for a frame and for which area it speaks.
//! Out: every detection of the frame with its provenance. Pure; keeps the
//! known detections of one stream.
//!
//! Rules, in order:
//! 1. A full picture replaces everything, and so does the layer engine's answer,
//!    which says itself what of it is new.
//! 2. A region sees less context than the whole picture, so it speaks only of
//!    what changed: a known box of which hardly a patch was asked for is
//!    carried, and a new one that hardly covers any is not believed.
//! 3. A known box that is seen again, even faintly, moves to where it is seen
//!    and keeps the better score. One that lies wholly in regions and is not
//!    seen again is gone.
//! 4. A fresh box that a region's border cuts gives way to a known one of
//!    which it is a part; without one it stays only if it is strong.
//! 5. No two boxes of one class overlap: the whole, then the fresh one stays.

use crate::detect::Detection;
use crate::detect::heads::FAINT_SHARE;
use crate::detect::nms;
use crate::frame::{Frame, FrameId};
use crate::geom::{ModelInput, PatchMask, Rect};
use crate::infer::{Coverage, Inference, Seen};

/// Where a detection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// The model saw it in this frame.
    Computed,
    /// Known from an earlier frame; nothing around it was computed since.
    Carried,
    /// Its way is known well enough not to look at it in every frame: it is said to be where that leads.
    Predicted,
}

/// A detection of the whole frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Merged {
    pub detection: Detection,
    pub provenance: Provenance,
    /// The frame in which the model saw it.
    pub frame: FrameId,
    /// That frame's presentation time.
    pub pts_ns: u64,
}

impl Merged {
    /// Just seen, in `frame`.
    fn computed(detection: Detection, frame: &Frame) -> Self {
        Self { detection, provenance: Provenance::Computed, frame: frame.id, pts_ns: frame.pts_ns }
    }

    /// Computed for `frame`, or standing since the one in which it was.
    fn seen(detection: Detection, seen: Seen, frame: &Frame) -> Self {
        let provenance = if seen.frame == frame.id { Provenance::Computed } else { Provenance::Carried };
        Self { detection, provenance, frame: seen.frame, pts_ns: seen.pts_ns }
    }

    /// How old the knowledge is at `frame`.
    pub fn age_ns(&self, frame: &Frame) -> u64 {
        frame.pts_ns.saturating_sub(self.pts_ns)
    }
}

/// What counts as the same, cut, strong or touched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MergeSettings {
    /// Boxes of one class that overlap by this much are one object.
    pub iou: f32,
    /// Least score of a detection that is reported; a region's fainter ones only confirm known boxes.
    pub min_score: f32,
    /// A cut box that belongs to no known one needs this score to stay.
    pub min_cut_score: f32,
    /// Share of a box's patches that must have been asked for before a region
    /// may take the box away or bring it in.
    pub min_touched: f32,
    /// Share of a box's patches that may have changed for a faint look to confirm it.
    pub max_faint_touched: f32,
    /// A known box that is older and not seen where it was looked for is gone,
    /// however little of it was asked for.
    pub max_age_ns: u64,
}

impl Default for MergeSettings {
    fn default() -> Self {
        Self {
            iou: 0.5,
            min_score: 0.3,
            min_cut_score: 0.5,
            min_touched: 0.1,
            max_faint_touched: 0.3,
            max_age_ns: u64::MAX,
        }
    }
}

/// A known box may reach this far (pixels) over a region's border and still be judged by it.
const SLACK: f32 = 2.0;
/// A cut box of which this share lies in a known one is a part of that one.
const PART: f32 = 0.6;

/// The known detections of one stream.
#[derive(Debug, Clone, Default)]
pub struct Merger {
    settings: MergeSettings,
    known: Vec<Merged>,
    /// Those of a whole picture that are too faint to be reported. They take no part in what regions judge.
    faint: Vec<Merged>,
    /// Both, one after the other.
    all: Vec<Merged>,
    boxes: Vec<Detection>,
    /// Scratch: fresh ones that confirmed a known one, known ones that were, fresh ones by score.
    taken: Vec<bool>,
    confirmed: Vec<bool>,
    order: Vec<usize>,
}

impl Merger {
    pub fn new(settings: MergeSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// See [`MergeSettings::max_age_ns`].
    pub fn set_max_age(&mut self, max_age_ns: u64) {
        self.settings.max_age_ns = max_age_ns;
    }

    /// The known boxes, for the detector to keep whole.
    pub fn boxes(&self) -> &[Detection] {
        &self.boxes
    }

    /// Forgets the stream.
    pub fn reset(&mut self) {
        self.known.clear();
        self.faint.clear();
        self.boxes.clear();
    }

    /// Brings the list to `frame`. Everything that is known comes back, what is reported first, then fainter ones.
    ///
    /// `asked` are the patches that had changed or were due.
    pub fn merge(&mut self, frame: &Frame, fresh: &Inference, asked: &PatchMask) -> &[Merged] {
        for known in self.known.iter_mut().chain(&mut self.faint) {
            known.provenance = Provenance::Carried;
        }
        // A model can predict a box whose corners are crossed; it is nowhere in the picture.
        let picture = frame.size().rect();
        let real = |d: &&Detection| !d.bbox.is_empty() && d.bbox.intersects(&picture);
        match &fresh.coverage {
            Coverage::Nothing => {}
            Coverage::Full => {
                let all = fresh.detections.iter().filter(real);
                self.replace(all.map(|d| Merged::computed(*d, frame)));
            }
            Coverage::Layers => {
                let all = fresh.detections.iter().zip(&fresh.seen).filter(|(d, _)| real(d));
                self.replace(all.map(|(d, seen)| Merged::seen(*d, *seen, frame)));
            }
            Coverage::Regions(regions) => {
                self.faint.clear();
                self.merge_regions(frame, fresh, regions, asked);
            }
        }
        self.boxes.clear();
        self.boxes.extend(self.known.iter().map(|k| k.detection));
        self.all.clear();
        self.all.extend(self.known.iter().chain(&self.faint));
        &self.all
    }

    /// A whole picture's detections take the place of everything.
    fn replace(&mut self, all: impl Iterator<Item = Merged>) {
        self.known.clear();
        self.faint.clear();
        for merged in all {
            let is_faint = merged.detection.score < self.settings.min_score;
            if is_faint { &mut self.faint } else { &mut self.known }.push(merged);
        }
    }

    fn merge_regions(&mut self, frame: &Frame, fresh: &Inference, regions: &[Rect<ModelInput>], asked: &PatchMask) {
        let s = self.settings;
        self.confirm(frame, fresh, asked);
        let n_known = self.known.len();
        for (i, d) in fresh.detections.iter().enumerate() {
            let cut = fresh.cut[i];
            let part_of = |k: &Merged| k.detection.class == d.class && d.bbox.share_in(&k.detection.bbox) >= PART;
            let new = !self.taken[i]
                && d.score >= s.min_score
                && !d.bbox.is_empty()
                && touched_share(&d.bbox, asked) >= s.min_touched
                && (!cut || d.score >= s.min_cut_score && !self.known[..n_known].iter().any(part_of));
            if new {
                self.known.push(Merged::computed(*d, frame));
            }
        }
        let picture = frame.size().rect();
        let mut idx = 0;
        self.known.retain(|k| {
            let confirmed = self.confirmed.get(idx).copied().unwrap_or(true);
            idx += 1;
            let visible = k.detection.bbox.intersection(&picture);
            let touched = touched_share(&k.detection.bbox, asked);
            let looked_for = touched >= s.min_touched || touched > 0.0 && k.age_ns(frame) > s.max_age_ns;
            let judged = || regions.iter().any(|r| r.grown(SLACK).contains(&visible));
            confirmed || !looked_for || !judged()
        });
        self.deduplicate();
    }

    /// Rule 3: strong sightings first, each takes the known box that it fits best.
    fn confirm(&mut self, frame: &Frame, fresh: &Inference, asked: &PatchMask) {
        let s = self.settings;
        self.taken.clear();
        self.taken.resize(fresh.detections.len(), false);
        self.confirmed.clear();
        self.confirmed.resize(self.known.len(), false);
        self.order.clear();
        self.order.extend(0..fresh.detections.len());
        self.order.sort_by(|&a, &b| fresh.detections[b].score.total_cmp(&fresh.detections[a].score));
        for &i in self.order.iter().filter(|&&i| !fresh.cut[i]) {
            let d = &fresh.detections[i];
            let mut best: Option<(usize, f32)> = None;
            for (j, k) in self.known.iter().enumerate() {
                let overlap = d.bbox.iou(&k.detection.bbox);
                let fits = !self.confirmed[j] && d.class == k.detection.class && overlap >= s.iou;
                if fits && best.is_none_or(|(_, o)| overlap > o) {
                    best = Some((j, overlap));
                }
            }
            let Some((j, _)) = best else { continue };
            let known = self.known[j].detection;
            let touched = touched_share(&known.bbox, asked);
            // Where nothing changed, the older and wider look stands. Where much
            // did, a faint look confirms nothing.
            if touched == 0.0 || d.score < s.min_score && touched > s.max_faint_touched {
                continue;
            }
            self.taken[i] = true;
            self.confirmed[j] = true;
            // Less context makes a region's score the lower one of two looks at one thing.
            let score = d.score.max(known.score.min(d.score / FAINT_SHARE));
            self.known[j] = Merged::computed(Detection { score, ..*d }, frame);
        }
    }

    /// Rule 5.
    fn deduplicate(&mut self) {
        self.known.sort_by(|a, b| {
            let fresh = |m: &Merged| m.provenance == Provenance::Computed;
            fresh(b).cmp(&fresh(a)).then(b.detection.score.total_cmp(&a.detection.score))
        });
        let iou = self.settings.iou;
        nms::keep_first(&mut self.known, |a, b| {
            let (a, b) = (&a.detection, &b.detection);
            a.class == b.class && a.bbox.iou(&b.bbox) >= iou
        });
    }
}

/// The share of the patches under a box that were asked for, 0..=1.
fn touched_share(bbox: &Rect<ModelInput>, asked: &PatchMask) -> f32 {
    let (cols, rows) = asked.grid().span(bbox);
    let n = cols.len() * rows.len();
    let n_asked = rows.map(|row| cols.clone().filter(|col| asked.at(*col, row)).count()).sum::<usize>();
    if n == 0 { 0.0 } else { n_asked as f32 / n as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Pixels;
    use crate::geom::{Letterbox, PatchGrid, Size};

    const SIZE: Size = Size::new(320, 192);

    fn frame(n: u64) -> Frame {
        let pixels = Pixels::owned(vec![0; SIZE.area() * 3]);
        Frame::new(FrameId(n), n * 100, Letterbox::fit(SIZE, SIZE), pixels)
    }

    fn d(score: f32, b: [f32; 4]) -> Detection {
        Detection::new(0, score, Rect::new(b[0], b[1], b[2], b[3]))
    }

    /// A merger that knows `boxes` from a full frame 0.
    fn knowing(boxes: &[Detection]) -> Merger {
        let mut merger = Merger::default();
        let fresh = Inference {
            detections: boxes.to_vec(),
            cut: vec![false; boxes.len()],
            coverage: Coverage::Full,
            ..Inference::default()
        };
        merger.merge(&frame(0), &fresh, &PatchMask::full(PatchGrid::new(SIZE, 16)));
        merger
    }

    /// Merges one region of frame 1; `asked` are rectangles of patches; true marks a cut box.
    fn region(
        merger: &mut Merger,
        r: [f32; 4],
        asked: &[[f32; 4]],
        seen: &[(Detection, bool)],
    ) -> Vec<(f32, Provenance)> {
        let mut mask = PatchMask::empty(PatchGrid::new(SIZE, 16));
        asked.iter().for_each(|a| mask.set_rect(&Rect::new(a[0], a[1], a[2], a[3])));
        let fresh = Inference {
            detections: seen.iter().map(|s| s.0).collect(),
            cut: seen.iter().map(|s| s.1).collect(),
            coverage: Coverage::Regions(vec![Rect::new(r[0], r[1], r[2], r[3])]),
            ..Inference::default()
        };
        let mut out: Vec<_> =
            merger.merge(&frame(1), &fresh, &mask).iter().map(|m| (m.detection.bbox.x1, m.provenance)).collect();
        out.sort_by(|a, b| a.0.total_cmp(&b.0));
        out
    }

    use Provenance::{Carried, Computed};
    const LEFT: [f32; 4] = [0.0, 0.0, 160.0, 192.0];
    const CAR: [f32; 4] = [40.0, 60.0, 120.0, 110.0];

    #[test]
    fn nothing_computed_is_all_carried_and_ages() {
        let mut merger = knowing(&[d(0.9, CAR)]);
        let asked = PatchMask::empty(PatchGrid::new(SIZE, 16));
        let later = frame(7);
        let merged = merger.merge(&later, &Inference::default(), &asked);
        assert_eq!((merged[0].provenance, merged[0].frame, merged[0].age_ns(&later)), (Carried, FrameId(0), 700));
    }

    #[test]
    fn a_full_picture_replaces_everything() {
        let mut merger = knowing(&[d(0.9, CAR), d(0.8, [200.0, 0.0, 260.0, 50.0])]);
        let full = Inference {
            detections: vec![d(0.5, CAR)],
            cut: vec![false],
            coverage: Coverage::Full,
            ..Inference::default()
        };
        let merged = merger.merge(&frame(1), &full, &PatchMask::full(PatchGrid::new(SIZE, 16)));
        assert_eq!(merged.iter().map(|m| (m.detection.score, m.provenance)).collect::<Vec<_>>(), [(0.5, Computed)]);
    }

    #[test]
    fn who_left_leaves_no_ghost() {
        let mut merger = knowing(&[d(0.9, CAR), d(0.9, [200.0, 60.0, 280.0, 110.0])]);
        assert_eq!(region(&mut merger, LEFT, &[CAR], &[]), [(200.0, Carried)]);
    }

    #[test]
    fn who_did_not_change_stays_though_a_region_did_not_see_it() {
        let mut merger = knowing(&[d(0.6, CAR)]);
        let elsewhere = [[130.0, 150.0, 150.0, 170.0]];
        assert_eq!(region(&mut merger, LEFT, &elsewhere, &[]), [(40.0, Carried)]);
        // Nor does a region bring in what did not change.
        let ghost = d(0.9, [10.0, 130.0, 60.0, 180.0]);
        assert_eq!(region(&mut merger, LEFT, &elsewhere, &[(ghost, false)]), [(40.0, Carried)]);
    }

    #[test]
    fn a_faint_look_confirms_what_hardly_changed_only() {
        let a_little = [[40.0, 60.0, 60.0, 70.0]];
        let faint = d(0.2, [42.0, 60.0, 122.0, 110.0]);
        let mut merger = knowing(&[d(0.6, CAR)]);
        assert_eq!(region(&mut merger, LEFT, &a_little, &[(faint, false)]), [(42.0, Computed)]);
        assert!((merger.known[0].detection.score - 0.4).abs() < 1e-6, "at most twice what was seen");
        let mut merger = knowing(&[d(0.6, CAR)]);
        assert_eq!(region(&mut merger, LEFT, &[CAR], &[(faint, false)]), []);
    }

    #[test]
    fn who_moved_is_there_once() {
        let moved = d(0.8, [50.0, 60.0, 130.0, 110.0]);
        let mut merger = knowing(&[d(0.9, CAR)]);
        assert_eq!(region(&mut merger, LEFT, &[CAR], &[(moved, false)]), [(50.0, Computed)]);
    }

    #[test]
    fn a_cut_box_gives_way_to_a_whole_one() {
        // A known box that reaches out of the region; the region sees its left half.
        let whole = d(0.9, [120.0, 60.0, 220.0, 110.0]);
        let half = d(0.95, [122.0, 60.0, 160.0, 110.0]);
        let asked = [[0.0, 0.0, 160.0, 192.0]];
        let mut merger = knowing(&[whole]);
        assert_eq!(region(&mut merger, LEFT, &asked, &[(half, true)]), [(120.0, Carried)]);
        // Without the whole one a strong part stays, a weak one goes.
        assert_eq!(region(&mut knowing(&[]), LEFT, &asked, &[(half, true)]), [(122.0, Computed)]);
        assert_eq!(region(&mut knowing(&[]), LEFT, &asked, &[(d(0.4, [122.0, 60.0, 160.0, 110.0]), true)]), []);
    }

    #[test]
    fn two_regions_make_no_twins() {
        let mut merger = knowing(&[]);
        let seen = [(d(0.9, CAR), false), (d(0.8, [42.0, 61.0, 121.0, 110.0]), false)];
        assert_eq!(region(&mut merger, LEFT, &[CAR], &seen), [(40.0, Computed)]);
    }

    #[test]
    fn boxes_that_are_nowhere_are_left_out() {
        assert_eq!(knowing(&[d(0.9, [100.0, 0.0, -50.0, 90.0])]).known, []);
    }
}
