//! Delta estimation: how far a cell would move, told before it is computed.
//!
//! What a step computes is stored and measured: the squared change of a cell, in units of its channels' scales. A step
//! that reads it knows its own weights, hence by how much a change of each tap moves its output
//! ([`crate::gating::sensitivity`]); how far that is off is learnt, one factor a step, from what was estimated and what came of it.
//! A cell that would move by more than the gate's threshold is computed. Everything else waits, and adds up.

use crate::buffer::Buffer;
use crate::changes::ChangeSet;
use crate::gating::gate::Gates;
use crate::gating::policy::{DeferredPolicy, EstimatePolicy};
use crate::gating::sensitivity::{self, InputSensitivity, Reach, Units};
use crate::graph::{MapShape, Window};
use crate::kernels::{BLOCK, EstimateArgs, Kernels, LANES, WindowTap, prefetch};
use crate::plan::program::Program;
use crate::plan::step::{Kind, Step};
use crate::tolerance::{TOLERANCE_CELL, ToleranceMap};
use crate::weights::Weights;

/// The squared changes of a map's cells, 0 where nothing changed, with a rim of zeros as wide as any window reaches
/// beyond the map.
#[derive(Debug, Clone)]
pub struct DeltaMap {
    rim: usize,
    /// From row to row; 0: nothing is kept.
    stride: usize,
    /// A number speaks for squares of so many cells each way, as a power of two: their sum. 0 but for the picture.
    shift: u32,
    values: Vec<f32>,
}

impl DeltaMap {
    /// Of a map of `h` x `w` cells, all 0.
    pub fn new(h: usize, w: usize, rim: usize, shift: u32) -> Self {
        let stride = w.div_ceil(1 << shift) + 2 * rim;
        // Whole vectors are read from any cell on, or every second number of two.
        Self { rim, stride, shift, values: vec![0.0; (h.div_ceil(1 << shift) + 2 * rim) * stride + 2 * LANES] }
    }

    /// Cells each way that a number speaks for.
    fn side(&self) -> usize {
        1 << self.shift
    }

    #[inline]
    fn index(&self, y: usize, x: usize) -> usize {
        ((y >> self.shift) + self.rim) * self.stride + (x >> self.shift) + self.rim
    }

    /// A cell's squared change.
    pub fn get(&self, y: usize, x: usize) -> f32 {
        self.values[self.index(y, x)]
    }

    /// Adds to a cell's squared change.
    #[inline]
    pub fn add(&mut self, y: usize, x: usize, squared: f32) {
        let at = self.index(y, x);
        self.values[at] += squared;
    }

    /// Adds to some pixels' squared changes, of three colours each.
    pub fn add_pixels(&mut self, y: usize, x: usize, squares: &[f32]) {
        let (pixels, at, side) = (squares.as_chunks().0, self.index(y, x), self.side());
        let add = |value: &mut f32, [a, b, c]: &[f32; 3]| *value += a + b + c;
        let values = self.values[at..].iter_mut();
        if side == 1 {
            // Without a slice for each: they are many.
            values.zip(pixels).for_each(|(value, pixel)| add(value, pixel));
            return;
        }
        let (first, rest) = pixels.split_at((side - x % side).min(pixels.len()));
        for (value, pixels) in values.zip(std::iter::once(first).chain(rest.chunks(side))) {
            pixels.iter().for_each(|pixel| add(value, pixel));
        }
    }

    /// Forgets the changes of a set's cells.
    fn clear(&mut self, set: &ChangeSet) {
        if self.stride == 0 {
            return;
        }
        let words = set.words_a_row();
        for (i, _) in set.words().iter().enumerate().filter(|(_, word)| **word != 0) {
            let (y, x) = (i / words, i % words * 64);
            let from = self.index(y, x);
            let end = from - (x >> self.shift) + self.stride - 2 * self.rim;
            self.values[from..end.min(from + (64 >> self.shift))].fill(0.0);
        }
    }
}

