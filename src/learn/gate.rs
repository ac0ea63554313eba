//! Never worse: what new weights must show before they are taken.
//!
//! On blocks of time that were not learned from they must be better than the weights in use, and lose none of what those
//! find there; on anchors, what the base knew, they may lose half a point; and of what somebody marked as right nothing
//! may be lost, wherever it is.

use super::net::LearnNet;
use super::sample::{Origin, Sample};
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::eval::score::{AveragePrecision, IOU, Wanted};
use crate::geom::{ModelInput, Rect};
use engine::kernels::Kernels;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::ops::ControlFlow;
use train::float::FloatTrainer;
use train::params::Params;

/// Share that anchors and held-out pictures may lose, of average precision and of what is reported right, and the latter of
/// what is found.
const MOST_LOST: f64 = 0.005;

/// Share by which agreement of what is told with a model's gates may fall; and work may grow, without being said.
const MOST_DISAGREED: f64 = 0.01;
const MUCH_MORE: f64 = 1.25;

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

    /// Objects that are not found any more, as a share of all.
    fn lost(&self) -> f64 {
        self.before.n_found.saturating_sub(self.after.n_found) as f64 / self.before.n_objects.max(1) as f64
    }

    /// How much more of what is reported and ought to be is right; where nothing ought to be, how much less is reported.
    fn righter(&self) -> f64 {
        if self.before.n_objects == 0 {
            return self.before.n_stray as f64 - self.after.n_stray as f64;
        }
        self.after.right() - self.before.right()
    }

    /// Something is better, and nothing is worse than by a trifle.
    fn is_better(&self) -> bool {
        let is_kept = self.gain() >= -MOST_LOST && self.righter() >= -MOST_LOST;
        match self.after.n_false.cmp(&self.before.n_false) {
            Ordering::Less => is_kept,
            Ordering::Equal => is_kept && (self.gain() > 0.0 || self.righter() > MOST_LOST),
            Ordering::Greater => false,
        }
    }
}

/// The judgement of new weights.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Judgement {
    pub held_out: Compared,
    pub anchors: Compared,
    pub marked: Compared,
    /// Objects that somebody marked as right, found before and not any more.
    #[serde(default)]
    pub n_marked_lost: usize,
    /// What gates do with them; nothing where the model has none.
    #[serde(default)]
    pub gates: Option<GatesReport>,
    /// Why they are not taken.
    pub refused: Option<String>,
}

impl Judgement {
    /// Takes in what gates do with the weights: what costs too much agreement is not taken.
    pub fn add_gates(&mut self, report: GatesReport) {
        if self.refused.is_none() {
            self.refused = report.refusal();
        }
        self.gates = Some(report);
    }
}

/// What a model's gates do with some weights.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GatesStanding {
    /// With whole runs of the same weights, 0..=1.
    pub agreement: f64,
    /// Work, as a share of whole runs'.
    pub executed: f64,
    /// Detections that were compared.
    pub n_compared: usize,
}

/// With the weights in use, and with the new ones.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct GatesCompared {
    pub before: GatesStanding,
    pub after: GatesStanding,
}

/// Whether the gates still fit.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct GatesReport {
    #[serde(flatten)]
    pub compared: Option<GatesCompared>,
    /// What is to be known of it: why it was not judged, or what got worse.
    pub said: Option<String>,
}

impl GatesReport {
    pub fn not_judged(why: &str) -> Self {
        Self { compared: None, said: Some(format!("gates are not judged: {why}")) }
    }

    pub fn of(compared: GatesCompared) -> Self {
        let GatesCompared { before, after } = compared;
        let percent = |share: f64| 100.0 * share;
        let said = if before.agreement - after.agreement > MOST_DISAGREED {
            Some(format!(
                "with the model's gates {:.1} % of what is told agrees with whole runs, before it was {:.1} % (at most {} point \
                 may be lost)",
                percent(after.agreement),
                percent(before.agreement),
                percent(MOST_DISAGREED)
            ))
        } else if after.executed > MUCH_MORE * before.executed {
            Some(format!(
                "with the model's gates {:.1} % of whole runs' work is done, before it was {:.1} %: calibrate again if it \
                 matters (passd calibrate)",
                percent(after.executed),
                percent(before.executed)
            ))
        } else {
            None
        };
        Self { compared: Some(compared), said }
    }

    /// Why weights that do so are not taken.
    fn refusal(&self) -> Option<String> {
        let lost = self.compared.map_or(0.0, |c| c.before.agreement - c.after.agreement);
        self.said.clone().filter(|_| lost > MOST_DISAGREED)
    }
}

/// What judges, and how the weights before do on it.
pub struct Judge<'a> {
    net: &'a LearnNet,
    held: Vec<&'a Sample>,
    anchors: Vec<&'a Sample>,
    marked: Vec<&'a Sample>,
    score: f32,
    before: [(Score, Vec<bool>); 3],
}

/// Called after each picture; says whether to go on.
pub type GoOn<'a> = &'a mut dyn FnMut() -> ControlFlow<()>;

