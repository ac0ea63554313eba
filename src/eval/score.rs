//! Agreement of two runs, flicker of one, and average precision against ground truth.

use crate::detect::Detection;
use crate::geom::{ModelInput, Rect};

/// Detections that are looked at.
pub const REPORT: f32 = 0.3;
/// Detections that must be found again, or be right.
pub const SURE: f32 = 0.4;
/// Least overlap of what is the same.
pub const IOU: f32 = 0.5;

/// Running sums of one comparison over a clip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Detections from here on must be found again, or be right.
    sure: f32,
    /// By detections from here on.
    report: f32,
    n_found: usize,
    n_wanted: usize,
    n_right: usize,
    n_claimed: usize,
}

impl Default for Agreement {
    /// With the gap that the project's figures have.
    fn default() -> Self {
        Self::between(SURE, REPORT)
    }
}

impl Agreement {
    fn between(sure: f32, report: f32) -> Self {
        Self { sure, report, n_found: 0, n_wanted: 0, n_right: 0, n_claimed: 0 }
    }

    /// Of what is reported from `score` on: one that hovers about it counts as an error, as its user sees it.
    pub fn at(score: f32) -> Self {
        Self::between(score, score)
    }

    /// Of what is reported from `score` on, found again from [`Agreement::least_of`] it: one that hovers about the score
    /// says nothing of what was skipped.
    pub fn with_gap(score: f32) -> Self {
        Self::between(score, Self::least_of(score))
    }

    /// Least score that counts for [`Agreement::with_gap`]; 0.3 for 0.4.
    pub fn least_of(score: f32) -> f32 {
        score * (REPORT / SURE)
    }

    /// Compares one frame: `dense` is the reference.
    pub fn add(&mut self, dense: &[Detection], skip: &[Detection]) {
        let at_least = |all: &[Detection], score: f32| -> Vec<Detection> {
            let mut v: Vec<_> = all.iter().filter(|d| d.score >= score).copied().collect();
            v.sort_by(|a, b| b.score.total_cmp(&a.score));
            v
        };
        let (dense_sure, skip_sure) = (at_least(dense, self.sure), at_least(skip, self.sure));
        self.n_wanted += dense_sure.len();
        self.n_found += matched(&dense_sure, &at_least(skip, self.report));
        self.n_claimed += skip_sure.len();
        self.n_right += matched(&skip_sure, &at_least(dense, self.report));
    }

    /// Share of the reference's sure detections that were found; 1 where there are none.
    pub fn recall(&self) -> f64 {
        share(self.n_found, self.n_wanted)
    }

    /// Share of the sure detections that the reference has too; 1 where there are none.
    pub fn precision(&self) -> f64 {
        share(self.n_right, self.n_claimed)
    }

    /// Sure detections of both runs: what the comparison rests on.
    pub fn n_compared(&self) -> usize {
        self.n_wanted + self.n_claimed
    }

    /// Harmonic mean of the two.
    pub fn agreement(&self) -> f64 {
        let (r, p) = (self.recall(), self.precision());
        if r + p > 0.0 { 2.0 * r * p / (r + p) } else { 0.0 }
    }
}

/// Boxes that are gone for one frame: there before it and after it, and not in it.
#[derive(Debug, Clone, Default)]
pub struct Flicker {
    /// Of the last two frames.
    last: [Vec<Detection>; 2],
    n_gone: usize,
    n_boxes: usize,
}

impl Flicker {
    /// The next frame: what is seen of it from `score` on.
    pub fn add(&mut self, found: &[Detection], score: f32) {
        let now: Vec<_> = found.iter().filter(|d| d.score >= score).copied().collect();
        let [before, between] = &self.last;
        let stood = pairs(before, &now);
        self.n_boxes += stood.len();
        let mut used = vec![false; between.len()];
        for (was, is) in stood {
            match partner(&was, between, &used).or_else(|| partner(&is, between, &used)) {
                Some((j, _)) => used[j] = true,
                None => self.n_gone += 1,
            }
        }
        self.last.rotate_left(1);
        self.last[1] = now;
    }

    /// Gone, as a share of the boxes that were there before and after a frame; 0 where there are none.
    pub fn share(&self) -> f64 {
        if self.n_boxes == 0 { 0.0 } else { self.n_gone as f64 / self.n_boxes as f64 }
    }
}

fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 { 1.0 } else { part as f64 / whole as f64 }
}