/// The taps through which a step reads the deltas of one map, and their gains.
#[derive(Debug, Clone, Default)]
struct Stencil {
    /// From what a cell's window begins at to what the next one's does, downwards and along: numbers of the [`DeltaMap`].
    stride: [usize; 2],
    /// Where each tap stands, counted from there; in order.
    offsets: Vec<usize>,
    /// One a tap; one in all where there is no window.
    gains: Vec<f32>,
}

impl Stencil {
    /// A window over the squares that `deltas` tells apart.
    fn through(window: Option<Window>, deltas: &DeltaMap) -> Self {
        let Some(w) = window else { return Self { gains: vec![0.0], ..Self::default() } };
        // The rim is as wide as the padding.
        let row = |ky: usize| (ky * w.dilation[0] + deltas.rim - w.pad[0]) * deltas.stride;
        let offset = |kx: usize| kx * w.dilation[1] + deltas.rim - w.pad[1];
        let offsets = (0..w.kernel[0]).flat_map(|ky| (0..w.kernel[1]).map(move |kx| row(ky) + offset(kx)));
        Self {
            stride: [w.stride[0] * deltas.stride, w.stride[1]],
            offsets: offsets.collect(),
            gains: vec![0.0; w.n_taps()],
        }
    }
}

/// What the estimates of one step are made by.
#[derive(Debug, Clone)]
struct StepEstimator {
    sensitivities: Vec<InputSensitivity>,
    /// One a sensitivity.
    stencils: Vec<Stencil>,
    /// What the gains count in; 0: nothing is estimated, whatever changes reach is computed.
    limit: f32,
    /// Of a step that hands changes on as they are: what is pending, in their units.
    hands_on: Option<f32>,
    /// What comes of changes, against what the gains say.
    factor: f32,
    /// Which [`ScaledLimits`] is of its map's size.
    scaled: usize,
}

/// What the tolerance makes of limits (of squares), over maps of one size: of those from which cells are computed at once,
/// the factors' squares, and of those from which they are deferred, their cubes. Where nothing is in doubt, less is made good.
#[derive(Debug, Clone)]
struct ScaledLimits {
    h: usize,
    w: usize,
    /// For each row of a map, where the factors of its cells begin.
    rows: Vec<usize>,
    /// Whole blocks.
    powers: [Buffer; 2],
}

impl ScaledLimits {
    fn follow(&mut self, tolerance: &ToleranceMap) {
        let over = tolerance.over(self.h, self.w);
        let stride = in_blocks(self.w);
        for y in 0..self.h {
            let from = over.row(y) * stride;
            if y == 0 || from != self.rows[y - 1] {
                for (powers, exponent) in self.powers.iter_mut().zip([2, 3]) {
                    powers.grow(from + stride, 1.0);
                    for (x, power) in powers[from..from + self.w].iter_mut().enumerate() {
                        *power = over.at(y, x).powi(exponent);
                    }
                }
            }
            self.rows[y] = from;
        }
    }
}

/// The squared change that is pending of a map's cells since they were computed.
#[derive(Debug, Clone)]
struct PendingDelta {
    /// From row to row: whole blocks.
    stride: usize,
    values: Buffer,
}

fn in_blocks(n: usize) -> usize {
    n.next_multiple_of(BLOCK)
}

/// What the estimates of one stream are made by.
#[derive(Debug, Clone)]
pub(crate) struct DeltaEstimator {
    estimate: EstimatePolicy,
    deferred: DeferredPolicy,
    estimators: Vec<StepEstimator>,
    /// One a map.
    deltas: Vec<DeltaMap>,
    pending: Vec<PendingDelta>,
    scaled: Vec<ScaledLimits>,
    /// Which `scaled` follows.
    tolerance: ToleranceMap,
    scratch: Seen,
    /// Which of a step's sensitivities are of maps that changed.
    changed: Vec<usize>,
}

/// What the cells of a word see.
#[derive(Debug, Clone)]
struct Seen {
    /// For each cell a number, side by side.
    taps: Vec<WindowTap>,
    /// For each cell every second number.
    every_second: Vec<WindowTap>,
    /// Otherwise.
    others: [f32; LANES],
    has_others: bool,
}

