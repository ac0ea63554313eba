//! What a training loop sees of either way to compute: [`FloatTrainer`] or [`Int8Trainer`].

use crate::batch::Batch;
use crate::float::FloatTrainer;
use crate::int8::Int8Trainer;
use crate::params::Params;
use crate::plan::TrainPlan;
use engine::graph::ValueId;
use std::sync::Arc;

/// Computes forwards and backwards for batches of one size.
pub trait Trainer {
    fn plan(&self) -> &Arc<TrainPlan>;

    /// Pictures of a batch.
    fn n(&self) -> usize;

    /// Takes over a source's maps, `[picture][row][column][channel]`.
    ///
    /// # Panics
    /// It is no source, or there are not as many numbers.
    fn fill_source(&mut self, value: ValueId, numbers: &[f32]);

    /// Computes all maps from the sources'.
    fn forward(&mut self, params: &Params);

    /// An output's map.
    ///
    /// # Panics
    /// It is no output.
    fn output(&self, value: ValueId) -> &Batch;

    /// The gradient of each trained number, from those of the outputs' maps, in the plan's order; of the last
    /// [`Trainer::forward`], with the same numbers.
    ///
    /// # Panics
    /// There is not one gradient an output, `[picture][row][column][channel]`.
    fn backward(&mut self, params: &Params, output_grads: &[&[f32]]) -> Params;

    /// By how much the directions of gradients are off for want of bits: 1 less the cosine.
    fn deviation(&self) -> f32 {
        0.0
    }
}

impl Trainer for FloatTrainer {
    fn plan(&self) -> &Arc<TrainPlan> {
        self.plan()
    }

    fn n(&self) -> usize {
        self.n()
    }

    fn fill_source(&mut self, value: ValueId, numbers: &[f32]) {
        assert!(self.plan().sources().contains(&value), "a source");
        self.map_mut(value).fill(numbers);
    }

    fn forward(&mut self, params: &Params) {
        self.forward(params);
    }

    fn output(&self, value: ValueId) -> &Batch {
        assert!(self.plan().outputs().contains(&value), "an output");
        self.map(value)
    }

    fn backward(&mut self, params: &Params, output_grads: &[&[f32]]) -> Params {
        self.backward(params, output_grads)
    }
}

impl Trainer for Int8Trainer {
    fn plan(&self) -> &Arc<TrainPlan> {
        self.plan()
    }

    fn n(&self) -> usize {
        self.n()
    }

    fn fill_source(&mut self, value: ValueId, numbers: &[f32]) {
        self.fill_source(value, numbers);
    }

    fn forward(&mut self, params: &Params) {
        self.forward(params);
    }

    fn output(&self, value: ValueId) -> &Batch {
        self.output(value)
    }

    fn backward(&mut self, params: &Params, output_grads: &[&[f32]]) -> Params {
        self.backward(params, output_grads)
    }

    fn deviation(&self) -> f32 {
        self.deviation()
    }
}
