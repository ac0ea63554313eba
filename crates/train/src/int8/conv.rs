//! A convolution in eight bits: its products forwards, for the gradient of the input, and for that of the weights.

use super::transpose::{Planes, Quads};
use crate::batch::Batch;
use crate::geometry::Gather;
use engine::graph::{Conv, MapShape, Window};
use engine::kernels::int8::Int8Kernels;
use engine::kernels::{BLOCK, DotRun, ProductArgs, SumArgs, TILE};
use engine::weights::int8::PackedInt8;
use rayon::prelude::*;
use std::ops::Range;

/// Cells that are summed at once: their maps, four cells side by side, stay near. An `i32` holds as many products of bytes as
/// are in 2^16 cells.
const BAND_CELLS: usize = 1 << 12;
/// Into so many bands, where there are enough rows: for as many threads.
const LEAST_BANDS: usize = 4;

/// A convolution's shape, its way back, and its weights of this step in eight bits.
#[derive(Debug)]
pub struct Int8Conv {
    window: Window,
    input: MapShape,
    out: MapShape,
    pub forward: Gather,
    pub backward: Vec<Gather>,
    pub weights: PackedInt8,
    /// What a weight's unit is worth, an output channel.
    pub scales: Vec<f32>,
    /// As many as there are phases, with the scales of the output's gradient in them.
    pub back_weights: Vec<PackedInt8>,
    /// An input channel, in whole blocks.
    pub back_scales: Vec<f32>,
}

impl Int8Conv {
    /// Of a convolution whose channels all see one another.
    pub fn new(conv: &Conv, input: MapShape, out: MapShape) -> Self {
        let (forward, backward) = (Gather::forward(&conv.window, out), Gather::backward(&conv.window, input));
        Self {
            window: conv.window,
            input,
            out,
            weights: PackedInt8::zeros(conv.window.n_taps(), input.c, out.c),
            scales: vec![0.0; out.c],
            back_weights: backward.iter().map(|g| PackedInt8::zeros(g.taps.len(), out.c, input.c)).collect(),
            back_scales: vec![0.0; input.c.div_ceil(BLOCK) * BLOCK],
            forward,
            backward,
        }
    }

    /// Cells around the input that are read, and around the gradient of the output.
    pub fn borders(&self) -> [usize; 2] {
        let back = self.backward.iter().map(|phase| phase.border(self.out)).max();
        [self.forward.border(self.input), back.unwrap_or(0)]
    }

    /// Takes over weights `[out][tap][in]`, to the nearest of 255 steps, an output channel's or all together's.
    pub fn set_weights(&mut self, weights: &[f32], is_per_channel: bool) {
        let (n_taps, depth) = (self.window.n_taps(), self.input.c);
        let per_out = n_taps * depth;
        for (scale, row) in self.scales.iter_mut().zip(weights.chunks_exact(per_out)) {
            *scale = unit(row.iter().copied());
        }
        if !is_per_channel {
            let most = self.scales.iter().copied().fold(0.0, f32::max);
            self.scales.fill(most);
        }
        let units = per(&self.scales);
        self.weights.lay(|o, tap, c| code(weights[o * per_out + tap * depth + c] * units[o]));
    }

    /// The same for the way back: weights times what a unit of the output's gradient is worth, an output channel.
    pub fn set_back_weights(&mut self, folded: &[f32], grad_scales: &[f32]) {
        let (n_taps, depth) = (self.window.n_taps(), self.input.c);
        let at = |c: usize, tap: usize, o: usize| folded[(o * n_taps + tap) * depth + c] * grad_scales[o];
        let mut most = vec![0f32; depth];
        for o in 0..self.out.c {
            for tap in 0..n_taps {
                most.iter_mut().enumerate().for_each(|(c, most)| *most = most.max(at(c, tap, o).abs()));
            }
        }
        for (scale, most) in self.back_scales.iter_mut().zip(most) {
            *scale = unit([most].into_iter());
        }
        let units = per(&self.back_scales);
        for (phase, weights) in self.backward.iter().zip(&mut self.back_weights) {
            weights.lay(|c, tap, o| code(at(c, phase.taps[tap].index, o) * units[c]));
        }
    }

