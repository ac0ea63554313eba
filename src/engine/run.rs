//! Running a plan on a stream: step by step, only where something changed.
//!
//! For every step: the cells that its inputs' changes reach are listed, computed
//! a tile at a time into scratch rows, and compared with what is stored; cells
//! that pass the gate are stored and are the changes that the next steps see.
//! The first frame, and any that is asked for, is computed as a whole.

use super::changes::{Cell, ChangeSet, deposit};
use super::gate::Gate;
use super::kernels::{BLOCK, Cells, Distances, Kernels, Limits, Rows, TILE, prefetch};
use super::outcome::{Dealt, Outcome};
use super::plan::{ConvKind, Kind, Plan, Step};
use super::state::{Buffer, Stream};
use super::threads::{self, Threads};
use super::tile::{Tiler, cell_ptr};
use crate::leeway::Over;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What a frame cost. Counted apart, because the differences show where savings are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Of the whole picture.
    pub dense_macs: u64,
    /// Of cells whose inputs changed.
    pub requested_macs: u64,
    /// Of cells that were computed, refreshed ones included.
    pub executed_macs: u64,
    /// Cells computed, of all maps.
    pub cells: u64,
    /// Cells that passed their gate.
    pub passed: u64,
    /// Cells computed for their age only.
    pub refreshed: u64,
    /// Finding out what to compute.
    pub bookkeeping: Duration,
    /// Comparing what was computed with what is stored, and storing it. Estimated: one tile of
    /// [`GATE_SAMPLE`] is timed, as timing costs as much as half a gate.
    pub gates: Duration,
    /// Computing it.
    pub kernels: Duration,
}

impl Counters {
    pub fn add(&mut self, other: &Self) {
        self.dense_macs += other.dense_macs;
        self.requested_macs += other.requested_macs;
        self.executed_macs += other.executed_macs;
        self.cells += other.cells;
        self.passed += other.passed;
        self.refreshed += other.refreshed;
        self.bookkeeping += other.bookkeeping;
        self.gates += other.gates;
        self.kernels += other.kernels;
    }
}

/// Of so many tiles one is timed.
const GATE_SAMPLE: u32 = 8;

/// What is computed of a step beside what changed, and stored even if the gate holds it back.
struct Due<'a> {
    /// Rows whose age is up.
    refresh: Option<Range<usize>>,
    /// Cells that were owed until now, if it is their turn.
    late: Option<&'a ChangeSet>,
}

impl Due<'_> {
    fn is_empty(&self) -> bool {
        self.refresh.is_none() && self.late.is_none()
    }

    fn refreshes(&self, row: usize) -> bool {
        self.refresh.as_ref().is_some_and(|rows| rows.contains(&row))
    }

    /// Whether a cell is brought up to date whatever its gate says.
    fn makes_good(&self, cell: Cell) -> bool {
        let (y, x) = (cell.y as usize, cell.x as usize);
        self.refreshes(y) || self.late.is_some_and(|late| late.get(y, x))
    }
}

/// A bit for each cell of a tile of which `f` is true.
fn mask(distances: &Distances, limits: &Distances, f: impl Fn(f32, f32) -> bool) -> u32 {
    (0..TILE).fold(0, |mask, p| mask | u32::from(f(distances[p], limits[p])) << p)
}

/// The places of the bits that are set.
fn ones(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let at = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (at < 32).then_some(at)
    })
}

/// Runs plans. Holds scratch only, so that one serves any number of streams in turn.
pub struct Runner {
    threads: Threads,
    /// `None` where there is one thread, the caller's.
    pool: Option<rayon::ThreadPool>,
    /// One a thread.
    tilers: Vec<Tiler>,
    /// One a tile.
    outcomes: Vec<Outcome>,
    /// Threads that had a part in the last step.
    n_parts: u32,
    cells: Vec<Cell>,
    words: Vec<u64>,
    /// Cells that a step's inputs reach at all.
    reached: ChangeSet,
    /// Cells that a step owed before this frame.
    late: ChangeSet,
}

