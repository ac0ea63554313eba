//! Counting: what becomes of each frame, once for the board and the metrics.

use super::counters::Handles;
use crate::capture::Intake;
use crate::infer::{InferError, Inference};
use crate::merge::Provenance;
use crate::outcome::FrameResult;
use crate::output::Sink;
use crate::output::board::CameraBoard;
use crate::output::metrics::{Metrics, ReasonLabel};
use crate::schedule::load::Degraded;
use crate::skip::{Counts, Decision, GlobalChange};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The counters of one camera.
pub(super) struct Tally {
    camera: Arc<str>,
    board: Arc<CameraBoard>,
    metrics: Arc<Metrics>,
    handles: Handles,
    drops: Drops,
    /// Frames in a row that failed.
    n_failures: u64,
}

/// When what was done with a frame, nanoseconds by the clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub started: u64,
    pub decided: u64,
    pub detected: u64,
    pub finished: u64,
    /// Of the time in between, that in the model.
    pub detecting: u64,
}

/// Dropped frames that are in the counters already.
#[derive(Default, Clone, Copy)]
struct Drops {
    captured: u64,
    replaced: u64,
    lost: u64,
    surplus: u64,
    corrupt: u64,
    undecoded: u64,
}

impl Tally {
    pub fn new(camera: Arc<str>, board: Arc<CameraBoard>, metrics: Arc<Metrics>, handles: Handles) -> Self {
        Self { camera, board, metrics, handles, drops: Drops::default(), n_failures: 0 }
    }

    /// Counts on by other handles: another mode.
    pub fn set_handles(&mut self, handles: Handles) {
        self.handles = handles;
    }

    pub fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Frames that were taken through, and that failed.
    pub fn n_done(&self) -> u64 {
        self.board.n_processed.load(Ordering::Relaxed) + self.board.n_failed.load(Ordering::Relaxed)
    }

    pub fn degraded(&self, degraded: Degraded) {
        self.board.set_degraded(degraded);
        self.handles.set_degraded(degraded);
    }

    /// The model works, or another connection gives it another chance.
    pub fn working(&mut self) {
        self.n_failures = 0;
        self.board.set_working();
    }

    /// A frame was computed.
    pub fn computed(&self, times: Times, result: &FrameResult, fresh: &Inference, decision: Option<&Decision>) {
        let seconds = |ns: u64| ns as f64 / 1e9;
        let Times { started, decided, detected, finished, detecting } = times;
        let h = &self.handles;
        h.skip.observe(seconds((decided - started) + (finished - detected)));
        h.wait.observe(seconds((detected - decided).saturating_sub(detecting)));
        h.detect.observe(seconds(detecting));
        h.executed.inc_by(fresh.executed_px);
        h.dense.inc_by(result.frame.size().area() as u64);
        h.runs.inc_by(u64::from(fresh.n_runs));
        if let Some(layers) = &h.layers {
            layers.count(&fresh.layers);
        }
        if let Some(decision) = decision {
            self.decided(decision);
        }
    }

    /// The model ran for so long.
    pub fn ran(&self, detecting_ns: u64) {
        self.board.detect_ns.fetch_add(detecting_ns, Ordering::Relaxed);
        self.board.n_detect_runs.fetch_add(1, Ordering::Relaxed);
    }

    /// A frame is shown, before the sinks get it.
    pub fn shown(&self, result: &Arc<FrameResult>) {
        self.handles.latency.observe(result.latency_ns as f64 / 1e9);
        for d in &result.detections {
            match d.merged.provenance {
                Provenance::Computed => &self.handles.computed,
                Provenance::Carried => &self.handles.carried,
                Provenance::Predicted => &self.handles.predicted,
            }
            .inc();
        }
        self.board.publish(result);
    }

    /// A frame is out, at `now_ns`.
    pub fn published(&self, result: &FrameResult, now_ns: u64) {
        self.handles.processed.inc();
        self.board.last_output_captured_ns.store(result.frame.captured_ns, Ordering::Relaxed);
        self.board.last_output_ns.store(now_ns, Ordering::Relaxed);
    }

    /// A frame is lost in the model.
    pub fn failed(&mut self, e: &InferError, now_ns: u64) {
        self.n_failures += 1;
        self.handles.failed.inc();
        self.board.n_failed.fetch_add(1, Ordering::Relaxed);
        self.board.set_failing(now_ns, &e.to_string());
        // The first of a series, then ever rarer.
        if self.n_failures.is_power_of_two() {
            tracing::error!(camera = &*self.camera, failures = self.n_failures, "frame is dropped: {e}");
        }
    }

    fn decided(&self, d: &Decision) {
        let Counts { kept, masked, changed, stale, forced, predicted } = d.counts;
        for (counter, n) in self.handles.patches.iter().zip([kept, masked, changed, stale, forced, predicted]) {
            counter.inc_by(u64::from(n));
        }
        if let Some(why) = d.global {
            let reason = match why {
                GlobalChange::Start => "start",
                GlobalChange::Requested => "requested",
                GlobalChange::Light => "light",
                GlobalChange::Scene => "scene",
                GlobalChange::Motion => "motion",
            };
            let label = ReasonLabel { camera: self.camera.to_string(), reason };
            self.metrics.global_changes.get_or_create(&label).inc();
        }
    }

    /// Brings the counters to what slot and queue have seen.
    pub fn drops(&mut self, intake: &Intake) {
        let now = Drops {
            captured: intake.n_frames(),
            replaced: intake.slot().n_replaced(),
            lost: intake.n_queue_drops(),
            surplus: intake.n_surplus(),
            corrupt: intake.n_corrupt(),
            undecoded: intake.n_undecoded(),
        };
        let (h, before) = (&self.handles, self.drops);
        h.captured.inc_by(now.captured - before.captured);
        h.replaced.inc_by(now.replaced - before.replaced);
        h.lost.inc_by(now.lost - before.lost);
        h.surplus.inc_by(now.surplus - before.surplus);
        h.corrupt.inc_by(now.corrupt - before.corrupt);
        h.undecoded.inc_by(now.undecoded - before.undecoded);
        self.board.n_dropped.store(now.replaced + now.lost + now.corrupt, Ordering::Relaxed);
        self.drops = now;
    }
}
