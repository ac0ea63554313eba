//! Convolutions in `f32`: forwards, the gradient of the input, and that of the weights.

use crate::batch::Batch;
use crate::geometry::Gather;
use crate::params::LayerParams;
use engine::buffer::Buffer;
use engine::graph::{Act, Conv, MapShape, Window};
use engine::kernels::{BLOCK, CellRun, ConvArgs, Kernels, Rows, TILE, WeightGradArgs};
use engine::weights::packed::{Packed, Packing, blocks};
use rayon::prelude::*;

/// How a convolution's channels see one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Channels {
    /// Each by itself.
    Apart,
    /// All of a group, so many groups.
    Grouped(usize),
}

/// A convolution's shape, and its way back.
#[derive(Debug, Clone)]
pub struct FloatConv {
    window: Window,
    input: MapShape,
    out: MapShape,
    channels: Channels,
    forward: Gather,
    backward: Vec<Gather>,
}

/// What adds a gather's rows to a map or stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Store,
    Add,
}

/// Scratch of a thread.
struct Scratch {
    inputs: Vec<*const f32>,
    rows: Buffer,
}

// Safety: the pointers are written before each call that reads them, on the thread that makes it.
unsafe impl Send for Scratch {}

impl Scratch {
    fn new(n_taps: usize, stride: usize) -> Self {
        Self { inputs: vec![std::ptr::null(); n_taps * TILE], rows: Buffer::zeros(TILE * stride) }
    }
}

/// A gather with the weights of its taps, a group's together.
struct Convolution<'a> {
    kernels: Kernels,
    gather: &'a Gather,
    weights: Vec<Packed>,
    /// What is applied to each group's rows.
    acts: Vec<Act>,
    channels: Channels,
    /// Channels of a group of the source, and of the target.
    depth: usize,
    width: usize,
}

/// Gets the numbers of a target column from a channel on.
type Emit<'a> = &'a mut dyn FnMut(usize, usize, &[f32]);

impl<'a> Convolution<'a> {
    /// `weight(group, o, tap, c)` for target channel `o` and source channel `c` of a group.
    fn new(
        kernels: Kernels,
        gather: &'a Gather,
        channels: Channels,
        [depth, width]: [usize; 2],
        (bias, act): (&[f32], &Act),
        weight: impl Fn(usize, usize, usize, usize) -> f32,
    ) -> Self {
        let n_taps = gather.taps.len();
        let weights = match channels {
            Channels::Apart => {
                let packing = Packing::Depthwise { n_taps };
                let of = |c: usize| gather.taps.iter().map(move |tap| (c, tap.index));
                let numbers: Vec<f32> = (0..bias.len()).flat_map(of).map(|(c, tap)| weight(c, 0, tap, 0)).collect();
                vec![Packed::new(packing, &numbers, bias)]
            }
            Channels::Grouped(n) => (0..n)
                .map(|group| {
                    let mut numbers = Vec::with_capacity(width * n_taps * depth);
                    for o in 0..width {
                        for tap in &gather.taps {
                            numbers.extend((0..depth).map(|c| weight(group, o, tap.index, c)));
                        }
                    }
                    Packed::new(Packing::Gemm { n_taps, depth }, &numbers, &bias[group * width..][..width])
                })
                .collect(),
        };
        let of_group = |group: usize| match act {
            Act::PRelu(slopes) if channels != Channels::Apart => Act::PRelu(slopes[group * width..][..width].to_vec()),
            act => act.clone(),
        };
        let acts = (0..weights.len()).map(of_group).collect();
        Self { kernels, gather, weights, acts, channels, depth, width }
    }

    /// Numbers from row to row of a tile.
    fn stride(&self) -> usize {
        blocks(self.weights[0].n_out()) * BLOCK
    }

    fn scratch(&self) -> Scratch {
        Scratch::new(self.gather.taps.len(), self.stride())
    }

