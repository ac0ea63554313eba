//! `passd calibrate`: the cheapest gates that keep the detections.
//!
//! Windows of the clips are decoded once and run densely once; then gates are
//! tried on the same frames, front to back, again and again. A trial changes a
//! few neighbours by a factor and stays if `cost + weight * harm` falls: cost is work as a
//! share of dense, harm is how much the detections differ from the dense ones, a
//! smooth measure, because agreement moves in steps. The weight is then raised
//! or lowered until the agreement is on target. Every other window is held out:
//! it is never tried on, and judges ([`judge`]): what was found is taken only if it
//! holds there, is cheaper than what it replaces, and enough was seen to tell.

use super::score::{Agreement, REPORT, harm};
use crate::capture::{Clip, SourceSpec};
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::frame::Frame;
use crate::geom::{PatchGrid, PatchMask, Size};
use crate::infer::layers::{LayersDetector, LayersSettings, Plans};
use crate::infer::{Detector, Inference, StreamId, Work};
use crate::merge::MergeSettings;
use crate::models::model::Model;
use crate::sim::Grain;
use crate::skip::{SkipMode, SkipSettings};
use crate::stage::Stage;
use crate::track::TrackSettings;
use engine::gating::gate::{Gate, Gates};
use engine::gating::policy::{GatePolicy, Policy};
use engine::gating::profile::Profile;
use engine::plan::Plan;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What to calibrate on.
#[derive(Debug, Clone)]
pub struct CalibrateSettings {
    pub clips: Vec<String>,
    pub size: Size,
    /// Agreement to keep, 0..=1.
    pub target: f64,
    /// Frames of a window, and windows of a clip; every second one is held out.
    pub window: usize,
    pub n_windows: usize,
    /// Passes over all gates for each weight.
    pub n_passes: usize,
    /// Sigma of noise that is added to the frames of every second clip, levels of 255; 0: none.
    pub noise: f32,
    pub skip: SkipSettings,
    /// What is used now; `None`: safe defaults.
    pub replaced: Option<Profile>,
}

/// Detections of the held-out windows, the dense run's and those of the gates, on which a judgement must rest at the least.
pub const LEAST_DETECTIONS: usize = 200;

/// Whether gates are worth taking, by windows that they were not tried on. `before` is what they would replace, there too.
///
/// # Errors
/// Why not, and what to do.
pub fn judge(held_out: &Outcome, before: &Outcome, target: f64) -> Result<(), String> {
    let percent = |share: f64| 100.0 * share;
    if held_out.n_detections < LEAST_DETECTIONS {
        return Err(format!(
            "the held-out windows show {} detections, and a judgement needs {LEAST_DETECTIONS}: give longer clips, more of them, \
             or more windows (--windows)",
            held_out.n_detections
        ));
    }
    if held_out.agreement < target {
        return Err(format!(
            "on held-out windows the gates agree by {:.4}, less than the target of {target}: what was found holds only where it \
             was looked for. Give clips of more kinds, or a lower --target",
            held_out.agreement
        ));
    }
    // Less work that misses the target is no measure.
    if before.agreement >= target && held_out.cost >= before.cost {
        return Err(format!(
            "on held-out windows the gates take {:.1} % of the work, and what is used now takes {:.1} %: nothing is saved",
            percent(held_out.cost),
            percent(before.cost)
        ));
    }
    Ok(())
}

/// How gates do on some windows.
#[derive(Debug, Clone, Copy, PartialEq, Default, serde::Serialize)]
pub struct Outcome {
    pub agreement: f64,
    /// Work, as a share of the dense run's.
    pub cost: f64,
    /// Difference of the detections, a share of their scores.
    pub harm: f64,
    /// Detections that were compared.
    pub n_detections: usize,
}

/// What was found.
#[derive(Debug, Clone)]
pub struct Calibrated {
    pub gates: Gates,
    pub plan: Arc<Plan>,
    pub tried_on: Outcome,
    pub held_out: Outcome,
    pub before: Outcome,
}

/// Called now and then with how far it is, 0..=1, and the best so far.
pub type CalibrateProgress<'a> = &'a mut dyn FnMut(f64, &Outcome);

/// A run of frames with what the dense model sees in them.
struct Window {
    frames: Vec<Frame>,
    dense: Vec<Vec<Detection>>,
}