impl Seen {
    fn clear(&mut self) {
        self.taps.clear();
        self.every_second.clear();
        if std::mem::take(&mut self.has_others) {
            self.others.fill(0.0);
        }
    }

    fn add(&mut self, cell: usize, squared: f32) {
        self.others[cell] += squared;
        self.has_others = true;
    }
}

/// Where a step records what came of its cells. Threads record cells of their own.
#[derive(Clone, Copy)]
pub(crate) struct DeltaRecorder {
    deltas: *mut f32,
    stride: usize,
    pending: *mut f32,
    width: usize,
    hands_on: Option<f32>,
}

// Safety: each thread writes the cells of its own tiles (fact 3 of [`crate::exec`]).
unsafe impl Sync for DeltaRecorder {}

/// How often something came out greater than was estimated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BiasTally {
    pub n: u32,
    pub n_greater: u32,
}

impl DeltaRecorder {
    /// A cell was computed, and stored if it differs at all. `measured`: its squared change.
    ///
    /// # Safety
    /// The cell lies in the map, and no other thread records it.
    #[inline(always)]
    pub unsafe fn cell(&self, y: usize, x: usize, differs: bool, measured: Option<f32>, tally: &mut BiasTally) {
        // Safety: there is a number for each cell of the map, and no other thread has this one.
        let (delta, pending) =
            unsafe { (&mut *self.deltas.add(y * self.stride + x), &mut *self.pending.add(y * self.width + x)) };
        let pending = std::mem::take(pending);
        *delta = match measured {
            Some(squared) => {
                let counts = squared > 0.0 && pending > 0.0 && pending.is_finite();
                tally.n += u32::from(counts);
                tally.n_greater += u32::from(counts && squared > pending);
                squared
            }
            None if differs => self.hands_on.map_or(f32::INFINITY, |unit| pending * unit),
            None => 0.0,
        };
    }
}

