//! Training in eight bits, after Octo (USENIX ATC 2021): maps, weights and gradients are codes, their products exact whole
//! numbers; weights to be trained, their gradients and the outputs' maps stay `f32`.
//!
//! Forwards a row of sums is scaled, activated and coded while it is near. Backwards the gradient of a map is made once, row
//! by row, of the parts that come from all who read the map, and coded by the scale of each channel; that scale goes into
//! the weights of the next product, so that one code serves both products. Ranges come from the steps before. Rounding
//! of gradients is random, by a hash of step, map and place: the same bits for any instruction set and number of threads.
//!
//! What has no product of its own here (depthwise and grouped convolutions, pools, ...) is computed in `f32` on decoded maps.

mod clip;
mod coded;
mod conv;
mod parts;
mod range;
mod rows;
mod scratch;
mod settings;
mod slopes;
mod transpose;

pub use settings::Settings;

use crate::batch::Batch;
use crate::float::conv::{FloatConv, Put};
use crate::float::{act, ops};
use crate::params::Params;
use crate::plan::TrainPlan;
use clip::ClipSearch;
use coded::{Coded, CodedGrad, ZERO_GRAD};
use conv::{BandRoom, Int8Conv, Product};
use engine::buffer::Buffer;
use engine::graph::resample::{Taps, repeats};
use engine::graph::{Act, Binary, Conv, MapShape, Node, Op, ValueId};
use engine::kernels::int8::Int8Kernels;
use engine::kernels::{Kernels, Rows};
use parts::GradPart;
use range::Range;
use rows::GradRounding;
use scratch::Scratch;
use slopes::Slopes;
use std::sync::Arc;

/// Computes forwards and backwards for batches of one size.
pub struct Int8Trainer {
    plan: Arc<TrainPlan>,
    kernels: Kernels,
    int8: Int8Kernels,
    settings: Settings,
    n: usize,
    step: u32,
    /// By node: what has a product in eight bits, and what has not.
    convs: Vec<Option<Int8Conv>>,
    floats: Vec<Option<FloatConv>>,
    /// By value.
    maps: Vec<Option<Coded>>,
    before: Vec<Option<Coded>>,
    outputs: Vec<Option<Batch>>,
    /// Cells around a map's gradient that its maker reads.
    grad_borders: Vec<usize>,
    grad_ranges: Vec<Vec<f32>>,
    /// By value: the share of its gradient's range that is kept, and by how much the direction is off then.
    clips: Vec<(f32, f32)>,
    rooms: Vec<BandRoom>,
    /// Memory of gradients that nobody needs any more.
    spare: Vec<Buffer<u8>>,
}

impl Int8Trainer {
    /// For batches of `n` pictures.
    pub fn new(plan: &Arc<TrainPlan>, n: usize, kernels: (Kernels, Int8Kernels), settings: Settings) -> Self {
        let graph = plan.graph();
        let n_values = graph.values.len();
        let mut convs: Vec<Option<Int8Conv>> = (0..graph.nodes.len()).map(|_| None).collect();
        let mut floats = vec![None; graph.nodes.len()];
        let (mut borders, mut grad_borders) = (vec![0; n_values], vec![0; n_values]);
        for &i in plan.nodes() {
            let node = &graph.nodes[i];
            let Op::Conv(conv) = &node.op else { continue };
            let (input, output) = (node.inputs[0], node.output);
            let (from, to) = (graph.shape(input), graph.shape(output));
            if conv.groups == 1 && !conv.transposed {
                let conv = Int8Conv::new(conv, from, to);
                let [here, back] = conv.borders();
                borders[input.0 as usize] = here.max(borders[input.0 as usize]);
                grad_borders[output.0 as usize] = back;
                convs[i] = Some(conv);
            } else {
                floats[i] = Some(FloatConv::new(conv, from, to));
            }
        }
        let blank = || (0..n_values).map(|_| None).collect::<Vec<_>>();
        let (mut maps, mut before, mut outputs): (Vec<Option<Coded>>, Vec<Option<Coded>>, _) =
            (blank(), blank(), vec![None; n_values]);
        for value in plan.sources().iter().copied().chain(plan.nodes().iter().map(|i| graph.nodes[*i].output)) {
            maps[value.0 as usize] = Some(Coded::new(n, graph.shape(value), borders[value.0 as usize]));
        }
        for value in plan.outputs() {
            outputs[value.0 as usize] = Some(Batch::new(n, graph.shape(*value), 0, 0.0));
        }
        for node in plan.nodes().iter().map(|i| &graph.nodes[*i]) {
            let at = node.output.0 as usize;
            if matches!(&node.op, Op::Conv(conv) if act::reads_before(&conv.act)) && plan.wants_grad(node.output) {
                before[at] = Some(Coded::new(n, graph.shape(node.output), borders[at]));
            }
        }
        Self {
            plan: plan.clone(),
            kernels: kernels.0,
            int8: kernels.1,
            settings,
            n,
            step: 0,
            convs,
            floats,
            maps,
            before,
            outputs,
            grad_borders,
            grad_ranges: vec![Vec::new(); n_values],
            clips: vec![(1.0, 0.0); n_values],
            rooms: Vec::new(),
            spare: Vec::new(),
        }
    }

