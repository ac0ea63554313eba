//! Running a plan on a stream: step by step, only where something changed.
//!
//! For every step: of the cells that its inputs' changes reach, those that are estimated to move by
//! more than the gate's threshold are listed, computed a tile at a time into scratch rows, stored, and measured
//! against what was stored before; what differs are the changes that the next steps see. What is not required waits
//! ([`crate::exec::required`]).
//! The first frame, and any that is asked for, is computed as a whole.
//!
//! What the `unsafe` blocks here and in the kernels rely on is listed in [`crate::exec`].

use crate::buffer::Buffer;
use crate::changes::{Cell, ChangeSet};
use crate::exec::counters::Counters;
use crate::exec::executor::{Delta, Executor};
use crate::exec::job::TileJob;
use crate::exec::listing::Listing;
use crate::exec::scratch::ScratchNeeds;
use crate::exec::stream::Stream;
use crate::exec::threads::{self, Threads};
use crate::exec::tile::Tiler;
use crate::gating::estimate::{BiasTally, DeltaRecorder};
use crate::gating::gate::{Gate, Gates};
use crate::kernels::{BLOCK, Cells, Kernels, Measure, ROWS, Rows, TILE, prefetch, prefetch_for_later};
use crate::plan::Plan;
use crate::plan::map::Map;
use crate::plan::step::{ConvKind, Kind, Step};
use crate::weights::Weights;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of so many tiles one is timed.
const GATE_SAMPLE: u32 = 8;

/// Runs plans. Holds scratch only, so that one serves any number of streams in turn: of the plan that it was made for, or
/// of others that need no more.
pub struct Runner {
    needs: ScratchNeeds,
    threads: Threads,
    /// `None` where there is one thread, the caller's.
    pool: Option<rayon::ThreadPool>,
    /// One a thread.
    tilers: Vec<Tiler>,
    /// One a tile: a bit for each cell that came out different.
    differs: Vec<u64>,
    /// Threads that had a part in the last step.
    n_parts: u32,
    listing: Listing,
    words: Vec<u64>,
}

impl Runner {
    /// Runs on the caller's thread.
    pub fn new(plan: &Plan, kernels: Kernels) -> Self {
        let needs = ScratchNeeds::of(plan);
        Self {
            needs,
            threads: Threads::ONE,
            pool: None,
            tilers: vec![Tiler::new(&needs, kernels)],
            differs: vec![0; needs.cells.div_ceil(TILE)],
            n_parts: 1,
            listing: Listing::with_capacity(needs.cells),
            words: Vec::new(),
        }
    }

    /// Runs on several threads where there is enough to do. Handing work over allocates now and then.
    ///
    /// # Errors
    /// The threads cannot be started.
    pub fn with_threads(plan: &Plan, kernels: Kernels, threads: Threads) -> Result<Self, rayon::ThreadPoolBuildError> {
        let mut runner = Self::new(plan, kernels);
        if threads.n > 1 {
            let name = |i| format!("engine-{i}");
            runner.pool = Some(rayon::ThreadPoolBuilder::new().num_threads(threads.n).thread_name(name).build()?);
            let needs = runner.needs;
            runner.tilers.resize_with(threads.n, || Tiler::new(&needs, kernels));
            runner.threads = threads;
        }
        Ok(runner)
    }

    /// What it computes with.
    pub fn kernels(&self) -> Kernels {
        self.tilers[0].kernels
    }

    /// [`Executor::run`], with a share (0..=1) of a refresh sweep.
    ///
    /// # Panics
    /// The stream's plan needs more scratch than the one for which this runner was made, or the picture's change set was
    /// replaced by one of another size.
    pub fn run(&mut self, stream: &mut Stream, refresh_share: f64) -> Counters {
        assert!(self.needs.cover(&stream.needs), "a runner that was made for the stream's plan");
        let plan = stream.plan.clone();
        // Whoever writes the picture may have put another set in its place.
        let s = plan.maps[plan.input].shape;
        assert!(stream.changes[plan.input].is_of(s), "changes of the stream's picture, {s}");
        stream.changes[plan.input].trim();
        let mut counters = Counters { dense_macs: plan.macs(), ..Counters::default() };
        stream.learnt_ago = stream.learnt_ago.map(|n| n.saturating_add(1));
        if !stream.is_filled {
            self.run_whole(stream, &plan, &mut counters);
            return counters;
        }
        let mut clock = Instant::now();
        if !std::mem::take(&mut stream.is_measured) {
            let deltas = stream.estimator.delta_map_mut(plan.input);
            stream.changes[plan.input].for_each(|cell| deltas.add(cell.y as usize, cell.x as usize, f32::INFINITY));
        }
        stream.estimator.follow(&stream.tolerance);
        stream.sweep.advance(&plan, refresh_share);
        stream.flush.advance(plan.steps.len(), stream.gates.policy().deferred.frames);
        for &i in &plan.lazy.order {
            self.step(stream, &plan, i, &mut clock, &mut counters);
        }
        stream.estimator.clear(plan.input, &stream.changes[plan.input]);
        counters.required_macs = counters.dense_macs - stream.required.spared_macs();
        counters.bookkeeping += clock.elapsed();
        counters
    }