impl DeltaEstimator {
    pub fn new(program: &Program) -> Self {
        let mut sizes: Vec<_> =
            program.steps.iter().map(|s| program.maps[s.output].shape).map(|s| (s.h, s.w)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        let estimator = |i: usize| {
            let sensitivities = sensitivity::of_step(program, i);
            let s = program.maps[program.steps[i].output].shape;
            let scaled = sizes.iter().position(|v| *v == (s.h, s.w)).unwrap_or(0);
            StepEstimator { sensitivities, stencils: Vec::new(), limit: 0.0, hands_on: None, factor: 1.0, scaled }
        };
        let mut estimators: Vec<StepEstimator> = (0..program.steps.len()).map(estimator).collect();
        let is_made = |map: usize| {
            let is_step = |s: &Step| s.output == map && !matches!(s.kind, Kind::Join);
            map == program.input || program.steps.iter().any(is_step)
        };
        let deltas = |(i, map): (usize, &crate::plan::map::Map)| {
            if !is_made(i) {
                return DeltaMap::new(0, 0, 0, 0);
            }
            let seen = || estimators.iter().flat_map(|o| &o.sensitivities).filter(|s| s.map == i);
            let sides = || seen().map(InputSensitivity::side);
            let is_of_all = |n: &usize| i == program.input && n.is_power_of_two() && sides().all(|side| side == *n);
            let side = sides().min().filter(is_of_all).unwrap_or(1);
            let rim = seen().filter_map(|s| s.window(side)).flat_map(|w| [w.pad, w.pad_end]).flatten().max();
            DeltaMap::new(map.shape.h, map.shape.w, rim.unwrap_or(0), side.ilog2())
        };
        let n_rows = program.maps[program.input].shape.h.div_ceil(TOLERANCE_CELL);
        let deltas: Vec<DeltaMap> = program.maps.iter().enumerate().map(deltas).collect();
        for estimator in &mut estimators {
            let stencil = |s: &InputSensitivity| Stencil::through(s.window(deltas[s.map].side()), &deltas[s.map]);
            estimator.stencils = estimator.sensitivities.iter().map(stencil).collect();
        }
        let n_taps = |o: &StepEstimator| o.stencils.iter().map(|l| l.offsets.len()).sum::<usize>();
        let room = || Vec::with_capacity(estimators.iter().map(n_taps).max().unwrap_or(0));
        Self {
            scratch: Seen { taps: room(), every_second: room(), others: [0.0; LANES], has_others: false },
            changed: Vec::with_capacity(estimators.iter().map(|o| o.sensitivities.len()).max().unwrap_or(0)),
            pending: (0..program.maps.len())
                .map(|i| if is_made(i) { program.maps[i].shape } else { MapShape::new(0, 0, 0) })
                .map(|s| PendingDelta { stride: in_blocks(s.w), values: Buffer::zeros(s.h * in_blocks(s.w)) })
                .collect(),
            scaled: sizes
                .iter()
                .map(|&(h, w)| {
                    let powers = || Buffer::new(in_blocks(w) * n_rows, 1.0);
                    ScaledLimits { h, w, rows: vec![0; h], powers: [powers(), powers()] }
                })
                .collect(),
            estimate: EstimatePolicy::default(),
            deferred: DeferredPolicy::default(),
            tolerance: ToleranceMap::default(),
            deltas,
            estimators,
        }
    }

    /// Numbers that are kept of a program's maps.
    pub fn n_values(program: &Program) -> usize {
        let this = Self::new(program);
        let maps = this.deltas.iter().map(|f| f.values.len()).chain(this.pending.iter().map(|e| e.values.len()));
        maps.chain(this.scaled.iter().flat_map(|e| &e.powers).map(|p| p.len())).sum()
    }

    /// Takes the gains from weights and scales.
    pub fn weigh(&mut self, program: &Program, weights: &Weights, gates: &Gates) {
        (self.estimate, self.deferred) = (gates.policy().estimate.clone(), gates.policy().deferred.clone());
        for (i, estimator) in self.estimators.iter_mut().enumerate() {
            let (step, gate) = (&program.steps[i], gates.get(i));
            estimator.factor = 1.0;
            estimator.limit = 0.0;
            estimator.hands_on = None;
            let sensitivities = &estimator.sensitivities;
            let all_are_measured = !sensitivities.is_empty() && sensitivities.iter().all(|s| s.is_measured(gates));
            if !all_are_measured || (step.is_gated && gate.is_exact()) {
                continue;
            }
            let side = |s: &InputSensitivity| self.deltas[s.map].side();
            if step.is_gated {
                estimator.limit = gate.limit();
                for (input, stencil) in sensitivities.iter().zip(&mut estimator.stencils) {
                    stencil.gains =
                        mean_gains(input, input.gains(program, step, weights.of(i), gates, gate), side(input));
                }
                continue;
            }
            // Without a gate of its own a step follows the gates of what it reads.
            let unit = |s: &InputSensitivity| match s.units {
                Units::Gate(i) => gates.get(i).limit(),
                _ => 0.0,
            };
            if sensitivities.iter().all(|s| unit(s) > 0.0 && side(s) == 1) {
                estimator.limit = 1.0;
                for (input, stencil) in sensitivities.iter().zip(&mut estimator.stencils) {
                    stencil.gains.fill(1.0 / unit(input));
                }
                if let (Kind::Resize(_), [input]) = (&step.kind, &sensitivities[..]) {
                    estimator.hands_on = Some(unit(input));
                }
            }
        }
    }

    /// Everything was computed.
    pub fn restart(&mut self) {
        self.deltas.iter_mut().for_each(|f| f.values.fill(0.0));
        self.pending.iter_mut().for_each(|e| e.values.fill(0.0));
    }

    /// For whoever writes the picture.
    pub fn delta_map_mut(&mut self, map: usize) -> &mut DeltaMap {
        &mut self.deltas[map]
    }

    /// Forgets the deltas of a map.
    pub fn clear(&mut self, map: usize, set: &ChangeSet) {
        self.deltas[map].clear(set);
    }

    /// Before a frame: how far each part of the picture may be off.
    pub fn follow(&mut self, tolerance: &ToleranceMap) {
        if self.tolerance == *tolerance {
            return;
        }
        self.tolerance.copy_from(tolerance);
        self.scaled.iter_mut().for_each(|e| e.follow(tolerance));
    }

    /// Takes from `set`, the cells that changes reach, those that would move too little, and adds them to `deferred` if
    /// they would move enough to matter.
    pub fn defer(
        &mut self,
        i: usize,
        out: usize,
        changes: &[ChangeSet],
        kernels: &Kernels,
        set: &mut ChangeSet,
        deferred: &mut ChangeSet,
    ) {
        let share = self.deferred.share;
        let StepEstimator { sensitivities, stencils, limit, factor, scaled, .. } = &self.estimators[i];
        if *limit == 0.0 || set.is_empty() {
            return;
        }
        let (scaled, pending) = (&self.scaled[*scaled], &mut self.pending[out]);
        let words = set.words_a_row();
        let seen = &mut self.scratch;
        self.changed.clear();
        self.changed.extend((0..sensitivities.len()).filter(|k| !changes[sensitivities[*k].map].is_empty()));
        for (at, word) in set.words_mut().iter_mut().enumerate().filter(|(_, word)| **word != 0) {
            let (y, x) = (at / words, at % words * LANES);
            let n = (pending.stride - x).min(LANES);
            let pending = &mut pending.values[y * pending.stride + x..][..n];
            prefetch(pending.as_ptr(), n);
            seen.clear();
            for &k in &self.changed {
                see(&self.deltas[sensitivities[k].map], &sensitivities[k].how, &stencils[k], [y, x], *word, seen);
            }
            // Where nothing changed around a cell, nothing is added.
            let args = EstimateArgs {
                taps: &seen.taps,
                every_second: &seen.every_second,
                seen: seen.has_others.then_some(&seen.others),
                factor: *factor,
                reached: *word,
                n_blocks: n / BLOCK,
                pending: pending.as_mut_ptr(),
                tolerance: [0, 1].map(|i| scaled.powers[i][scaled.rows[y] + x..][..n].as_ptr()),
                limits: [*limit, limit * share * share],
            };
            // Safety: each tap was taken from a slice of as many numbers, and so was all else.
            let [exceeds, matters] = unsafe { kernels.estimate(&args) };
            deferred.words_mut()[at] |= *word & matters & !exceeds;
            *word &= exceeds;
        }
    }

    /// The squared change that is pending of a cell of step `i`, and from which it is computed.
    pub fn pending(&self, i: usize, out: usize, y: usize, x: usize) -> (f32, f32) {
        let (pending, estimator) = (&self.pending[out], &self.estimators[i]);
        let scaled = &self.scaled[estimator.scaled];
        (pending.values[y * pending.stride + x], estimator.limit * scaled.powers[0][scaled.rows[y] + x])
    }

    /// A cell has waited, and what is pending of it is not all that there is.
    pub fn mark_unknown(&mut self, out: usize, y: usize, x: usize) {
        let pending = &mut self.pending[out];
        pending.values[y * pending.stride + x] = f32::INFINITY;
    }

    /// Where a step records what comes of its cells.
    pub fn recorder(&mut self, i: usize, out: usize) -> DeltaRecorder {
        let deltas = &mut self.deltas[out];
        let first = deltas.index(0, 0);
        DeltaRecorder {
            // Safety: an index of the vector.
            deltas: unsafe { deltas.values.as_mut_ptr().add(first) },
            stride: deltas.stride,
            pending: self.pending[out].values.as_mut_ptr(),
            width: self.pending[out].stride,
            hands_on: self.estimators[i].hands_on,
        }
    }

    /// Learns from what came of a step's cells: half of it should be greater than was estimated.
    pub fn learn(&mut self, i: usize, tally: BiasTally) {
        let EstimatePolicy { rate, few_cells, most } = self.estimate;
        let factor = &mut self.estimators[i].factor;
        let n = tally.n as f32;
        if n > 0.0 {
            let bias = 2.0 * tally.n_greater as f32 / n - 1.0;
            *factor = (*factor * (rate * bias * n / (n + few_cells)).exp()).clamp(1.0 / most, most);
        }
    }
}

/// The mean gain of each square of taps.
fn mean_gains(input: &InputSensitivity, gains: Vec<f32>, side: usize) -> Vec<f32> {
    let (Some(fine), Some(coarse)) = (input.window(1), input.window(side)) else { return gains };
    let mut sums = vec![0.0; coarse.n_taps()];
    for (tap, gain) in gains.iter().enumerate() {
        let (y, x) = (tap / fine.kernel[1] / side, tap % fine.kernel[1] / side);
        sums[y * coarse.kernel[1] + x] += gain / (side * side) as f32;
    }
    sums
}

/// Lists what a word's cells see of a map.
fn see(deltas: &DeltaMap, how: &Reach, by: &Stencil, [y, x]: [usize; 2], word: u64, seen: &mut Seen) {
    let cells = || {
        let mut rest = word;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros() as usize;
            rest &= rest.wrapping_sub(1);
            (bit < 64).then_some(bit)
        })
    };
    if let Reach::Repeat([down, along]) = how {
        let row = &deltas.values[deltas.index(y / down, 0)..];
        cells().for_each(|bit| seen.add(bit, by.gains[0] * row[(x + bit) / along]));
        return;
    }
    if let Reach::Resample(t) = how {
        for bit in cells() {
            let (row, col) = (t.rows[y], t.cols[x + bit]);
            let most = [row.first, row.second].into_iter().flat_map(|y| [col.first, col.second].map(|x| (y, x)));
            let most = most.fold(0.0f32, |most, (y, x)| most.max(deltas.values[deltas.index(y, x)]));
            seen.add(bit, by.gains[0] * most);
        }
        return;
    }
    let [down, along] = by.stride;
    let deltas = &deltas.values[y * down + x * along..];
    for (&offset, &gain) in by.offsets.iter().zip(&by.gains) {
        match along {
            1 => seen.taps.push(WindowTap { from: deltas[offset..offset + LANES].as_ptr(), gain }),
            2 => seen.every_second.push(WindowTap { from: deltas[offset..offset + 2 * LANES].as_ptr(), gain }),
            _ => cells().for_each(|bit| seen.add(bit, gain * deltas[offset + bit * along])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::resample::Taps;
    use crate::graph::{Coordinates, Resize, Rounding};

    #[test]
    fn a_repeated_cell_is_seen_as_if_looked_up() {
        let mut random = fastrand::Rng::with_seed(1);
        let (small, by) = (MapShape::new(5, 40, 1), [2, 3]);
        let large = MapShape::new(10, 120, 1);
        let taps = Taps::new(Resize::Nearest(Coordinates::Asymmetric, Rounding::Floor), small, large);
        let mut deltas = DeltaMap::new(small.h, small.w, 2, 0);
        (0..200).for_each(|_| deltas.add(random.usize(0..small.h), random.usize(0..small.w), random.f32()));
        let stencil = Stencil { gains: vec![0.7], ..Stencil::default() };
        for (y, x) in [(0, 0), (3, 64), (9, 0)] {
            let word = random.u64(..) >> if x == 64 { 8 } else { 0 };
            let [repeated, looked_up] = [Reach::Repeat(by), Reach::Resample(taps.clone())].map(|how| {
                let mut seen =
                    Seen { taps: Vec::new(), every_second: Vec::new(), others: [0.0; LANES], has_others: false };
                see(&deltas, &how, &stencil, [y, x], word, &mut seen);
                seen.others
            });
            assert_eq!(repeated, looked_up, "{y} {x}");
            assert!(repeated.iter().any(|v| *v > 0.0));
        }
    }

    #[test]
    fn pixels_add_up_in_their_squares() {
        let squares: Vec<f32> = (0..3 * 20).map(|i| i as f32).collect();
        for shift in 0..3 {
            let mut deltas = DeltaMap::new(8, 40, 1, shift);
            deltas.add_pixels(5, 7, &squares);
            for x in (0..40).step_by(1 << shift) {
                let inside = (x..x + (1 << shift)).filter(|x| (7..27).contains(x));
                let wanted: usize = inside.map(|x| 9 * (x - 7) + 3).sum();
                assert_eq!(deltas.get(5, x), wanted as f32, "{shift} {x}");
            }
        }
    }
}
