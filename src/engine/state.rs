//! What one stream remembers: its feature maps, what changed in them, its gates.

use super::buffer::{Buffer, Room};
use super::changes::ChangeSet;
use super::demand::Demand;
use super::foresight::{Felt, Foresight};
use super::gate::Gates;
use super::outputs::Outputs;
use super::plan::Plan;
use super::refresh::{Settling, Sweep};
use crate::leeway::Leeway;
use std::sync::Arc;

/// The memory of one stream. Its size is [`Plan::state_bytes`], for ever.
pub struct Stream {
    pub(super) plan: Arc<Plan>,
    pub(super) buffers: Vec<Buffer>,
    /// One a map; those of maps that are parts of others stay empty.
    pub(super) changes: Vec<ChangeSet>,
    /// One a map: cells whose change is expected to be too small to be computed at once, but not too small to
    /// matter; they are computed when the settling reaches them.
    pub(super) owed: Vec<ChangeSet>,
    pub(super) settling: Settling,
    /// Of watched maps, the cells that were computed in the last frame; others stay empty.
    pub(super) computed: Vec<ChangeSet>,
    pub(super) gates: Gates,
    /// How far the gates stand open, part by part of the picture.
    pub(super) leeway: Leeway,
    pub(super) sweep: Sweep,
    pub(super) demand: Demand,
    pub(super) foresight: Foresight,
    /// Frames since scales and gains were taken from one, if they were.
    pub(super) learnt_ago: Option<u32>,
    /// Whether the sizes of the picture's changes were given.
    pub(super) is_measured: bool,
    pub(super) is_filled: bool,
}

impl Stream {
    /// `unfilled` stands in all maps until the first frame; tests use NaN to see leaks.
    pub fn new(plan: Arc<Plan>, gates: Gates, unfilled: f32) -> Self {
        let mut room = Room::of(plan.buffers.iter().copied());
        let buffers = plan.buffers.iter().map(|n| room.take(*n, unfilled)).collect();
        let sets = || plan.maps.iter().map(|m| ChangeSet::of(m.shape)).collect::<Vec<_>>();
        let (changes, owed) = (sets(), sets());
        let watched =
            |(m, w): (&super::plan::Map, &bool)| if *w { ChangeSet::of(m.shape) } else { ChangeSet::new(0, 0) };
        let computed = plan.maps.iter().zip(&plan.watched).map(watched).collect();
        Self {
            owed,
            foresight: Foresight::new(&plan),
            demand: Demand::new(&plan),
            learnt_ago: None,
            is_measured: false,
            settling: Settling::default(),
            sweep: Sweep::new(),
            buffers,
            changes,
            computed,
            gates,
            leeway: Leeway::default(),
            is_filled: false,
            plan,
        }
    }

    /// The picture `[rows][columns][channels]` and what changed in it, for the caller to write.
    pub fn input(&mut self) -> (&mut [f32], &mut ChangeSet) {
        self.is_measured = false;
        let (data, changed, _) = self.parts_of_input();
        (data, changed)
    }

    /// As [`Stream::input`], and where to add by how much the cells changed: the squares of their values'
    /// differences, summed. It is empty again after each frame.
    pub fn input_measured(&mut self) -> (&mut [f32], &mut ChangeSet, &mut Felt) {
        self.is_measured = true;
        self.parts_of_input()
    }

    fn parts_of_input(&mut self) -> (&mut [f32], &mut ChangeSet, &mut Felt) {
        let map = &self.plan.maps[self.plan.input];
        let data = &mut self.buffers[map.buffer][..map.shape.n_values()];
        (data, &mut self.changes[self.plan.input], self.foresight.felt_mut(self.plan.input))
    }

    /// One cell of a map.
    pub fn cell(&self, map: usize, y: usize, x: usize) -> &[f32] {
        self.plan.maps[map].cell(&self.buffers, y, x)
    }

    /// What changed of a map in the last frame.
    pub fn changes(&self, map: usize) -> &ChangeSet {
        &self.changes[self.plan.maps[map].changes]
    }

    /// What was computed of an output's map in the last frame, changed or not.
    pub fn computed(&self, map: usize) -> &ChangeSet {
        &self.computed[self.plan.maps[map].changes]
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
        Outputs::new(&self.plan).read(self, &mut all);
        all
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    pub fn gates(&self) -> &Gates {
        &self.gates
    }

    /// The factors of the gates' thresholds, for the caller to write; 1 everywhere until then.
    pub fn leeway_mut(&mut self) -> &mut Leeway {
        &mut self.leeway
    }

    /// Asks, from the next frame on, for what counts only where other numbers reach a bar ([`Plan::given`]) no more
    /// than where they do; `None`, as at first: for everything.
    pub fn ask(&mut self, bar: Option<f32>) {
        self.demand.set_bar(bar);
    }

    /// The next frame is computed as a whole.
    pub fn forget(&mut self) {
        self.is_filled = false;
        self.leeway.clear();
    }

    /// Refresh sweeps that are complete.
    pub fn n_sweeps(&self) -> u64 {
        self.sweep.n_sweeps
    }
}