/// Detections down to this score are compared.
const COMPARED_FROM: f32 = 0.1;
/// What a computed cell costs beside its multiply-accumulates, in such (measured: fetching,
/// activation, comparing and storing it, 40 ns against 80 GMAC/s).
const CELL_COST: f64 = 3000.0;
/// Gates that are tried together, neighbours in the order of the network, round by round.
const GROUPS: [usize; 4] = [12, 6, 4, 3];
/// Factors by which a threshold is tried; 0 never comes back from an open gate.
const FACTORS: [f32; 2] = [1.6, 1.0 / 1.6];
/// Rising thresholds to begin with: bolder than the safe default, because there are clips to be shown wrong by.
const START: (f32, f32) = (0.15, 0.4);
/// Thresholds stay in this range.
const RANGE: (f32, f32) = (0.01, 4.0);

/// Finds gates for a model.
///
/// # Errors
/// A clip cannot be read, or the engine cannot run the model; in words.
pub fn calibrate(
    model: &Arc<Model>,
    s: &CalibrateSettings,
    progress: CalibrateProgress<'_>,
) -> Result<Calibrated, String> {
    let mut detector = open_detector(model.clone(), s.size)?;
    let mut windows = Vec::new();
    for (i, clip) in s.clips.iter().enumerate() {
        let noise = if i % 2 == 1 { s.noise } else { 0.0 };
        windows.extend(read_windows(clip, s, noise, &mut detector)?);
    }
    let (mut tried, mut held) = (Vec::new(), Vec::new());
    for (i, window) in windows.into_iter().enumerate() {
        if i % 2 == 0 { tried.push(window) } else { held.push(window) }
    }
    if held.is_empty() {
        return Err("the clips are too short: at least two windows of frames are needed".into());
    }
    let plan = detector.plan().clone();
    let mut careful = Gates::rising(&plan, &Policy::default());
    learn_scales(&mut careful, &mut detector, &tried)?;
    let mut gates = careful.clone();
    let start =
        Policy { gates: GatePolicy { first: START.0, last: START.1, ..GatePolicy::default() }, ..Policy::default() };
    for (i, bold) in Gates::rising(&plan, &start).steps().iter().enumerate().filter(|(_, g)| g.threshold > 0.0) {
        gates.set(i, Gate::new(bold.threshold, gates.get(i).scales.clone()));
    }
    let mut bench = Bench { detector, skip: s.skip.clone(), size: s.size };
    let replaced = s.replaced.as_ref().map(|p| p.gates(&plan)).transpose().map_err(|e| e.to_string())?;
    let before = bench.measure(replaced.as_ref().unwrap_or(&careful), &held)?;
    let mut now = bench.measure(&gates, &tried)?;
    let mut best: Option<(Gates, Outcome)> = None;
    let gated: Vec<usize> = (0..plan.steps.len()).filter(|i| plan.steps[*i].is_gated).collect();
    // A weight that misses the target is raised, one that holds it is lowered, in smaller and smaller steps.
    let (mut weight, mut step) = (2.0, 3.0);
    for (round, n_together) in GROUPS.into_iter().enumerate() {
        for pass in 0..s.n_passes {
            for (k, group) in gated.chunks(n_together).enumerate() {
                let done = (round * s.n_passes + pass) as f64 + (k * n_together) as f64 / gated.len() as f64;
                progress(done / (GROUPS.len() * s.n_passes) as f64, &now);
                for factor in FACTORS {
                    let before = gates.clone();
                    for &i in group {
                        let gate = gates.get(i);
                        let threshold = (gate.threshold * factor).clamp(RANGE.0, RANGE.1);
                        gates.set(i, Gate::new(threshold, gate.scales.clone()));
                    }
                    let then = bench.measure(&gates, &tried)?;
                    if then.cost + weight * then.harm < now.cost + weight * now.harm {
                        now = then;
                        break;
                    }
                    gates = before;
                }
            }
        }
        let holds = now.agreement >= s.target;
        if holds && best.as_ref().is_none_or(|(_, b)| now.cost < b.cost) {
            best = Some((gates.clone(), now));
        }
        weight *= if holds { 1.0 / step } else { step };
        step = f64::sqrt(step);
    }
    let (gates, tried_on) = best.unwrap_or((gates, now));
    let held_out = bench.measure(&gates, &held)?;
    Ok(Calibrated { gates, plan, tried_on, held_out, before })
}