    pub fn plan(&self) -> &Arc<TrainPlan> {
        &self.plan
    }

    /// Pictures of a batch.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Takes over a source's maps, `[picture][row][column][channel]`.
    ///
    /// # Panics
    /// It is no source, or there are not as many numbers.
    pub fn fill_source(&mut self, value: ValueId, numbers: &[f32]) {
        assert!(self.plan.sources().contains(&value), "a source");
        let shape = self.plan.graph().shape(value);
        assert_eq!(numbers.len(), self.n * shape.n_values(), "a map of each picture");
        let width = shape.w * shape.c;
        self.coded_mut(value).take_rows(|picture, y| &numbers[(picture * shape.h + y) * width..][..width]);
    }

    /// An output's map.
    ///
    /// # Panics
    /// It is no output.
    pub fn output(&self, value: ValueId) -> &Batch {
        self.outputs[value.0 as usize].as_ref().expect("an output")
    }

    /// By how much the directions of coded gradients are off: 1 less the cosine, the mean over all maps.
    pub fn deviation(&self) -> f32 {
        let known = self.grad_ranges.iter().zip(&self.clips).filter(|(range, _)| !range.is_empty());
        let (n, sum) = known.fold((0.0, 0.0), |(n, sum), (_, (_, off))| (n + 1.0, sum + off));
        if n > 0.0 { sum / n } else { 0.0 }
    }

    fn coded(&self, value: ValueId) -> &Coded {
        self.maps[value.0 as usize].as_ref().expect("a map of the plan")
    }

    fn coded_mut(&mut self, value: ValueId) -> &mut Coded {
        self.maps[value.0 as usize].as_mut().expect("a map of the plan")
    }

    /// Computes all maps from the sources'.
    pub fn forward(&mut self, params: &Params) {
        let plan = self.plan.clone();
        for &i in plan.nodes() {
            let node = &plan.graph().nodes[i];
            match (&node.op, self.convs[i].take()) {
                (Op::Conv(conv), Some(mut int8)) => {
                    self.conv_forward(i, conv, &mut int8, params);
                    self.convs[i] = Some(int8);
                }
                // An output is more than its codes tell.
                _ if self.passes_codes(node) && self.outputs[node.output.0 as usize].is_none() => {
                    self.code_forward(node)
                }
                _ => self.float_forward(i, node, params),
            }
        }
    }