    /// One step of a frame: what changes reach, what of it is estimated to matter, what else is due, and computing that.
    /// `clock` is when the last step's cells were computed.
    fn step(&mut self, stream: &mut Stream, plan: &Plan, i: usize, clock: &mut Instant, counters: &mut Counters) {
        let step = &plan.steps[i];
        let take = |sets: &mut [ChangeSet]| std::mem::replace(&mut sets[step.output], ChangeSet::new(0, 0));
        let (mut set, mut deferred) = (take(&mut stream.changes), take(&mut stream.deferred));
        stream.estimator.clear(step.output, &set);
        self.reach(stream, plan, i, &mut set);
        let n_reached = if set.is_empty() { 0 } else { set.count() };
        counters.reached_macs += n_reached as u64 * step.macs_per_cell;
        self.gate(stream, plan, i, &mut set, &mut deferred);
        let n_changed = if n_reached == 0 { 0 } else { set.count() };
        Self::join_due(stream, plan, i, &mut set, &mut deferred);
        stream.deferred[step.output] = deferred;
        Self::note_computed(stream, plan, step, &set);
        if !matches!(step.kind, Kind::Join) && !set.is_empty() {
            self.list(step, &set);
            let n_cells = self.listing.n_cells() as u64;
            let now = Instant::now();
            counters.bookkeeping += now - *clock;
            counters.passed += self.sparse(stream, plan, i, &mut set);
            *clock = Instant::now();
            let gates = self.tilers.iter_mut().map(|t| std::mem::take(&mut t.gates)).sum::<Duration>() / self.n_parts;
            counters.gates += gates;
            counters.kernels += (*clock - now).saturating_sub(gates);
            counters.executed_macs += n_cells * step.macs_per_cell;
            counters.cells += n_cells;
            counters.refreshed += n_cells - n_changed as u64;
        }
        stream.changes[step.output] = set;
    }

    /// The cells that the changes of a step's inputs reach.
    fn reach(&mut self, stream: &Stream, plan: &Plan, i: usize, set: &mut ChangeSet) {
        let step = &plan.steps[i];
        set.clear();
        for (input, spread) in step.inputs.iter().zip(&step.spread) {
            let changes = &stream.changes[plan.maps[*input].changes];
            if !changes.is_empty() {
                spread.apply(changes, set, &mut self.words);
            }
        }
    }

    /// Leaves of what changes reach those cells that are required and estimated to move by more than the gate's threshold;
    /// notes which of the others wait, and which are deferred.
    fn gate(&self, stream: &mut Stream, plan: &Plan, i: usize, set: &mut ChangeSet, deferred: &mut ChangeSet) {
        let is_reached = !set.is_empty();
        stream.required.follow(plan, i, &stream.changes, &stream.buffers);
        // What is not required need not be estimated either.
        stream.required.put_off(plan, i, set);
        if is_reached {
            let kernels = self.kernels();
            stream.estimator.defer(i, plan.steps[i].output, &stream.changes, &kernels, set, deferred);
        }
    }

    /// Adds what is computed for its age, because it was deferred, or because it has come to be required.
    fn join_due(stream: &mut Stream, plan: &Plan, i: usize, set: &mut ChangeSet, deferred: &mut ChangeSet) {
        let step = &plan.steps[i];
        if let Some(rows) = stream.sweep.rows(i) {
            set.set_rows(rows);
        }
        if stream.flush.is_on(i) && !deferred.is_empty() {
            set.join(deferred);
        }
        let estimator = &mut stream.estimator;
        let mark_unknown = |cell: Cell| estimator.mark_unknown(step.output, cell.y as usize, cell.x as usize);
        stream.required.make_good(plan, i, set, mark_unknown);
        if !matches!(step.kind, Kind::Join) && !set.is_empty() {
            deferred.remove_all(set);
            // Nor is it refreshed before it is required.
            stream.required.put_off(plan, i, set);
        }
    }