/// How much `found` differs from `dense`, smoothly: differences of score and place of boxes that are
/// in both, scores beyond `floor` of those that are not.
pub fn harm(dense: &[Detection], found: &[Detection], floor: f32) -> f64 {
    let mut used = vec![false; found.len()];
    let mut sum = 0.0;
    for d in dense {
        match partner(d, found, &used) {
            Some((j, iou)) => {
                used[j] = true;
                sum += (d.score - found[j].score).abs() + (1.0 - iou) * 0.5 * d.score;
            }
            None => sum += 2.0 * (d.score - floor).max(0.0),
        }
    }
    let extra = found.iter().zip(&used).filter(|(_, used)| !**used).map(|(d, _)| 2.0 * (d.score - floor).max(0.0));
    f64::from(sum + extra.sum::<f32>())
}

/// The unused box of its class that overlaps most, and by how much; at least [`IOU`].
fn partner(d: &Detection, among: &[Detection], used: &[bool]) -> Option<(usize, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (j, other) in among.iter().enumerate().filter(|(j, o)| !used[*j] && o.class == d.class) {
        let iou = d.bbox.iou(&other.bbox);
        if iou >= IOU && best.is_none_or(|b| iou > b.1) {
            best = Some((j, iou));
        }
    }
    best
}

/// Those of `of` that find a partner of their class in `among`, each used once, with it.
fn pairs(of: &[Detection], among: &[Detection]) -> Vec<(Detection, Detection)> {
    let mut used = vec![false; among.len()];
    let mut found = Vec::new();
    for d in of {
        if let Some((j, _)) = partner(d, among, &used) {
            used[j] = true;
            found.push((*d, among[j]));
        }
    }
    found
}

fn matched(of: &[Detection], among: &[Detection]) -> usize {
    pairs(of, among).len()
}

/// An object that is really there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wanted {
    /// Stays the same for one object through the whole clip.
    pub id: u64,
    pub class: u16,
    pub bbox: Rect<ModelInput>,
    /// False: neither missed nor false if it is found or not.
    pub counts: bool,
}

/// Average precision at IoU 0.5, area under the interpolated curve, per class, then the mean.
#[derive(Debug, Clone, Default)]
pub struct AveragePrecision {
    /// Class, score, right.
    claims: Vec<(u16, f32, bool)>,
    n_wanted: std::collections::BTreeMap<u16, usize>,
}

impl AveragePrecision {
    pub fn add(&mut self, wanted: &[Wanted], found: &[Detection]) {
        for w in wanted.iter().filter(|w| w.counts) {
            *self.n_wanted.entry(w.class).or_default() += 1;
        }
        let mut found = found.to_vec();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut used = vec![false; wanted.len()];
        for d in &found {
            let mut best: Option<(usize, (bool, f32))> = None;
            for (j, w) in wanted.iter().enumerate() {
                let key = (w.counts, d.bbox.iou(&w.bbox));
                if !used[j] && w.class == d.class && key.1 >= IOU && best.is_none_or(|b| key > b.1) {
                    best = Some((j, key));
                }
            }
            match best {
                None => self.claims.push((d.class, d.score, false)),
                Some((j, _)) => {
                    used[j] = true;
                    if wanted[j].counts {
                        self.claims.push((d.class, d.score, true));
                    }
                }
            }
        }
    }

    /// AP of one class, 0..=1.
    pub fn of_class(&self, class: u16) -> f64 {
        let n = self.n_wanted.get(&class).copied().unwrap_or(0);
        let mut claims: Vec<_> = self.claims.iter().filter(|c| c.0 == class).collect();
        claims.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (mut n_right, mut curve) = (0usize, Vec::with_capacity(claims.len()));
        for (i, claim) in claims.iter().enumerate() {
            n_right += usize::from(claim.2);
            curve.push((share(n_right, n), n_right as f64 / (i + 1) as f64));
        }
        let (mut area, mut ceiling, mut right_end) = (0.0, 0.0f64, None);
        for &(recall, precision) in curve.iter().rev() {
            if let Some(end) = right_end {
                area += (end - recall) * ceiling;
            }
            ceiling = ceiling.max(precision);
            right_end = Some(recall);
        }
        area + right_end.unwrap_or(0.0) * ceiling
    }