/// The scales of channels over the first frames of all windows: the mean of each one's.
fn learn_scales(gates: &mut Gates, detector: &mut LayersDetector, windows: &[Window]) -> Result<(), String> {
    let mut sums: Vec<Vec<f32>> = vec![Vec::new(); gates.steps().len()];
    for window in windows {
        detector.set_gates(gates.clone());
        run_dense(detector, &window.frames[0])?;
        let learnt = detector.stream(StreamId(0)).ok_or("no stream after a run")?.gates().clone();
        for (sum, gate) in sums.iter_mut().zip(learnt.steps()) {
            sum.resize(gate.scales.len(), 0.0);
            sum.iter_mut().zip(&gate.scales).for_each(|(sum, scale)| *sum += scale / windows.len() as f32);
        }
    }
    for (i, scales) in sums.into_iter().enumerate().filter(|(_, s)| !s.is_empty()) {
        let threshold = gates.get(i).threshold;
        gates.set(i, Gate::new(threshold, scales));
    }
    gates.settle();
    Ok(())
}

fn run_dense(detector: &mut LayersDetector, frame: &Frame) -> Result<Vec<Detection>, String> {
    let all = PatchMask::full(PatchGrid::new(frame.size(), 8));
    let mut fresh = Inference::default();
    let work = Work::whole(frame, &all);
    detector.detect(StreamId(0), &work, &mut fresh).map_err(|e| e.to_string())?;
    Ok(fresh.detections)
}

/// Windows that are spread over a clip.
fn read_windows(
    clip: &str,
    s: &CalibrateSettings,
    noise: f32,
    detector: &mut LayersDetector,
) -> Result<Vec<Window>, String> {
    let named = |e: &dyn std::fmt::Display| format!("{clip}: {e}");
    let spec = match SourceSpec::parse(clip).map_err(|e| named(&e))? {
        SourceSpec::Sim(mut sim) => {
            sim.n_frames = sim.n_frames.or(Some((2 * s.window * s.n_windows) as u64));
            SourceSpec::Sim(sim)
        }
        other => other,
    };
    // Once to count, once to take: a clip may be larger than memory.
    let mut n_frames = 0;
    let mut counting = Clip::open(&spec, s.size).map_err(|e| named(&e))?;
    while counting.next_frame().map_err(|e| named(&e))?.is_some() {
        n_frames += 1;
    }
    let n_windows = s.n_windows.min(n_frames / s.window.max(1));
    if n_windows == 0 {
        return Err(format!("{clip}: {n_frames} frames are fewer than a window of {}", s.window));
    }
    let apart = n_frames / n_windows;
    let grain = (noise > 0.0).then(|| Grain::new(noise, 99));
    let mut windows: Vec<Window> = Vec::new();
    let mut source = Clip::open(&spec, s.size).map_err(|e| named(&e))?;
    for n in 0..n_frames {
        let Some(frame) = source.next_frame().map_err(|e| named(&e))? else { break };
        let (window, at) = (n / apart, n % apart);
        if at >= s.window || window >= n_windows {
            continue;
        }
        if at == 0 {
            windows.push(Window { frames: Vec::new(), dense: Vec::new() });
        }
        // Noisy or not, a frame of its own: the source's buffers go back to it.
        let frame = super::run::with_noise(&frame, grain.as_ref(), n as u64);
        if let Some(window) = windows.last_mut() {
            window.dense.push(run_dense(detector, &frame)?);
            window.frames.push(frame);
        }
    }
    Ok(windows)
}

/// Gates as they are, on one sequence of frames after the other: against whole runs with the same weights.
pub struct GateBench {
    bench: Bench,
    gates: Gates,
}

impl GateBench {
    /// On the thread that calls.
    ///
    /// # Errors
    /// The engine cannot run the model, or the profile is of another one; in words.
    pub fn open(model: Arc<Model>, size: Size, profile: &Profile) -> Result<Self, String> {
        let detector = open_detector(model, size)?;
        let gates = profile.gates(detector.plan())?;
        Ok(Self { bench: Bench { detector, skip: SkipSettings::default(), size }, gates })
    }

