//! What a stream requires of its plan's lazy branches.
//!
//! Changes that reach cells that are not required are remembered, and made good when they come to be required. A cell
//! that is required always holds what it would hold if every cell were required.

use crate::buffer::Buffer;
use crate::changes::{Cell, ChangeSet};
use crate::plan::Plan;
use crate::plan::lazy::{Branch, Member};

/// What a stream requires of its branches.
#[derive(Debug, Clone)]
pub(crate) struct RequiredCells {
    /// What has to be reached; `None`: everything is required.
    threshold: Option<f32>,
    /// One a branch.
    branches: Vec<RequiredOfBranch>,
    scratch: Vec<u64>,
}

#[derive(Debug, Clone)]
struct RequiredOfBranch {
    /// Where the threshold is reached.
    cells: ChangeSet,
    is_known: bool,
    /// Multiply-accumulates of the cells that are not required.
    spared_macs: u64,
    /// One a member.
    members: Vec<Waiting>,
}

/// Cells of a step that are required, and those of the others that changes have reached.
#[derive(Debug, Clone)]
struct Waiting {
    required: ChangeSet,
    cells: ChangeSet,
}

impl RequiredCells {
    pub fn new(plan: &Plan) -> Self {
        let set = |map: usize| ChangeSet::of(plan.maps[map].shape);
        let waiting = |m: &Member| Waiting { required: set(m.output), cells: set(m.output) };
        let members = |b: &Branch| b.members.iter().map(waiting).collect();
        let required =
            |b: &Branch| RequiredOfBranch { cells: set(b.map), is_known: false, spared_macs: 0, members: members(b) };
        Self { threshold: None, branches: plan.lazy.all.iter().map(required).collect(), scratch: Vec::new() }
    }

    /// From the next frame on requires only what counts where the threshold is reached; `None`: everything. What it was.
    pub fn set_threshold(&mut self, threshold: Option<f32>) -> Option<f32> {
        self.branches.iter_mut().for_each(|b| b.is_known = false);
        std::mem::replace(&mut self.threshold, threshold)
    }

    /// Everything is computed, or at least what is required.
    pub fn restart(&mut self) {
        for branch in &mut self.branches {
            branch.is_known = false;
            branch.members.iter_mut().for_each(|m| m.cells.clear());
        }
    }

    /// Before a step runs: finds out what is required, if it is the first of a branch. `changes` are those of what
    /// decides, in this frame.
    pub fn follow(&mut self, plan: &Plan, step: usize, changes: &[ChangeSet], buffers: &[Buffer]) {
        let Some((b, 0)) = plan.lazy.of_step[step] else { return };
        let branch = &plan.lazy.all[b];
        let RequiredOfBranch { cells, is_known, spared_macs, members } = &mut self.branches[b];
        let (map, threshold) = (&plan.maps[branch.map], self.threshold);
        let mut differs = !*is_known;
        let mut judge = |y: usize, x: usize| {
            let cell = map.cell_ptr(buffers, y, x);
            // Safety: channels of the map, as `Plan::given` has looked.
            let reaches = |threshold: f32| branch.channels.iter().any(|c| unsafe { *cell.add(*c) } >= threshold);
            if threshold.is_none_or(reaches) != cells.get(y, x) {
                differs = true;
                cells.flip(y, x);
            }
        };
        if std::mem::replace(is_known, true) {
            changes[branch.map].for_each(|cell| judge(cell.y as usize, cell.x as usize));
        } else {
            (0..map.shape.h).for_each(|y| (0..map.shape.w).for_each(|x| judge(y, x)));
        }
        if !differs {
            return;
        }
        *spared_macs = 0;
        for (k, member) in branch.members.iter().enumerate().rev() {
            let (until, later) = members.split_at_mut(k + 1);
            let required = &mut until[k].required;
            required.clear();
            if member.is_last {
                required.join(cells);
            }
            for (reader, spread) in &member.readers {
                spread.apply(&later[reader - k - 1].required, required, &mut self.scratch);
            }
            let n_spared = plan.maps[member.output].shape.n_cells() - required.count();
            *spared_macs += n_spared as u64 * plan.steps[member.step].macs_per_cell;
        }
    }