    /// Of a watched map, notes which cells this frame computes.
    fn note_computed(stream: &mut Stream, plan: &Plan, step: &Step, set: &ChangeSet) {
        if !plan.watched[step.output] {
            return;
        }
        let mut computed = std::mem::replace(&mut stream.computed[step.output], ChangeSet::new(0, 0));
        if matches!(step.kind, Kind::Join) {
            computed.clear();
            step.inputs.iter().for_each(|v| computed.join(&stream.computed[plan.maps[*v].changes]));
        } else {
            computed.copy_from(set);
        }
        stream.computed[step.output] = computed;
    }

    /// [`Executor::complete`].
    ///
    /// # Panics
    /// As [`Runner::run`].
    pub fn complete(&mut self, stream: &mut Stream) {
        assert!(self.needs.cover(&stream.needs), "a runner that was made for the stream's plan");
        let plan = stream.plan.clone();
        let (mut clock, mut counters) = (Instant::now(), Counters::default());
        let threshold = stream.required.set_threshold(None);
        for i in plan.lazy.steps() {
            self.step(stream, &plan, i, &mut clock, &mut counters);
        }
        stream.required.set_threshold(threshold);
    }

    fn run_whole(&mut self, stream: &mut Stream, plan: &Plan, counters: &mut Counters) {
        let start = Instant::now();
        stream.changes.iter_mut().chain(&mut stream.computed).for_each(ChangeSet::fill);
        stream.required.restart();
        // Under a camera that turns most frames are whole, and learning takes as long as computing one.
        let again = stream.gates.policy().gates.relearn_frames;
        let is_due = |ago: u32| stream.gates.learns() && ago >= again;
        let learns = stream.learnt_ago.is_none_or(is_due);
        for &i in &plan.lazy.order {
            let step = &plan.steps[i];
            if matches!(step.kind, Kind::Join) {
                continue;
            }
            stream.required.follow(plan, i, &stream.changes, &stream.buffers);
            // What is learnt is learnt from all cells.
            let some = if learns { None } else { stream.required.whole(plan, i) };
            self.list(step, some.unwrap_or(&stream.changes[step.output]));
            self.dense(&mut stream.buffers, plan, i, &stream.weights);
            let n_cells = self.listing.n_cells() as u64;
            counters.cells += n_cells;
            counters.executed_macs += n_cells * step.macs_per_cell;
        }
        stream.deferred.iter_mut().for_each(ChangeSet::clear);
        stream.estimator.restart();
        stream.sweep.restart();
        stream.is_filled = true;
        counters.reached_macs = counters.dense_macs;
        counters.required_macs = counters.executed_macs;
        counters.passed = counters.cells;
        counters.kernels = start.elapsed();
        if learns {
            if stream.gates.learns() {
                let buffers = &stream.buffers;
                stream.gates.learn_scales(plan, |map, y, x| plan.maps[map].cell(buffers, y, x));
            }
            stream.estimator.weigh(plan, &stream.weights, &stream.gates);
            stream.learnt_ago = Some(0);
        }
    }

    fn list(&mut self, step: &Step, set: &ChangeSet) {
        match &step.kind {
            Kind::Conv { how: ConvKind::Winograd2x2(_), .. } => self.listing.list_squares(set),
            _ => self.listing.list(set),
        }
    }