    /// Computes a row of targets; `emit(x, channel, numbers)` gets those of target column `x` from a channel on, `before`
    /// the same before their activation.
    fn row(
        &self,
        scratch: &mut Scratch,
        source: &Batch,
        [picture, j]: [usize; 2],
        mut before: Option<Emit<'_>>,
        mut emit: impl FnMut(usize, usize, &[f32]),
    ) {
        let gather = self.gather;
        let (c, stride) = (source.shape().c as isize, self.stride());
        let step = gather.stride[1] as isize * c;
        let most = gather.n[1].div_ceil(gather.n[1].div_ceil(TILE));
        for first in (0..gather.n[1]).step_by(most) {
            let n = most.min(gather.n[1] - first);
            for (group, weights) in self.weights.iter().enumerate() {
                for (tap, inputs) in gather.taps.iter().zip(scratch.inputs.chunks_exact_mut(TILE)) {
                    let y = (gather.stride[0] * j) as isize + tap.offset[0];
                    let x = (gather.stride[1] * first) as isize + tap.offset[1];
                    let at = source.data()[source.at(picture, y, x)..].as_ptr().wrapping_add(group * self.depth);
                    for (p, input) in inputs[..n].iter_mut().enumerate() {
                        *input = at.wrapping_offset(p as isize * step);
                    }
                }
                let args = ConvArgs {
                    n,
                    n_taps: gather.taps.len(),
                    depth: if self.channels == Channels::Apart { 1 } else { self.depth },
                    inputs: scratch.inputs.as_ptr(),
                    weights: weights.weights().as_ptr(),
                    bias: weights.biases().as_ptr(),
                    n_blocks: weights.n_blocks(),
                    rows: scratch.rows.as_mut_ptr(),
                    stride,
                    is_cold: false,
                };
                // Safety: every tap of every target lies in the source or its border, which is as wide as the gather needs
                // (checked where batches are made), with whole blocks behind each cell; rows have room for whole blocks.
                unsafe {
                    match self.channels {
                        Channels::Apart => self.kernels.depthwise(&args),
                        Channels::Grouped(_) => self.kernels.gemm(&args),
                    }
                }
                let (width, act) = (weights.n_out(), &self.acts[group]);
                let x = |p: usize| gather.first[1] + (first + p) * gather.step[1];
                if *act != Act::Identity {
                    if let Some(before) = &mut before {
                        let rows = scratch.rows.chunks_exact(stride).take(n).enumerate();
                        rows.for_each(|(p, row)| before(x(p), group * self.width, &row[..width]));
                    }
                    let rows = Rows { first: scratch.rows.as_mut_ptr(), stride, n, width };
                    // Safety: rows have room for whole blocks.
                    unsafe { self.kernels.act(act, rows) }
                }
                let rows = scratch.rows.chunks_exact(stride).take(n).enumerate();
                rows.for_each(|(p, row)| emit(x(p), group * self.width, &row[..width]));
            }
        }
    }
}

impl FloatConv {
    pub fn new(conv: &Conv, input: MapShape, out: MapShape) -> Self {
        let channels = if conv.is_depthwise() { Channels::Apart } else { Channels::Grouped(conv.groups) };
        Self {
            window: conv.window,
            input,
            out,
            channels,
            forward: Gather::forward(&conv.window, out),
            backward: Gather::backward(&conv.window, input),
        }
    }

    /// Cells around the input that are read, and around the gradient of the output.
    pub fn borders(&self) -> [usize; 2] {
        let back = self.backward.iter().map(|phase| phase.border(self.out)).max();
        [self.forward.border(self.input), back.unwrap_or(0)]
    }

    fn groups(&self) -> usize {
        match self.channels {
            Channels::Apart => self.input.c,
            Channels::Grouped(n) => n,
        }
    }

    /// Channels of a group: inputs, outputs.
    fn of_group(&self) -> [usize; 2] {
        [self.input.c, self.out.c].map(|c| c / self.groups())
    }

