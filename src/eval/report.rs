//! What an evaluation found, as it is written down.

use super::mot;
use engine::exec::counters::Counters;
use serde::Serialize;
use std::collections::BTreeMap;

/// Milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Default)]
pub struct Percentiles {
    pub mean: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

impl Percentiles {
    pub fn of(ms: &[f64]) -> Self {
        if ms.is_empty() {
            return Self::default();
        }
        let mut sorted = ms.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |q: f64| sorted[((q * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
        Self { mean: ms.iter().sum::<f64>() / ms.len() as f64, p50: at(0.5), p95: at(0.95), p99: at(0.99) }
    }
}

/// What one mode did on one clip.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModeReport {
    /// Decoded frame to merged detections.
    pub inference_ms: Percentiles,
    /// The skip stage's part of it, deciding, taking over pictures and merging: mean.
    pub skip_ms: f64,
    /// Frames in which nothing had to be computed: how many, and their time.
    pub idle_frames: u64,
    pub idle_ms: f64,
    /// Mean time of `off` over mean time of this mode.
    pub speedup_vs_off: Option<f64>,
    /// Area that went through the model, against the model input's for every frame.
    pub computed_share: f64,
    /// Against `off`: of what one reports, the other has that share from three quarters of the score on.
    pub agreement: Option<f64>,
    pub recall: Option<f64>,
    pub precision: Option<f64>,
    /// Against `off`, of what is reported alone: what its user would see.
    pub agreement_at_score: Option<f64>,
    /// Boxes that are gone for one frame, as a share of those there before and after it.
    pub flicker: f64,
    /// Against ground truth, simulated clips only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub map50: Option<f64>,
    /// Following objects, mean a frame; not part of `inference_ms`.
    pub track_ms: f64,
    /// How well the tracks follow what is really there, simulated clips only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking: Option<mot::TrackingReport>,
    /// Memory of the process without any mode, and what this one added to it at its peak.
    pub peak_rss_mib: f64,
    /// What the layer engine did; absent in other modes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerReport>,
    /// Mean absolute difference of the model's raw outputs from a whole run's; where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_difference: Option<RawDifference>,
    /// Patches by reason, all frames together; absent in `off`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patches: Option<PatchReport>,
    pub full_frames: u64,
    pub runs: u64,
    pub detections: u64,
}

/// The layer engine's counters, mean of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LayerReport {
    pub dense_mmacs: f64,
    /// Of cells that changes reach.
    pub requested_mmacs: f64,
    /// Those of them that were expected to matter, and refreshed ones.
    pub executed_mmacs: f64,
    pub cells: f64,
    pub passed_cells: f64,
    pub refreshed_cells: f64,
    pub bookkeeping_ms: f64,
    pub gate_ms: f64,
    pub kernel_ms: f64,
}

impl LayerReport {
    pub fn new(c: &Counters, n_frames: u64) -> Self {
        let mean = |v: f64| v / n_frames.max(1) as f64;
        Self {
            dense_mmacs: mean(c.dense_macs as f64 / 1e6),
            requested_mmacs: mean(c.reached_macs as f64 / 1e6),
            executed_mmacs: mean(c.executed_macs as f64 / 1e6),
            cells: mean(c.cells as f64),
            passed_cells: mean(c.passed as f64),
            refreshed_cells: mean(c.refreshed as f64),
            bookkeeping_ms: mean(c.bookkeeping.as_secs_f64() * 1e3),
            gate_ms: mean(c.gates.as_secs_f64() * 1e3),
            kernel_ms: mean(c.kernels.as_secs_f64() * 1e3),
        }
    }
}

/// Dense runs of frames with a sensor's noise against those without: what agreement is worth where nothing is skipped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FloorReport {
    /// Levels of 255.
    pub sigma: f32,
    /// As of a mode.
    pub agreement: f64,
    pub agreement_at_score: f64,
    pub flicker: f64,
}

/// Drift shows here first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RawDifference {
    pub mean: f64,
    pub max: f64,
    /// One a frame.
    pub frames: Vec<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Default)]
pub struct PatchReport {
    pub kept: u64,
    pub masked: u64,
    pub changed: u64,
    pub stale: u64,
    pub forced: u64,
    pub predicted: u64,
}

/// The result of `passd eval`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    pub clip: String,
    pub frames: u64,
    pub model: String,
    pub size: String,
    pub threads: usize,
    pub noise: f32,
    /// Least score of what is reported.
    pub score: f32,
    /// Empty where it was not asked for, or there is no dense run.
    pub floor: Vec<FloorReport>,
    pub provider: String,
    pub machine: String,
    pub modes: BTreeMap<String, ModeReport>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let ms: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(Percentiles::of(&ms), Percentiles { mean: 50.5, p50: 50.0, p95: 95.0, p99: 99.0 });
        assert_eq!(Percentiles::of(&[3.0]), Percentiles { mean: 3.0, p50: 3.0, p95: 3.0, p99: 3.0 });
        assert_eq!(Percentiles::of(&[]), Percentiles::default());
    }
}
