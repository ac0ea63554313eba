//! Demand: branches of a network of which only some cells are asked for.
//!
//! A detector has classes and a box for every cell, and they count only where it sees an object: where another number
//! of the cell reaches a bar. Whoever reads the outputs knows that ([`Given`]). Steps that lead to nothing else then
//! compute only the cells that are asked for. Changes that reach the others are remembered, and made good when they
//! come to be asked for; what is asked for is at every time what it would be if everything were.

use super::buffer::Buffer;
use super::changes::{Cell, ChangeSet, Spread};
use super::graph::Window;
use super::plan::{Kind, Plan};
use super::sight;
use super::tile::cell_ptr;

/// Numbers of the outputs that count only in cells where others are large enough.
#[derive(Debug, Clone, PartialEq)]
pub struct Given {
    /// A map, and those of its channels of which one has to reach the bar.
    pub deciding: (usize, Vec<usize>),
    /// Maps that count only there.
    pub counting: Vec<usize>,
}

/// Steps of which only those cells are asked for of which some channel of a map reaches the bar, and the cells that
/// they are computed from.
#[derive(Debug, Clone, PartialEq)]
struct Branch {
    map: usize,
    channels: Vec<usize>,
    /// In the order in which they run.
    members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq)]
struct Member {
    step: usize,
    output: usize,
    /// Whether it makes outputs.
    is_last: bool,
    /// Members that read it, and which of its cells each of theirs is computed from.
    readers: Vec<(usize, Spread)>,
}

/// The branches of a plan, and the order in which they let its steps run: what decides comes first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Branches {
    all: Vec<Branch>,
    /// One a step: its branch, and which of its members it is.
    of_step: Vec<Option<(usize, usize)>>,
    pub(super) order: Vec<usize>,
}

impl Branches {
    /// Everything is asked for.
    pub fn none(n_steps: usize) -> Self {
        Self { all: Vec::new(), of_step: vec![None; n_steps], order: (0..n_steps).collect() }
    }

    /// Finds what leads only to numbers that count only here and there.
    pub fn of(plan: &Plan, givens: &[Given]) -> Self {
        let mut this = Self::none(plan.steps.len());
        // Steps after which the branches' can run.
        let mut after = Vec::new();
        for given in givens {
            let Some((branch, last)) = branch(plan, given, &this.of_step) else { continue };
            for (k, member) in branch.members.iter().enumerate() {
                this.of_step[member.step] = Some((this.all.len(), k));
            }
            this.all.push(branch);
            after.push(last);
        }
        this.order.retain(|i| this.of_step[*i].is_none());
        for (branch, last) in this.all.iter().zip(after) {
            let at = this.order.iter().position(|i| *i == last).map_or(this.order.len(), |at| at + 1);
            this.order.splice(at..at, branch.members.iter().map(|m| m.step));
        }
        this
    }

    /// Whether only some cells of a step may be asked for.
    pub fn is_member(&self, step: usize) -> bool {
        self.of_step[step].is_some()
    }

    /// Steps of which only some cells may be asked for.
    pub fn steps(&self) -> impl Iterator<Item = usize> {
        self.all.iter().flat_map(|b| b.members.iter().map(|m| m.step))
    }

    /// Sets of cells that a stream keeps, by the maps that they are of.
    pub(super) fn sets(&self) -> impl Iterator<Item = usize> {
        self.all.iter().flat_map(|b| std::iter::once(b.map).chain(b.members.iter().flat_map(|m| [m.output; 2])))
    }
}

/// A branch, and the step after which it can run; `None` if there is nothing in it.
fn branch(plan: &Plan, given: &Given, taken: &[Option<(usize, usize)>]) -> Option<(Branch, usize)> {
    let maker = |map: usize| plan.steps.iter().position(|s| s.output == plan.maps[map].changes);
    let (map, channels) = deciding(plan, given)?;
    let size = |map: usize| (plan.maps[map].shape.h, plan.maps[map].shape.w);
    let mut ends = Vec::new();
    for counts in &given.counting {
        sight::parts(plan, *counts, 0..plan.maps[*counts].shape.c, 0, &mut |leaf, channels, _| {
            let is_whole = channels == (0..plan.maps[leaf].shape.c);
            if is_whole && leaf != map && size(leaf) == size(map) && leads_out(plan, leaf) {
                ends.push(leaf);
            }
        });
    }
    // From the last to the first, so that readers are found before what they read.
    let mut members: Vec<Member> = Vec::new();
    for (i, step) in plan.steps.iter().enumerate().rev() {
        if matches!(step.kind, Kind::Join) || taken[i].is_some() {
            continue;
        }
        let mut member = Member { step: i, output: step.output, is_last: false, readers: Vec::new() };
        if ends.contains(&step.output) {
            member.is_last = true;
        } else {
            match readers(plan, step.output, &members) {
                Some(readers) => member.readers = readers,
                None => continue,
            }
        }
        members.push(member);
    }
    members.reverse();
    let n = members.len();
    members.iter_mut().flat_map(|m| &mut m.readers).for_each(|(reader, _)| *reader = n - 1 - *reader);
    let is_own = |i: &usize| members.iter().any(|m| m.step == *i);
    let inputs = members.iter().flat_map(|m| &plan.steps[m.step].inputs);
    let last = inputs.filter_map(|v| maker(*v)).filter(|i| !is_own(i)).chain(maker(map)).max()?;
    // Joins put together what must be there by then.
    let is_early = |(i, s): (usize, &super::plan::Step)| i < last && s.inputs.iter().any(|v| ends.contains(v));
    let fits = n > 0 && !plan.steps.iter().enumerate().any(is_early);
    fits.then_some((Branch { map, channels, members }, last))
}

