//! Lazy branches: steps of which only some cells are required.
//!
//! A detector has classes and a box for every cell, and they count only where it sees an object: where another number
//! of the cell reaches a threshold. Whoever reads the outputs knows that ([`Condition`]). Steps that lead to nothing
//! else run after what decides, and only in the cells that are required ([`crate::exec::required`]).

use super::program::Program;
use super::step::{Kind, Step};
use crate::changes::Spread;
use crate::graph::Window;

/// Numbers of the outputs that count only in cells where others are large enough.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// A map, and those of its channels of which one has to reach the threshold.
    pub deciding: (usize, Vec<usize>),
    /// Maps that count only there.
    pub counting: Vec<usize>,
}

/// Steps of which only those cells are required of which some channel of a map reaches the threshold, and the cells that
/// they are computed from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Branch {
    pub map: usize,
    pub channels: Vec<usize>,
    /// In the order in which they run.
    pub members: Vec<Member>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Member {
    pub step: usize,
    pub output: usize,
    /// Whether it makes outputs.
    pub is_last: bool,
    /// Members that read it, and which of its cells each of theirs is computed from.
    pub readers: Vec<(usize, Spread)>,
}

/// The branches of a plan, and the order in which they let its steps run: what decides comes first.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LazyBranches {
    pub(crate) all: Vec<Branch>,
    /// One a step: its branch, and which of its members it is.
    pub(crate) of_step: Vec<Option<(usize, usize)>>,
    pub(crate) order: Vec<usize>,
}

impl LazyBranches {
    /// Everything is required.
    pub fn none(n_steps: usize) -> Self {
        Self { all: Vec::new(), of_step: vec![None; n_steps], order: (0..n_steps).collect() }
    }

    /// Whether a step is of a branch.
    pub fn holds(&self, step: usize) -> bool {
        self.of_step[step].is_some()
    }

    /// Finds what leads only to numbers that count only here and there.
    pub fn of(program: &Program, conditions: &[Condition]) -> Self {
        let mut this = Self::none(program.steps.len());
        // Steps after which the branches' can run.
        let mut after = Vec::new();
        for condition in conditions {
            let Some((branch, last)) = branch(program, condition, &this.of_step) else { continue };
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

    /// Whether only some cells of a step may be required.
    pub fn is_member(&self, step: usize) -> bool {
        self.of_step[step].is_some()
    }

    /// Steps of which only some cells may be required.
    pub fn steps(&self) -> impl Iterator<Item = usize> {
        self.all.iter().flat_map(|b| b.members.iter().map(|m| m.step))
    }

    /// Sets of cells that a stream keeps, by the maps that they are of.
    pub(crate) fn sets(&self) -> impl Iterator<Item = usize> {
        self.all.iter().flat_map(|b| std::iter::once(b.map).chain(b.members.iter().flat_map(|m| [m.output; 2])))
    }
}

/// A branch, and the step after which it can run; `None` if there is nothing in it.
fn branch(program: &Program, condition: &Condition, taken: &[Option<(usize, usize)>]) -> Option<(Branch, usize)> {
    let maker = |map: usize| program.maker(program.maps[map].changes);
    let (map, channels) = deciding(program, condition)?;
    let size = |map: usize| (program.maps[map].shape.h, program.maps[map].shape.w);
    let mut ends = Vec::new();
    for counts in &condition.counting {
        program.parts(*counts, 0..program.maps[*counts].shape.c, 0, &mut |leaf, channels, _| {
            let is_whole = channels == (0..program.maps[leaf].shape.c);
            if is_whole && leaf != map && size(leaf) == size(map) && leads_out(program, leaf) {
                ends.push(leaf);
            }
        });
    }
    // From the last to the first, so that readers are found before what they read.
    let mut members: Vec<Member> = Vec::new();
    for (i, step) in program.steps.iter().enumerate().rev() {
        if matches!(step.kind, Kind::Join) || taken[i].is_some() {
            continue;
        }
        let mut member = Member { step: i, output: step.output, is_last: false, readers: Vec::new() };
        if ends.contains(&step.output) {
            member.is_last = true;
        } else {
            match readers(program, step.output, &members) {
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
    let inputs = members.iter().flat_map(|m| &program.steps[m.step].inputs);
    let last = inputs.filter_map(|v| maker(*v)).filter(|i| !is_own(i)).chain(maker(map)).max()?;
    // Joins put together what must be there by then.
    let is_early = |(i, s): (usize, &Step)| i < last && s.inputs.iter().any(|v| ends.contains(v));
    let fits = n > 0 && !program.steps.iter().enumerate().any(is_early);
    fits.then_some((Branch { map, channels, members }, last))
}

/// The map, made by a step of its own, in which the deciding channels stand, and where.
fn deciding(program: &Program, condition: &Condition) -> Option<(usize, Vec<usize>)> {
    let (map, channels) = &condition.deciding;
    let mut found = Vec::new();
    for c in channels {
        program.parts(*map, *c..c + 1, 0, &mut |leaf, channels, _| found.push((leaf, channels.start)));
    }
    let (leaf, _) = *found.first()?;
    let is_one = found.iter().all(|(map, _)| *map == leaf) && program.steps.iter().any(|s| s.output == leaf);
    is_one.then(|| (leaf, found.into_iter().map(|(_, c)| c).collect()))
}

/// Whether others read some channels of a map in place.
fn has_aliases(program: &Program, map: usize) -> bool {
    program.maps.iter().enumerate().any(|(i, m)| m.changes == map && i != map)
}

/// Whether a map is only put together with others, for the outputs.
fn leads_out(program: &Program, map: usize) -> bool {
    let readers = || program.steps.iter().filter(|s| s.inputs.contains(&map));
    program.watched[map]
        && !has_aliases(program, map)
        && readers().all(|s| matches!(s.kind, Kind::Join) && leads_out(program, s.output))
}

/// The members that read a map, counted as they stand, if nothing else does.
fn readers(program: &Program, map: usize, members: &[Member]) -> Option<Vec<(usize, Spread)>> {
    if program.watched[map] || has_aliases(program, map) {
        return None;
    }
    let mut found = Vec::new();
    for (i, step) in program.steps.iter().enumerate() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use crate::plan::sample::{map, plan};

    fn named(plan: &Plan, steps: impl Iterator<Item = usize>) -> Vec<&str> {
        steps.map(|i| &*plan.maps[plan.steps[i].output].name).collect()
    }

    #[test]
    fn what_leads_only_to_what_counts_here_and_there_runs_after_what_decides() {
        let condition = |plan: &Plan, counting: &str| Condition {
            deciding: (map(plan, "all"), vec![4]),
            counting: vec![map(plan, counting)],
        };
        let found = |box_reads: &str, counting: &str| {
            let plan = plan(box_reads);
            let condition = condition(&plan, counting);
            let plan = plan.given(&[condition]);
            let order = named(&plan, plan.lazy.order.iter().copied()).join(" ");
            (named(&plan, plan.lazy.steps()).join(" "), order)
        };
        let of = |branch: &str, order: &str| (branch.to_owned(), order.to_owned());
        assert_eq!(found("trunk", "all"), of("a b class box", "trunk object a b class box all"));
        assert_eq!(found("trunk", "class"), of("a b class", "trunk box object a b class all"));
        assert_eq!(found("a", "class"), of("b class", "trunk a box object b class all"));
        assert_eq!(found("a", "all"), of("a b class box", "trunk object a b class box all"));
        assert_eq!(found("a", "object"), of("", "trunk a b class box object all"), "what decides is always required");
    }
}
