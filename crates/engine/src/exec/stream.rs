//! What one stream remembers: its feature maps, what changed in them, its gates.

use crate::buffer::{Buffer, Room};
use crate::changes::ChangeSet;
use crate::exec::executor::{Picture, StreamMaps};
use crate::exec::outputs::Outputs;
use crate::exec::required::RequiredCells;
use crate::exec::scratch::ScratchNeeds;
use crate::gating::estimate::{DeltaEstimator, DeltaMap};
use crate::gating::gate::Gates;
use crate::gating::refresh::{DeferredFlush, Sweep};
use crate::plan::Plan;
use crate::plan::map::Map;
use crate::tolerance::{TOLERANCE_CELL, ToleranceMap};
use crate::weights::Weights;
use std::sync::Arc;

/// The memory of one stream. Its size is [`Stream::bytes_of`], for ever.
pub struct Stream {
    pub(crate) plan: Arc<Plan>,
    pub(crate) needs: ScratchNeeds,
    pub(crate) weights: Arc<Weights>,
    pub(crate) buffers: Vec<Buffer>,
    /// One a map; those of maps that are parts of others stay empty.
    pub(crate) changes: Vec<ChangeSet>,
    /// One a map: cells whose change is estimated to be too small to be computed at once, but not too small to
    /// matter; they are computed when the flush reaches them.
    pub(crate) deferred: Vec<ChangeSet>,
    pub(crate) flush: DeferredFlush,
    /// Of watched maps, the cells that were computed in the last frame; others stay empty.
    pub(crate) computed: Vec<ChangeSet>,
    pub(crate) gates: Gates,
    /// How far the gates stand open, part by part of the picture.
    pub(crate) tolerance: ToleranceMap,
    pub(crate) sweep: Sweep,
    pub(crate) required: RequiredCells,
    pub(crate) estimator: DeltaEstimator,
    /// Frames since scales and gains were taken from one, if they were.
    pub(crate) learnt_ago: Option<u32>,
    /// Whether the sizes of the picture's changes were given.
    pub(crate) is_measured: bool,
    pub(crate) is_filled: bool,
}

impl Stream {
    /// Bytes that a stream of a plan needs for its maps, change sets, estimates and tolerances.
    pub fn bytes_of(plan: &Plan) -> usize {
        // Changed and deferred cells of every map, computed ones of those that are watched.
        let n_sets = |watched: bool| 2 + usize::from(watched);
        let set = |m: &Map| m.shape.h * m.shape.w.div_ceil(64) * 8;
        let sets: usize = plan.maps.iter().zip(&plan.watched).map(|(m, w)| set(m) * n_sets(*w)).sum();
        let required: usize = plan.lazy.sets().map(|map| set(&plan.maps[map])).sum();
        let s = plan.maps[plan.input].shape;
        let tolerance = s.h.div_ceil(TOLERANCE_CELL) * s.w.div_ceil(TOLERANCE_CELL) * 4;
        let estimates = DeltaEstimator::n_values(plan) * 4;
        plan.buffers.iter().sum::<usize>() * 4 + sets + required + estimates + tolerance
    }

    /// `unfilled` stands in all maps until the first frame; tests use NaN to see leaks.
    pub fn new(plan: Arc<Plan>, gates: Gates, unfilled: f32) -> Self {
        let mut room = Room::of::<f32>(plan.buffers.iter().copied());
        let buffers = plan.buffers.iter().map(|n| room.take(*n, unfilled)).collect();
        let sets = || plan.maps.iter().map(|m| ChangeSet::of(m.shape)).collect::<Vec<_>>();
        let (changes, deferred) = (sets(), sets());
        let watched = |(m, w): (&Map, &bool)| if *w { ChangeSet::of(m.shape) } else { ChangeSet::new(0, 0) };
        let computed = plan.maps.iter().zip(&plan.watched).map(watched).collect();
        Self {
            deferred,
            estimator: DeltaEstimator::new(&plan),
            required: RequiredCells::new(&plan),
            learnt_ago: None,
            is_measured: false,
            flush: DeferredFlush::default(),
            sweep: Sweep::new(),
            buffers,
            changes,
            computed,
            gates,
            tolerance: ToleranceMap::default(),
            is_filled: false,
            weights: plan.weights().clone(),
            needs: ScratchNeeds::of(&plan),
            plan,
        }
    }

    /// The picture `[rows][columns][channels]` and what changed in it, for the caller to write; by how much is taken for
    /// more than any gate holds back.
    pub fn input(&mut self) -> (&mut [f32], &mut ChangeSet) {
        self.is_measured = false;
        let (data, changed, _) = self.parts_of_input();
        (data, changed)
    }

    fn parts_of_input(&mut self) -> (&mut [f32], &mut ChangeSet, &mut DeltaMap) {
        let map = &self.plan.maps[self.plan.input];
        let data = &mut self.buffers[map.buffer][..map.shape.n_values()];
        (data, &mut self.changes[self.plan.input], self.estimator.delta_map_mut(self.plan.input))
    }

    /// A whole map, `[rows][columns][channels]`.
    pub fn map(&self, map: usize) -> Vec<f32> {
        let s = self.plan.maps[map].shape;
        let cells = (0..s.h).flat_map(|y| (0..s.w).map(move |x| (y, x)));
        cells.flat_map(|(y, x)| self.cell(map, y, x)).copied().collect()
    }

    /// The model's outputs, as ONNX Runtime would return them; to read them every frame, see [`Outputs`].
    pub fn outputs(&self) -> Vec<Vec<f32>> {
        let mut all = Vec::new();
        self.read_outputs(&Outputs::new(&self.plan), &mut all);
        all
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// What it computes with.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.weights
    }

    /// Refresh sweeps that are complete.
    pub fn n_sweeps(&self) -> u64 {
        self.sweep.n_sweeps
    }
}

impl StreamMaps for Stream {
    fn picture(&mut self) -> Picture<'_> {
        self.is_measured = true;
        let (numbers, changed, sizes) = self.parts_of_input();
        Picture { numbers, changed, sizes }
    }

    fn tolerance_mut(&mut self) -> &mut ToleranceMap {
        &mut self.tolerance
    }

    fn require(&mut self, threshold: Option<f32>) {
        self.required.set_threshold(threshold);
    }

    fn forget(&mut self) {
        self.is_filled = false;
        self.tolerance.clear();
    }

    fn set_weights(&mut self, weights: Arc<Weights>) {
        assert!(weights.fits(self.plan.weights()), "weights of the stream's plan");
        self.weights = weights;
        // What is known of the old ones is learnt anew.
        self.learnt_ago = None;
        self.forget();
    }

    fn changes(&self, map: usize) -> &ChangeSet {
        &self.changes[self.plan.maps[map].changes]
    }

    fn computed(&self, map: usize) -> &ChangeSet {
        &self.computed[self.plan.maps[map].changes]
    }

    #[inline]
    fn cell(&self, map: usize, y: usize, x: usize) -> &[f32] {
        self.plan.maps[map].cell(&self.buffers, y, x)
    }

    fn read(&self, map: usize, cells: &ChangeSet, into: &mut Vec<f32>) {
        into.clear();
        cells.for_each(|cell| into.extend_from_slice(self.cell(map, cell.y as usize, cell.x as usize)));
    }

    fn read_outputs(&self, outputs: &Outputs, into: &mut Vec<Vec<f32>>) {
        outputs.read(|buffer| &self.buffers[buffer][..], into);
    }
}
