//! Rolling refresh: everything is computed again within a bound, a little each frame.
//!
//! There are two. A [`DeferredFlush`] goes round in a few frames, but only over cells that are
//! deferred: they are estimated to have moved, too little to be computed at once. A
//! [`Sweep`] goes over all cells, within the age that nothing may exceed.
//!
//! A sweep goes through the steps in order, some rows a frame. A row is computed
//! from maps that this sweep has refreshed already, so that whatever was waited
//! with before the sweep began is gone when it ends: the readers of a refreshed cell
//! are refreshed later in the same sweep.

use crate::plan::program::Program;
use crate::plan::step::Kind;
use std::ops::Range;

/// Which steps' deferred cells are computed in a frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DeferredFlush {
    next: usize,
    now: Range<usize>,
}

impl DeferredFlush {
    /// Goes on by as many steps as make a round in so many frames.
    pub fn advance(&mut self, n_steps: usize, frames: usize) {
        let n = n_steps.div_ceil(frames.max(1));
        let from = if self.next >= n_steps { 0 } else { self.next };
        self.now = from..(from + n).min(n_steps);
        self.next = self.now.end;
    }

    /// Whether it is a step's turn.
    pub fn is_on(&self, step: usize) -> bool {
        self.now.contains(&step)
    }
}

/// How far the sweep has come.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sweep {
    step: usize,
    row: usize,
    /// Work that is due and not done yet, in [`cost`] units.
    due: f64,
    /// This frame's part: rows of each step, few of them not empty.
    part: Vec<(usize, Range<usize>)>,
    pub n_sweeps: u64,
}

/// What a row of a step costs: its multiply-accumulates, and something for every number.
fn row_cost(program: &Program, step: usize) -> f64 {
    let s = &program.steps[step];
    let shape = program.maps[s.output].shape;
    shape.w as f64 * (s.macs_per_cell as f64 + 8.0 * shape.c as f64)
}

impl Sweep {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts anew: everything was computed just now.
    pub fn restart(&mut self) {
        (self.step, self.row, self.due) = (0, 0, 0.0);
        self.part.clear();
    }

    /// Takes on a share (0..=1) of a whole sweep for this frame.
    pub fn advance(&mut self, program: &Program, share: f64) {
        self.part.clear();
        if share <= 0.0 {
            return;
        }
        let total: f64 = (0..program.steps.len())
            .map(|i| row_cost(program, i) * program.maps[program.steps[i].output].shape.h as f64)
            .sum();
        self.due += total * share.min(1.0);
        while self.due > 0.0 {
            let h = program.maps[program.steps[self.step].output].shape.h;
            let cost = row_cost(program, self.step).max(1.0);
            let n = ((self.due / cost).ceil() as usize).clamp(1, h - self.row);
            // Steps without work of their own pass at once.
            if !matches!(program.steps[self.step].kind, Kind::Join) {
                self.part.push((self.step, self.row..self.row + n));
                self.due -= cost * n as f64;
            }
            self.row += n;
            if self.row == h {
                self.row = 0;
                self.step += 1;
                if self.step == program.steps.len() {
                    self.step = 0;
                    self.n_sweeps += 1;
                    break;
                }
            }
        }
    }

    /// Rows of a step that are refreshed in this frame.
    pub fn rows(&self, step: usize) -> Option<Range<usize>> {
        self.part.iter().find(|(s, _)| *s == step).map(|(_, rows)| rows.clone())
    }
}