    fn conv_forward(&mut self, node: usize, conv: &Conv, int8: &mut Int8Conv, params: &Params) {
        let plan = self.plan.clone();
        let (input, output) = (plan.graph().nodes[node].inputs[0], plan.graph().nodes[node].output);
        let (weights, bias, gain) = match plan.layer_of(node).map(|layer| &params.0[layer.0]) {
            Some(layer) => (&layer.weights, &layer.bias, Some(&layer.gain)),
            None => (&conv.weights, &conv.bias, None),
        };
        int8.set_weights(weights, self.settings.is_per_channel);
        let (at, shape) = (output.0 as usize, plan.graph().shape(output));
        let (Some(mut coded), mut before, mut float) =
            (self.maps[at].take(), self.before[at].take(), self.outputs[at].take())
        else {
            return;
        };
        let x = self.coded(input);
        let product = Product::new(self.int8, &int8.forward, &int8.weights, (&x.codes, x.coding.zero));
        let (stride, c) = (product.stride(), shape.c);
        let mut scale = vec![0.0; stride];
        for (o, scale) in scale[..c].iter_mut().enumerate() {
            *scale = x.coding.scale * int8.scales[o] * gain.map_or(1.0, |gain| gain[o]);
        }
        let mut offset = bias.clone();
        offset.resize(stride, 0.0);
        let scratch = || Scratch::new(product.room(), shape.w * c, stride);
        if conv.act == Act::Relu && float.is_none() {
            coded.settle(|codes, coding| {
                let inverse = 1.0 / coding.scale;
                let row = |s: &mut Scratch, picture: usize, y: usize, row: &mut [u8]| {
                    product.row(picture, y, &mut s.sums);
                    let sums = &s.sums[..product.room()];
                    rows::code_relu(sums, (&scale, &offset), inverse, (row, c), &mut s.most);
                };
                let seen = codes.fold_rows(scratch, row, Scratch::merged);
                Range { low: 0.0, high: seen.most[..c].iter().fold(0.0, |a: f32, b| a.max(*b)) }
            });
        } else {
            let is_output = float.is_some();
            let mut numbers = float.take().unwrap_or_else(|| Batch::new(self.n, shape, 0, 0.0));
            let mut given = before.as_ref().map(|_| Batch::new(self.n, shape, 0, 0.0));
            let compute = |s: &mut Scratch, picture: usize, y: usize, row: &mut [f32], given: Option<&mut [f32]>| {
                product.row(picture, y, &mut s.sums);
                let room = product.room();
                rows::scale_sums(&s.sums[..room], &scale, &offset, &mut s.numbers[..room]);
                let compact = |numbers: &[f32], row: &mut [f32]| {
                    let cells = row.chunks_exact_mut(c).zip(numbers.chunks_exact(stride));
                    cells.for_each(|(to, from)| to.copy_from_slice(&from[..c]));
                };
                if let Some(given) = given {
                    compact(&s.numbers, given);
                }
                if conv.act != Act::Identity {
                    let rows = Rows { first: s.numbers.as_mut_ptr(), stride, n: shape.w, width: c };
                    // Safety: rows in whole blocks.
                    unsafe { self.kernels.act(&conv.act, rows) }
                }
                compact(&s.numbers, row);
            };
            match &mut given {
                Some(given) => numbers.for_rows_of_both(given, scratch, |s, picture, y, row, given| {
                    compute(s, picture, y, row, Some(given));
                }),
                None => numbers.for_rows(scratch, |s, picture, y, row| compute(s, picture, y, row, None)),
            }
            if let (Some(before), Some(given)) = (&mut before, &given) {
                before.take(given);
            }
            coded.take(&numbers);
            float = is_output.then_some(numbers);
        }
        self.maps[at] = Some(coded);
        self.before[at] = before;
        self.outputs[at] = float;
    }

    /// A map that is told from codes, row by row.
    fn code_forward(&mut self, node: &Node) {
        let at = node.output.0 as usize;
        let Some(mut coded) = self.maps[at].take() else { return };
        let inputs: Vec<(&Coded, Vec<f32>)> =
            node.inputs.iter().map(|v| self.coded(*v)).map(|m| (m, m.scales())).collect();
        let (shape, from) = (coded.codes.shape(), inputs[0].0.codes.shape());
        let by = repeats(from, shape).unwrap_or([1; 2]);
        coded.take_made(|row, picture, y| match &node.op {
            Op::Resize(_) => {
                let (x, scales) = &inputs[0];
                let codes = x.codes.row(picture, y / by[0]).chunks_exact(shape.c);
                for (to, codes) in row.chunks_exact_mut(by[1] * shape.c).zip(codes) {
                    to.chunks_exact_mut(shape.c).for_each(|to| rows::decode(codes, scales, x.coding.zero, to));
                }
            }
            Op::Concat => {
                let mut first = 0;
                for (x, scales) in &inputs {
                    let c = x.codes.shape().c;
                    let codes = x.codes.row(picture, y).chunks_exact(c);
                    for (to, codes) in row.chunks_exact_mut(shape.c).zip(codes) {
                        rows::decode(codes, scales, x.coding.zero, &mut to[first..first + c]);
                    }
                    first += c;
                }
            }
            _ => {
                for (k, (x, scales)) in inputs.iter().enumerate() {
                    let put = if k == 0 { rows::decode } else { rows::add_decoded };
                    put(x.codes.row(picture, y), scales, x.coding.zero, row);
                }
            }
        });
        self.maps[at] = Some(coded);
    }

