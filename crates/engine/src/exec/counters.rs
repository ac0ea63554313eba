//! What a frame cost.

use std::time::Duration;

/// What a frame cost. Counted apart, because the differences show where savings are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Of the whole picture.
    pub dense_macs: u64,
    /// Of the whole picture, what is required ([`super::executor::StreamMaps::require`]).
    pub required_macs: u64,
    /// Of cells whose inputs changed.
    pub reached_macs: u64,
    /// Of cells that were computed, refreshed ones included.
    pub executed_macs: u64,
    /// Cells computed, of all maps.
    pub cells: u64,
    /// Of the computed cells, those that moved by more than their gate's threshold.
    pub passed: u64,
    /// Cells computed for their age, because they were deferred, or because they are required again.
    pub refreshed: u64,
    /// Finding out what to compute: what changes reach, and what they will do there.
    pub bookkeeping: Duration,
    /// Storing what was computed, and measuring how far it moved. Estimated: one tile of
    /// [`super::runner::GATE_SAMPLE`] is timed, as timing costs as much as half a gate.
    pub gates: Duration,
    /// Computing it.
    pub kernels: Duration,
}

impl Counters {
    /// Of a whole frame's work, the share (0..=1) that was done.
    pub fn executed_share(&self) -> f64 {
        self.executed_macs as f64 / self.dense_macs.max(1) as f64
    }

    /// Of what computing everything that is required would take, the share (0..=1) that was done.
    pub fn share_of_required(&self) -> f64 {
        self.executed_macs as f64 / self.required_macs.max(1) as f64
    }

    pub fn add(&mut self, other: &Self) {
        self.dense_macs += other.dense_macs;
        self.required_macs += other.required_macs;
        self.reached_macs += other.reached_macs;
        self.executed_macs += other.executed_macs;
        self.cells += other.cells;
        self.passed += other.passed;
        self.refreshed += other.refreshed;
        self.bookkeeping += other.bookkeeping;
        self.gates += other.gates;
        self.kernels += other.kernels;
    }
}
