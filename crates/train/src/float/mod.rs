//! Training in `f32`: what training in eight bits is held to.
//!
//! Every map of a batch is kept from the way forwards for the way back. A gradient is kept from its first part until the
//! node that made its map has been passed.

pub(crate) mod act;
pub(crate) mod conv;
mod hook;
pub(crate) mod ops;

pub use hook::Hook;

use crate::batch::Batch;
use crate::params::{LayerParams, Params};
use crate::plan::TrainPlan;
use conv::{FloatConv, Put};
use engine::graph::{Act, Conv, Op, ValueId};
use engine::kernels::Kernels;
use std::borrow::Cow;
use std::sync::Arc;

/// Computes forwards and backwards for batches of one size.
pub struct FloatTrainer {
    plan: Arc<TrainPlan>,
    kernels: Kernels,
    n: usize,
    /// By node.
    convs: Vec<Option<FloatConv>>,
    /// By value: maps as they are read.
    maps: Vec<Option<Batch>>,
    /// By value: what an activation was given, where its gradient is told from that.
    before: Vec<Option<Batch>>,
    /// By value: cells around it that its maker reads of its gradient.
    grad_borders: Vec<usize>,
    /// Batches that are free.
    spare: Vec<Batch>,
}

impl FloatTrainer {
    /// For batches of `n` pictures.
    pub fn new(plan: &Arc<TrainPlan>, n: usize, kernels: Kernels) -> Self {
        let graph = plan.graph();
        let n_values = graph.values.len();
        let mut convs = vec![None; graph.nodes.len()];
        let (mut borders, mut grad_borders) = (vec![0; n_values], vec![0; n_values]);
        for &i in plan.nodes() {
            let node = &graph.nodes[i];
            if let Op::Conv(conv) = &node.op {
                let input = node.inputs[0];
                let conv = FloatConv::new(conv, graph.shape(input), graph.shape(node.output));
                let [here, back] = conv.borders();
                let border = &mut borders[input.0 as usize];
                *border = (*border).max(here);
                grad_borders[node.output.0 as usize] = back;
                convs[i] = Some(conv);
            }
        }
        let mut maps = vec![None; n_values];
        let mut before = vec![None; n_values];
        let made = plan.nodes().iter().map(|i| graph.nodes[*i].output);
        for value in plan.sources().iter().copied().chain(made) {
            let at = value.0 as usize;
            maps[at] = Some(Batch::new(n, graph.shape(value), borders[at], 0.0));
        }
        for &i in plan.nodes() {
            let node = &graph.nodes[i];
            if let Op::Conv(conv) = &node.op
                && plan.wants_grad(node.output)
                && act::reads_before(&conv.act)
            {
                let at = node.output.0 as usize;
                before[at] = Some(Batch::new(n, graph.shape(node.output), borders[at], 0.0));
            }
        }
        Self { plan: plan.clone(), kernels, n, convs, maps, before, grad_borders, spare: Vec::new() }
    }

    pub fn plan(&self) -> &Arc<TrainPlan> {
        &self.plan
    }

    /// Pictures of a batch.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The map of a value, to be filled if it is a source.
    ///
    /// # Panics
    /// The plan does not compute it.
    pub fn map_mut(&mut self, value: ValueId) -> &mut Batch {
        self.maps[value.0 as usize].as_mut().expect("a map of the plan")
    }

    /// The map of a value.
    ///
    /// # Panics
    /// As [`FloatTrainer::map_mut`].
    pub fn map(&self, value: ValueId) -> &Batch {
        self.maps[value.0 as usize].as_ref().expect("a map of the plan")
    }

    /// Computes all maps from the sources'.
    pub fn forward(&mut self, params: &Params) {
        self.forward_with(params, &mut ());
    }

    /// The same, with a hook at each convolution.
    pub fn forward_with(&mut self, params: &Params, hook: &mut impl Hook) {
        let plan = self.plan.clone();
        for &i in plan.nodes() {
            let node = &plan.graph().nodes[i];
            let at = node.output.0 as usize;
            let Some(mut out) = self.maps[at].take() else { continue };
            match (&node.op, &self.convs[i]) {
                (Op::Conv(conv), Some(float)) => {
                    let folded = plan.layer_of(i).map(|layer| params.0[layer.0].folded());
                    let bias = plan.layer_of(i).map_or(&conv.bias, |layer| &params.0[layer.0].bias);
                    let mut weights = Cow::Borrowed(folded.as_ref().unwrap_or(&conv.weights).as_slice());
                    let before = self.before[at].as_mut();
                    let mut x =
                        Cow::Borrowed(self.maps[node.inputs[0].0 as usize].as_ref().expect("made before it is read"));
                    hook.forward(i, &mut x, &mut weights);
                    float.forward(self.kernels, (&weights, bias), &conv.act, &x, &mut out, before);
                    hook.output(i, &mut out);
                }
                (op, _) => ops::forward(op, &self.inputs(&node.inputs), &mut out),
            }
            self.maps[at] = Some(out);
        }
    }