    /// Gradients of weights `[out][tap][in]`, in units of both codes, and of biases: of a batch of inputs, whose border is
    /// `zero`, and of outputs.
    pub fn weight_grad(
        &self,
        int8: Int8Kernels,
        (inputs, zero): (&Batch<u8>, u8),
        grads: &Batch<u8>,
        rooms: &mut Vec<BandRoom>,
    ) -> (Vec<f32>, Vec<f32>) {
        let (n_taps, depth, width) = (self.window.n_taps(), self.input.c, self.out.c.div_ceil(BLOCK) * BLOCK);
        let n_rows = grads.n() * self.out.h;
        let most = (BAND_CELLS / self.out.w).clamp(1, n_rows.div_ceil(LEAST_BANDS));
        let bands: Vec<_> = (0..n_rows).step_by(most).map(|first| first..n_rows.min(first + most)).collect();
        let n_parts = rayon::current_num_threads().min(bands.len());
        rooms.resize_with(n_parts.max(rooms.len()), BandRoom::default);
        rooms[..n_parts].par_iter_mut().enumerate().for_each(|(first, room)| {
            room.begin(n_taps, depth, width);
            let of_part = bands.iter().skip(first).step_by(n_parts);
            of_part.for_each(|rows| self.add_band(int8, (inputs, zero), grads, rows.clone(), room));
        });
        // Sums are exact: any order gives the same.
        let Some((sums, others)) = rooms[..n_parts].split_first_mut() else { unreachable!("there is a row") };
        others.iter().for_each(|other| sums.merge(other));
        let mut weights = vec![0.0; self.out.c * n_taps * depth];
        for (i, row) in sums.weights.chunks_exact(width).enumerate() {
            let of_out = weights.iter_mut().skip(i).step_by(n_taps * depth);
            of_out.zip(row).for_each(|(to, total)| *to = *total as f32);
        }
        (weights, sums.bias[..self.out.c].iter().map(|v| *v as f32).collect())
    }

    /// The part of rows of all pictures' outputs, read while it is near.
    fn add_band(
        &self,
        int8: Int8Kernels,
        (inputs, zero): (&Batch<u8>, u8),
        grads: &Batch<u8>,
        rows: Range<usize>,
        room: &mut BandRoom,
    ) {
        let (h, border, stride) = (self.out.h, inputs.border(), self.window.stride);
        let whole = inputs.shape().h + 2 * border;
        let row_of = |tap: usize| (self.forward.taps[tap].offset[0] + border as isize) as usize;
        let (top, bottom) = (row_of(0), row_of(self.window.n_taps() - 1));
        // Of each picture the rows that windows see, and where those of an output's row begin among all of them.
        room.seen.clear();
        room.first_rows.clear();
        let mut n_seen = 0;
        for picture in rows.start / h..=(rows.end - 1) / h {
            let (first, end) = (rows.start.max(picture * h) - picture * h, (rows.end - picture * h).min(h));
            let from = picture * whole + stride[0] * first + top;
            let seen = from..from + stride[0] * (end - 1 - first) + bottom - top + 1;
            room.first_rows.extend((0..end - first).map(|y| n_seen + stride[0] * y));
            n_seen += seen.len();
            room.seen.push(seen);
        }
        room.planes.fill(inputs, stride[1], &room.seen);
        room.quads.fill(grads, rows);
        let n_sums = room.sums.len();
        for (i, tap) in self.forward.taps.iter().enumerate() {
            let x = (tap.offset[1] + border as isize) as usize;
            let run = |(j, row): (usize, &usize)| DotRun {
                inputs: room.planes.at(row + row_of(i) - top, x),
                grads: room.quads.at(j),
            };
            let runs: Vec<DotRun> = room.first_rows.iter().enumerate().map(run).collect();
            let args = SumArgs {
                runs: &runs,
                n_quads: room.quads.n_quads(),
                input_step: room.planes.step(),
                n_inputs: self.input.c,
                n_blocks: room.bias.len() / BLOCK,
                zero: zero.into(),
                grad_sums: room.quads.sums().as_ptr(),
                sums: room.sums.as_mut_ptr(),
                stride: room.bias.len(),
            };
            // Safety: taps stay within the map's border, which the planes have too; behind the last row of the last
            // plane there is room for what fills four cells up. Quads and sums are in whole blocks.
            unsafe { int8.sum(&args) }
            let totals = &mut room.weights[i * n_sums..][..n_sums];
            totals.iter_mut().zip(room.sums.iter()).for_each(|(total, sum)| *total += i64::from(*sum));
        }
        room.bias.iter_mut().zip(room.quads.sums()).for_each(|(total, sum)| *total += i64::from(*sum));
    }
}

/// What a thread lays bands out in, and what they come to; kept for the next layer.
#[derive(Debug, Default)]
pub struct BandRoom {
    planes: Planes,
    quads: Quads,
    seen: Vec<Range<usize>>,
    first_rows: Vec<usize>,
    /// Of a tap.
    sums: Vec<i32>,
    /// `[tap][in][out in whole blocks]`.
    weights: Vec<i64>,
    bias: Vec<i64>,
}