    /// Mean over the classes that are there; `None` where nothing is.
    pub fn mean(&self) -> Option<f64> {
        let n = self.n_wanted.len();
        (n > 0).then(|| self.n_wanted.keys().map(|c| self.of_class(*c)).sum::<f64>() / n as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(class: u16, score: f32, x: f32) -> Detection {
        Detection::new(class, score, Rect::new(x, 0.0, x + 10.0, 10.0))
    }

    #[test]
    fn agreement_forgives_the_gap_between_report_and_sure() {
        let check = |dense: &[Detection], skip: &[Detection], recall: f64, precision: f64| {
            let mut a = Agreement::default();
            a.add(dense, skip);
            assert_eq!((a.recall(), a.precision()), (recall, precision));
        };
        check(&[], &[], 1.0, 1.0);
        check(&[d(0, 0.9, 0.0)], &[d(0, 0.35, 1.0)], 1.0, 1.0);
        check(&[d(0, 0.9, 0.0)], &[d(0, 0.25, 1.0)], 0.0, 1.0);
        check(&[d(0, 0.35, 0.0)], &[d(0, 0.9, 1.0)], 1.0, 1.0);
        check(&[d(0, 0.9, 0.0)], &[d(1, 0.9, 0.0)], 0.0, 0.0);
        check(&[d(0, 0.9, 0.0)], &[d(0, 0.9, 0.0), d(0, 0.8, 2.0)], 1.0, 0.5);
    }

    #[test]
    fn without_a_gap_hovering_counts() {
        let agreement = |mut a: Agreement, dense: f32, skip: f32| {
            a.add(&[d(0, dense, 0.0)], &[d(0, skip, 0.0)]);
            a.agreement()
        };
        assert_eq!(agreement(Agreement::with_gap(0.4), 0.41, 0.39), 1.0);
        assert_eq!(agreement(Agreement::at(0.4), 0.41, 0.39), 0.0);
        assert_eq!(agreement(Agreement::at(0.4), 0.41, 0.4), 1.0);
        assert_eq!(agreement(Agreement::with_gap(0.8), 0.81, 0.59), 0.0);
        assert_eq!(Agreement::with_gap(SURE), Agreement::default());
    }

    #[test]
    fn flicker_is_a_box_that_is_gone_for_one_frame() {
        let share = |frames: &[&[Detection]]| {
            let mut flicker = Flicker::default();
            frames.iter().for_each(|f| flicker.add(f, 0.4));
            flicker.share()
        };
        let (here, faint) = (d(0, 0.9, 0.0), d(0, 0.39, 0.0));
        assert_eq!(share(&[]), 0.0);
        assert_eq!(share(&[&[here], &[here], &[here]]), 0.0);
        assert_eq!(share(&[&[here], &[], &[here]]), 1.0);
        assert_eq!(share(&[&[here], &[faint], &[here]]), 1.0, "what its user sees");
        assert_eq!(share(&[&[here], &[d(1, 0.9, 0.0)], &[here]]), 1.0, "as another class");
        assert_eq!(share(&[&[here], &[], &[], &[here]]), 0.0, "gone for longer");
        assert_eq!(share(&[&[], &[here], &[]]), 0.0, "there for one frame");
        assert_eq!(share(&[&[here, d(0, 0.8, 50.0)], &[here], &[here, d(0, 0.8, 50.0)]]), 0.5);
        // It moves, and is where it should be in between.
        assert_eq!(share(&[&[here], &[d(0, 0.9, 1.5)], &[d(0, 0.9, 3.0)]]), 0.0);
    }

    #[test]
    fn average_precision_of_known_curves() {
        let w = |x: f32, counts| Wanted { id: 0, class: 0, bbox: Rect::new(x, 0.0, x + 10.0, 10.0), counts };
        let check = |wanted: &[Wanted], found: &[Detection], want: f64| {
            let mut ap = AveragePrecision::default();
            ap.add(wanted, found);
            assert!((ap.mean().unwrap() - want).abs() < 1e-9, "{:?}", ap.mean());
        };
        check(&[w(0.0, true)], &[d(0, 0.9, 0.0)], 1.0);
        check(&[w(0.0, true)], &[], 0.0);
        check(&[w(0.0, true), w(50.0, true)], &[d(0, 0.9, 0.0)], 0.5);
        // Right, wrong, right: precision 1 up to recall 1/2, then 2/3.
        check(
            &[w(0.0, true), w(50.0, true)],
            &[d(0, 0.9, 0.0), d(0, 0.8, 200.0), d(0, 0.7, 50.0)],
            0.5 + 0.5 * 2.0 / 3.0,
        );
        // One that does not count is no error when found.
        check(&[w(0.0, true), w(50.0, false)], &[d(0, 0.95, 50.0), d(0, 0.9, 0.0)], 1.0);
    }
}