impl Runner {
    /// Runs on the caller's thread.
    pub fn new(plan: &Plan, kernels: Kernels) -> Self {
        let n_cells = plan.maps.iter().map(|m| m.shape.n_cells()).max().unwrap_or(0);
        let sets = plan.maps.iter().map(|m| ChangeSet::of(m.shape));
        let widest = sets.max_by_key(ChangeSet::n_words).unwrap_or(ChangeSet::new(0, 0));
        Self {
            threads: Threads::ONE,
            pool: None,
            tilers: vec![Tiler::new(plan, kernels)],
            outcomes: vec![Outcome::default(); n_cells.div_ceil(TILE)],
            n_parts: 1,
            cells: Vec::with_capacity(n_cells),
            words: Vec::new(),
            reached: widest.clone(),
            late: widest,
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
            runner.tilers.resize_with(threads.n, || Tiler::new(plan, kernels));
            runner.threads = threads;
        }
        Ok(runner)
    }

    /// Computes what the changes of the picture ask for, and a share (0..=1) of a refresh sweep.
    /// A stream that has no picture yet is computed as a whole.
    pub fn run(&mut self, stream: &mut Stream, refresh_share: f64) -> Counters {
        let plan = stream.plan.clone();
        let mut counters = Counters { dense_macs: plan.macs(), ..Counters::default() };
        if !stream.is_filled {
            self.run_whole(stream, &plan, &mut counters);
            return counters;
        }
        let mut clock = Instant::now();
        let far = &mut stream.far[plan.input];
        far.copy_from(&stream.changes[plan.input]);
        far.remove_all(&stream.lesser);
        stream.lesser.clear();
        stream.sweep.advance(&plan, refresh_share);
        stream.settling.advance(plan.steps.len());
        for (i, step) in plan.steps.iter().enumerate() {
            let take = |sets: &mut [ChangeSet]| std::mem::replace(&mut sets[step.output], ChangeSet::new(0, 0));
            let (mut set, mut far) = (take(&mut stream.changes), take(&mut stream.far));
            let (mut owed, mut settled) = (take(&mut stream.owed), take(&mut stream.settled));
            [&mut set, &mut far, &mut settled].into_iter().for_each(ChangeSet::clear);
            self.request(stream, &plan, step, [&mut set, &mut far, &mut owed]);
            for (input, spread) in step.inputs.iter().zip(&step.spread) {
                let late = &stream.settled[plan.maps[*input].changes];
                if !late.is_empty() {
                    let to = if matches!(step.kind, Kind::Join) { &mut settled } else { &mut owed };
                    spread.apply(late, to, &mut self.words);
                }
            }
            let requested = if set.is_empty() { 0 } else { set.count() };
            let refresh = stream.sweep.rows(i);
            let watched = plan.watched[step.output];
            let settles = stream.settling.is_on(i) && !owed.is_empty();
            if matches!(step.kind, Kind::Join) || (requested == 0 && refresh.is_none() && !settles) {
                stream.far[step.output] = far;
                stream.owed[step.output] = owed;
                stream.settled[step.output] = settled;
                if watched {
                    let mut seen = std::mem::replace(&mut stream.computed[step.output], ChangeSet::new(0, 0));
                    seen.clear();
                    if matches!(step.kind, Kind::Join) {
                        step.inputs.iter().for_each(|v| seen.join(&stream.computed[plan.maps[*v].changes]));
                    }
                    stream.computed[step.output] = seen;
                }
                stream.changes[step.output] = set;
                continue;
            }
            if let Some(rows) = &refresh {
                set.set_rows(rows.clone());
            }
            if settles {
                set.join(&owed);
            }
            if watched {
                stream.computed[step.output].copy_from(&set);
            }
            set.list(&mut self.cells);
            let cells = std::mem::take(&mut self.cells);
            let mut late = std::mem::replace(&mut self.late, ChangeSet::new(0, 0));
            if settles {
                late.copy_from(&owed);
            }
            owed.remove_all(&set);
            let now = Instant::now();
            counters.bookkeeping += now - clock;
            let due = Due { refresh, late: settles.then_some(&late) };
            let passed = self.sparse(stream, &plan, i, &cells, &due, [&mut set, &mut far, &mut owed, &mut settled]);
            stream.far[step.output] = far;
            stream.owed[step.output] = owed;
            stream.settled[step.output] = settled;
            clock = Instant::now();
            let gates = self.tilers.iter_mut().map(|t| std::mem::take(&mut t.gates)).sum::<Duration>() / self.n_parts;
            counters.gates += gates;
            counters.kernels += (clock - now).saturating_sub(gates);
            counters.requested_macs += requested as u64 * step.macs_per_cell;
            counters.executed_macs += cells.len() as u64 * step.macs_per_cell;
            counters.cells += cells.len() as u64;
            counters.refreshed += (cells.len() - requested) as u64;
            counters.passed += passed;
            (self.cells, self.late) = (cells, late);
            stream.changes[step.output] = set;
        }
        counters.bookkeeping += clock.elapsed();
        counters
    }