impl BandRoom {
    fn begin(&mut self, n_taps: usize, depth: usize, width: usize) {
        self.sums.clear();
        self.sums.resize(depth * width, 0);
        for (sums, n) in [(&mut self.weights, n_taps * depth * width), (&mut self.bias, width)] {
            sums.clear();
            sums.resize(n, 0);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.weights.iter_mut().zip(&other.weights).for_each(|(a, b)| *a += b);
        self.bias.iter_mut().zip(&other.bias).for_each(|(a, b)| *a += b);
    }
}

/// What the unit of 127 steps to the greatest number is worth.
fn unit(numbers: impl Iterator<Item = f32>) -> f32 {
    (numbers.fold(0.0, |a: f32, b| a.max(b.abs())) / 127.0).max(f32::MIN_POSITIVE)
}

/// Units to one; none of nothing.
fn per(units: &[f32]) -> Vec<f32> {
    units.iter().map(|unit| if *unit > 0.0 { (1.0 / unit).min(f32::MAX) } else { 0.0 }).collect()
}

/// The nearest step, ties to even: no instruction for it is needed everywhere, so a large number rounds.
fn code(units: f32) -> i8 {
    const LARGE: f32 = 12_582_912.0;
    (units.clamp(-127.0, 127.0) + LARGE - LARGE) as i8
}

/// A gather with weights in eight bits, on maps of one size.
pub struct Product<'a> {
    int8: Int8Kernels,
    gather: &'a Gather,
    weights: &'a PackedInt8,
    /// Bytes from the first tap to each.
    taps: Vec<isize>,
    source: &'a Batch<u8>,
    zero: u8,
}

impl<'a> Product<'a> {
    /// `source`'s border is as wide as the gather needs, and holds `zero`.
    ///
    /// # Panics
    /// It is narrower.
    pub fn new(
        int8: Int8Kernels,
        gather: &'a Gather,
        weights: &'a PackedInt8,
        (source, zero): (&'a Batch<u8>, u8),
    ) -> Self {
        assert!(source.border() >= gather.border(source.shape()), "room for windows");
        let (pitch, c) = (source.pitch() as isize, source.shape().c as isize);
        let at = |offset: [isize; 2]| offset[0] * pitch + offset[1] * c;
        let first = gather.taps.first().map_or(0, |tap| at(tap.offset));
        let taps = gather.taps.iter().map(|tap| at(tap.offset) - first).collect();
        Self { int8, gather, weights, taps, source, zero }
    }

    /// Numbers from cell to cell of [`Product::row`].
    pub fn stride(&self) -> usize {
        self.weights.n_blocks() * BLOCK
    }

    /// Numbers that a row needs.
    pub fn room(&self) -> usize {
        self.gather.n[1] * self.stride()
    }

    /// The sums of a row of targets. There is at least one tap.
    ///
    /// # Panics
    /// `sums` has less room than [`Product::room`].
    pub fn row(&self, picture: usize, j: usize, sums: &mut [i32]) {
        let (gather, stride, n) = (self.gather, self.stride(), self.gather.n[1]);
        assert!(sums.len() >= self.room(), "room for a row");
        let tap = gather.taps[0].offset;
        let at = |x: usize| {
            let y = (gather.stride[0] * j) as isize + tap[0];
            self.source.at(picture, y, (gather.stride[1] * x) as isize + tap[1])
        };
        let (first, step) = (self.source.data()[at(0)..].as_ptr(), gather.stride[1] * self.source.shape().c);
        let most = n.div_ceil(n.div_ceil(TILE));
        for x in (0..n).step_by(most) {
            let cells = std::array::from_fn(|p| first.wrapping_add((x + p) * step));
            let args = ProductArgs {
                n: most.min(n - x),
                cells: &cells,
                taps: &self.taps,
                n_quads: self.weights.n_quads(),
                zero: self.zero.into(),
                weights: self.weights.weights().as_ptr(),
                column_sums: self.weights.column_sums().as_ptr(),
                n_blocks: self.weights.n_blocks(),
                sums: sums[x * stride..].as_mut_ptr(),
                stride,
            };
            // Safety: every tap of every target lies in the source or its border, with three more bytes behind each cell;
            // sums have room for the row.
            unsafe { self.int8.product(&args) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::graph::Act;

    /// More products of the greatest bytes than an `i32` holds.
    #[test]
    fn large_maps_are_summed_in_pieces() {
        let shape = MapShape::new(300, 300, 1);
        let conv = Conv {
            window: Window::POINT,
            groups: 1,
            weights: vec![1.0],
            bias: vec![0.0],
            act: Act::Identity,
            post: Act::Identity,
            transposed: false,
        };
        let int8 = Int8Conv::new(&conv, shape, shape);
        let (inputs, grads) = (Batch::new(2, shape, 0, 255), Batch::new(2, shape, 0, 255));
        for kernels in Int8Kernels::all() {
            let (weights, bias) = int8.weight_grad(*kernels, (&inputs, 0), &grads, &mut Vec::new());
            let n = 2.0 * 300.0 * 300.0 * 127.0;
            assert_eq!((weights, bias), (vec![n * 255.0], vec![n]), "{kernels:?}");
        }
    }
}
