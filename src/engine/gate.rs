//! The gates: which changes of a map are passed on.
//!
//! A new value is compared with the stored one, which is the last that was
//! passed on, so that slow drift adds up until it passes. The measure of a cell
//! is the root mean square over its channels of the difference in units of each
//! channel's scale (engine.md, section 2: better than the plain maximum at equal
//! cost). A gate of 0 passes everything but equal bits.

use super::plan::Plan;

/// Thresholds of the first and the last gate where nothing is known of the model
/// (engine.md, section 2: rising ones were better than one number).
pub const DEFAULT_THRESHOLDS: (f32, f32) = (0.06, 0.20);

/// Share of a threshold from which a change that is held back is owed.
const OWED_SHARE: f32 = 0.25;

/// The gate of one step.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Gate {
    /// In units of the scales; 0: only equal bits are held back.
    pub threshold: f32,
    /// One a channel, above 0; empty: not known yet.
    pub scales: Vec<f32>,
    /// `1 / scale`.
    weights: Vec<f32>,
    /// What the sum of squares is compared with.
    limit: f32,
}

impl Gate {
    pub fn new(threshold: f32, scales: Vec<f32>) -> Self {
        let weights: Vec<f32> = scales.iter().map(|s| 1.0 / s).collect();
        Self { threshold, limit: threshold * threshold * scales.len() as f32, scales, weights }
    }

    pub fn is_exact(&self) -> bool {
        self.threshold <= 0.0 || self.scales.is_empty()
    }

    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    pub fn limit(&self) -> f32 {
        self.limit
    }

    /// Changes below the limit and above this are owed to the readers.
    pub fn owed_limit(&self) -> f32 {
        self.limit * (OWED_SHARE * OWED_SHARE)
    }
}

/// The gates of all steps of a plan, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct Gates(Vec<Gate>);

impl Gates {
    /// Everything that changes is passed on.
    pub fn exact(plan: &Plan) -> Self {
        Self(vec![Gate::default(); plan.steps.len()])
    }

    /// Rising thresholds; the scales are learnt from the first frame.
    pub fn rising(plan: &Plan, (first, last): (f32, f32)) -> Self {
        let n_gated = plan.steps.iter().filter(|s| s.is_gated).count().max(1);
        let mut i = 0;
        let gate = |step: &super::plan::Step| {
            if !step.is_gated {
                return Gate::default();
            }
            let along = i as f32 / n_gated as f32;
            i += 1;
            Gate { threshold: if first > 0.0 { first * (last / first).powf(along) } else { 0.0 }, ..Gate::default() }
        };
        Self(plan.steps.iter().map(gate).collect())
    }

    pub fn from_steps(gates: Vec<Gate>) -> Self {
        Self(gates)
    }

    pub fn steps(&self) -> &[Gate] {
        &self.0
    }

    pub fn get(&self, step: usize) -> &Gate {
        &self.0[step]
    }

    pub fn set(&mut self, step: usize, gate: Gate) {
        self.0[step] = gate;
    }

    /// Whether a gate with a threshold lacks its scales.
    pub fn needs_scales(&self) -> bool {
        self.0.iter().any(|g| g.threshold > 0.0 && g.scales.is_empty())
    }

    /// Gives gates that lack them the scales of a full frame: the standard deviation of each
    /// channel, at least a twentieth of the whole map's.
    pub fn learn_scales(&mut self, plan: &Plan, cell: impl Fn(usize, usize, usize) -> *const f32) {
        for (gate, step) in self.0.iter_mut().zip(&plan.steps) {
            if gate.threshold > 0.0 && gate.scales.is_empty() {
                let s = plan.maps[step.output].shape;
                // Safety: `cell` points to `s.c` numbers of the map.
                let read = |y, x| unsafe { std::slice::from_raw_parts(cell(step.output, y, x), s.c) };
                *gate = Gate::new(gate.threshold, deviations(s.h, s.w, s.c, read));
            }
        }
    }
}

fn deviations<'a>(h: usize, w: usize, c: usize, read: impl Fn(usize, usize) -> &'a [f32]) -> Vec<f32> {
    let (mut sum, mut squares) = (vec![0f64; c], vec![0f64; c]);
    for y in 0..h {
        for x in 0..w {
            for (i, v) in read(y, x).iter().enumerate() {
                sum[i] += f64::from(*v);
                squares[i] += f64::from(*v) * f64::from(*v);
            }
        }
    }
    let n = (h * w) as f64;
    let deviation = |sum: f64, squares: f64, n: f64| (squares / n - (sum / n).powi(2)).max(0.0).sqrt() as f32;
    let whole = deviation(sum.iter().sum(), squares.iter().sum(), n * c as f64).max(1e-6);
    (0..c).map(|i| deviation(sum[i], squares[i], n).max(0.05 * whole)).collect()
}
