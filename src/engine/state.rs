//! What one stream remembers: its feature maps, what changed in them, its gates.

use super::changes::ChangeSet;
use super::gate::Gates;
use super::outputs::Outputs;
use super::plan::Plan;
use super::refresh::{Settling, Sweep};
use crate::leeway::Leeway;
use std::sync::Arc;

/// A cache line, so that buffers begin at one.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Numbers that begin at a cache line.
#[derive(Debug, Clone)]
pub struct Buffer(Vec<Line>);

impl Buffer {
    fn new(n: usize, value: f32) -> Self {
        Self(vec![Line([value; 16]); n.div_ceil(16)])
    }

    pub fn zeros(n: usize) -> Self {
        Self::new(n, 0.0)
    }

    pub fn len(&self) -> usize {
        self.0.len() * 16
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }

    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }

    pub fn as_slice(&self) -> &[f32] {
        // Safety: lines are arrays of 16 numbers without gaps.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.0.len() * 16) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // Safety: as above, and `self` is borrowed.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.0.len() * 16) }
    }
}

/// The memory of one stream. Its size is [`Plan::state_bytes`], for ever.
pub struct Stream {
    pub(super) plan: Arc<Plan>,
    pub(super) buffers: Vec<Buffer>,
    /// One a map; those of maps that are parts of others stay empty.
    pub(super) changes: Vec<ChangeSet>,
    /// Of the picture's changed cells, those that changed little; empty after each frame.
    pub(super) lesser: ChangeSet,
    /// One a map: of the changed cells, those that are felt at every tap of a window.
    pub(super) far: Vec<ChangeSet>,
    /// One a map: cells whose change was too small to be passed on at once, but not too small to
    /// matter; they are computed again when the settling reaches them.
    pub(super) owed: Vec<ChangeSet>,
    /// One a map: cells that the settling has brought up to date in this frame.
    pub(super) settled: Vec<ChangeSet>,
    pub(super) settling: Settling,
    /// Of watched maps, the cells that were computed in the last frame; others stay empty.
    pub(super) computed: Vec<ChangeSet>,
    pub(super) gates: Gates,
    /// How far the gates stand open, part by part of the picture.
    pub(super) leeway: Leeway,
    pub(super) sweep: Sweep,
    pub(super) is_filled: bool,
}

impl Stream {
    /// `unfilled` stands in all maps until the first frame; tests use NaN to see leaks.
    pub fn new(plan: Arc<Plan>, gates: Gates, unfilled: f32) -> Self {
        let buffers = plan.buffers.iter().map(|n| Buffer::new(*n, unfilled)).collect();
        let sets = || plan.maps.iter().map(|m| ChangeSet::of(m.shape)).collect::<Vec<_>>();
        let (changes, far, owed, settled) = (sets(), sets(), sets(), sets());
        let watched =
            |(m, w): (&super::plan::Map, &bool)| if *w { ChangeSet::of(m.shape) } else { ChangeSet::new(0, 0) };
        let computed = plan.maps.iter().zip(&plan.watched).map(watched).collect();
        Self {
            lesser: ChangeSet::of(plan.maps[plan.input].shape),
            far,
            owed,
            settled,
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
        let (data, changed, _) = self.input_with_lesser();
        (data, changed)
    }

    /// As [`Stream::input`], and of what changed, what changed too little to be felt around it
    /// ([`super::gate::FAR`]); the latter may be left empty, and is again after each frame.
    pub fn input_with_lesser(&mut self) -> (&mut [f32], &mut ChangeSet, &mut ChangeSet) {
        let map = &self.plan.maps[self.plan.input];
        let data = &mut self.buffers[map.buffer].as_mut_slice()[..map.shape.n_values()];
        (data, &mut self.changes[self.plan.input], &mut self.lesser)
    }

    /// One cell of a map.
    pub fn cell(&self, map: usize, y: usize, x: usize) -> &[f32] {
        let m = &self.plan.maps[map];
        let at = (y * m.shape.w + x) * m.stride + m.offset;
        &self.buffers[m.buffer].as_slice()[at..at + m.shape.c]
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