    /// `y = act(folded weights * x + bias)`; `before`, where it is asked for, becomes what `act` is given.
    pub fn forward(
        &self,
        kernels: Kernels,
        params: (&[f32], &[f32]),
        act: &Act,
        x: &Batch,
        y: &mut Batch,
        before: Option<&mut Batch>,
    ) {
        let (folded, bias) = params;
        let [depth, width] = self.of_group();
        let n_taps = self.window.n_taps();
        let at =
            |group: usize, o: usize, tap: usize, c: usize| folded[((group * width + o) * n_taps + tap) * depth + c];
        let job = Convolution::new(kernels, &self.forward, self.channels, [depth, width], (bias, act), at);
        assert!(x.border() >= self.forward.border(self.input), "room for windows");
        let all = self.out.c;
        let put = |row: &mut [f32], x: usize, channel: usize, numbers: &[f32]| {
            row[x * all + channel..][..numbers.len()].copy_from_slice(numbers);
        };
        match before {
            None => y.for_rows(
                || job.scratch(),
                |scratch, picture, j, y| {
                    job.row(scratch, x, [picture, j], None, |x, channel, numbers| put(y, x, channel, numbers));
                },
            ),
            Some(before) => y.for_rows_of_both(
                before,
                || job.scratch(),
                |scratch, picture, j, y, before| {
                    let mut keep = |x: usize, channel: usize, numbers: &[f32]| put(before, x, channel, numbers);
                    job.row(scratch, x, [picture, j], Some(&mut keep), |x, channel, numbers| {
                        put(y, x, channel, numbers)
                    });
                },
            ),
        }
    }

    /// The gradient of the input from that of the output (before its activation), whose border is 0.
    pub fn input_grad(&self, kernels: Kernels, folded: &[f32], dy: &Batch, dx: &mut Batch, put: Put) {
        let [depth, width] = self.of_group();
        let n_taps = self.window.n_taps();
        let at =
            |group: usize, c: usize, tap: usize, o: usize| folded[((group * width + o) * n_taps + tap) * depth + c];
        let zeros = vec![0.0; self.input.c];
        let jobs: Vec<Convolution> = self
            .backward
            .iter()
            .map(|phase| Convolution::new(kernels, phase, self.channels, [width, depth], (&zeros, &Act::Identity), at))
            .collect();
        assert!(dy.border() >= self.borders()[1], "room for windows");
        let all = self.input.c;
        let scratches = || jobs.iter().map(Convolution::scratch).collect::<Vec<_>>();
        dx.for_rows(scratches, |scratches, picture, y, row| {
            for (job, scratch) in jobs.iter().zip(scratches) {
                let gather = job.gather;
                if y % gather.step[0] != gather.first[0] {
                    continue;
                }
                if gather.taps.is_empty() {
                    if put == Put::Store {
                        row.chunks_exact_mut(all)
                            .skip(gather.first[1])
                            .step_by(gather.step[1])
                            .for_each(|v| v.fill(0.0));
                    }
                    continue;
                }
                job.row(scratch, dy, [picture, y / gather.step[0]], None, |x, channel, numbers| {
                    let to = &mut row[x * all + channel..][..numbers.len()];
                    match put {
                        Put::Store => to.copy_from_slice(numbers),
                        Put::Add => to.iter_mut().zip(numbers).for_each(|(to, v)| *to += *v),
                    }
                });
            }
        });
    }

