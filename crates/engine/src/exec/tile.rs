//! Computing a tile: a handful of cells of a step, into rows of scratch.

use crate::buffer::Buffer;
use crate::changes::{Cell, Spread};
use crate::exec::job::{Tile, TileJob};
use crate::exec::scratch::ScratchNeeds;
use crate::exec::weightless;
use crate::gating::estimate::BiasTally;
use crate::graph::{Act, Conv, Separable, Window};
use crate::kernels::{
    BLOCK, ConvArgs, InputTransformArgs, Kernels, OutputTransformArgs, ROWS, Residuals, Rows, SQUARES, STRIP, TILE,
    strips,
};
use crate::plan::map::Map;
use crate::plan::step::{ConvKind, Gemm, Kind, Winograd2x2};
use crate::weights::packed::{Packed, blocks};
use crate::weights::winograd::{BIASED, N_PRODUCTS};
use std::time::Duration;

/// What one thread needs to compute tiles.
pub(crate) struct Tiler {
    pub kernels: Kernels,
    /// Rows of a tile, each of whole blocks and one more: the outputs of a group may begin in the middle of a block.
    rows: Buffer,
    /// The same, for what is between the two convolutions of a pair.
    between: Buffer,
    /// Inputs of squares, and their products by the weights of a strip: `[product][SQUARES]`.
    transformed: Buffer,
    products: Buffer,
    /// `[product][TILE]`, and what they are apart.
    transformed_inputs: Vec<*const f32>,
    transformed_apart: usize,
    /// From row to row.
    pub stride: usize,
    /// `[tap][TILE]`.
    inputs: Vec<*const f32>,
    zeros: Buffer,
    residuals: Residuals,
    /// The tile is the first of its step: weights are far away.
    pub is_cold: bool,
    /// Time in gates, for whoever calls.
    pub gates: Duration,
    /// Tiles that went through a gate.
    pub n_gated: u32,
    /// What came of estimated changes, and cells that moved by more than the threshold, for whoever calls.
    pub tally: BiasTally,
    pub passed: u64,
}

/// What is left to do to the rows of a tile.
#[derive(Clone, Copy)]
pub(crate) struct Unfinished<'a> {
    /// Whether residuals are added first.
    adds: bool,
    pub act: &'a Act,
}

// Safety: the pointers point into the tiler's own buffers, or are written anew before they are read: by each call of `tile`, or,
// of residuals, until `finish` of the same tile.
unsafe impl Send for Tiler {}

impl Tiler {
    pub fn new(needs: &ScratchNeeds, kernels: Kernels) -> Self {
        // A group's outputs begin anywhere in a row, and are written in whole blocks.
        let stride = (blocks(needs.channels) + 1) * BLOCK;
        Self {
            kernels,
            rows: Buffer::zeros(ROWS * stride),
            transformed: Buffer::zeros(N_PRODUCTS * SQUARES * needs.square_blocks * BLOCK),
            transformed_inputs: vec![std::ptr::null(); N_PRODUCTS * TILE],
            transformed_apart: 0,
            products: Buffer::zeros(N_PRODUCTS * SQUARES * STRIP),
            between: Buffer::zeros(TILE * stride),
            stride,
            inputs: vec![std::ptr::null(); needs.taps * TILE],
            zeros: Buffer::zeros(stride),
            residuals: [std::ptr::null(); ROWS],
            is_cold: false,
            gates: Duration::ZERO,
            n_gated: 0,
            tally: BiasTally::default(),
            passed: 0,
        }
    }

    /// Room for the rows of a tile.
    pub fn rows(&mut self) -> *mut f32 {
        self.rows.as_mut_ptr()
    }