    /// How the gates do on frames that follow one another; `go_on` is asked after each. `None`: it was stopped.
    ///
    /// # Errors
    /// A run fails; in words.
    pub fn measure(
        &mut self,
        frames: &[Frame],
        go_on: &mut dyn FnMut() -> ControlFlow<()>,
    ) -> Result<Option<Outcome>, String> {
        let mut window = Window { frames: frames.to_vec(), dense: Vec::new() };
        for frame in frames {
            window.dense.push(run_dense(&mut self.bench.detector, frame)?);
            if go_on().is_break() {
                return Ok(None);
            }
        }
        let outcome = self.bench.measure(&self.gates, &[window])?;
        Ok(go_on().is_continue().then_some(outcome))
    }
}

fn open_detector(model: Arc<Model>, size: Size) -> Result<LayersDetector, String> {
    LayersDetector::open(
        model,
        size,
        Thresholds { score: COMPARED_FROM, iou: 0.5 },
        LayersSettings { reported: Some(REPORT), ..LayersSettings::default() },
        1,
        None,
        &Plans::default(),
    )
    .map_err(|e| e.to_string())
}

/// Runs gates over windows.
struct Bench {
    detector: LayersDetector,
    skip: SkipSettings,
    size: Size,
}

impl Bench {
    fn measure(&mut self, gates: &Gates, windows: &[Window]) -> Result<Outcome, String> {
        let (mut agreement, mut fresh) = (Agreement::default(), Inference::default());
        let (mut cost, mut harmed, mut scores, mut n) = (0.0, 0.0, 0.0, 0);
        let dense_cells: usize = self.detector.plan().maps.iter().map(|m| m.shape.n_cells()).sum();
        let dense_cost = self.detector.plan().macs() as f64 + CELL_COST * dense_cells as f64;
        for window in windows {
            self.detector.set_gates(gates.clone());
            let mut stage = Stage::new(
                SkipMode::Layers,
                self.size,
                &self.skip,
                MergeSettings { min_score: COMPARED_FROM, ..MergeSettings::default() },
                TrackSettings::default(),
            );
            for (i, (frame, dense)) in window.frames.iter().zip(&window.dense).enumerate() {
                let (patches, known) = stage.begin(frame);
                let work = Work { frame, patches, known, max_age_ns: self.skip.max_age_in(SkipMode::Layers) };
                self.detector.detect(StreamId(0), &work, &mut fresh).map_err(|e| e.to_string())?;
                stage.finish(frame, &fresh, |_| true);
                if i == 0 {
                    continue;
                }
                let found: Vec<Detection> = stage.detections().map(|m| m.detection).collect();
                agreement.add(dense, &found);
                harmed += harm(dense, &found, COMPARED_FROM);
                scores += dense.iter().map(|d| f64::from(d.score)).sum::<f64>();
                cost += (fresh.layers.executed_macs as f64 + CELL_COST * fresh.layers.cells as f64) / dense_cost;
                n += 1;
            }
        }
        Ok(Outcome {
            agreement: agreement.agreement(),
            cost: cost / f64::from(n.max(1)),
            harm: harmed / scores.max(1.0),
            n_detections: agreement.n_compared(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_holds_elsewhere_is_taken() {
        let of = |agreement: f64, cost: f64, n_detections: usize| Outcome {
            agreement,
            cost,
            n_detections,
            ..Outcome::default()
        };
        let before = of(0.987, 0.1, 1000);
        assert_eq!(judge(&of(0.985, 0.08, 1000), &before, 0.98), Ok(()));
        assert_eq!(judge(&of(0.985, 0.12, 1000), &of(0.95, 0.1, 1000), 0.98), Ok(()), "what was before is no measure");
        for (found, part) in [
            (of(0.897, 0.05, 1000), "less than the target"),
            (of(0.99, 0.1, 1000), "nothing is saved"),
            (of(1.0, 0.02, 40), "show 40 detections"),
            (of(f64::NAN, 0.02, 0), "show 0 detections"),
        ] {
            assert!(judge(&found, &before, 0.98).unwrap_err().contains(part), "{found:?}");
        }
    }
}