    /// Finds the cells of a step that its inputs' changes ask for. Great changes reach whole windows, lesser ones the
    /// middle: what they reach beyond is owed.
    fn request(&mut self, stream: &Stream, plan: &Plan, step: &Step, [set, far, owed]: [&mut ChangeSet; 3]) {
        for ((input, spread), middle) in step.inputs.iter().zip(&step.spread).zip(&step.middle) {
            let from = plan.maps[*input].changes;
            let changes = &stream.changes[from];
            if changes.is_empty() {
                continue;
            }
            let great = &stream.far[from];
            match middle {
                Some(middle) if great != changes => {
                    self.reached.copy_from(set);
                    spread.apply(changes, &mut self.reached, &mut self.words);
                    spread.apply(great, set, &mut self.words);
                    middle.apply(changes, set, &mut self.words);
                    self.reached.remove_all(set);
                    owed.join(&self.reached);
                }
                _ => spread.apply(changes, set, &mut self.words),
            }
            if matches!(step.kind, Kind::Join) {
                spread.apply(great, far, &mut self.words);
            }
        }
    }

    fn run_whole(&mut self, stream: &mut Stream, plan: &Plan, counters: &mut Counters) {
        let start = Instant::now();
        for step in &plan.steps {
            if !matches!(step.kind, Kind::Join) {
                let s = plan.maps[step.output].shape;
                self.cells.clear();
                self.cells.extend((0..s.h as u32).flat_map(|y| (0..s.w as u32).map(move |x| Cell { y, x })));
                let cells = std::mem::take(&mut self.cells);
                self.dense(&mut stream.buffers, plan, step, &cells);
                counters.cells += cells.len() as u64;
                self.cells = cells;
            }
        }
        for set in stream.changes.iter_mut().chain(&mut stream.far).chain(&mut stream.computed) {
            set.fill();
        }
        stream.owed.iter_mut().chain(&mut stream.settled).for_each(ChangeSet::clear);
        stream.lesser.clear();
        stream.sweep.restart();
        stream.is_filled = true;
        counters.requested_macs = counters.dense_macs;
        counters.executed_macs = counters.dense_macs;
        counters.passed = counters.cells;
        counters.kernels = start.elapsed();
        if stream.gates.learns() {
            let buffers = &stream.buffers;
            stream.gates.learn_scales(plan, |map, y, x| {
                let m = &plan.maps[map];
                cell_ptr(buffers, m, y, x)
            });
        }
    }

    /// All cells, in order: stored without being compared.
    fn dense(&mut self, buffers: &mut [Buffer], plan: &Plan, step: &Step, cells: &[Cell]) {
        let out = &plan.maps[step.output];
        let c = out.shape.c;
        // Whole blocks may be written in place where no other cell is behind them.
        let in_place = c.is_multiple_of(BLOCK) && step.fits_in_place();
        // Safety: the map lies in its buffer.
        let base = Base(unsafe { buffers[out.buffer].as_mut_ptr().add(out.offset) });
        let buffers = &*buffers;
        let work = |tiler: &mut Tiler, tiles: Range<usize>, _: &mut [Outcome]| {
            for i in tiles {
                let tile = &cells[i * TILE..cells.len().min((i + 1) * TILE)];
                // Safety: this is the first cell of the tile; the buffer holds the rest of them, and
                // no other thread writes them.
                let target = unsafe { base.at(i * TILE * out.stride) };
                if in_place {
                    tiler.tile(buffers, plan, step, tile, target, out.stride);
                    continue;
                }
                let (rows, stride) = (tiler.rows(), tiler.stride);
                tiler.tile(buffers, plan, step, tile, rows, stride);
                for p in 0..tile.len() {
                    // Safety: rows and cells hold `c` numbers, and scratch is apart from the maps.
                    unsafe { std::ptr::copy_nonoverlapping(rows.add(p * stride), target.add(p * out.stride), c) };
                }
            }
        };
        self.split(plan, step, cells.len(), &work);
    }

