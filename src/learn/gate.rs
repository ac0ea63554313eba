//! Never worse: what new weights must show before they are taken.
//!
//! On blocks of time that were not learned from they must be better; on anchors, what the model knew before, they may lose
//! half a point of average precision; and of what somebody marked as right nothing may be lost.

use super::net::LearnNet;
use super::sample::{Origin, Sample};
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::eval::score::{AveragePrecision, IOU, Wanted};
use crate::geom::{ModelInput, Rect};
use engine::kernels::Kernels;
use serde::{Deserialize, Serialize};
use train::float::FloatTrainer;
use train::params::Params;

/// Average precision that anchors may lose.
const MOST_LOST: f64 = 0.005;

/// Detections down to this score count for average precision.
const LEAST_SCORE: f32 = 0.05;

/// What weights do on samples.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Score {
    /// Average precision at IoU 0.5; none where no object is named.
    pub ap50: Option<f64>,
    /// Detections that are reported where somebody said that nothing is.
    pub n_false: usize,
    /// Reported detections of no object, in pictures of which everything is known.
    pub n_stray: usize,
    /// Objects, and how many of them are reported.
    pub n_objects: usize,
    pub n_found: usize,
}

impl Score {
    /// Of what is reported and what ought to be, the share that is right (F1); 1 where there is neither.
    fn right(&self) -> f64 {
        let all = self.n_objects + self.n_found + self.n_stray;
        if all == 0 { 1.0 } else { 2.0 * self.n_found as f64 / all as f64 }
    }
}

/// Before and after.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Compared {
    pub before: Score,
    pub after: Score,
}

impl Compared {
    /// How much average precision grew; 0 where there is none.
    fn gain(&self) -> f64 {
        self.after.ap50.unwrap_or(0.0) - self.before.ap50.unwrap_or(0.0)
    }

    fn is_better(&self) -> bool {
        let fewer = self.after.n_false < self.before.n_false;
        match fewer {
            true => self.gain() >= -MOST_LOST,
            false => self.after.n_false == self.before.n_false && self.gain() > 0.0,
        }
    }
}

/// The judgement of new weights.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Judgement {
    pub held_out: Compared,
    pub anchors: Compared,
    pub marked: Compared,
    /// Why they are not taken.
    pub refused: Option<String>,
}

/// Judges weights. `learned` were learned from, `held_out` were not; `score` is the least that is reported.
pub fn judge(net: &LearnNet, after: &Params, learned: &[Sample], held_out: &[Sample], score: f32) -> Judgement {
    let before = net.params();
    let compare = |samples: &[&Sample]| Compared {
        before: stand(net, &before, samples, score),
        after: stand(net, after, samples, score),
    };
    let of = |origin: Origin, samples: &'static str| -> Vec<&Sample> {
        let all = if samples == "held out" { held_out } else { learned };
        all.iter().filter(|s| s.origin == origin).collect()
    };
    let held: Vec<&Sample> = held_out.iter().filter(|s| s.origin != Origin::Anchor).collect();
    let (anchors, marked) = (of(Origin::Anchor, "held out"), of(Origin::Marked, "learned"));
    let mut verdict =
        Judgement { held_out: compare(&held), anchors: compare(&anchors), marked: compare(&marked), refused: None };
    verdict.refused = refusal(&verdict, !held.is_empty());
    verdict
}

/// Why weights that did so are not taken.
fn refusal(v: &Judgement, has_held_out: bool) -> Option<String> {
    let points = |gain: f64| format!("{:+.1} points", 100.0 * gain);
    if v.anchors.gain() < -MOST_LOST {
        return Some(format!(
            "on what the model knew before, average precision changes by {} (at most {} may be lost)",
            points(v.anchors.gain()),
            100.0 * MOST_LOST
        ));
    }
    let lost = v.anchors.before.right() - v.anchors.after.right();
    if lost > MOST_LOST {
        return Some(format!(
            "on what the model knew before, {:.1} points less of what is reported is right (at most {} may be lost)",
            100.0 * lost,
            100.0 * MOST_LOST
        ));
    }
    if v.marked.after.n_found < v.marked.before.n_found {
        return Some(format!(
            "of {} objects that were marked as right, {} were found before and {} are now",
            v.marked.before.n_objects, v.marked.before.n_found, v.marked.after.n_found
        ));
    }
    let judged_by = if has_held_out { &v.held_out } else { &v.marked };
    (!judged_by.is_better()).then(|| {
        format!(
            "{} nothing is better: {} false alarms before and {} now, average precision {}",
            if has_held_out { "on what was not learned from," } else { "on what was marked," },
            judged_by.before.n_false,
            judged_by.after.n_false,
            points(judged_by.gain())
        )
    })
}

/// What weights do on samples.
pub fn stand(net: &LearnNet, params: &Params, samples: &[&Sample], score: f32) -> Score {
    let mut trainer = FloatTrainer::new(net.plan(), 1, Kernels::best());
    let (mut precision, mut standing) = (AveragePrecision::default(), Score::default());
    for sample in samples {
        net.feed(&mut trainer, &[&sample.latents]);
        trainer.forward(params);
        let numbers = net.numbers(&trainer, 0);
        let found = net.detections(&numbers, Thresholds { score: LEAST_SCORE.min(score), iou: 0.5 });
        let labels = &sample.labels;
        let reported: Vec<&Detection> = found.iter().filter(|d| d.score >= score).collect();
        let alarm = |d: &&&Detection| labels.absent.iter().any(|a| a.iou(&d.bbox) >= IOU);
        standing.n_false += reported.iter().filter(alarm).count();
        standing.n_objects += labels.objects.len();
        if labels.is_complete {
            let inside = |r: &Rect<ModelInput>, d: &Detection| d.bbox.share_in(r) >= IOU;
            let is_object =
                |d: &Detection| labels.objects.iter().any(|o| o.class == d.class && d.bbox.iou(&o.bbox) >= IOU);
            let is_stray = |d: &&&Detection| {
                !is_object(d) && !labels.ignored.iter().any(|r| inside(r, d) || r.iou(&d.bbox) >= IOU)
            };
            standing.n_stray += reported.iter().filter(is_stray).count();
        }
        for object in &labels.objects {
            let is_found = reported.iter().any(|d| d.class == object.class && d.bbox.iou(&object.bbox) >= IOU);
            standing.n_found += usize::from(is_found);
        }
        let wanted: Vec<Wanted> =
            (labels.objects.iter()).map(|o| Wanted { id: 0, class: o.class, bbox: o.bbox, counts: true }).collect();
        // What lies where nothing is known is neither right nor wrong.
        let is_known = |d: &Detection| {
            let is = |r: &Rect<ModelInput>| r.iou(&d.bbox) >= IOU;
            let is_object = labels.objects.iter().any(|o| is(&o.bbox));
            let in_doubt = labels.ignored.iter().any(|r| is(r) || d.bbox.share_in(r) >= IOU);
            is_object || (!in_doubt && (labels.is_complete || labels.absent.iter().any(is)))
        };
        let claims: Vec<Detection> = found.iter().filter(|d| is_known(d)).copied().collect();
        precision.add(&wanted, &claims);
    }
    standing.ap50 = precision.mean();
    standing
}
