//! The gates: which cells of a map are computed.
//!
//! A cell is computed when it is estimated to have moved, since it was computed last, by more than a threshold, so that
//! slow drift adds up until it is seen; the estimate is [`crate::gating::estimate`]'s. The measure of a cell
//! is the root mean square over its channels of the difference in units of each
//! channel's scale (better than the plain maximum, at equal cost). At a threshold of 0 whatever changes reach is computed.

use crate::buffer::Buffer;
use crate::gating::policy::{GatePolicy, Policy};
use crate::plan::program::Program;
use crate::plan::step::Step;

/// The gate of one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gate {
    /// In units of the scales; 0: nothing is waited with.
    pub threshold: f32,
    /// One a channel, above 0; empty: not known yet.
    pub scales: Vec<f32>,
    /// `1 / scale`.
    inverse_scales: Buffer,
    /// What a sum of squares is compared with.
    limit: f32,
}

impl Gate {
    pub fn new(threshold: f32, scales: Vec<f32>) -> Self {
        let mut inverse_scales = Buffer::from(&scales[..]);
        inverse_scales.iter_mut().zip(&scales).for_each(|(inverse, scale)| *inverse = 1.0 / scale);
        Self { threshold, limit: threshold * threshold * scales.len() as f32, scales, inverse_scales }
    }

    pub fn is_exact(&self) -> bool {
        self.threshold <= 0.0 || self.scales.is_empty()
    }

    pub fn inverse_scales(&self) -> &[f32] {
        &self.inverse_scales[..self.scales.len()]
    }

    pub fn limit(&self) -> f32 {
        self.limit
    }
}

/// The gates of all steps of a program, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Gates {
    steps: Vec<Gate>,
    policy: Policy,
    /// Whether the scales are taken from whole frames: the first, and another one after `relearn_frames`.
    learns: bool,
}

impl Gates {
    /// Everything that changes reach is computed.
    pub fn exact(program: &Program) -> Self {
        Self { steps: vec![Gate::default(); program.steps.len()], policy: Policy::default(), learns: false }
    }

    /// Rising thresholds, lower ones for coarse maps; the scales are learnt from whole frames, the first and another one after `relearn_frames`.
    pub fn rising(program: &Program, policy: &Policy) -> Self {
        let GatePolicy { first, last, coarse_rows, coarse_share, .. } = policy.gates;
        let n_gated = program.steps.iter().filter(|s| s.is_gated).count().max(1);
        let mut i = 0;
        let gate = |step: &Step| {
            if !step.is_gated {
                return Gate::default();
            }
            let along = i as f32 / n_gated as f32;
            i += 1;
            let threshold = if first > 0.0 { first * (last / first).powf(along) } else { 0.0 };
            let height = |map: usize| program.maps[map].shape.h;
            let is_coarse = height(step.output) * coarse_rows <= height(program.input);
            Gate { threshold: if is_coarse { coarse_share * threshold } else { threshold }, ..Gate::default() }
        };
        Self { steps: program.steps.iter().map(gate).collect(), policy: policy.clone(), learns: true }
    }

    /// By what is decided beside the gates.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    pub fn set_policy(&mut self, policy: &Policy) {
        self.policy = policy.clone();
    }

    pub fn steps(&self) -> &[Gate] {
        &self.steps
    }

    pub fn get(&self, step: usize) -> &Gate {
        &self.steps[step]
    }

    pub fn set(&mut self, step: usize, gate: Gate) {
        self.steps[step] = gate;
    }

    /// Whether scales are learnt.
    pub fn learns(&self) -> bool {
        self.learns
    }

    /// The scales stay as they are from now on.
    pub fn settle(&mut self) {
        self.learns = false;
    }

    /// Gives gates the scales of a whole frame: the standard deviation of each channel, at least
    /// a twentieth of the whole map's. Of large maps every second row and column is looked at.
    /// `cell`: the numbers of a map's cell, by map, row and column.
    pub fn learn_scales<'a>(&mut self, program: &Program, cell: impl Fn(usize, usize, usize) -> &'a [f32]) {
        for (gate, step) in self.steps.iter_mut().zip(&program.steps) {
            if gate.threshold > 0.0 {
                let s = program.maps[step.output].shape;
                let read = |y, x| cell(step.output, y, x);
                *gate = Gate::new(gate.threshold, deviations(s.h, s.w, s.c, read));
            }
        }
    }
}

fn deviations<'a>(h: usize, w: usize, c: usize, read: impl Fn(usize, usize) -> &'a [f32]) -> Vec<f32> {
    let by = if h * w > 1024 { 2 } else { 1 };
    let (mut sum, mut squares) = (vec![0f64; c], vec![0f64; c]);
    let (mut row_sum, mut row_squares) = (vec![0f32; c], vec![0f32; c]);
    let mut n = 0;
    for y in (0..h).step_by(by) {
        row_sum.fill(0.0);
        row_squares.fill(0.0);
        for x in (0..w).step_by(by) {
            for ((sum, squares), v) in row_sum.iter_mut().zip(&mut row_squares).zip(read(y, x)) {
                *sum += v;
                *squares += v * v;
            }
            n += 1;
        }
        for i in 0..c {
            sum[i] += f64::from(row_sum[i]);
            squares[i] += f64::from(row_squares[i]);
        }
    }
    let n = f64::from(n);
    let deviation = |sum: f64, squares: f64, n: f64| (squares / n - (sum / n).powi(2)).max(0.0).sqrt() as f32;
    let whole = deviation(sum.iter().sum(), squares.iter().sum(), n * c as f64).max(1e-6);
    (0..c).map(|i| deviation(sum[i], squares[i], n).max(0.05 * whole)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::view::View;
    use crate::graph::{Act, Conv, Graph, MapShape, Node, Op, Output, ValueId, Window};
    use crate::plan::Plan;

    fn rising(first: f32, last: f32) -> Policy {
        Policy { gates: GatePolicy { first, last, ..GatePolicy::default() }, ..Policy::default() }
    }

    #[test]
    fn thresholds_rise_from_step_to_step_and_are_lower_on_coarse_maps() {
        const C: usize = 16;
        // Rows of the maps, the picture's first.
        let heights = [64, 32, 8, 2, 2, 2];
        let mut graph =
            Graph { values: Vec::new(), nodes: Vec::new(), input: ValueId(0), outputs: Vec::new(), kept: Vec::new() };
        let maps = heights.map(|h| graph.add_value(format!("map {h}"), MapShape::new(h, h, C)));
        for (pair, sides) in maps.windows(2).zip(heights.windows(2)) {
            let conv = Conv {
                weights: vec![0.1; C * C],
                bias: vec![0.0; C],
                groups: 1,
                window: Window { stride: [sides[0] / sides[1]; 2], ..Window::POINT },
                transposed: false,
                act: Act::Relu,
                post: Act::Identity,
            };
            graph.nodes.push(Node { op: Op::Conv(Box::new(conv)), inputs: vec![pair[0]], output: pair[1] });
        }
        let view = View::whole(maps[5], graph.shape(maps[5]));
        graph.outputs.push(Output { name: "out".into(), dims: view.shape(), axis: 0, parts: vec![view] });
        let gates = Gates::rising(&Plan::new(graph).unwrap(), &rising(0.1, 0.1 * 2f32.powi(4)));
        let thresholds: Vec<_> = gates.steps().iter().map(|g| (g.threshold * 1000.0).round()).collect();
        assert_eq!(thresholds, [100.0, 200.0, 400.0 * 0.7, 800.0 * 0.7, 0.0]);
    }
}
