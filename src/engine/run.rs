//! Running a plan on a stream: step by step, only where something changed.
//!
//! For every step: the cells that its inputs' changes reach are listed, computed
//! a tile at a time into scratch rows, and compared with what is stored; cells
//! that pass the gate are stored and are the changes that the next steps see.
//! The first frame, and any that is asked for, is computed as a whole.

use super::changes::{Cell, ChangeSet};
use super::gate::Gate;
use super::kernels::{BLOCK, Cells, Kernels, Limits, Rows, TILE, prefetch};
use super::plan::{ConvKind, Kind, Plan, Step};
use super::state::{Buffer, Stream};
use super::tile::{Tiler, cell_ptr};
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
    /// Computing, comparing and storing it.
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
        self.kernels += other.kernels;
    }
}

/// What is computed of a step beside what changed.
struct Due {
    /// Rows whose age is up.
    refresh: Option<std::ops::Range<usize>>,
    /// Cells that are owed.
    settles: bool,
}

/// Runs plans. Holds scratch only, so that one serves any number of streams in turn.
pub struct Runner {
    tiler: Tiler,
    cells: Vec<Cell>,
    words: Vec<u64>,
}

impl Runner {
    pub fn new(plan: &Plan, kernels: Kernels) -> Self {
        let n_cells = plan.maps.iter().map(|m| m.shape.n_cells()).max().unwrap_or(0);
        Self { tiler: Tiler::new(plan, kernels), cells: Vec::with_capacity(n_cells), words: Vec::new() }
    }

    pub fn kernels(&self) -> &Kernels {
        &self.tiler.kernels
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
        stream.sweep.advance(&plan, refresh_share);
        stream.settling.advance(plan.steps.len());
        for (i, step) in plan.steps.iter().enumerate() {
            let mut set = std::mem::replace(&mut stream.changes[step.output], ChangeSet::new(0, 0));
            set.clear();
            for (input, spread) in step.inputs.iter().zip(&step.spread) {
                let changes = &stream.changes[plan.maps[*input].changes];
                if !changes.is_empty() {
                    spread.apply(changes, &mut set, &mut self.words);
                }
            }
            let mut owed = std::mem::replace(&mut stream.owed[step.output], ChangeSet::new(0, 0));
            let mut settled = std::mem::replace(&mut stream.settled[step.output], ChangeSet::new(0, 0));
            settled.clear();
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
            set.clear();
            let cells = std::mem::take(&mut self.cells);
            let now = Instant::now();
            counters.bookkeeping += now - clock;
            let due = Due { refresh: refresh.clone(), settles };
            let passed = self.sparse(stream, &plan, i, &cells, &due, [&mut set, &mut owed, &mut settled]);
            stream.owed[step.output] = owed;
            stream.settled[step.output] = settled;
            clock = Instant::now();
            counters.kernels += clock - now;
            counters.requested_macs += requested as u64 * step.macs_per_cell;
            counters.executed_macs += cells.len() as u64 * step.macs_per_cell;
            counters.cells += cells.len() as u64;
            counters.refreshed += (cells.len() - requested) as u64;
            counters.passed += passed;
            self.cells = cells;
            stream.changes[step.output] = set;
        }
        counters.bookkeeping += clock.elapsed();
        counters
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
        for set in stream.changes.iter_mut().chain(&mut stream.computed) {
            set.fill();
        }
        stream.owed.iter_mut().chain(&mut stream.settled).for_each(ChangeSet::clear);
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
        for (i, tile) in cells.chunks(TILE).enumerate() {
            let at = i * TILE * out.stride + out.offset;
            // Safety: `at` is the first cell of the tile; the buffer holds the rest of them.
            let target = unsafe { buffers[out.buffer].as_mut_ptr().add(at) };
            if in_place {
                self.tiler.tile(buffers, plan, step, tile, target, out.stride);
            } else {
                let rows = self.tiler.rows();
                self.tiler.tile(buffers, plan, step, tile, rows, self.tiler.stride);
                for p in 0..tile.len() {
                    // Safety: rows and cells hold `c` numbers, and scratch is apart from the maps.
                    unsafe {
                        std::ptr::copy_nonoverlapping(rows.add(p * self.tiler.stride), target.add(p * out.stride), c)
                    };
                }
            }
        }
    }