    /// The gradients of folded weights and bias, from the input and the gradient of the output. The gain's stay 0.
    pub fn weight_grad(&self, kernels: Kernels, x: &Batch, dy: &Batch) -> LayerParams {
        let [depth, width] = self.of_group();
        let n_taps = self.window.n_taps();
        let mut weights = vec![0.0; self.out.c * n_taps * depth];
        match self.channels {
            Channels::Apart => self.weight_grad_apart(x, dy, &mut weights),
            Channels::Grouped(groups) => {
                // Parts of the sum's inputs, not of its cells: any number of threads gives the same bits.
                let parts: Vec<(usize, usize, usize)> = (0..groups)
                    .flat_map(|group| {
                        (0..n_taps).flat_map(move |tap| (0..depth).step_by(PART).map(move |c| (group, tap, c)))
                    })
                    .collect();
                let sums: Vec<Buffer> =
                    parts.par_iter().map(|part| self.weight_grad_part(kernels, x, dy, *part)).collect();
                for ((group, tap, first), sums) in parts.into_iter().zip(sums) {
                    let stride = blocks(width) * BLOCK;
                    for (c, row) in (first..depth.min(first + PART)).zip(sums.chunks_exact(stride)) {
                        for (o, sum) in row[..width].iter().enumerate() {
                            weights[((group * width + o) * n_taps + tap) * depth + c] = *sum;
                        }
                    }
                }
            }
        }
        let sums = |picture: usize| {
            let mut sums = vec![0.0; self.out.c];
            for cell in (0..self.out.h).flat_map(|y| dy.row(picture, y).chunks_exact(self.out.c)) {
                sums.iter_mut().zip(cell).for_each(|(sum, v)| *sum += v);
            }
            sums
        };
        let sums: Vec<Vec<f32>> = (0..dy.n()).into_par_iter().map(sums).collect();
        let bias = (0..self.out.c).map(|o| sums.iter().map(|sums| sums[o]).sum()).collect();
        LayerParams { weights, bias, gain: vec![0.0; self.out.c] }
    }

    fn weight_grad_part(
        &self,
        kernels: Kernels,
        x: &Batch,
        dy: &Batch,
        (group, tap, first): (usize, usize, usize),
    ) -> Buffer {
        let [depth, width] = self.of_group();
        let (n_blocks, tap) = (blocks(width), self.forward.taps[tap]);
        let stride = n_blocks * BLOCK;
        let mut sums = Buffer::zeros(PART.min(depth - first) * stride);
        for picture in 0..x.n() {
            let run = |j: usize| {
                let y = (self.window.stride[0] * j) as isize + tap.offset[0];
                CellRun {
                    inputs: x.data()[x.at(picture, y, tap.offset[1]) + group * depth + first..].as_ptr(),
                    grads: dy.data()[dy.at(picture, j as isize, 0) + group * width..].as_ptr(),
                }
            };
            let runs: Vec<CellRun> = (0..self.out.h).map(run).collect();
            let args = WeightGradArgs {
                runs: &runs,
                n: self.out.w,
                input_step: self.window.stride[1] * self.input.c,
                grad_step: self.out.c,
                n_inputs: PART.min(depth - first),
                n_blocks,
                sums: sums.as_mut_ptr(),
                stride,
            };
            // Safety: as for [`Convolution::row`]; behind each cell of a batch whole blocks can be read.
            unsafe { kernels.weight_grad(&args) }
        }
        sums
    }

    fn weight_grad_apart(&self, x: &Batch, dy: &Batch, weights: &mut [f32]) {
        let (n_taps, c) = (self.window.n_taps(), self.input.c);
        let sums: Vec<Vec<f32>> = (self.forward.taps.par_iter())
            .map(|tap| {
                let mut sums = vec![0.0; c];
                for (picture, j) in (0..x.n()).flat_map(|p| (0..self.out.h).map(move |j| (p, j))) {
                    let y = (self.window.stride[0] * j) as isize + tap.offset[0];
                    let from = &x.data()[x.at(picture, y, tap.offset[1])..];
                    let inputs = from.chunks(c).step_by(self.window.stride[1]);
                    for (inputs, grads) in inputs.zip(dy.row(picture, j).chunks_exact(c)) {
                        for (sum, (x, g)) in sums.iter_mut().zip(inputs.iter().zip(grads)) {
                            *sum += x * g;
                        }
                    }
                }
                sums
            })
            .collect();
        for (tap, sums) in sums.iter().enumerate() {
            sums.iter().enumerate().for_each(|(c, sum)| weights[c * n_taps + tap] = *sum);
        }
    }
}

/// Input channels of a part of a weight's gradient.
const PART: usize = 24;
