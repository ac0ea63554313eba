//! A convolution in eight bits: its products forwards, for the gradient of the input, and for that of the weights.

use super::transpose::{Planes, Quads};
use crate::batch::Batch;
use crate::geometry::Gather;
use engine::buffer::Buffer;
use engine::graph::{Conv, MapShape, Window};
use engine::kernels::int8::Int8Kernels;
use engine::kernels::{BLOCK, DotRun, ProductArgs, SumArgs, TILE};
use engine::weights::int8::PackedInt8;
use rayon::prelude::*;

/// Most cells that are summed at once: as many products of bytes fit into an `i32`.
const MOST_CELLS: usize = 1 << 16;
/// Input channels of a part of a weight's gradient.
const PART: usize = 24;

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
    /// An input channel.
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
            back_scales: vec![0.0; input.c],
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
        let scales = &self.scales;
        self.weights.lay(|o, tap, c| code(weights[o * per_out + tap * depth + c], scales[o]));
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
        let scales = &self.back_scales;
        for (phase, weights) in self.backward.iter().zip(&mut self.back_weights) {
            weights.lay(|c, tap, o| code(at(c, phase.taps[tap].index, o), scales[c]));
        }
    }

    /// Gradients of weights `[out][tap][in]`, in units of both codes, and of biases.
    pub fn weight_grad(
        &self,
        int8: Int8Kernels,
        (planes, border, zero): (&Planes, usize, u8),
        quads: &Quads,
        n: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let (n_taps, depth, width) = (self.window.n_taps(), self.input.c, self.out.c.div_ceil(BLOCK) * BLOCK);
        let most_rows = (MOST_CELLS / (quads.n_quads() * 4)).max(1);
        let pieces: Vec<_> = (0..n)
            .flat_map(|picture| (0..self.out.h).step_by(most_rows).map(move |y| (picture, y)))
            .map(|(picture, y)| (picture, y..self.out.h.min(y + most_rows)))
            .collect();
        // Parts of the sum's inputs, not of its cells. Sums are exact: any order gives the same.
        let parts: Vec<(usize, usize)> =
            (0..self.window.kernel[0]).flat_map(|ky| (0..depth).step_by(PART).map(move |c| (ky, c))).collect();
        let part = |&(ky, first): &(usize, usize)| {
            let n_inputs = PART.min(depth - first);
            let taps = &self.forward.taps[ky * self.window.kernel[1]..][..self.window.kernel[1]];
            let mut totals = vec![0i64; taps.len() * n_inputs * width];
            let mut sums = Buffer::<i32>::zeros(n_inputs * width);
            for (picture, rows) in &pieces {
                let grad_sums = quads.sums(*picture, rows.clone());
                for (tap, totals) in taps.iter().zip(totals.chunks_exact_mut(n_inputs * width)) {
                    let run = |j: usize| {
                        let y = ((self.window.stride[0] * j) as isize + tap.offset[0] + border as isize) as usize;
                        let x = (tap.offset[1] + border as isize) as usize;
                        DotRun { inputs: planes.at(*picture, first, y, x), grads: quads.at(*picture, j) }
                    };
                    let runs: Vec<DotRun> = rows.clone().map(run).collect();
                    let args = SumArgs {
                        runs: &runs,
                        n_quads: quads.n_quads(),
                        input_step: planes.step(),
                        n_inputs,
                        n_blocks: width / BLOCK,
                        zero: zero.into(),
                        grad_sums: grad_sums.as_ptr(),
                        sums: sums.as_mut_ptr(),
                        stride: width,
                    };
                    // Safety: taps stay within the map's border, which the planes have too; behind the last row of the last
                    // plane there is room for what fills four cells up. Quads and sums are in whole blocks.
                    unsafe { int8.sum(&args) }
                    totals.iter_mut().zip(sums.iter()).for_each(|(total, sum)| *total += i64::from(*sum));
                }
            }
            totals
        };
        let totals: Vec<Vec<i64>> = parts.par_iter().map(part).collect();
        let mut weights = vec![0.0; self.out.c * n_taps * depth];
        for ((ky, first), totals) in parts.into_iter().zip(totals) {
            let n_inputs = PART.min(depth - first);
            for (i, row) in totals.chunks_exact(width).enumerate() {
                let (tap, c) = (ky * self.window.kernel[1] + i / n_inputs, first + i % n_inputs);
                for (o, total) in row[..self.out.c].iter().enumerate() {
                    weights[(o * n_taps + tap) * depth + c] = *total as f32;
                }
            }
        }
        let mut bias = vec![0i64; self.out.c];
        for picture in 0..n {
            let sums = quads.sums(picture, 0..self.out.h);
            bias.iter_mut().zip(sums).for_each(|(total, sum)| *total += i64::from(sum));
        }
        (weights, bias.into_iter().map(|v| v as f32).collect())
    }
}

/// What the unit of 127 steps to the greatest number is worth.
fn unit(numbers: impl Iterator<Item = f32>) -> f32 {
    (numbers.fold(0.0, |a: f32, b| a.max(b.abs())) / 127.0).max(f32::MIN_POSITIVE)
}

/// The nearest step, ties to even: no instruction for it is needed everywhere, so a large number rounds.
fn code(v: f32, unit: f32) -> i8 {
    const LARGE: f32 = 12_582_912.0;
    ((v / unit).clamp(-127.0, 127.0) + LARGE - LARGE) as i8
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
        let (mut planes, mut quads) = (Planes::default(), Quads::default());
        planes.fill(&Batch::new(2, shape, 0, 255), 1);
        quads.fill(&Batch::new(2, shape, 0, 255));
        for kernels in Int8Kernels::all() {
            let (weights, bias) = int8.weight_grad(*kernels, (&planes, 0, 0), &quads, 2);
            let n = 2.0 * 300.0 * 300.0 * 127.0;
            assert_eq!((weights, bias), (vec![n * 255.0], vec![n]), "{kernels:?}");
        }
    }
}