    /// The listed cells: stored where they pass the gate; those are what remains listed. How many did.
    fn sparse(
        &mut self,
        stream: &mut Stream,
        plan: &Plan,
        i: usize,
        cells: &[Cell],
        due: &Due<'_>,
        [listed, far, owed, settled]: [&mut ChangeSet; 4],
    ) -> u64 {
        let step = &plan.steps[i];
        let out = &plan.maps[step.output];
        // Safety: the map lies in its buffer.
        let base = Base(unsafe { stream.buffers[out.buffer].as_mut_ptr().add(out.offset) });
        let gate = stream.gates.get(i);
        let leeway = stream.leeway.over(out.shape.h, out.shape.w);
        let sparse = Sparse { buffers: &stream.buffers, base, plan, step, gate, leeway, cells, due };
        self.split(plan, step, cells.len(), &|tiler: &mut Tiler, tiles, outcomes: &mut [Outcome]| {
            sparse.compute(tiler, tiles, outcomes);
        });
        // Where nothing is held back, what is made good goes on as such; heads see it at once.
        let settles = due.late.is_some() && gate.is_exact() && !plan.watched[step.output];
        let mut dealt = Dealt::of(&self.outcomes[..cells.len().div_ceil(TILE)]);
        let n_words = listed.words_a_row();
        let mut n = 0;
        for (i, word) in listed.words_mut().iter_mut().enumerate().filter(|(_, word)| **word != 0) {
            let [passes, owes, far_off] = dealt.next(word.count_ones()).map(|bits| deposit(bits, *word));
            let late = due.late.map_or(0, |late| late.words()[i]);
            let good = if due.refreshes(i / n_words) { u64::MAX } else { late };
            let settles = if settles { passes & late } else { 0 };
            *word = passes & !settles;
            far.words_mut()[i] |= far_off & *word;
            settled.words_mut()[i] |= settles | (owes & good);
            owed.words_mut()[i] |= owes & !good;
            n += u64::from(word.count_ones());
        }
        n
    }

    /// Has the tiles of some cells computed by as many threads as they are worth.
    fn split<F>(&mut self, plan: &Plan, step: &Step, n_cells: usize, work: &F)
    where
        F: Fn(&mut Tiler, Range<usize>, &mut [Outcome]) + Sync,
    {
        let n_tiles = n_cells.div_ceil(TILE);
        let n_parts = if step.reads_beside(plan) { 1 } else { self.threads.for_step(n_cells, step.macs_per_cell) };
        self.n_parts = n_parts as u32;
        let (tilers, outcomes) = (&mut self.tilers[..n_parts], &mut self.outcomes[..n_tiles]);
        match &self.pool {
            // Little work stays where its data is warm.
            Some(pool) if n_parts > 1 => pool.install(|| threads::split(tilers, 0..n_tiles, outcomes, work)),
            _ => threads::split(tilers, 0..n_tiles, outcomes, work),
        }
    }
}

/// Where a map begins: threads write cells of their own.
#[derive(Clone, Copy)]
struct Base(*mut f32);

// Safety: whoever writes through it says why no other thread does.
unsafe impl Sync for Base {}

impl Base {
    /// # Safety
    /// As for pointers: the buffer holds more than `offset` numbers.
    unsafe fn at(&self, offset: usize) -> *mut f32 {
        unsafe { self.0.add(offset) }
    }
}

/// Cells of a step to be compared and stored.
struct Sparse<'a> {
    buffers: &'a [Buffer],
    base: Base,
    plan: &'a Plan,
    step: &'a Step,
    gate: &'a Gate,
    leeway: Over<'a>,
    cells: &'a [Cell],
    due: &'a Due<'a>,
}

