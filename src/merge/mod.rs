//! Fresh and carried detections become one list for the whole frame.
//!
//! In: what the detector computed for a frame and for which area it speaks.
//! Out: every detection of the frame with its provenance. Pure; keeps the
//! known detections of one stream.
//!
//! Rules, in order:
//! 1. A full picture replaces everything.
//! 2. A region judges the known boxes that lie wholly within it: one that it
//!    does not find again is gone. Boxes that reach outside of it are not its
//!    to judge, and are carried.
//! 3. A fresh box that a region's border cuts gives way to a known one of
//!    which it is a part; without one it stays only if it is strong.
//! 4. No two boxes of one class overlap: the whole, then the fresh one stays.

use crate::frame::{Frame, FrameId};
use crate::geom::{ModelInput, Rect, Size};
use crate::infer::{Coverage, Detection, Fresh};

/// Where a detection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Provenance {
    /// The model saw it in this frame.
    Computed,
    /// Known from an earlier frame; nothing around it was computed since.
    Carried,
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
    /// How old the knowledge is at `frame`.
    pub fn age_ns(&self, frame: &Frame) -> u64 {
        frame.pts_ns.saturating_sub(self.pts_ns)
    }
}

/// What counts as the same, cut or strong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MergeSettings {
    /// Boxes of one class that overlap by this much are one object.
    pub iou: f32,
    /// A cut box that belongs to no known one needs this score to stay.
    pub min_cut_score: f32,
}

impl Default for MergeSettings {
    fn default() -> Self {
        Self { iou: 0.5, min_cut_score: 0.5 }
    }
}

/// A box this near to a region's border (pixels) is cut by it.
const CUT: f32 = 4.0;
/// A known box may reach this far (pixels) over a region's border and still be judged by it.
const SLACK: f32 = 2.0;
/// A cut box of which this share lies in a known one is a part of that one.
const PART: f32 = 0.6;

/// The known detections of one stream.
#[derive(Debug, Clone, Default)]
pub struct Merger {
    settings: MergeSettings,
    known: Vec<Merged>,
    boxes: Vec<Detection>,
}

impl Merger {
    pub fn new(settings: MergeSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// The known boxes, for the detector to keep whole.
    pub fn boxes(&self) -> &[Detection] {
        &self.boxes
    }

    /// Everything that is known of the last merged frame.
    pub fn detections(&self) -> &[Merged] {
        &self.known
    }

    /// Forgets the stream.
    pub fn reset(&mut self) {
        self.known.clear();
        self.boxes.clear();
    }

    /// Brings the list to `frame`.
    pub fn merge(&mut self, frame: &Frame, fresh: &Fresh) -> &[Merged] {
        for known in &mut self.known {
            known.provenance = Provenance::Carried;
        }
        let computed =
            |d: &Detection| Merged { detection: *d, provenance: Provenance::Computed, frame: frame.id, pts_ns: frame.pts_ns };
        // A model can predict a box whose corners are crossed; it is nowhere in the picture.
        let real = |d: &&Detection| !d.bbox.is_empty();
        match &fresh.coverage {
            Coverage::Nothing => {}
            Coverage::Full => {
                self.known.clear();
                self.known.extend(fresh.detections.iter().filter(real).map(computed));
            }
            Coverage::Regions(regions) => {
                let regions_judge = |k: &Merged| {
                    let visible = k.detection.bbox.intersection(&frame.size().rect());
                    regions.iter().any(|r| r.grown(SLACK).contains(&visible))
                };
                self.known.retain(|k| !regions_judge(k));
                let n_carried = self.known.len();
                for d in fresh.detections.iter().filter(real) {
                    if self.is_wanted(d, regions, frame.size(), n_carried) {
                        self.known.push(computed(d));
                    }
                }
                self.deduplicate(regions, frame.size());
            }
        }
        self.boxes.clear();
        self.boxes.extend(self.known.iter().map(|k| k.detection));
        &self.known
    }

    /// Rule 3.
    fn is_wanted(&self, d: &Detection, regions: &[Rect<ModelInput>], picture: Size, n_carried: usize) -> bool {
        if !is_cut(&d.bbox, regions, picture) {
            return true;
        }
        let part_of = |k: &Merged| k.detection.class == d.class && d.bbox.share_in(&k.detection.bbox) >= PART;
        d.score >= self.settings.min_cut_score && !self.known[..n_carried].iter().any(part_of)
    }

    /// Rule 4.
    fn deduplicate(&mut self, regions: &[Rect<ModelInput>], picture: Size) {
        let rank = |m: &Merged| {
            let whole = m.provenance == Provenance::Carried || !is_cut(&m.detection.bbox, regions, picture);
            (whole, m.provenance == Provenance::Computed)
        };
        self.known.sort_by(|a, b| {
            rank(b).cmp(&rank(a)).then(b.detection.score.total_cmp(&a.detection.score))
        });
        let mut n_kept = 0;
        for i in 0..self.known.len() {
            let m = self.known[i];
            let repeats = |kept: &Merged| {
                kept.detection.class == m.detection.class && kept.detection.bbox.iou(&m.detection.bbox) >= self.settings.iou
            };
            if !self.known[..n_kept].iter().any(repeats) {
                self.known[n_kept] = m;
                n_kept += 1;
            }
        }
        self.known.truncate(n_kept);
    }
}

/// Whether the border of the region that saw it cuts the box: only where the
/// picture goes on behind that border.
fn is_cut(bbox: &Rect<ModelInput>, regions: &[Rect<ModelInput>], picture: Size) -> bool {
    let whole = picture.rect::<ModelInput>();
    let uncut = |r: &Rect<ModelInput>| {
        r.intersects(bbox)
            && (bbox.x1 > r.x1 + CUT || r.x1 <= whole.x1)
            && (bbox.y1 > r.y1 + CUT || r.y1 <= whole.y1)
            && (bbox.x2 < r.x2 - CUT || r.x2 >= whole.x2)
            && (bbox.y2 < r.y2 - CUT || r.y2 >= whole.y2)
    };
    !regions.iter().any(uncut)
}
