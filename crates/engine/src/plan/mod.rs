//! A model laid out for running: maps in buffers, steps in order, weights apart.
//!
//! A plan is shared by all streams; what a stream remembers is in [`crate::exec::stream`].

mod layout;
pub mod lazy;
mod lower;
pub mod map;
pub mod program;
#[cfg(test)]
pub(crate) mod sample;
pub mod step;

use crate::graph::Graph;
use crate::graph::verify::Broken;
use crate::passes;
use crate::weights::Weights;
use lazy::{Condition, LazyBranches};
use program::Program;
use std::ops::Deref;
use std::sync::Arc;

/// A program, and of which of its steps only some cells may be required.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    program: Program,
    /// Steps of which only some cells may be required, and the order in which all run.
    pub lazy: LazyBranches,
    /// As in the file.
    weights: Arc<Weights>,
    /// What was rewritten.
    pub done: Vec<passes::Done>,
}

/// A plan is the program that it runs.
impl Deref for Plan {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl Plan {
    /// Optimises and lays out a graph.
    ///
    /// # Errors
    /// The verifier's: a mistake of a pass.
    pub fn new(mut graph: Graph) -> Result<Self, Broken> {
        let done = passes::optimise(&mut graph)?;
        let (program, weights) = Program::new(graph)?;
        Ok(Self { lazy: LazyBranches::none(program.steps.len()), program, weights: Arc::new(weights), done })
    }

    /// The model's own weights, with which streams begin.
    pub fn weights(&self) -> &Arc<Weights> {
        &self.weights
    }

    /// Says which numbers of the outputs count only where others are large enough: what leads only to them can be left
    /// out where they are not ([`crate::exec::stream::Stream::require`]).
    ///
    /// # Panics
    /// A condition names a map or a channel that is not there.
    #[must_use]
    pub fn given(mut self, conditions: &[Condition]) -> Self {
        for Condition { deciding: (map, channels), counting } in conditions {
            let n = self.program.maps[*map].shape.c;
            assert!(channels.iter().all(|c| *c < n), "channels of a map of {n} decide");
            assert!(counting.iter().all(|map| *map < self.program.maps.len()), "maps of the plan count");
        }
        self.lazy = LazyBranches::of(&self.program, conditions);
        self
    }
}
