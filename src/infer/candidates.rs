//! What is known of a stream from the layer engine's last frame: what was found, faint or
//! not, and what follows from it for the next frame.

use super::Seen;
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::geom::Size;
use engine::changes::{Cell, ChangeSet};
use engine::gating::policy::TolerancePolicy;
use engine::tolerance::ToleranceMap;

/// Candidates are kept from this score on, or from that of the report if it is lower.
pub(super) const CANDIDATE_SCORE: f32 = 0.02;
/// More than this are no doubts but a model that is sure of nothing: everything is followed closely.
pub(super) const MOST_CANDIDATES: usize = 300;
/// What was found in a cell, and when it was last computed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub cell: u32,
    pub anchor: u16,
    pub detection: Detection,
    pub seen: Seen,
}

/// The candidates of one stream.
#[derive(Debug, Clone, Default)]
pub struct Candidates {
    /// One a level, in the order of the cells.
    pub(super) levels: Vec<Vec<Candidate>>,
    /// Of all levels, without duplicates, best first.
    pub(super) merged: Vec<Candidate>,
    /// Whether the faint ones are few enough to tell where to look.
    pub(super) is_sure: bool,
    /// One a level.
    pub(super) changed: Vec<ChangeSet>,
    pub(super) cells: Vec<Cell>,
    pub(super) kept: Vec<Candidate>,
}

impl Candidates {
    /// How closely the next frame must be followed: the more a candidate's log-odds differ from
    /// those in doubt, near the `reported` score, the wider thresholds may be where it lies.
    pub fn tolerance(&self, reported: f32, input: Size, policy: &TolerancePolicy, out: &mut ToleranceMap) {
        let log_odds = |p: f32| (p / (1.0 - p).max(1e-6)).max(1e-6).ln();
        let doubt = log_odds(reported) - policy.doubt;
        out.fill(input.rows_and_columns(), if self.is_sure { policy.most } else { 1.0 });
        for c in &self.merged {
            let b = &c.detection.bbox;
            let around = |from: f32, to: f32| [from - policy.context, to + policy.context];
            let above = log_odds(c.detection.score) - doubt;
            out.lower(
                around(b.x1, b.x2),
                around(b.y1, b.y2),
                if above > 0.0 { policy.above * above } else { -policy.below * above },
            );
        }
    }

    /// Those that are reported, best first.
    pub(super) fn report(&self, t: Thresholds, out: &mut Vec<Detection>, seen: &mut Vec<Seen>) {
        let reported = || self.merged.iter().take_while(|c| c.detection.score >= t.score);
        out.clear();
        seen.clear();
        out.extend(reported().map(|c| c.detection));
        seen.extend(reported().map(|c| c.seen));
    }

    /// Forgets what was found.
    pub fn clear(&mut self) {
        self.levels.iter_mut().for_each(Vec::clear);
        self.merged.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::FrameId;
    use crate::geom::Rect;

    #[test]
    fn what_is_in_doubt_is_followed_closely() {
        let input = Size::new(320, 192);
        let candidate = |score: f32, x: f32| Candidate {
            cell: 0,
            anchor: 0,
            detection: Detection::new(0, score, Rect::new(x, 80.0, x + 10.0, 90.0)),
            seen: Seen { frame: FrameId(0), pts_ns: 0 },
        };
        let mut known = Candidates { is_sure: true, ..Candidates::default() };
        known.merged = [(0.95, 20.0), (0.2, 120.0), (0.03, 220.0)].map(|(score, x)| candidate(score, x)).to_vec();
        let mut tolerance = ToleranceMap::default();
        let mut at = |known: &Candidates| {
            known.tolerance(0.3, input, &TolerancePolicy::default(), &mut tolerance);
            [25, 125, 225, 300].map(|x| tolerance.within(x..x + 1, 85..86))
        };
        let [sure, doubtful, faint, nothing] = at(&known);
        assert_eq!((doubtful, nothing), (1.0, TolerancePolicy::default().most));
        assert!(1.0 < sure && sure < faint && faint <= TolerancePolicy::default().most, "{faint} {sure}");
        known.is_sure = false;
        assert_eq!(at(&known), [1.0; 4], "a model that sees something everywhere");
    }
}