impl<'a> Judge<'a> {
    /// `in_use` are the weights that would be replaced; `score` is the least that is reported. `None`: it was stopped.
    pub fn new(
        net: &'a LearnNet,
        in_use: &Params,
        learned: &'a [Sample],
        held_out: &'a [Sample],
        score: f32,
        go_on: GoOn<'_>,
    ) -> Option<Self> {
        let held = held_out.iter().filter(|s| s.origin != Origin::Anchor).collect();
        let anchors = held_out.iter().filter(|s| s.origin == Origin::Anchor).collect();
        let marked = learned.iter().chain(held_out).filter(|s| s.origin == Origin::Marked).collect();
        let mut judge = Self { net, held, anchors, marked, score, before: Default::default() };
        let base = net.params();
        judge.before = [
            stand(net, in_use, &judge.held, score, go_on)?,
            // What the base knew is not to be lost in small steps.
            stand(net, &base, &judge.anchors, score, go_on)?,
            stand(net, in_use, &judge.marked, score, go_on)?,
        ];
        Some(judge)
    }

    /// Judges weights. `None`: it was stopped.
    pub fn judge(&self, after: &Params, go_on: GoOn<'_>) -> Option<Judgement> {
        let [held, anchors, marked] = &self.before;
        let compared =
            |before: &(Score, Vec<bool>), after: &(Score, Vec<bool>)| Compared { before: before.0, after: after.0 };
        let now_held = stand(self.net, after, &self.held, self.score, go_on)?;
        let now_anchors = stand(self.net, after, &self.anchors, self.score, go_on)?;
        let now_marked = stand(self.net, after, &self.marked, self.score, go_on)?;
        let lost = marked.1.iter().zip(&now_marked.1).filter(|(before, after)| **before && !**after).count();
        let mut judgement = Judgement {
            held_out: compared(held, &now_held),
            anchors: compared(anchors, &now_anchors),
            marked: compared(marked, &now_marked),
            n_marked_lost: lost,
            gates: None,
            refused: None,
        };
        judgement.refused = refusal(&judgement, !self.held.is_empty());
        Some(judgement)
    }
}

/// Why weights that did so are not taken.
fn refusal(v: &Judgement, has_held_out: bool) -> Option<String> {
    let points = |gain: f64| format!("{:+.1} points", 100.0 * gain);
    if !has_held_out {
        return Some("there are no pictures that were not learned from, to judge by: more will come".into());
    }
    if v.anchors.gain() < -MOST_LOST {
        return Some(format!(
            "on what the model knew before, average precision changes by {} (at most {} may be lost)",
            points(v.anchors.gain()),
            100.0 * MOST_LOST
        ));
    }
    let lost = -v.anchors.righter();
    if lost > MOST_LOST {
        return Some(format!(
            "on what the model knew before, {:.1} points less of what is reported is right (at most {} may be lost)",
            100.0 * lost,
            100.0 * MOST_LOST
        ));
    }
    if v.n_marked_lost > 0 {
        return Some(format!(
            "{} objects that were marked as right were found before and are not now",
            v.n_marked_lost
        ));
    }
    if v.held_out.lost() > MOST_LOST {
        return Some(format!(
            "on what was not learned from, of {} objects {} were found before and {} are now",
            v.held_out.before.n_objects, v.held_out.before.n_found, v.held_out.after.n_found
        ));
    }
    (!v.held_out.is_better()).then(|| {
        format!(
            "on what was not learned from, {}: {} false alarms before and {} now, average precision {}, right of \
             what is reported {}",
            if v.held_out.after.n_false < v.held_out.before.n_false {
                "too much is worse"
            } else {
                "nothing is better"
            },
            v.held_out.before.n_false,
            v.held_out.after.n_false,
            points(v.held_out.gain()),
            points(v.held_out.righter())
        )
    })
}