    /// All cells, as listed: stored without being compared.
    fn dense(&mut self, buffers: &mut [Buffer], plan: &Plan, i: usize, weights: &Weights) {
        let step = &plan.steps[i];
        let out = &plan.maps[step.output];
        let c = out.shape.c;
        // Whole blocks may be written in place where no other cell is behind them.
        let is_whole = self.listing.n_cells() == out.shape.n_cells();
        let in_place = is_whole && c.is_multiple_of(BLOCK) && step.fits_in_place();
        let target = Target::new(buffers, out);
        let job = TileJob { buffers, maps: &plan.maps, step, weights: weights.of(i) };
        self.split(plan, step, |listing, tiler, tiles, _| {
            for k in tiles.clone() {
                let tile = listing.tile(k);
                tiler.is_cold = k == tiles.start;
                let (first, stride) =
                    if in_place { (target.cell(tile[0]), out.stride) } else { (tiler.rows(), tiler.stride) };
                // Safety: cells of the step's output; rows are this thread's scratch, or cells in the output's map that no other
                // thread has, and no step reads what it writes.
                let left = unsafe { tiler.tile(&job, tile, first, stride) };
                // Safety: a tile of rows.
                unsafe { tiler.finish(left, Rows { first, stride, n: tile.len(), width: c }) };
                if in_place {
                    continue;
                }
                for (p, cell) in tile.iter().enumerate() {
                    // Safety: rows and cells hold `c` numbers, and scratch is apart from the maps.
                    unsafe { std::ptr::copy_nonoverlapping(first.add(p * stride), target.cell(*cell), c) };
                }
            }
        });
    }

    /// The listed cells; those that came out different remain in the set. How many moved by more than the threshold.
    fn sparse(&mut self, stream: &mut Stream, plan: &Plan, i: usize, listed: &mut ChangeSet) -> u64 {
        let step = &plan.steps[i];
        let target = Target::new(&mut stream.buffers, &plan.maps[step.output]);
        let recorder = stream.estimator.recorder(i, step.output);
        let gate = stream.gates.get(i);
        let job = TileJob { buffers: &stream.buffers, maps: &plan.maps, step, weights: stream.weights.of(i) };
        let sparse = Sparse { job, target, gate, recorder };
        self.split(plan, step, |listing, tiler, tiles, differs| sparse.compute(listing, tiler, tiles, differs));
        self.listing.keep(&self.differs[..self.listing.n_tiles()], listed);
        let (mut tally, mut passed) = (BiasTally::default(), 0);
        for tiler in &mut self.tilers {
            let v = std::mem::take(&mut tiler.tally);
            tally = BiasTally { n: tally.n + v.n, n_greater: tally.n_greater + v.n_greater };
            passed += std::mem::take(&mut tiler.passed);
        }
        stream.estimator.learn(i, tally);
        passed
    }

    /// Has the listed tiles computed by as many threads as they are worth.
    fn split<F>(&mut self, plan: &Plan, step: &Step, work: F)
    where
        F: Fn(&Listing, &mut Tiler, Range<usize>, &mut [u64]) + Sync,
    {
        let Self { listing, threads, tilers, differs, .. } = self;
        let (n_tiles, n_cells) = (listing.n_tiles(), listing.n_cells());
        let n_parts =
            if step.reads_beside(&plan.maps) { 1 } else { threads.for_step(n_tiles, n_cells, step.macs_per_cell) };
        self.n_parts = n_parts as u32;
        let (tilers, differs) = (&mut tilers[..n_parts], &mut differs[..n_tiles]);
        let work = |tiler: &mut Tiler, tiles: Range<usize>, differs: &mut [u64]| work(listing, tiler, tiles, differs);
        match &self.pool {
            // Little work stays where its data is warm.
            Some(pool) if n_parts > 1 => pool.install(|| threads::split(tilers, 0..n_tiles, differs, &work)),
            _ => threads::split(tilers, 0..n_tiles, differs, &work),
        }
    }
}

impl Executor for Runner {
    type Stream = Stream;

    fn open(&self, plan: Arc<Plan>, gates: Gates) -> Stream {
        Stream::new(plan, gates, 0.0)
    }

    fn run(&mut self, stream: &mut Stream, delta: Delta) -> Counters {
        Self::run(self, stream, delta.refresh)
    }

    fn complete(&mut self, stream: &mut Stream) {
        Self::complete(self, stream);
    }
}

/// The cells of a map: threads write some of their own each.
#[derive(Clone, Copy)]
struct Target {
    first: *mut f32,
    /// Cells a row, and numbers from cell to cell.
    w: usize,
    stride: usize,
}

// Safety: each thread writes the cells of its own tiles (fact 3 of [`crate::exec`]).
unsafe impl Sync for Target {}

impl Target {
    fn new(buffers: &mut [Buffer], map: &Map) -> Self {
        // Safety: the map lies in its buffer.
        let first = unsafe { buffers[map.buffer].as_mut_ptr().add(map.offset) };
        Self { first, w: map.shape.w, stride: map.stride }
    }

