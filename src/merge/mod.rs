//! Fresh and carried detections become one list for the whole frame.
//!
//! In: what the detector computed for a frame and for which area it speaks.
//! Out: every detection of the frame with its provenance. Pure; keeps the
//! known detections of one stream.
//!
//! Rules, in order:
//! 1. A full picture replaces everything.
//! 2. A region sees less context than the whole picture, so it speaks only of
//!    what changed: a known box of which hardly a patch was asked for is
//!    carried, and a new one that hardly covers any is not believed.
//! 3. A known box that is seen again, even faintly, moves to where it is seen
//!    and keeps the better score. One that lies wholly in regions and is not
//!    seen again is gone.
//! 4. A fresh box that a region's border cuts gives way to a known one of
//!    which it is a part; without one it stays only if it is strong.
//! 5. No two boxes of one class overlap: the whole, then the fresh one stays.

use crate::frame::{Frame, FrameId};
use crate::geom::{ModelInput, PatchMask, Rect};
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

/// What counts as the same, cut, strong or touched.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MergeSettings {
    /// Boxes of one class that overlap by this much are one object.
    pub iou: f32,
    /// Least score of a detection; a region's fainter ones only confirm known boxes.
    pub min_score: f32,
    /// A cut box that belongs to no known one needs this score to stay.
    pub min_cut_score: f32,
    /// Share of a box's patches that must have been asked for before a region
    /// may take the box away or bring it in.
    pub min_touched: f32,
    /// Share of a box's patches that may have changed for a faint look to confirm it.
    pub max_faint_touched: f32,
}

impl Default for MergeSettings {
    fn default() -> Self {
        Self { iou: 0.5, min_score: 0.3, min_cut_score: 0.5, min_touched: 0.1, max_faint_touched: 0.3 }
    }
}

/// Regions are decoded down to this share of the least score, to confirm known boxes.
pub const FAINT: f32 = 0.5;

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
    /// Scratch: fresh ones that confirmed a known one, known ones that were, fresh ones by score.
    taken: Vec<bool>,
    confirmed: Vec<bool>,
    order: Vec<usize>,
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
    ///
    /// `asked` are the patches that had changed or were due.
    pub fn merge(&mut self, frame: &Frame, fresh: &Fresh, asked: &PatchMask) -> &[Merged] {
        for known in &mut self.known {
            known.provenance = Provenance::Carried;
        }
        let computed = |d: &Detection| Merged {
            detection: *d,
            provenance: Provenance::Computed,
            frame: frame.id,
            pts_ns: frame.pts_ns,
        };
        // A model can predict a box whose corners are crossed; it is nowhere in the picture.
        let real = |d: &&Detection| !d.bbox.is_empty();
        match &fresh.coverage {
            Coverage::Nothing => {}
            Coverage::Full => {
                self.known.clear();
                self.known.extend(fresh.detections.iter().filter(real).map(computed));
            }
            Coverage::Regions(regions) => self.merge_regions(frame, fresh, regions, asked),
        }
        self.boxes.clear();
        self.boxes.extend(self.known.iter().map(|k| k.detection));
        &self.known
    }

    fn merge_regions(&mut self, frame: &Frame, fresh: &Fresh, regions: &[Rect<ModelInput>], asked: &PatchMask) {
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
                self.known.push(Merged {
                    detection: *d,
                    provenance: Provenance::Computed,
                    frame: frame.id,
                    pts_ns: frame.pts_ns,
                });
            }
        }
        let picture = frame.size();
        let mut idx = 0;
        self.known.retain(|k| {
            let confirmed = self.confirmed.get(idx).copied().unwrap_or(true);
            idx += 1;
            let visible = k.detection.bbox.intersection(&picture.rect());
            let judged = || regions.iter().any(|r| r.grown(SLACK).contains(&visible));
            confirmed || touched_share(&k.detection.bbox, asked) < s.min_touched || !judged()
        });
        self.deduplicate();
    }

    /// Rule 3: strong sightings first, each takes the known box that it fits best.
    fn confirm(&mut self, frame: &Frame, fresh: &Fresh, asked: &PatchMask) {
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
            let score = d.score.max(known.score.min(d.score / FAINT));
            self.known[j] = Merged {
                detection: Detection { score, ..*d },
                provenance: Provenance::Computed,
                frame: frame.id,
                pts_ns: frame.pts_ns,
            };
        }
    }

    /// Rule 5.
    fn deduplicate(&mut self) {
        self.known.sort_by(|a, b| {
            let fresh = |m: &Merged| m.provenance == Provenance::Computed;
            fresh(b).cmp(&fresh(a)).then(b.detection.score.total_cmp(&a.detection.score))
        });
        let mut n_kept = 0;
        for i in 0..self.known.len() {
            let m = self.known[i];
            let repeats = |kept: &Merged| {
                kept.detection.class == m.detection.class
                    && kept.detection.bbox.iou(&m.detection.bbox) >= self.settings.iou
            };
            if !self.known[..n_kept].iter().any(repeats) {
                self.known[n_kept] = m;
                n_kept += 1;
            }
        }
        self.known.truncate(n_kept);
    }
}

/// The share of the patches under a box that were asked for, 0..=1.
fn touched_share(bbox: &Rect<ModelInput>, asked: &PatchMask) -> f32 {
    let (cols, rows) = asked.grid().span(bbox);
    let n = cols.len() * rows.len();
    let n_asked = rows.map(|row| cols.clone().filter(|col| asked.at(*col, row)).count()).sum::<usize>();
    if n == 0 { 0.0 } else { n_asked as f32 / n as f32 }
}
