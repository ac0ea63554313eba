//! Every number that decides what is computed now and what is waited with: one value, a part of the profile.
//!
//! The defaults hold for any model. What they were measured against is in `benches/README.md`.

use serde::{Deserialize, Serialize};

/// The thresholds of a stream.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    pub gates: GatePolicy,
    pub deferred: DeferredPolicy,
    pub estimate: EstimatePolicy,
    pub tolerance: TolerancePolicy,
    pub picture: PicturePolicy,
}

/// The gates of a model of which nothing is known. In units of each channel's standard deviation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatePolicy {
    /// Of the first gate, and of the last; those between rise evenly.
    pub first: f32,
    pub last: f32,
    /// A map is coarse where a cell stands for so many rows of the picture, or more: there are few such cells, and large
    /// objects are told by nothing else.
    pub coarse_rows: usize,
    /// Share of the threshold that holds on coarse maps.
    pub coarse_share: f32,
    /// Frames after which scales are learnt again from a whole frame.
    pub relearn_frames: u32,
}

impl Default for GatePolicy {
    fn default() -> Self {
        Self { first: 0.09, last: 0.19, coarse_rows: 32, coarse_share: 0.7, relearn_frames: 250 }
    }
}

/// Changes that are waited with, and made good soon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DeferredPolicy {
    /// Share of a threshold from which a change is deferred instead of dropped, where the tolerance is 1; it grows with
    /// the tolerance's square root.
    pub share: f32,
    /// Frames in which all that is deferred is computed.
    pub frames: usize,
}

impl Default for DeferredPolicy {
    fn default() -> Self {
        Self { share: 0.43, frames: 20 }
    }
}

/// How fast estimates follow what comes of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EstimatePolicy {
    /// Natural logarithm a frame, at most.
    pub rate: f32,
    /// With so many cells in a frame a step's factor follows half as fast.
    pub few_cells: f32,
    /// The factor stays between this and its inverse.
    pub most: f32,
}

impl Default for EstimatePolicy {
    fn default() -> Self {
        Self { rate: 0.2, few_cells: 32.0, most: 30.0 }
    }
}

/// How far parts of the picture may be off, by what is found there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TolerancePolicy {
    /// Where nothing is in sight.
    pub most: f32,
    /// A unit of log-odds of a score above those in doubt. Less than below: something is seen there, and moves, and a box
    /// that stays behind is worse than a faint candidate that is late.
    pub above: f32,
    /// A unit of log-odds below them.
    pub below: f32,
    /// Scores are least certain this far (log-odds) below the one that is reported: what is held back mostly lacks
    /// something to be seen by.
    pub doubt: f32,
    /// What lies this near (pixels) to a box belongs to what its score is made of.
    pub context: f32,
}

impl Default for TolerancePolicy {
    fn default() -> Self {
        Self { most: 5.0, above: 0.5, below: 1.25, doubt: 0.5, context: 16.0 }
    }
}

/// What of the picture is looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PicturePolicy {
    /// Pixels of a changed patch that differ by no more than this (levels of 255) stay as they are.
    pub pixel: u8,
    /// Share of the tolerance that the patches' threshold takes: what it holds back is lost to the gates behind it.
    pub tolerance_share: f32,
    /// Of a whole frame's work, the share from which the next frame is computed as a whole.
    pub break_even: f64,
}

impl Default for PicturePolicy {
    fn default() -> Self {
        Self { pixel: 3, tolerance_share: 0.5, break_even: 0.75 }
    }
}

impl Policy {
    /// # Errors
    /// Names a number that cannot be.
    pub fn check(&self) -> Result<(), String> {
        let numbers = [
            ("gates.first", self.gates.first, 0.0..1e4),
            ("gates.last", self.gates.last, 0.0..1e4),
            ("gates.coarse_share", self.gates.coarse_share, 0.0..100.0),
            ("deferred.share", self.deferred.share, 0.0..1.01),
            ("estimate.rate", self.estimate.rate, 0.0..10.0),
            ("estimate.few_cells", self.estimate.few_cells, 0.0..1e9),
            ("estimate.most", self.estimate.most, 1.0..1e9),
            ("tolerance.most", self.tolerance.most, 1.0..1e4),
            ("tolerance.above", self.tolerance.above, 0.0..1e4),
            ("tolerance.below", self.tolerance.below, 0.0..1e4),
            ("tolerance.doubt", self.tolerance.doubt, -100.0..100.0),
            ("tolerance.context", self.tolerance.context, 0.0..1e4),
            ("picture.tolerance_share", self.picture.tolerance_share, 0.0..1.01),
            ("picture.break_even", self.picture.break_even as f32, 0.0..1e4),
        ];
        for (name, value, range) in numbers {
            if !range.contains(&value) {
                return Err(format!("policy.{name} is {value}; expected {} to {}", range.start, range.end));
            }
        }
        match (self.deferred.frames, self.gates.coarse_rows) {
            (0, _) => Err("policy.deferred.frames is 0; expected 1 or more".into()),
            (_, 0) => Err("policy.gates.coarse_rows is 0; expected 1 or more".into()),
            _ => Ok(()),
        }
    }
}