    /// On decoded maps.
    fn float_forward(&mut self, i: usize, node: &Node, params: &Params) {
        let plan = self.plan.clone();
        let at = node.output.0 as usize;
        let float = self.floats[i].clone();
        let border = float.as_ref().map_or(0, |conv| conv.borders()[0]);
        let inputs: Vec<Batch> = node.inputs.iter().map(|v| self.coded(*v).decoded(border)).collect();
        let mut out = Batch::new(self.n, plan.graph().shape(node.output), 0, 0.0);
        match (&node.op, &float) {
            (Op::Conv(conv), Some(float)) => {
                let layer = plan.layer_of(i).map(|layer| &params.0[layer.0]);
                let folded = layer.map(|layer| layer.folded());
                let weights = (
                    folded.as_ref().unwrap_or(&conv.weights).as_slice(),
                    layer.map_or(&conv.bias, |l| &l.bias).as_slice(),
                );
                let mut given = self.before[at].as_ref().map(|_| out.clone());
                float.forward(self.kernels, weights, &conv.act, &inputs[0], &mut out, given.as_mut());
                if let (Some(before), Some(given)) = (&mut self.before[at], &given) {
                    before.take(given);
                }
            }
            (op, _) => ops::forward(op, &inputs.iter().collect::<Vec<_>>(), &mut out),
        }
        self.coded_mut(node.output).take(&out);
        if self.outputs[at].is_some() {
            self.outputs[at] = Some(out);
        }
    }