/// The map, made by a step of its own, in which the deciding channels stand, and where.
fn deciding(plan: &Plan, given: &Given) -> Option<(usize, Vec<usize>)> {
    let (map, channels) = &given.deciding;
    let mut found = Vec::new();
    for c in channels {
        sight::parts(plan, *map, *c..c + 1, 0, &mut |leaf, channels, _| found.push((leaf, channels.start)));
    }
    let (leaf, _) = *found.first()?;
    let is_one = found.iter().all(|(map, _)| *map == leaf) && plan.steps.iter().any(|s| s.output == leaf);
    is_one.then(|| (leaf, found.into_iter().map(|(_, c)| c).collect()))
}

/// Whether others read some channels of a map in place.
fn has_aliases(plan: &Plan, map: usize) -> bool {
    plan.maps.iter().enumerate().any(|(i, m)| m.changes == map && i != map)
}

/// Whether a map is only put together with others, for the outputs.
fn leads_out(plan: &Plan, map: usize) -> bool {
    let readers = || plan.steps.iter().filter(|s| s.inputs.contains(&map));
    plan.watched[map]
        && !has_aliases(plan, map)
        && readers().all(|s| matches!(s.kind, Kind::Join) && leads_out(plan, s.output))
}

/// The members that read a map, counted as they stand, if nothing else does.
fn readers(plan: &Plan, map: usize, members: &[Member]) -> Option<Vec<(usize, Spread)>> {
    if plan.watched[map] || has_aliases(plan, map) {
        return None;
    }
    let mut found = Vec::new();
    for (i, step) in plan.steps.iter().enumerate() {
        for (_, spread) in step.inputs.iter().zip(&step.spread).filter(|(v, _)| **v == map) {
            let reader = members.iter().position(|m| m.step == i)?;
            found.push((reader, backwards(spread)?));
        }
    }
    (!found.is_empty()).then_some(found)
}

/// Which input cells an output cell is computed from.
fn backwards(spread: &Spread) -> Option<Spread> {
    match spread {
        Spread::Same => Some(Spread::Same),
        Spread::Window(w) => Some(Spread::Scatter(*w)),
        Spread::Scatter(w) => Some(Spread::Window(*w)),
        Spread::Repeat(by) => Some(Spread::Window(Window { kernel: *by, stride: *by, ..Window::POINT })),
        Spread::Resample(_) | Spread::All => None,
    }
}

/// What a stream asks for of its branches.
#[derive(Debug, Clone)]
pub(super) struct Demand {
    /// What has to be reached; `None`: everything is asked for.
    bar: Option<f32>,
    /// One a branch.
    branches: Vec<Asked>,
    scratch: Vec<u64>,
}

#[derive(Debug, Clone)]
struct Asked {
    /// Where the bar is reached.
    cells: ChangeSet,
    is_known: bool,
    /// Multiply-accumulates of the cells that are not asked for.
    spared_macs: u64,
    /// One a member.
    members: Vec<Waiting>,
}

/// Cells of a step that are asked for, and those of the others that changes have reached.
#[derive(Debug, Clone)]
struct Waiting {
    asked: ChangeSet,
    cells: ChangeSet,
}

impl Demand {
    pub fn new(plan: &Plan) -> Self {
        let set = |map: usize| ChangeSet::of(plan.maps[map].shape);
        let waiting = |m: &Member| Waiting { asked: set(m.output), cells: set(m.output) };
        let members = |b: &Branch| b.members.iter().map(waiting).collect();
        let asked = |b: &Branch| Asked { cells: set(b.map), is_known: false, spared_macs: 0, members: members(b) };
        Self { bar: None, branches: plan.branches.all.iter().map(asked).collect(), scratch: Vec::new() }
    }