    fn inputs(&self, inputs: &[ValueId]) -> Vec<&Batch> {
        inputs.iter().map(|v| self.map(*v)).collect()
    }

    /// The gradient of each trained number, from those of the outputs' maps, in the plan's order; of the last
    /// [`FloatTrainer::forward`], with the same numbers.
    ///
    /// # Panics
    /// There is not one gradient an output, `[picture][row][column][channel]`.
    pub fn backward(&mut self, params: &Params, output_grads: &[&[f32]]) -> Params {
        self.backward_with(params, output_grads, &mut ())
    }

    /// The same, with a hook at each convolution.
    ///
    /// # Panics
    /// As [`FloatTrainer::backward`].
    pub fn backward_with(&mut self, params: &Params, output_grads: &[&[f32]], hook: &mut impl Hook) -> Params {
        let plan = self.plan.clone();
        assert_eq!(output_grads.len(), plan.outputs().len(), "a gradient of each output");
        let mut grads: Vec<Option<Batch>> = vec![None; plan.graph().values.len()];
        for (value, numbers) in plan.outputs().iter().zip(output_grads) {
            let mut grad = self.take(*value);
            grad.fill(numbers);
            grads[value.0 as usize] = Some(grad);
        }
        let mut result = params.zeros();
        for &i in plan.nodes().iter().rev() {
            let node = &plan.graph().nodes[i];
            let at = node.output.0 as usize;
            let Some(mut grad) = grads[at].take() else { continue };
            if plan.wants_grad(node.output) {
                match &node.op {
                    Op::Conv(conv) => self.conv_backward((i, conv), params, &mut grad, &mut grads, &mut result, hook),
                    op => {
                        for (k, input) in node.inputs.iter().enumerate().filter(|(_, v)| plan.wants_grad(**v)) {
                            let (mut to, put) = self.part(*input, &mut grads);
                            ops::backward(
                                op,
                                k,
                                &self.inputs(&node.inputs),
                                self.map(node.output),
                                &grad,
                                (&mut to, put),
                            );
                            grads[input.0 as usize] = Some(to);
                        }
                    }
                }
            }
            self.spare.push(grad);
        }
        self.spare.extend(grads.into_iter().flatten());
        result
    }

    fn conv_backward(
        &mut self,
        (node, conv): (usize, &Conv),
        params: &Params,
        grad: &mut Batch,
        grads: &mut [Option<Batch>],
        result: &mut Params,
        hook: &mut impl Hook,
    ) {
        let plan = self.plan.clone();
        let Some(float) = self.convs[node].clone() else { return };
        let (input, output) = (plan.graph().nodes[node].inputs[0], plan.graph().nodes[node].output);
        if conv.act != Act::Identity {
            let seen = self.before[output.0 as usize].as_ref().unwrap_or_else(|| self.map(output));
            act::scale_by_slope(&conv.act, seen, grad);
        }
        let layer = plan.layer_of(node);
        let folded = layer.map(|layer| params.0[layer.0].folded());
        let mut weights = Cow::Borrowed(folded.as_ref().unwrap_or(&conv.weights).as_slice());
        let mut x = Cow::Borrowed(self.map(input));
        hook.backward(node, &mut x, &mut weights, grad);
        if let Some(layer) = layer {
            let mut grads: LayerParams = float.weight_grad(self.kernels, &x, grad);
            grads.unfold_grad(&params.0[layer.0]);
            result.0[layer.0] = grads;
        }
        if plan.wants_grad(input) {
            let (mut to, put) = self.part(input, grads);
            float.input_grad(self.kernels, &weights, grad, &mut to, put);
            grads[input.0 as usize] = Some(to);
        }
    }

    /// Where the next part of a map's gradient goes.
    fn part(&mut self, value: ValueId, grads: &mut [Option<Batch>]) -> (Batch, Put) {
        match grads[value.0 as usize].take() {
            Some(grad) => (grad, Put::Add),
            None => (self.take(value), Put::Store),
        }
    }

    /// A batch for the gradient of a map; what is in it means nothing.
    fn take(&mut self, value: ValueId) -> Batch {
        let (shape, border) = (self.plan.graph().shape(value), self.grad_borders[value.0 as usize]);
        let fits = |b: &Batch| (b.shape(), b.border()) == (shape, border);
        match self.spare.iter().position(fits) {
            Some(i) => self.spare.swap_remove(i),
            None => Batch::new(self.n, shape, border, 0.0),
        }
    }
}