    /// The gradient of each trained number, from those of the outputs' maps, in the plan's order; of the last
    /// [`Int8Trainer::forward`], with the same numbers.
    ///
    /// # Panics
    /// There is not one gradient an output, `[picture][row][column][channel]`.
    pub fn backward(&mut self, params: &Params, output_grads: &[&[f32]]) -> Params {
        let plan = self.plan.clone();
        assert_eq!(output_grads.len(), plan.outputs().len(), "a gradient of each output");
        self.step = self.step.wrapping_add(1);
        let n_values = plan.graph().values.len();
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); n_values];
        for &i in plan.nodes() {
            plan.graph().nodes[i].inputs.iter().for_each(|v| readers[v.0 as usize].push(i));
        }
        let wanting = |inputs: &[ValueId]| inputs.iter().filter(|v| plan.wants_grad(**v)).count();
        let mut state = Backward {
            readers,
            output_grads: plan.outputs().iter().map(|v| v.0 as usize).zip(output_grads.iter().copied()).collect(),
            grads: (0..n_values).map(|_| None).collect(),
            floats: vec![None; n_values],
            n_wanting: plan.graph().nodes.iter().map(|n| wanting(&n.inputs)).collect(),
        };
        let mut result = params.zeros();
        for &i in plan.nodes().iter().rev() {
            let node = &plan.graph().nodes[i];
            if !plan.wants_grad(node.output) {
                continue;
            }
            if let (Op::Conv(conv), Some(mut int8)) = (&node.op, self.convs[i].take()) {
                let grad = self.code_grad(node.output, &conv.act, &state);
                if let Some(layer) = plan.layer_of(i) {
                    let mut rooms = std::mem::take(&mut self.rooms);
                    let x = self.coded(node.inputs[0]);
                    let unit = x.coding.scale;
                    let of = &mut result.0[layer.0];
                    (of.weights, of.bias) =
                        int8.weight_grad(self.int8, (&x.codes, x.coding.zero), &grad.codes, &mut rooms);
                    self.rooms = rooms;
                    let per_out = of.weights.len() / of.bias.len();
                    for (o, scale) in grad.scales.iter().enumerate() {
                        of.weights[o * per_out..][..per_out].iter_mut().for_each(|g| *g *= unit * scale);
                        of.bias[o] *= scale;
                    }
                    of.unfold_grad(&params.0[layer.0]);
                    if !self.settings.has_gain {
                        of.gain.fill(0.0);
                    }
                }
                if plan.wants_grad(node.inputs[0]) {
                    let folded = plan.layer_of(i).map(|layer| params.0[layer.0].folded());
                    int8.set_back_weights(folded.as_ref().unwrap_or(&conv.weights), &grad.scales);
                }
                self.convs[i] = Some(int8);
                state.grads[node.output.0 as usize] = Some(grad);
            } else if self.passes_codes(node) {
                state.grads[node.output.0 as usize] = Some(self.code_grad(node.output, &Act::Identity, &state));
            } else {
                self.float_backward(i, node, params, &mut state, &mut result);
            }
            self.release(node.output, &mut state);
        }
        self.spare.extend(state.grads.into_iter().flatten().map(|grad| grad.codes.into_data()));
        result
    }

    /// Whether the gradients of a node's inputs are told from the codes of its output's.
    fn passes_codes(&self, node: &Node) -> bool {
        let graph = self.plan.graph();
        let (from, to) = (graph.shape(node.inputs[0]), graph.shape(node.output));
        match &node.op {
            Op::Binary(Binary::Add) => node.inputs.iter().all(|v| graph.shape(*v) == to),
            Op::Concat => true,
            Op::Resize(how) => Taps::new(*how, from, to).repeats(from, to).is_some(),
            _ => false,
        }
    }

    /// The parts of a map's gradient.
    fn parts<'a>(&'a self, value: ValueId, state: &'a Backward<'_>) -> Vec<GradPart<'a>> {
        let (plan, at) = (&self.plan, value.0 as usize);
        let mut parts: Vec<GradPart> =
            state.output_grads.iter().filter(|(v, _)| *v == at).map(|(_, g)| GradPart::Given(g)).collect();
        parts.extend(state.floats[at].as_ref().map(GradPart::Float));
        let mut readers = state.readers[at].clone();
        readers.dedup();
        for reader in readers {
            let node = &plan.graph().nodes[reader];
            let Some(grad) = &state.grads[node.output.0 as usize] else { continue };
            if let Some(conv) = &self.convs[reader] {
                let products = conv.backward.iter().zip(&conv.back_weights).map(|(gather, weights)| {
                    let has_taps = !gather.taps.is_empty();
                    has_taps.then(|| Product::new(self.int8, gather, weights, (&grad.codes, ZERO_GRAD)))
                });
                parts.push(GradPart::Products(products.collect(), &conv.back_scales, conv));
                continue;
            }
            let mut first = 0;
            for input in &node.inputs {
                if *input == value {
                    let shapes = (plan.graph().shape(value), plan.graph().shape(node.output));
                    parts.push(match &node.op {
                        Op::Resize(_) => GradPart::Repeated(grad, repeats(shapes.0, shapes.1).unwrap_or([1; 2])),
                        _ => GradPart::Codes(grad, first),
                    });
                }
                if node.op == Op::Concat {
                    first += plan.graph().shape(*input).c;
                }
            }
        }
        parts
    }

    /// The least memory that is spare and large enough, or the largest.
    fn spare_room(&mut self, shape: MapShape, border: usize) -> Buffer<u8> {
        let needed = Batch::<u8>::room(self.n, shape, border);
        let order = |b: &Buffer<u8>| (b.len() < needed, b.len().abs_diff(needed));
        let best = (0..self.spare.len()).min_by_key(|i| order(&self.spare[*i]));
        best.map(|i| self.spare.swap_remove(i)).unwrap_or_default()
    }

    /// Keeps the memory of gradients that were needed for this map's alone.
    fn release(&mut self, value: ValueId, state: &mut Backward<'_>) {
        let plan = self.plan.clone();
        for reader in state.readers[value.0 as usize].iter() {
            state.n_wanting[*reader] -= 1;
            if state.n_wanting[*reader] == 0 {
                let grad = state.grads[plan.graph().nodes[*reader].output.0 as usize].take();
                self.spare.extend(grad.map(|grad| grad.codes.into_data()));
            }
        }
    }

    /// The gradient of what a map's activation was given, coded.
    fn code_grad(&mut self, value: ValueId, act: &Act, state: &Backward<'_>) -> CodedGrad {
        let (at, shape) = (value.0 as usize, self.plan.graph().shape(value));
        let border = self.grad_borders[at];
        let mut codes = Batch::again(self.spare_room(shape, border), self.n, shape, border, ZERO_GRAD);
        let mut range = std::mem::take(&mut self.grad_ranges[at]);
        range.resize(shape.c, 0.0);
        let parts = self.parts(value, state);
        let (room, period) = (parts::room(&parts), rows::period(shape.c));
        let slopes = Slopes::of(act, self.coded(value), self.before[at].as_ref());
        let rounding = match self.settings.is_random {
            true => GradRounding::Random { seed: rows::seed(self.step, value.0) },
            false => GradRounding::Nearest,
        };
        let (mut direction, mut scales) = (ClipSearch::default(), Vec::new());
        let searches = self.settings.is_clipped && self.step % clip::EVERY == 1;
        for _ in 0..2 {
            let greatest = range.iter().copied().fold(0.0, f32::max);
            if !self.settings.is_per_channel {
                range.fill(greatest);
            }
            let kept = self.clips[at].0 / 127.0;
            scales = range.iter().map(|r| r * kept).collect();
            let mut ranges = Vec::new();
            rows::spread(&range, &mut ranges);
            let mut inverse = Vec::new();
            let inverses: Vec<f32> = scales.iter().map(|s| if *s > 0.0 { 1.0 / s } else { 0.0 }).collect();
            rows::spread(&inverses, &mut inverse);
            let width = shape.w * shape.c;
            let row = |s: &mut Scratch, picture: usize, y: usize, codes: &mut [u8]| {
                let mut row = std::mem::take(&mut s.row);
                parts::add_row(&parts, s, picture, y, shape, &mut row);
                slopes.apply(picture, y, &mut row);
                let first = ((picture * shape.h + y) * width) as u32;
                let relu = slopes.relu(picture, y);
                rows::code_grads(&row, &inverse, rounding.behind(first), relu, codes, &mut s.most);
                if searches && (picture + y).is_multiple_of(clip::ROWS) {
                    rows::mask_relu(relu, &mut row);
                    s.direction.add(&row, &ranges, greatest);
                }
                s.row = row;
            };
            let seen = codes.fold_rows(|| Scratch::new(room, width, period), row, Scratch::merged);
            let mut most = vec![0.0; shape.c];
            rows::gather_most(&seen.most, &mut most);
            direction = seen.direction;
            if range::after(&mut range, &most) {
                break;
            }
        }
        if searches {
            self.clips[at] = direction.best();
        }
        self.grad_ranges[at] = range;
        let mut spread = Vec::new();
        rows::spread(&scales, &mut spread);
        CodedGrad { codes, scales, spread }
    }

    /// On decoded maps: parts of the inputs' gradients in `f32`.
    fn float_backward(
        &mut self,
        i: usize,
        node: &Node,
        params: &Params,
        state: &mut Backward<'_>,
        result: &mut Params,
    ) {
        let plan = self.plan.clone();
        let shape = plan.graph().shape(node.output);
        let float = self.floats[i].clone();
        let borders = float.as_ref().map_or([0; 2], FloatConv::borders);
        let mut grad = Batch::new(self.n, shape, borders[1], 0.0);
        {
            let parts = self.parts(node.output, state);
            let room = parts::room(&parts);
            grad.for_rows(
                || Scratch::new(room, 0, 0),
                |s, picture, y, row| {
                    parts::add_row(&parts, s, picture, y, shape, row);
                },
            );
        }
        let inputs: Vec<Batch> = node.inputs.iter().map(|v| self.coded(*v).decoded(borders[0])).collect();
        let part = |state: &mut Backward<'_>, v: ValueId| match state.floats[v.0 as usize].take() {
            Some(part) => (part, Put::Add),
            None => (Batch::new(self.n, plan.graph().shape(v), 0, 0.0), Put::Store),
        };
        if let (Op::Conv(conv), Some(float)) = (&node.op, &float) {
            let at = node.output.0 as usize;
            let seen = self.before[at].as_ref().unwrap_or_else(|| self.coded(node.output)).decoded(0);
            act::scale_by_slope(&conv.act, &seen, &mut grad);
            let layer = plan.layer_of(i);
            if let Some(layer) = layer {
                let mut grads = float.weight_grad(self.kernels, &inputs[0], &grad);
                grads.unfold_grad(&params.0[layer.0]);
                result.0[layer.0] = grads;
            }
            if plan.wants_grad(node.inputs[0]) {
                let folded = layer.map(|layer| params.0[layer.0].folded());
                let (mut to, put) = part(state, node.inputs[0]);
                float.input_grad(self.kernels, folded.as_ref().unwrap_or(&conv.weights), &grad, &mut to, put);
                state.floats[node.inputs[0].0 as usize] = Some(to);
            }
            return;
        }
        let out = self.coded(node.output).decoded(0);
        let inputs: Vec<&Batch> = inputs.iter().collect();
        for (k, input) in node.inputs.iter().enumerate().filter(|(_, v)| plan.wants_grad(**v)) {
            let (mut to, put) = part(state, *input);
            ops::backward(&node.op, k, &inputs, &out, &grad, (&mut to, put));
            state.floats[input.0 as usize] = Some(to);
        }
    }
}

/// What the way back has come to.
struct Backward<'a> {
    /// By value: the nodes that read it.
    readers: Vec<Vec<usize>>,
    output_grads: Vec<(usize, &'a [f32])>,
    /// By value.
    grads: Vec<Option<CodedGrad>>,
    floats: Vec<Option<Batch>>,
    /// By node: the inputs whose gradient is still to be made of its output's, each as often as it is read.
    n_wanting: Vec<usize>,
}
