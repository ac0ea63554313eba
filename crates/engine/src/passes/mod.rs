//! Rewrites of the graph, one a file, in the order in which they run.
//!
//! Each keeps what the graph computes (up to rounding), and is followed by the
//! verifier; a pass that breaks a rule is a mistake of ours, and says which.

mod activation;
mod affine;
mod coarse;
mod dead;
mod pad;
mod pools;
mod rearrange;
mod residual;
mod separable;
mod silu;
mod stem;

use crate::graph::Graph;
use crate::graph::verify::{Broken, verify};

/// A pass: its name, and what it does; the count of rewrites comes back.
type Pass = (&'static str, fn(&mut Graph) -> usize);

/// Later passes rely on what earlier ones leave.
const PASSES: [Pass; 11] = [
    ("fold scales and shifts into convolutions", affine::run),
    ("recognise x * sigmoid(x)", silu::run),
    ("fuse activations into convolutions", activation::run),
    ("fuse residual additions into convolutions", residual::run),
    ("add coarser maps without enlarging them", coarse::run),
    ("merge rearrangements that are joined", rearrange::run),
    ("fold borders of zeros into windows", pad::run),
    ("convolve what a space-to-depth was made of", stem::run),
    ("chain max pools of growing size", pools::run),
    ("compute depthwise convolutions where the pointwise one after them is computed", separable::run),
    ("drop what nobody reads", dead::run),
];

/// What a pass did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    pub pass: &'static str,
    pub n_rewrites: usize,
}

/// As many of the first ones as leave each convolution a node of its own, with its activation.
const SIMPLE: usize = 3;

/// Runs all passes.
///
/// # Errors
/// The verifier's, naming the pass after which it failed.
pub fn optimise(graph: &mut Graph) -> Result<Vec<Done>, Broken> {
    run(graph, &PASSES)
}

/// Runs those that leave each convolution a node of its own, with its activation: for training. Who runs the others later
/// has what [`optimise`] alone would have given.
///
/// # Errors
/// As [`optimise`].
pub fn simplify(graph: &mut Graph) -> Result<Vec<Done>, Broken> {
    run(graph, &PASSES[..SIMPLE])
}

fn run(graph: &mut Graph, passes: &[Pass]) -> Result<Vec<Done>, Broken> {
    verify(graph)?;
    let mut done = Vec::new();
    for &(pass, run) in passes {
        let n_rewrites = run(graph);
        verify(graph).map_err(|e| Broken { place: format!("after '{pass}': {}", e.place), ..e })?;
        done.push(Done { pass, n_rewrites });
    }
    Ok(done)
}