    /// The listed cells: stored where they pass the gate. How many did.
    fn sparse(
        &mut self,
        stream: &mut Stream,
        plan: &Plan,
        i: usize,
        cells: &[Cell],
        due: &Due,
        [passed, owed, settled]: [&mut ChangeSet; 3],
    ) -> u64 {
        let step = &plan.steps[i];
        let out = &plan.maps[step.output];
        let gate = stream.gates.get(i);
        let leeway = stream.leeway.over(out.shape.h, out.shape.w);
        let input = &plan.maps[step.inputs[0]];
        let stride = step.input_stride();
        let (rows, width) = (self.tiler.rows(), out.shape.c);
        let base = stream.buffers[out.buffer].as_mut_ptr();
        // What a tile reads and is compared with lies anywhere in memory: it is asked for
        // while the tile before is computed.
        let warm = |buffers: &[Buffer], tile: &[Cell], stored: &mut Cells| {
            for (cell, stored) in tile.iter().zip(stored) {
                let (y, x) = (cell.y as usize, cell.x as usize);
                // Safety: the cell lies in the map, and the map in its buffer.
                *stored = unsafe { base.add((y * out.shape.w + x) * out.stride + out.offset) };
                prefetch(*stored, width);
                let (y, x) = ((y * stride[0]).min(input.shape.h - 1), (x * stride[1]).min(input.shape.w - 1));
                prefetch(cell_ptr(buffers, input, y, x), input.shape.c);
            }
        };
        let mut next: Cells = [std::ptr::null_mut(); TILE];
        warm(&stream.buffers, &cells[..cells.len().min(TILE)], &mut next);
        let mut limits = Limits { weights: gate.weights(), limits: [0.0; TILE] };
        let mut distances = [0.0; TILE];
        let mut n = 0;
        for (k, tile) in cells.chunks(TILE).enumerate() {
            let stored = next;
            let behind = &cells[((k + 1) * TILE).min(cells.len())..];
            warm(&stream.buffers, &behind[..behind.len().min(TILE)], &mut next);
            self.tiler.tile(&stream.buffers, plan, step, tile, rows, self.tiler.stride);
            let new = Rows { first: rows, stride: self.tiler.stride, n: tile.len(), width };
            // Safety: rows and cells hold that many numbers, and scratch is apart from the maps.
            let passes = unsafe {
                if gate.is_exact() {
                    self.tiler.kernels.replace(new, &stored)
                } else {
                    for (limit, cell) in limits.limits.iter_mut().zip(tile) {
                        *limit = gate.limit() * leeway.at(cell.y as usize, cell.x as usize).powi(2);
                    }
                    self.tiler.kernels.gate(new, &stored, &limits, &mut distances)
                }
            };
            for (p, cell) in tile.iter().enumerate() {
                let at = passed.place(*cell);
                let late = due.settles && owed.contains(at);
                if passes >> p & 1 == 1 {
                    owed.remove(at);
                    // Where nothing is held back, what is made good goes on as such; heads see it at once.
                    if late && gate.is_exact() && !plan.watched[step.output] {
                        settled.insert(at);
                    } else {
                        passed.insert(at);
                        n += 1;
                    }
                    continue;
                }
                let owes = !gate.is_exact() && Gate::owes(distances[p], limits.limits[p]);
                if late || due.refresh.as_ref().is_some_and(|rows| rows.contains(&(cell.y as usize))) {
                    // Safety: as above.
                    unsafe { std::ptr::copy_nonoverlapping(rows.add(p * self.tiler.stride), stored[p], width) };
                    owed.remove(at);
                    if owes {
                        settled.insert(at);
                    }
                } else if owes {
                    owed.insert(at);
                } else {
                    owed.remove(at);
                }
            }
        }
        n
    }
}

impl Step {
    /// Input rows and columns from one output cell to the next.
    fn input_stride(&self) -> [usize; 2] {
        match &self.kind {
            Kind::Conv { conv, .. } if !conv.transposed => conv.window.stride,
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