    /// From the next frame on asks only for what counts where the bar is reached; `None`: for everything. What it was.
    pub fn set_bar(&mut self, bar: Option<f32>) -> Option<f32> {
        self.branches.iter_mut().for_each(|b| b.is_known = false);
        std::mem::replace(&mut self.bar, bar)
    }

    /// Everything is computed, or at least what is asked for.
    pub fn restart(&mut self) {
        for branch in &mut self.branches {
            branch.is_known = false;
            branch.members.iter_mut().for_each(|m| m.cells.clear());
        }
    }

    /// Before a step runs: finds out what is asked for, if it is the first of a branch. `changes` are those of what
    /// decides, in this frame.
    pub fn follow(&mut self, plan: &Plan, step: usize, changes: &[ChangeSet], buffers: &[Buffer]) {
        let Some((b, 0)) = plan.branches.of_step[step] else { return };
        let branch = &plan.branches.all[b];
        let Asked { cells, is_known, spared_macs, members } = &mut self.branches[b];
        let (map, bar) = (&plan.maps[branch.map], self.bar);
        let mut differs = !*is_known;
        let mut judge = |y: usize, x: usize| {
            let cell = cell_ptr(buffers, map, y, x);
            // Safety: channels of the map.
            let reaches = |bar: f32| branch.channels.iter().any(|c| unsafe { *cell.add(*c) } >= bar);
            if bar.is_none_or(reaches) != cells.get(y, x) {
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
            let asked = &mut until[k].asked;
            asked.clear();
            if member.is_last {
                asked.join(cells);
            }
            for (reader, spread) in &member.readers {
                spread.apply(&later[reader - k - 1].asked, asked, &mut self.scratch);
            }
            let n_spared = plan.maps[member.output].shape.n_cells() - asked.count();
            *spared_macs += n_spared as u64 * plan.steps[member.step].macs_per_cell;
        }
    }

    /// Takes from the cells of a step that changes reach those that are not asked for.
    pub fn put_off(&mut self, plan: &Plan, step: usize, set: &mut ChangeSet) {
        let Some(Waiting { asked, cells }) = self.of_step(plan, step) else { return };
        for ((set, asked), waiting) in set.words_mut().iter_mut().zip(asked.words()).zip(cells.words_mut()) {
            *waiting |= *set & !asked;
            *set &= asked;
        }
    }

    /// Adds to the cells of a step that are computed what was put off and is asked for now, and calls `f` for it.
    pub fn make_good(&mut self, plan: &Plan, step: usize, set: &mut ChangeSet, mut f: impl FnMut(Cell)) {
        let Some(Waiting { asked, cells }) = self.of_step(plan, step) else { return };
        if !cells.meets(asked) {
            return;
        }
        cells.for_each(|cell| {
            let (y, x) = (cell.y as usize, cell.x as usize);
            if asked.get(y, x) {
                set.set(y, x);
                f(cell);
            }
        });
        cells.remove_all(asked);
    }

    /// Of a whole frame, the cells of a step that are computed; the others wait.
    pub fn whole(&mut self, plan: &Plan, step: usize) -> Option<&ChangeSet> {
        let Waiting { asked, cells } = self.of_step(plan, step)?;
        cells.fill();
        cells.remove_all(asked);
        Some(asked)
    }

    /// Multiply-accumulates of a whole frame that are not asked for.
    pub fn spared_macs(&self) -> u64 {
        self.branches.iter().map(|b| b.spared_macs).sum()
    }

    fn of_step(&mut self, plan: &Plan, step: usize) -> Option<&mut Waiting> {
        let (b, k) = plan.branches.of_step[step]?;
        Some(&mut self.branches[b].members[k])
    }
}

#[cfg(test)]
mod tests {
    use super::super::graph::{Act, Conv, Graph, MapShape, Node, Op, Output, ValueId, Window};
    use super::super::view::View;
    use super::*;

