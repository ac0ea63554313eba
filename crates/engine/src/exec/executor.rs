//! What runs a plan: the boundary behind which a backend stands.
//!
//! Whoever feeds streams and reads them does so through these two traits alone; `Runner` in `runner.rs` is the processor's
//! executor. A backend may keep maps in memory of its own: pictures are written, and cells read, in bulk.

use super::counters::Counters;
use super::outputs::Outputs;
use crate::changes::ChangeSet;
use crate::gating::estimate::DeltaMap;
use crate::gating::gate::Gates;
use crate::plan::Plan;
use crate::tolerance::ToleranceMap;
use crate::weights::Weights;
use std::sync::Arc;

/// The picture of a stream, for the caller to write.
pub struct Picture<'a> {
    /// `[rows][columns][channels]`.
    pub numbers: &'a mut [f32],
    /// The cells that are written; to be cleared first.
    pub changed: &'a mut ChangeSet,
    /// Where to add by how much they changed: the squares of their numbers' differences, summed. Empty again after each frame.
    pub sizes: &'a mut DeltaMap,
}

/// What one frame asks for, beside its picture.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Delta {
    /// Share (0..=1) of a refresh sweep.
    pub refresh: f64,
}

/// Runs a plan on any number of streams in turn.
pub trait Executor: Send {
    type Stream: StreamMaps + Send;

    /// The memory of one stream more.
    fn open(&self, plan: Arc<Plan>, gates: Gates) -> Self::Stream;

    /// Computes what the changes of the picture ask for. A stream that has no picture yet is computed as a whole.
    fn run(&mut self, stream: &mut Self::Stream, delta: Delta) -> Counters;

    /// Computes what was put off, so that the outputs hold what they would if all of them were required.
    fn complete(&mut self, stream: &mut Self::Stream);
}

/// A stream, as those see it who feed and read it.
pub trait StreamMaps {
    /// For the next frame.
    fn picture(&mut self) -> Picture<'_>;

    /// The factors of the gates' thresholds, for the caller to write; 1 everywhere until then.
    fn tolerance_mut(&mut self) -> &mut ToleranceMap;

    /// Requires, from the next frame on, what counts only where other numbers reach a threshold ([`Plan::given`]) no more
    /// than where they do; `None`, as at first: everything.
    fn require(&mut self, threshold: Option<f32>);

    /// The next frame is computed as a whole.
    fn forget(&mut self);

    /// Takes other weights of its plan ([`Weights::with`]): the next frame is computed as a whole.
    ///
    /// # Panics
    /// They are of another plan.
    fn set_weights(&mut self, weights: Arc<Weights>);

    /// What changed of a map in the last frame.
    fn changes(&self, map: usize) -> &ChangeSet;

    /// What was computed of an output's map in the last frame, changed or not.
    fn computed(&self, map: usize) -> &ChangeSet;

    /// A cell of an output's map. A backend brings those that changed to where they can be read as a part of the frame's run.
    fn cell(&self, map: usize, y: usize, x: usize) -> &[f32];

    /// The numbers of some cells of any map, row by row, overwriting `into`.
    fn read(&self, map: usize, cells: &ChangeSet, into: &mut Vec<f32>);

    /// The model's outputs, overwriting `into`: one list an output.
    fn read_outputs(&self, outputs: &Outputs, into: &mut Vec<Vec<f32>>);
}
