//! The last hour of a camera, in steps, for plots.

use std::collections::VecDeque;

/// Seconds of a step.
pub const STEP_S: u64 = 10;
/// Steps that are kept: an hour.
const KEPT: usize = 360;

/// What happened in a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct HistoryStep {
    /// Its beginning, seconds since 1970 UTC.
    pub start_s: u64,
    pub n_frames: u32,
    /// Sums over the frames: area that was computed, against the whole, and seconds from the decoder to the output.
    pub computed: f64,
    pub latency_s: f64,
}

/// Steps, oldest first.
#[derive(Debug, Default)]
pub struct History(VecDeque<HistoryStep>);

impl History {
    /// Adds a frame. A clock that is set back adds to the newest step.
    pub fn add(&mut self, unix_ns: u64, computed_share: f32, latency_ns: u64) {
        let start_s = unix_ns / 1_000_000_000 / STEP_S * STEP_S;
        if self.0.back().is_none_or(|last| last.start_s < start_s) {
            if self.0.len() == KEPT {
                self.0.pop_front();
            }
            self.0.push_back(HistoryStep { start_s, ..HistoryStep::default() });
        }
        if let Some(step) = self.0.back_mut() {
            step.n_frames += 1;
            step.computed += f64::from(computed_share);
            step.latency_s += latency_ns as f64 / 1e9;
        }
    }

    pub fn steps(&self) -> impl Iterator<Item = &HistoryStep> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_hour_and_no_more() {
        let mut history = History::default();
        for frame in 0..100_000u64 {
            history.add(1_000_000_000_000_000_000 + frame * 100_000_000, 0.25, 20_000_000);
        }
        assert_eq!(history.0.len(), KEPT);
        assert!(history.steps().all(|s| s.n_frames == 100 && (s.computed - 25.0).abs() < 1e-9 && s.latency_s > 1.99));
        history.add(0, 1.0, 0);
        assert_eq!((history.0.len(), history.0.back().unwrap().n_frames), (KEPT, 101));
    }
}