/// What weights do on samples, and which of the objects that people marked are reported. `None`: it was stopped.
pub fn stand(
    net: &LearnNet,
    params: &Params,
    samples: &[&Sample],
    score: f32,
    go_on: GoOn<'_>,
) -> Option<(Score, Vec<bool>)> {
    let mut trainer = FloatTrainer::new(net.plan(), 1, Kernels::best());
    let (mut precision, mut told, mut sure) = (AveragePrecision::default(), Score::default(), Vec::new());
    for sample in samples {
        if go_on().is_break() {
            return None;
        }
        net.feed(&mut trainer, &[&sample.latents]);
        let found = net.shown(&mut trainer, params, Thresholds { score: LEAST_SCORE.min(score), iou: 0.5 });
        let labels = &sample.labels;
        let reported: Vec<&Detection> = found.iter().filter(|d| d.score >= score).collect();
        let alarm = |d: &&&Detection| labels.absent.iter().any(|a| a.iou(&d.bbox) >= IOU);
        told.n_false += reported.iter().filter(alarm).count();
        told.n_objects += labels.objects.len();
        if labels.is_complete {
            let inside = |r: &Rect<ModelInput>, d: &Detection| d.bbox.share_in(r) >= IOU;
            let is_object =
                |d: &Detection| labels.objects.iter().any(|o| o.class == d.class && d.bbox.iou(&o.bbox) >= IOU);
            let is_stray = |d: &&&Detection| {
                !is_object(d) && !labels.ignored.iter().any(|r| inside(r, d) || r.iou(&d.bbox) >= IOU)
            };
            told.n_stray += reported.iter().filter(is_stray).count();
        }
        for (i, object) in labels.objects.iter().enumerate() {
            let is_found = reported.iter().any(|d| d.class == object.class && d.bbox.iou(&object.bbox) >= IOU);
            told.n_found += usize::from(is_found);
            if i < sample.n_sure {
                sure.push(is_found);
            }
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
    told.ap50 = precision.mean();
    Some((told, sure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(ap50: f64, n_false: usize, n_found: usize) -> Score {
        Score { ap50: Some(ap50), n_false, n_stray: 0, n_objects: 100, n_found }
    }

    /// Fewer false alarms at no cost: taken.
    fn good() -> Judgement {
        let same = Compared { before: score(0.9, 0, 90), after: score(0.9, 0, 90) };
        let held_out = Compared { before: score(0.8, 9, 90), after: score(0.8, 1, 90) };
        Judgement { held_out, anchors: same, marked: held_out, ..Judgement::default() }
    }

    #[test]
    fn weights_are_taken_only_if_nothing_is_worse() {
        assert_eq!(refusal(&good(), true), None);
        let check = |change: &dyn Fn(&mut Judgement), part: &str| {
            let mut judgement = good();
            change(&mut judgement);
            let why = refusal(&judgement, true).unwrap_or_default();
            assert!(why.contains(part), "{part}: '{why}'");
        };
        check(&|j| j.anchors.after.ap50 = Some(0.894), "knew before");
        check(&|j| j.anchors.after.n_found = 80, "less of what is reported is right");
        check(&|j| j.anchors.after.n_stray = 5, "less of what is reported is right");
        check(&|j| j.n_marked_lost = 1, "marked as right");
        check(&|j| j.held_out.after.n_found = 89, "90 were found before and 89 are now");
        check(&|j| j.held_out.after.n_false = 9, "nothing is better");
        check(&|j| j.held_out.after.ap50 = Some(0.79), "too much is worse");
        check(&|j| j.held_out.after.n_false = 10, "nothing is better");
        let mut better = good();
        (better.held_out.after.n_false, better.held_out.after.ap50) = (9, Some(0.81));
        assert_eq!(refusal(&better, true), None, "as many false alarms, and it finds better");
        better.held_out.after.n_stray = 10;
        assert!(
            refusal(&better, true).is_some_and(|why| why.contains("nothing is better")),
            "but reports more that is not"
        );
        better = good();
        (better.held_out.after.n_false, better.held_out.after.n_found) = (9, 92);
        assert_eq!(refusal(&better, true), None, "as many false alarms, and more objects");
        (better.held_out.after.ap50, better.held_out.after.n_found) = (Some(0.79), 100);
        assert!(refusal(&better, true).is_some(), "at the cost of order");
        better = good();
        better.held_out.after.n_stray = 40;
        assert!(
            refusal(&better, true).is_some_and(|why| why.contains("too much is worse")),
            "more strays than it saves"
        );
        // Where there are no objects, strays alone are counted.
        let empty = |n_stray| Score { n_stray, ..Score::default() };
        better =
            Judgement { held_out: Compared { before: empty(1), after: empty(9) }, anchors: better.anchors, ..better };
        assert!(refusal(&better, true).is_some());
        better.held_out = Compared { before: empty(9), after: empty(1) };
        assert_eq!(refusal(&better, true), None);
        assert!(refusal(&good(), false).is_some_and(|why| why.contains("to judge by")));
    }

    #[test]
    fn gates_that_fit_no_more_are_said_and_refused_only_for_agreement() {
        let standing = |agreement: f64, executed: f64| GatesStanding { agreement, executed, n_compared: 100 };
        let before = standing(0.99, 0.10);
        let check = |after: GatesStanding, said: &str, is_refused: bool| {
            let report = GatesReport::of(GatesCompared { before, after });
            let text = report.said.clone().unwrap_or_default();
            assert!(text.contains(said) && text.is_empty() == said.is_empty(), "{after:?}: '{text}'");
            let mut judgement = good();
            judgement.add_gates(report.clone());
            assert_eq!(judgement.refused.is_some(), is_refused, "{after:?}");
            let kept = serde_json::to_string(&judgement).unwrap();
            assert_eq!(serde_json::from_str::<Judgement>(&kept).unwrap().gates, Some(report));
        };
        check(standing(0.985, 0.12), "", false);
        check(standing(0.97, 0.05), "97.0 % of what is told", true);
        check(standing(0.99, 0.13), "13.0 % of whole runs' work", false);
        let mut judgement = good();
        judgement.add_gates(GatesReport::not_judged("there are no anchors"));
        assert_eq!(judgement.refused, None);
    }
}