    /// Where a cell begins: of one in the map, numbers that can be written by who alone has it.
    fn cell(&self, cell: Cell) -> *mut f32 {
        self.first.wrapping_add((cell.y as usize * self.w + cell.x as usize) * self.stride)
    }
}

/// Cells of a step to be computed, stored and measured.
struct Sparse<'a> {
    job: TileJob<'a>,
    target: Target,
    gate: &'a Gate,
    recorder: DeltaRecorder,
}

impl Sparse<'_> {
    fn compute(&self, listing: &Listing, tiler: &mut Tiler, tiles: Range<usize>, differs: &mut [u64]) {
        let width = self.job.maps[self.job.step.output].shape.c;
        let (rows, stride) = (tiler.rows(), tiler.stride);
        let mut next: Cells = [std::ptr::null_mut(); ROWS];
        if let Some(first) = tiles.clone().next() {
            self.warm(listing.tile(first), &mut next);
        }
        let is_exact = self.gate.is_exact();
        let mut distances = [0.0; ROWS];
        for (k, differs) in tiles.clone().zip(differs) {
            let (tile, stored) = (listing.tile(k), next);
            if k + 1 < tiles.end {
                self.warm(listing.tile(k + 1), &mut next);
            }
            tiler.is_cold = k == tiles.start;
            // Safety: cells of the step's output; rows are this thread's scratch.
            let left = unsafe { tiler.tile(&self.job, tile, rows, stride) };
            let new = Rows { first: rows, stride, n: tile.len(), width };
            // Counted on from step to step, so that short steps are seen as often as long ones.
            tiler.n_gated = tiler.n_gated.wrapping_add(1);
            let clock = tiler.n_gated.is_multiple_of(GATE_SAMPLE).then(Instant::now);
            let passes;
            // Safety: rows and cells hold that many numbers, scratch is apart from the maps, and no
            // other thread has these cells.
            [*differs, passes] = unsafe {
                if is_exact {
                    tiler.finish(left, new);
                    [tiler.kernels.replace(new, &stored); 2]
                } else {
                    let measure = Measure {
                        residuals: tiler.residuals(left),
                        act: left.act,
                        old: &stored,
                        inverse_scales: self.gate.inverse_scales(),
                        limit: self.gate.limit(),
                    };
                    tiler.kernels.measure(new, measure, &mut distances)
                }
            };
            tiler.passed += u64::from(passes.count_ones());
            for (p, cell) in tile.iter().enumerate() {
                let measured = (!is_exact).then_some(distances[p]);
                let (y, x) = (cell.y as usize, cell.x as usize);
                // Safety: as above.
                unsafe { self.recorder.cell(y, x, *differs >> p & 1 == 1, measured, &mut tiler.tally) };
            }
            if let Some(clock) = clock {
                tiler.gates += clock.elapsed() * GATE_SAMPLE;
            }
        }
    }

    /// What a tile reads and is compared with lies anywhere in memory: it is fetched while the
    /// tile before is computed.
    fn warm(&self, tile: &[Cell], stored: &mut Cells) {
        let (out, input) = (&self.job.maps[self.job.step.output], &self.job.maps[self.job.step.inputs[0]]);
        let stride = self.job.step.input_stride();
        for (cell, stored) in tile.iter().zip(stored) {
            let (y, x) = (cell.y as usize, cell.x as usize);
            *stored = self.target.cell(*cell);
            prefetch_for_later(*stored, out.shape.c);
            let (y, x) = ((y * stride[0]).min(input.shape.h - 1), (x * stride[1]).min(input.shape.w - 1));
            prefetch(input.cell_ptr(self.job.buffers, y, x), input.shape.c);
        }
    }
}

impl Step {
    /// Input rows and columns from one output cell to the next.
    fn input_stride(&self) -> [usize; 2] {
        match &self.kind {
            Kind::Conv { conv, .. } if !conv.transposed => conv.window.stride,
            Kind::Separable(pair) => pair.depthwise.window.stride,
            Kind::Pool(_, window) => window.stride,
            Kind::Rearrange { stride, .. } => *stride,
            _ => [1; 2],
        }
    }

    /// Whether the kernels may write whole blocks straight into the map.
    fn fits_in_place(&self) -> bool {
        match &self.kind {
            Kind::Conv { how: ConvKind::Gemm(gemm), .. } => gemm.n_groups == 1,
            // They are not in a row.
            Kind::Conv { how: ConvKind::Winograd2x2(_), .. } => false,
            _ => true,
        }
    }
}