    /// Classes by two convolutions of three by three and one that is read by the box, too; a box; what decides, last.
    fn plan(box_reads: &str) -> Plan {
        let mut graph = Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new() };
        let mut value = |name: &str, c: usize| graph.add_value(name, MapShape::new(6, 8, c));
        let names = [("picture", 3), ("trunk", 4), ("a", 4), ("b", 4), ("class", 5), ("box", 4), ("object", 1)];
        let [picture, trunk, a, b, class, bbox, object] = names.map(|(name, c)| value(name, c));
        let all = value("all", 10);
        let conv = |side: usize, n_in: usize, input: ValueId, n_out: usize, output: ValueId| {
            let window = Window { kernel: [side; 2], pad: [side / 2; 2], pad_end: [side / 2; 2], ..Window::POINT };
            let (weights, bias) = (vec![0.1; side * side * n_in * n_out], vec![0.0; n_out]);
            let (act, post) = (Act::Relu, Act::Identity);
            let conv = Conv { window, groups: 1, weights, bias, act, post, transposed: false };
            Node { op: Op::Conv(Box::new(conv)), inputs: vec![input], output }
        };
        let seen = if box_reads == "a" { a } else { trunk };
        graph.nodes = vec![
            conv(3, 3, picture, 4, trunk),
            conv(3, 4, trunk, 4, a),
            conv(3, 4, a, 4, b),
            conv(1, 4, b, 5, class),
            conv(1, 4, seen, 4, bbox),
            conv(3, 4, trunk, 1, object),
            Node { op: Op::Concat, inputs: vec![bbox, object, class], output: all },
        ];
        let view = View::whole(all, MapShape::new(6, 8, 10));
        graph.outputs.push(Output { name: "all".into(), dims: view.shape(), axis: 0, parts: vec![view] });
        Plan::new(graph).unwrap()
    }

    fn named(plan: &Plan, steps: impl Iterator<Item = usize>) -> Vec<&str> {
        steps.map(|i| &*plan.maps[plan.steps[i].output].name).collect()
    }

    fn map(plan: &Plan, name: &str) -> usize {
        plan.maps.iter().position(|m| m.name == name).unwrap()
    }

    #[test]
    fn what_leads_only_to_what_counts_here_and_there_runs_after_what_decides() {
        let given = |plan: &Plan, counting: &str| Given {
            deciding: (map(plan, "all"), vec![4]),
            counting: vec![map(plan, counting)],
        };
        let found = |box_reads: &str, counting: &str| {
            let plan = plan(box_reads);
            let given = given(&plan, counting);
            let plan = plan.given(&[given]);
            let order = named(&plan, plan.branches.order.iter().copied()).join(" ");
            (named(&plan, plan.branches.steps()).join(" "), order)
        };
        let of = |branch: &str, order: &str| (branch.to_owned(), order.to_owned());
        assert_eq!(found("trunk", "all"), of("a b class box", "trunk object a b class box all"));
        assert_eq!(found("trunk", "class"), of("a b class", "trunk box object a b class all"));
        assert_eq!(found("a", "class"), of("b class", "trunk a box object b class all"));
        assert_eq!(found("a", "all"), of("a b class box", "trunk object a b class box all"));
        assert_eq!(found("a", "object"), of("", "trunk a b class box object all"), "what decides is always asked for");
    }

    #[test]
    fn windows_of_what_is_asked_for_are_asked_for_and_the_rest_waits() {
        let plan = plan("trunk");
        let given = Given { deciding: (map(&plan, "all"), vec![4]), counting: vec![map(&plan, "all")] };
        let plan = plan.given(&[given]);
        let mut demand = Demand::new(&plan);
        let mut buffers: Vec<Buffer> = plan.buffers.iter().map(|n| Buffer::zeros(*n)).collect();
        let mut changes: Vec<ChangeSet> = plan.maps.iter().map(|m| ChangeSet::of(m.shape)).collect();
        // Of each step, the cells that are computed if all are reached, and those that are made good.
        let found = |demand: &mut Demand, changes: &[ChangeSet], buffers: &[Buffer]| {
            let counts = |step: usize| {
                demand.follow(&plan, step, changes, buffers);
                let mut sets = [(); 2].map(|()| ChangeSet::of(plan.maps[plan.steps[step].output].shape));
                demand.make_good(&plan, step, &mut sets[1], |_| {});
                sets[0].fill();
                demand.put_off(&plan, step, &mut sets[0]);
                sets.map(|set| set.count())
            };
            plan.branches.steps().map(counts).collect::<Vec<_>>()
        };
        assert_eq!(found(&mut demand, &changes, &buffers), [[48, 0]; 4], "everything");
        demand.set_bar(Some(0.5));
        assert_eq!(found(&mut demand, &changes, &buffers), [[0; 2]; 4], "nothing");
        let object = &plan.maps[map(&plan, "object")];
        buffers[object.buffer][(2 * 8 + 3) * object.stride + object.offset] = 0.5;
        assert_eq!(found(&mut demand, &changes, &buffers), [[0; 2]; 4], "nobody was told");
        changes[map(&plan, "object")].set(2, 3);
        assert_eq!(found(&mut demand, &changes, &buffers), [[9, 9], [1, 1], [1, 1], [1, 1]], "3x3 of `a`");
        assert_eq!(found(&mut demand, &changes, &buffers), [[9, 0], [1, 0], [1, 0], [1, 0]], "made good once");
    }
}