impl Sparse<'_> {
    fn compute(&self, tiler: &mut Tiler, tiles: Range<usize>, outcomes: &mut [Outcome]) {
        let width = self.plan.maps[self.step.output].shape.c;
        let (rows, stride) = (tiler.rows(), tiler.stride);
        let mut next: Cells = [std::ptr::null_mut(); TILE];
        self.warm(self.tile(tiles.start), &mut next);
        let mut limits = Limits { weights: self.gate.weights(), limits: [0.0; TILE] };
        let mut distances = [0.0; TILE];
        let mut at = (u32::MAX, self.leeway.row(0));
        for (k, outcome) in tiles.clone().zip(outcomes) {
            let (tile, stored) = (self.tile(k), next);
            if k + 1 < tiles.end {
                self.warm(self.tile(k + 1), &mut next);
            }
            tiler.tile(self.buffers, self.plan, self.step, tile, rows, stride);
            let new = Rows { first: rows, stride, n: tile.len(), width };
            // Counted on from step to step, so that short steps are seen as often as long ones.
            tiler.n_gated = tiler.n_gated.wrapping_add(1);
            let clock = tiler.n_gated.is_multiple_of(GATE_SAMPLE).then(Instant::now);
            // Safety: rows and cells hold that many numbers, scratch is apart from the maps, and no
            // other thread has these cells.
            let passes = unsafe {
                if self.gate.is_exact() {
                    tiler.kernels.replace(new, &stored)
                } else {
                    for (limit, cell) in limits.limits.iter_mut().zip(tile) {
                        if cell.y != at.0 {
                            at = (cell.y, self.leeway.row(cell.y as usize));
                        }
                        *limit = self.gate.limit() * at.1.at(cell.x as usize).powi(2);
                    }
                    tiler.kernels.gate(new, &stored, &limits, &mut distances)
                }
            };
            if let Some(clock) = clock {
                tiler.gates += clock.elapsed() * GATE_SAMPLE;
            }
            *outcome = Outcome { passes, owes: 0, far: passes };
            if !self.gate.is_exact() {
                let held = !passes & (u32::MAX >> (32 - tile.len()));
                outcome.owes = held & mask(&distances, &limits.limits, Gate::owes);
                outcome.far = passes & mask(&distances, &limits.limits, Gate::is_far);
                if !self.due.is_empty() {
                    for p in ones(held).filter(|p| self.due.makes_good(tile[*p])) {
                        // Safety: as above.
                        unsafe { std::ptr::copy_nonoverlapping(rows.add(p * stride), stored[p], width) };
                    }
                }
            }
        }
    }

    fn tile(&self, k: usize) -> &[Cell] {
        &self.cells[(k * TILE).min(self.cells.len())..((k + 1) * TILE).min(self.cells.len())]
    }

    /// What a tile reads and is compared with lies anywhere in memory: it is asked for while the
    /// tile before is computed.
    fn warm(&self, tile: &[Cell], stored: &mut Cells) {
        let (out, input) = (&self.plan.maps[self.step.output], &self.plan.maps[self.step.inputs[0]]);
        let stride = self.step.input_stride();
        for (cell, stored) in tile.iter().zip(stored) {
            let (y, x) = (cell.y as usize, cell.x as usize);
            // Safety: the cell lies in the map.
            *stored = unsafe { self.base.at((y * out.shape.w + x) * out.stride) };
            prefetch(*stored, out.shape.c);
            let (y, x) = ((y * stride[0]).min(input.shape.h - 1), (x * stride[1]).min(input.shape.w - 1));
            prefetch(cell_ptr(self.buffers, input, y, x), input.shape.c);
        }
    }
}

impl Step {
    /// Input rows and columns from one output cell to the next.
    fn input_stride(&self) -> [usize; 2] {
        match &self.kind {
            Kind::Conv { conv, .. } if !conv.transposed => conv.window.stride,
            Kind::Separable(pair) => pair.convs.depthwise.window.stride,
            Kind::Pool(_, window) => window.stride,
            Kind::Rearrange { stride, .. } => *stride,
            _ => [1; 2],
        }
    }

    /// Whether the kernels may write whole blocks straight into the map.
    fn fits_in_place(&self) -> bool {
        match &self.kind {
            Kind::Conv { how: ConvKind::Gemm(dense), .. } => dense.packed.len() == 1,
            _ => true,
        }
    }
}