    /// Takes from the cells of a step that changes reach those that are not required.
    pub fn put_off(&mut self, plan: &Plan, step: usize, set: &mut ChangeSet) {
        let Some(Waiting { required, cells }) = self.of_step(plan, step) else { return };
        for ((set, required), waiting) in set.words_mut().iter_mut().zip(required.words()).zip(cells.words_mut()) {
            *waiting |= *set & !required;
            *set &= required;
        }
    }

    /// Adds to the cells of a step that are computed what was put off and is required now, and calls `f` for it.
    pub fn make_good(&mut self, plan: &Plan, step: usize, set: &mut ChangeSet, mut f: impl FnMut(Cell)) {
        let Some(Waiting { required, cells }) = self.of_step(plan, step) else { return };
        if !cells.meets(required) {
            return;
        }
        cells.for_each(|cell| {
            let (y, x) = (cell.y as usize, cell.x as usize);
            if required.get(y, x) {
                set.set(y, x);
                f(cell);
            }
        });
        cells.remove_all(required);
    }

    /// Of a whole frame, the cells of a step that are computed; the others wait.
    pub fn whole(&mut self, plan: &Plan, step: usize) -> Option<&ChangeSet> {
        let Waiting { required, cells } = self.of_step(plan, step)?;
        cells.fill();
        cells.remove_all(required);
        Some(required)
    }

    /// Whether a cell of a step is required.
    pub fn has(&self, plan: &Plan, step: usize, y: usize, x: usize) -> bool {
        plan.lazy.of_step[step].is_none_or(|(b, k)| self.branches[b].members[k].required.get(y, x))
    }

    /// Multiply-accumulates of a whole frame that are not required.
    pub fn spared_macs(&self) -> u64 {
        self.branches.iter().map(|b| b.spared_macs).sum()
    }

    fn of_step(&mut self, plan: &Plan, step: usize) -> Option<&mut Waiting> {
        let (b, k) = plan.lazy.of_step[step]?;
        Some(&mut self.branches[b].members[k])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::lazy::Condition;
    use crate::plan::sample::{map, plan};

    #[test]
    fn windows_of_what_is_required_are_required_and_the_rest_waits() {
        let plan = plan("trunk");
        let condition = Condition { deciding: (map(&plan, "all"), vec![4]), counting: vec![map(&plan, "all")] };
        let plan = plan.given(&[condition]);
        let mut required = RequiredCells::new(&plan);
        let mut buffers: Vec<Buffer> = plan.buffers.iter().map(|n| Buffer::zeros(*n)).collect();
        let mut changes: Vec<ChangeSet> = plan.maps.iter().map(|m| ChangeSet::of(m.shape)).collect();
        // Of each step, the cells that are computed if all are reached, and those that are made good.
        let found = |required: &mut RequiredCells, changes: &[ChangeSet], buffers: &[Buffer]| {
            let counts = |step: usize| {
                required.follow(&plan, step, changes, buffers);
                let mut sets = [(); 2].map(|()| ChangeSet::of(plan.maps[plan.steps[step].output].shape));
                required.make_good(&plan, step, &mut sets[1], |_| {});
                sets[0].fill();
                required.put_off(&plan, step, &mut sets[0]);
                sets.map(|set| set.count())
            };
            plan.lazy.steps().map(counts).collect::<Vec<_>>()
        };
        assert_eq!(found(&mut required, &changes, &buffers), [[48, 0]; 4], "everything");
        required.set_threshold(Some(0.5));
        assert_eq!(found(&mut required, &changes, &buffers), [[0; 2]; 4], "nothing");
        let object = &plan.maps[map(&plan, "object")];
        buffers[object.buffer][(2 * 8 + 3) * object.stride + object.offset] = 0.5;
        assert_eq!(found(&mut required, &changes, &buffers), [[0; 2]; 4], "nobody was told");
        changes[map(&plan, "object")].set(2, 3);
        assert_eq!(found(&mut required, &changes, &buffers), [[9, 9], [1, 1], [1, 1], [1, 1]], "3x3 of `a`");
        assert_eq!(found(&mut required, &changes, &buffers), [[9, 0], [1, 0], [1, 0], [1, 0]], "made good once");
    }
}