    /// Computes the cells of a tile of a step, up to [`TILE`] or the listed ones of [`SQUARES`] squares, into rows of `stride`
    /// numbers; returns what is left to do, which is best done on their way to the map.
    ///
    /// # Safety
    /// `job` is of the program for whose needs this tiler was made, and of its weights. The cells lie in the step's output, each once. From `rows` on there are as many rows as
    /// cells, of squares all of theirs, `stride` numbers apart, with room for whole blocks of channels from the first output of each group on; no other thread reads or
    /// writes them, and they are no part of a map that this step reads. No other thread writes the maps that it reads.
    #[must_use]
    pub unsafe fn tile<'a>(
        &mut self,
        job: &TileJob<'a>,
        cells: &[Cell],
        rows: *mut f32,
        stride: usize,
    ) -> Unfinished<'a> {
        let width = job.maps[job.step.output].shape.c;
        let tile = Tile { cells, rows: Rows { first: rows, stride, n: cells.len(), width } };
        // Safety: as of this function.
        unsafe {
            match &job.step.kind {
                Kind::Conv { conv, how } => {
                    self.convolve(job, conv, how, tile);
                    self.before_residual(job, conv, tile)
                }
                Kind::Separable(pair) => {
                    self.separable(job, pair, tile);
                    self.before_residual(job, &pair.pointwise, tile)
                }
                _ => {
                    weightless::compute(&self.kernels, &mut self.inputs, job, tile);
                    Unfinished { adds: false, act: &Act::Identity }
                }
            }
        }
    }

    /// A convolution, before its activation.
    ///
    /// # Safety
    /// As of [`Tiler::tile`].
    unsafe fn convolve(&mut self, job: &TileJob<'_>, conv: &Conv, how: &ConvKind, tile: Tile<'_>) {
        let (buffers, input, Rows { first, stride, n, width }) = (job.buffers, job.input(), tile.rows);
        match how {
            ConvKind::Gemm(gemm) => {
                let (n_taps, depth) = self.gemm_inputs(buffers, input, gemm, tile.cells);
                let n_out = width / gemm.n_groups;
                for (g, packed) in job.weights.iter().enumerate() {
                    if g > 0 {
                        self.shift_inputs(gemm.window.kernel, n, gemm.depth);
                    }
                    // Safety: packed for these taps; a group's outputs, inside each row.
                    unsafe { self.gemm(packed, n_taps, depth, n, first.add(g * n_out), stride) };
                }
            }
            ConvKind::Winograd2x2(how) => {
                // Safety: as of `tile`.
                unsafe { self.winograd(buffers, input, how, &job.weights[0], tile.cells, first, stride) };
            }
            ConvKind::Depthwise => {
                // Safety: as of `tile`.
                unsafe { self.depthwise(buffers, input, conv, &job.weights[0], tile.cells, first, stride) };
            }
            ConvKind::Transposed { phases, window, depth } => {
                for (y, x, row) in tile.each() {
                    let phase = y % window.stride[0] * window.stride[1] + x % window.stride[1];
                    let taps = &phases[phase].taps;
                    for (t, tap) in taps.iter().enumerate() {
                        let from = |i: usize| {
                            let at = ([y, x][i] + window.pad[i]).checked_sub(tap[i] * window.dilation[i])?;
                            Some(at / window.stride[i])
                        };
                        self.inputs[t * TILE] = match (from(0), from(1)) {
                            (Some(y), Some(x)) if y < input.shape.h && x < input.shape.w => {
                                input.cell_ptr(buffers, y, x)
                            }
                            _ => self.zeros.as_ptr(),
                        };
                    }
                    // Safety: packed for the phase's taps; one row.
                    unsafe { self.gemm(&job.weights[phase], taps.len(), *depth, 1, row.first, stride) };
                }
            }
        }
    }

    /// A depthwise convolution in scratch, and the pointwise one that reads it, before its activation.
    ///
    /// # Safety
    /// As of [`Tiler::tile`].
    unsafe fn separable(&mut self, job: &TileJob<'_>, pair: &Separable, tile: Tile<'_>) {
        let (input, Rows { first, stride, n, .. }) = (job.input(), tile.rows);
        let (depth, between, apart) = (input.shape.c, self.between.as_mut_ptr(), self.stride);
        let seen = Rows { first: between, stride: apart, n, width: depth };
        // Safety: scratch has room for the rows of a tile.
        unsafe {
            self.depthwise(job.buffers, input, &pair.depthwise, &job.weights[0], tile.cells, between, apart);
            self.kernels.act(&pair.depthwise.act, seen);
        }
        for (p, from) in self.inputs[..n].iter_mut().enumerate() {
            *from = between.wrapping_add(p * apart);
        }
        // Safety: packed for one tap of that depth; else as of `tile`.
        unsafe { self.gemm(&job.weights[1], 1, depth, n, first, stride) };
    }

    /// The arguments of a kernel whose inputs have been looked up.
    fn args(&self, p: &Packed, n_taps: usize, depth: usize, n: usize, rows: *mut f32, stride: usize) -> ConvArgs {
        ConvArgs {
            n,
            n_taps,
            depth,
            inputs: self.inputs.as_ptr(),
            weights: p.weights().as_ptr(),
            bias: p.biases().as_ptr(),
            n_blocks: p.n_blocks(),
            rows,
            stride,
            is_cold: self.is_cold,
        }
    }

    /// Before its activation.
    ///
    /// # Safety
    /// As of [`Tiler::tile`]; packed for this convolution.
    #[allow(clippy::too_many_arguments)]
    unsafe fn depthwise(
        &mut self,
        buffers: &[Buffer],
        input: &Map,
        conv: &Conv,
        packed: &Packed,
        cells: &[Cell],
        rows: *mut f32,
        stride: usize,
    ) {
        let (window, size) = (&conv.window, [input.shape.h, input.shape.w]);
        let inside = |cell: &Cell| window.inside(size, [cell.y as usize, cell.x as usize]);
        let apart = [window.dilation[0] * input.shape.w, window.dilation[1]].map(|n| n * input.stride);
        let mut rows = rows;
        for run in cells.chunk_by(|a, b| inside(a).is_some() == inside(b).is_some()) {
            let args = self.args(packed, window.n_taps(), 1, run.len(), rows, stride);
            if window.kernel == [3; 2] && inside(&run[0]).is_some() {
                for (first, [y, x]) in self.inputs.iter_mut().zip(run.iter().filter_map(inside)) {
                    *first = input.cell_ptr(buffers, y, x);
                }
                // Safety: packed for this convolution; the window lies in the map, and buffers have slack for whole blocks.
                unsafe { self.kernels.depthwise_inside(&args, apart) }
            } else {
                self.window_inputs(buffers, input, window, run);
                // Safety: packed for this convolution; buffers and zeros have slack for whole blocks.
                unsafe { self.kernels.depthwise(&args) }
            }
            rows = rows.wrapping_add(run.len() * stride);
        }
    }

    /// # Safety
    /// Inputs have been looked up; packed for these taps and this depth; rows have room for whole blocks.
    unsafe fn gemm(&self, packed: &Packed, n_taps: usize, depth: usize, n: usize, rows: *mut f32, stride: usize) {
        let args = self.args(packed, n_taps, depth, n, rows, stride);
        // Safety: packed for these taps and this depth; rows have room for whole blocks.
        unsafe { self.kernels.gemm(&args) }
    }

    /// A convolution by squares, before its activation: the cells are listed square by square.
    ///
    /// # Safety
    /// As of [`Tiler::tile`]; packed for this convolution.
    #[allow(clippy::too_many_arguments)]
    unsafe fn winograd(
        &mut self,
        buffers: &[Buffer],
        input: &Map,
        how: &Winograd2x2,
        packed: &Packed,
        cells: &[Cell],
        rows: *mut f32,
        stride: usize,
    ) {
        let mut wanted = [std::ptr::null_mut(); ROWS];
        let mut places = [Cell { y: 0, x: 0 }; SQUARES];
        let mut n = 0;
        for (r, cell) in cells.iter().enumerate() {
            let place = Cell { y: cell.y / 2, x: cell.x / 2 };
            if n == 0 || places[n - 1] != place {
                places[n] = place;
                n += 1;
            }
            wanted[(n - 1) * 4 + (cell.y % 2 * 2 + cell.x % 2) as usize] = rows.wrapping_add(r * stride);
        }
        self.window_inputs(buffers, input, &how.window, &places[..n]);
        let (depth, apart) = (how.depth, blocks(how.depth) * BLOCK);
        let (transformed, products) = (self.transformed.as_mut_ptr(), self.products.as_mut_ptr());
        let args = InputTransformArgs { n, inputs: self.inputs.as_ptr(), depth, out: transformed, stride: apart };
        // Safety: inputs have slack for whole blocks, and there is room for those of all squares.
        unsafe { self.kernels.input_transform(&args) }
        self.point_at_transformed(apart);
        for strip in strips(packed.n_blocks()) {
            let column = strip.first * BLOCK;
            for k in 0..N_PRODUCTS {
                let bias = if k == BIASED { &packed.biases()[column..] } else { &self.zeros };
                let args = ConvArgs {
                    n,
                    n_taps: 1,
                    depth,
                    inputs: self.transformed_inputs[k * TILE..].as_ptr(),
                    weights: packed.product(k, strip).as_ptr(),
                    bias: bias.as_ptr(),
                    n_blocks: strip.n,
                    rows: products.wrapping_add(k * SQUARES * STRIP),
                    stride: STRIP,
                    is_cold: self.is_cold,
                };
                // Safety: packed for this depth; there is room for a strip of each product and square.
                unsafe { self.kernels.gemm(&args) }
            }
            let args = OutputTransformArgs { n, products, width: strip.n * BLOCK, rows: &wanted, column };
            // Safety: rows have room for whole blocks.
            unsafe { self.kernels.output_transform(&args) }
        }
    }

    /// Where what is multiplied begins, so many numbers from square to square: the same for all tiles of a step.
    fn point_at_transformed(&mut self, apart: usize) {
        if std::mem::replace(&mut self.transformed_apart, apart) == apart {
            return;
        }
        for (k, inputs) in self.transformed_inputs.chunks_exact_mut(TILE).enumerate() {
            for (p, input) in inputs[..SQUARES].iter_mut().enumerate() {
                *input = self.transformed.as_ptr().wrapping_add((k * SQUARES + p) * apart);
            }
        }
    }

    /// Where each tap of each cell begins; zeros outside of the map.
    fn window_inputs(&mut self, buffers: &[Buffer], map: &Map, w: &Window, cells: &[Cell]) {
        let base = buffers[map.buffer].as_ptr();
        let s = map.shape;
        let [kh, kw] = w.kernel;
        for (p, cell) in cells.iter().enumerate() {
            if let Some([y, x]) = w.inside([s.h, s.w], [cell.y as usize, cell.x as usize]) {
                let first = base.wrapping_add(map.at(y, x));
                for ky in 0..kh {
                    for kx in 0..kw {
                        let off = (ky * w.dilation[0] * s.w + kx * w.dilation[1]) * map.stride;
                        self.inputs[(ky * kw + kx) * TILE + p] = first.wrapping_add(off);
                    }
                }
                continue;
            }
            let y = (cell.y as usize * w.stride[0]) as isize - w.pad[0] as isize;
            let x = (cell.x as usize * w.stride[1]) as isize - w.pad[1] as isize;
            for ky in 0..kh {
                let y = y + (ky * w.dilation[0]) as isize;
                for kx in 0..kw {
                    let x = x + (kx * w.dilation[1]) as isize;
                    let hit = (0..s.h as isize).contains(&y) && (0..s.w as isize).contains(&x);
                    self.inputs[(ky * kw + kx) * TILE + p] =
                        if hit { map.cell_ptr(buffers, y as usize, x as usize) } else { self.zeros.as_ptr() };
                }
            }
        }
    }

    /// Where the taps of a GEMM begin; how many there are, and how deep. Where a row of the window
    /// is one run of numbers in memory it is one tap: the sums run in the same order.
    fn gemm_inputs(&mut self, buffers: &[Buffer], map: &Map, gemm: &Gemm, cells: &[Cell]) -> (usize, usize) {
        let w = &gemm.window;
        let [kh, kw] = w.kernel;
        let (s, base) = (map.shape, buffers[map.buffer].as_ptr());
        if w.is_point() {
            for (p, cell) in cells.iter().enumerate() {
                self.inputs[p] = map.cell_ptr(buffers, cell.y as usize, cell.x as usize);
            }
            return (1, gemm.depth);
        }
        let is_run = kw > 1 && map.stride == gemm.depth && w.dilation[1] == 1;
        let first = |cell: &Cell| w.inside([s.h, s.w], [cell.y as usize, cell.x as usize]);
        if !is_run || cells.iter().any(|cell| first(cell).is_none()) {
            self.window_inputs(buffers, map, w, cells);
            return (kh * kw, gemm.depth);
        }
        for (p, [y, x]) in cells.iter().filter_map(first).enumerate() {
            let mut at = base.wrapping_add(map.at(y, x));
            for ky in 0..kh {
                self.inputs[ky * TILE + p] = at;
                at = at.wrapping_add(w.dilation[0] * s.w * map.stride);
            }
        }
        (kh, kw * gemm.depth)
    }

    /// Moves all inputs on to the next group's channels; zeros stay where they are.
    fn shift_inputs(&mut self, kernel: [usize; 2], n: usize, depth: usize) {
        let zeros = self.zeros.as_ptr();
        for tap in 0..kernel[0] * kernel[1] {
            for input in &mut self.inputs[tap * TILE..][..n] {
                if *input != zeros {
                    // The next group's channels follow in the same cell.
                    *input = input.wrapping_add(depth);
                }
            }
        }
    }

    /// The activation before the residual, where there is one.
    ///
    /// # Safety
    /// As of [`Tiler::tile`], whose rows hold the convolution's outputs.
    unsafe fn before_residual<'a>(&mut self, job: &TileJob<'a>, conv: &'a Conv, tile: Tile<'_>) -> Unfinished<'a> {
        let Some(map) = job.step.inputs.get(1).map(|r| &job.maps[*r]) else {
            return Unfinished { adds: false, act: &conv.act };
        };
        let [down, along] = match job.step.spread[1] {
            Spread::Repeat(by) => by,
            _ => [1; 2],
        };
        // Most stand for one, and a division takes as long as all else.
        let of = |at: u32, by: usize| if by == 1 { at as usize } else { at as usize / by };
        for (residual, cell) in self.residuals.iter_mut().zip(tile.cells) {
            *residual = map.cell_ptr(job.buffers, of(cell.y, down), of(cell.x, along));
        }
        // Safety: as in `tile`.
        unsafe { self.kernels.act(&conv.act, tile.rows) };
        Unfinished { adds: true, act: &conv.post }
    }

    /// Does what is left where the rows are.
    ///
    /// # Safety
    /// The rows of the last tile.
    pub unsafe fn finish(&self, left: Unfinished, rows: Rows) {
        // Safety: rows of whole blocks; residuals of as many channels, looked up by the last tile.
        unsafe {
            if left.adds {
                self.kernels.add(rows, &self.residuals);
            }
            self.kernels.act(left.act, rows);
        }
    }

    /// What is left to add to the rows of the last tile.
    pub fn residuals(&self, left: Unfinished) -> Option<&Residuals> {
        left.adds.then_some(&self.residuals)
    }
}
