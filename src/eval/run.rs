//! The evaluation loop.

use super::mot::{Claimed, TrackScore};
use super::report::{FloorReport, LayerReport, ModeReport, PatchReport, Percentiles, RawDifference, Report};
use super::score::{Agreement, AveragePrecision, Flicker};
use super::truth::TruthOf;
use crate::capture::{Clip, SourceSpec};
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::frame::Frame;
use crate::geom::{PatchGrid, PatchMask, Size};
use crate::infer::factory::DetectorSpec;
use crate::infer::layers::{LayersSettings, Plans};
use crate::infer::plan::PlanSettings;
use crate::infer::session::{Runtime, SessionSettings};
use crate::infer::{Coverage, Detector, Inference, StreamId, Work};
use crate::merge::MergeSettings;
use crate::models::model::Model;
use crate::process::resident_mib;
use crate::sim::{Grain, SimSettings};
use crate::skip::{SkipMode, SkipSettings};
use crate::stage::Stage;
use crate::track::TrackSettings;
use engine::exec::counters::Counters;
use engine::gating::profile::Profile;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Frames of a mode's turn. Alone it finds its maps and weights in the caches, as in a daemon that runs no other mode;
/// frame by frame each mode would pay for what the others have displaced (mode layers a tenth).
const TURN: u64 = 16;

/// What to evaluate.
#[derive(Debug, Clone)]
pub struct EvalSettings {
    pub clip: String,
    pub size: Size,
    pub modes: Vec<SkipMode>,
    pub session: SessionSettings,
    /// At most this many frames.
    pub n_frames: Option<u64>,
    /// Sigma of noise that is added to the decoded frames, levels of 255.
    pub noise: f32,
    /// Least score of what is reported; one that is compared with a gap is found again from three quarters of it.
    pub score: f32,
    /// Whether dense runs under a sensor's noise are compared with dense runs without; takes as long as two more of them.
    pub floor: bool,
    pub skip: SkipSettings,
    pub merge: MergeSettings,
    pub plan: PlanSettings,
    /// Gates of the layer engine; `None`: safe defaults.
    pub profile: Option<Profile>,
    /// Whether the raw outputs of mode layers are compared with a whole run's; takes as long as that.
    pub raw: bool,
}

/// Called after every frame with its number.
pub type EvalProgress<'a> = &'a mut dyn FnMut(u64);

/// One mode's chain and what was seen of it.
struct Lane {
    mode: SkipMode,
    max_age_ns: u64,
    stage: Stage,
    detector: Box<dyn Detector>,
    fresh: Inference,
    /// Of this turn, one a frame.
    found: Vec<Found>,
    tracked: TrackScore,
    track_time: Duration,
    total_ms: Vec<f64>,
    skip_ms: Vec<f64>,
    idle_ms: Vec<f64>,
    executed_px: u64,
    layers: Counters,
    raw_differences: Vec<f64>,
    n_full: u64,
    n_runs: u64,
    n_detections: u64,
    patches: PatchReport,
    likeness: Likeness,
    precision: AveragePrecision,
    grown_mib: f64,
    peak_mib: f64,
}

/// How like a dense run's detections others are, and how steady by themselves.
struct Likeness {
    score: f32,
    with_gap: Agreement,
    at_score: Agreement,
    flicker: Flicker,
}

impl Likeness {
    fn new(score: f32) -> Self {
        Self {
            score,
            with_gap: Agreement::with_gap(score),
            at_score: Agreement::at(score),
            flicker: Flicker::default(),
        }
    }

    /// `dense`: where there is a run to compare with.
    fn add(&mut self, dense: Option<&[Detection]>, found: &[Detection]) {
        if let Some(dense) = dense {
            self.with_gap.add(dense, found);
            self.at_score.add(dense, found);
        }
        self.flicker.add(found, self.score);
    }
}

/// Sigmas of a sensor's noise that is hardly seen.
const FLOOR: [f32; 2] = [1.0, 2.0];

/// A dense run of frames with noise: what a detector differs by where nothing is skipped.
struct Floor {
    grain: Grain,
    sigma: f32,
    stage: Stage,
    likeness: Likeness,
}

impl Floor {
    /// Detections of one frame, the clip's `n`th.
    fn run(
        &mut self,
        detector: &mut dyn Detector,
        fresh: &mut Inference,
        frame: &Frame,
        n: u64,
    ) -> Result<Vec<Detection>, String> {
        let frame = with_noise(frame, Some(&self.grain), n);
        let (patches, known) = self.stage.begin(&frame);
        let work = Work { frame: &frame, patches, known, max_age_ns: u64::MAX };
        detector.detect(StreamId(1), &work, fresh).map_err(|e| e.to_string())?;
        self.stage.finish(&frame, fresh, |_| true);
        Ok(compared(&self.stage, self.likeness.score))
    }

    fn report(&self) -> FloorReport {
        FloorReport {
            sigma: self.sigma,
            agreement: self.likeness.with_gap.agreement(),
            agreement_at_score: self.likeness.at_score.agreement(),
            flicker: self.likeness.flicker.share(),
        }
    }
}

/// What of a finished frame is compared: with what is reported, what is fainter and may still be it.
fn compared(stage: &Stage, score: f32) -> Vec<Detection> {
    let least = Agreement::least_of(score);
    stage.followed().iter().map(|m| m.detection).filter(|d| d.score >= least).collect()
}

/// What a mode says of a frame.
struct Found {
    detections: Vec<Detection>,
    claimed: Vec<Claimed>,
}

/// Runs the evaluation.
///
/// # Errors
/// The clip or the model cannot be used, or a run fails; in words.
pub fn evaluate(
    runtime: &Runtime,
    model: Arc<Model>,
    s: &EvalSettings,
    progress: EvalProgress<'_>,
) -> Result<Report, String> {
    let spec = SourceSpec::parse(&s.clip).map_err(|e| e.to_string())?;
    let named = |e: &dyn std::fmt::Display| format!("{}: {e}", s.clip);
    let (spec, mut truth) = match spec {
        SourceSpec::Sim(sim) => {
            let sim = SimSettings { n_frames: Some(s.n_frames.or(sim.n_frames).unwrap_or(300)), ..sim };
            let truth = TruthOf::new(&sim, s.size);
            (SourceSpec::Sim(sim), Some(truth))
        }
        other => (other, None),
    };
    let mut clip = Clip::open(&spec, s.size).map_err(|e| named(&e))?;
    let base_mib = resident_mib();
    let recipe = DetectorSpec {
        model: model.clone(),
        size: s.size,
        thresholds: Thresholds { score: s.score, iou: 0.5 },
        session: s.session.clone(),
        regions: s.plan.clone(),
        batches: Vec::new(),
        layers: LayersSettings::default(),
        profile: s.profile.clone(),
        plans: Plans::default(),
    };
    let mut lanes = Vec::new();
    let mut provider = None;
    for &mode in &s.modes {
        let before = resident_mib();
        let max_age_ns = s.skip.max_age_in(mode);
        let made = recipe.make(runtime, Some(mode)).map_err(|e| e.to_string())?;
        provider.get_or_insert(made.provider);
        lanes.push(Lane {
            mode,
            max_age_ns,
            stage: Stage::new(mode, s.size, &s.skip, MergeSettings { max_age_ns, ..s.merge }, TrackSettings::default())
                .judging_by(&made.policy),
            detector: made.detector,
            fresh: Inference::default(),
            found: Vec::new(),
            tracked: TrackScore::default(),
            track_time: Duration::ZERO,
            total_ms: Vec::new(),
            skip_ms: Vec::new(),
            idle_ms: Vec::new(),
            executed_px: 0,
            layers: Counters::default(),
            raw_differences: Vec::new(),
            n_full: 0,
            n_runs: 0,
            n_detections: 0,
            patches: PatchReport::default(),
            likeness: Likeness::new(s.score),
            precision: AveragePrecision::default(),
            grown_mib: resident_mib() - before,
            peak_mib: 0.0,
        });
    }
    let wants_raw = s.raw && s.modes.contains(&SkipMode::Layers);
    let mut whole = wants_raw.then(|| Whole::new(&recipe, runtime, s.size)).transpose()?;
    let grain = (s.noise > 0.0).then(|| Grain::new(s.noise, 99));
    let n_lanes = lanes.len();
    let mut floors: Vec<Floor> = Vec::new();
    if s.floor && s.modes.contains(&SkipMode::Off) {
        floors.extend(FLOOR.iter().zip(1u64..).map(|(&sigma, seed)| Floor {
            grain: Grain::new(sigma, seed),
            sigma,
            stage: Stage::new(SkipMode::Off, s.size, &s.skip, s.merge, TrackSettings::default()),
            likeness: Likeness::new(s.score),
        }));
    }
    let mut n = 0;
    loop {
        let mut frames = Vec::new();
        for at in n..s.n_frames.unwrap_or(u64::MAX).min(n + TURN) {
            let Some(frame) = clip.next_frame().map_err(|e| named(&e))? else { break };
            frames.push(if grain.is_some() { with_noise(&frame, grain.as_ref(), at) } else { frame });
        }
        if frames.is_empty() {
            break;
        }
        let wanted = match &mut whole {
            Some(whole) => frames.iter().map(|f| whole.run(f)).collect::<Result<_, _>>()?,
            None => Vec::new(),
        };
        for i in 0..n_lanes {
            lanes[(i + (n / TURN) as usize) % n_lanes].turn(&frames, &wanted)?;
        }
        let dense = lanes.iter().position(|l| l.mode == SkipMode::Off);
        for (i, frame) in frames.iter().enumerate() {
            let reference = dense.map(|dense| lanes[dense].found[i].detections.clone());
            for lane in &mut lanes {
                lane.likeness.add(reference.as_deref(), &lane.found[i].detections);
            }
            if let Some(Lane { detector, fresh, .. }) = dense.map(|dense| &mut lanes[dense]) {
                for floor in &mut floors {
                    let found = floor.run(detector.as_mut(), fresh, frame, n)?;
                    floor.likeness.add(reference.as_deref(), &found);
                }
            }
            if let Some(truth) = &mut truth {
                let wanted = truth.of_frame(n);
                for lane in &mut lanes {
                    lane.precision.add(wanted, &lane.found[i].detections);
                    lane.tracked.add(wanted, &lane.found[i].claimed);
                }
            }
            n += 1;
            progress(n);
        }
    }
    drop(clip);
    if n == 0 {
        return Err(format!("{}: no frame could be decoded", s.clip));
    }
    let dense_ms = lanes.iter().find(|l| l.mode == SkipMode::Off).map(|l| Percentiles::of(&l.total_ms).mean);
    let modes =
        lanes.iter().map(|l| (l.mode.name().to_owned(), l.report(n, s, base_mib, dense_ms, truth.is_some()))).collect();
    Ok(Report {
        clip: s.clip.clone(),
        frames: n,
        model: model.name.clone(),
        size: s.size.to_string(),
        threads: s.session.threads,
        noise: s.noise,
        score: s.score,
        floor: floors.iter().map(Floor::report).collect(),
        provider: provider.map(|p| p.to_string()).unwrap_or_default(),
        machine: machine(),
        modes,
    })
}

/// The layer engine, computing every frame as a whole: within 1e-3 of ONNX Runtime's numbers
/// (tests/engine_detect.rs), and in the same order as mode layers has them.
struct Whole {
    detector: Box<dyn Detector>,
    everything: PatchMask,
    fresh: Inference,
}

impl Whole {
    fn new(recipe: &DetectorSpec, runtime: &Runtime, size: Size) -> Result<Self, String> {
        let made = recipe.make(runtime, Some(SkipMode::Layers)).map_err(|e| e.to_string())?;
        let everything = PatchMask::full(PatchGrid::new(size, 32));
        Ok(Self { detector: made.detector, everything, fresh: Inference::default() })
    }

    fn run(&mut self, frame: &Frame) -> Result<Vec<f32>, String> {
        let work = Work::whole(frame, &self.everything);
        self.detector.detect(StreamId(0), &work, &mut self.fresh).map_err(|e| e.to_string())?;
        self.detector.raw_outputs(StreamId(0)).ok_or_else(|| "the layer engine kept no outputs".into())
    }
}

impl Lane {
    /// Notes how far the raw outputs are from those of a whole run, where they are kept.
    fn compare_raw(&mut self, wanted: &[f32]) {
        let Some(found) = self.detector.raw_outputs(StreamId(0)) else { return };
        let sum: f64 = found.iter().zip(wanted).map(|(a, b)| f64::from((a - b).abs())).sum();
        self.raw_differences.push(sum / wanted.len().max(1) as f64);
    }

    /// Some frames, one after the other. `wanted`: a whole run's raw outputs of each, if they are to be compared.
    fn turn(&mut self, frames: &[Frame], wanted: &[Vec<f32>]) -> Result<(), String> {
        self.found.clear();
        for (i, frame) in frames.iter().enumerate() {
            self.step(frame)?;
            if let Some(wanted) = wanted.get(i) {
                self.compare_raw(wanted);
            }
        }
        Ok(())
    }

    fn step(&mut self, frame: &Frame) -> Result<(), String> {
        let resident = resident_mib();
        let start = Instant::now();
        let (patches, known) = self.stage.begin(frame);
        let decided = start.elapsed();
        let work = Work { frame, patches, known, max_age_ns: self.max_age_ns };
        if patches.is_empty() {
            // As in the daemon.
            self.fresh.clear();
        } else {
            self.detector.detect(StreamId(0), &work, &mut self.fresh).map_err(|e| e.to_string())?;
        }
        let detected = start.elapsed();
        self.stage.finish(frame, &self.fresh, |_| true);
        let merged = start.elapsed();
        let score = self.likeness.score;
        let tracks = self.stage.track(frame, |d| d.score >= score);
        let tracked = start.elapsed();
        self.track_time += tracked - merged;
        let present = tracks.iter().filter(|t| t.is_present());
        let claimed = present.map(|t| Claimed { id: t.id, class: t.class, bbox: t.bbox() }).collect();
        // Where tracks tell what need not be computed, they are a part of the cost.
        let total = if self.stage.predicts() { tracked } else { merged };
        self.grown_mib += resident_mib() - resident;
        self.peak_mib = self.peak_mib.max(self.grown_mib);

        self.total_ms.push(ms(total));
        self.skip_ms.push(if self.mode == SkipMode::Off { 0.0 } else { ms(decided + (total - detected)) });
        if self.fresh.coverage == Coverage::Nothing {
            self.idle_ms.push(ms(total));
        }
        self.n_full += u64::from(self.fresh.coverage == Coverage::Full);
        self.executed_px += self.fresh.executed_px;
        self.layers.add(&self.fresh.layers);
        self.n_runs += u64::from(self.fresh.n_runs);
        if let Some(decision) = self.stage.decision() {
            let c = decision.counts;
            let p = &mut self.patches;
            p.kept += u64::from(c.kept);
            p.masked += u64::from(c.masked);
            p.changed += u64::from(c.changed);
            p.stale += u64::from(c.stale);
            p.forced += u64::from(c.forced);
            p.predicted += u64::from(c.predicted);
        }
        let detections = compared(&self.stage, self.likeness.score);
        self.n_detections += self.stage.detections().count() as u64;
        self.found.push(Found { detections, claimed });
        Ok(())
    }

    fn report(&self, n: u64, s: &EvalSettings, base_mib: f64, dense_ms: Option<f64>, is_sim: bool) -> ModeReport {
        let total = Percentiles::of(&self.total_ms);
        let against = |v: f64| dense_ms.map(|_| v);
        ModeReport {
            inference_ms: total,
            skip_ms: Percentiles::of(&self.skip_ms).mean,
            idle_frames: self.idle_ms.len() as u64,
            idle_ms: Percentiles::of(&self.idle_ms).mean,
            speedup_vs_off: dense_ms.map(|d| d / total.mean),
            computed_share: self.executed_px as f64 / (n as f64 * s.size.area() as f64),
            agreement: against(self.likeness.with_gap.agreement()),
            recall: against(self.likeness.with_gap.recall()),
            precision: against(self.likeness.with_gap.precision()),
            agreement_at_score: against(self.likeness.at_score.agreement()),
            flicker: self.likeness.flicker.share(),
            map50: if is_sim { self.precision.mean() } else { None },
            track_ms: ms(self.track_time) / n.max(1) as f64,
            tracking: is_sim.then(|| self.tracked.report()),
            peak_rss_mib: base_mib + self.peak_mib,
            layers: (self.mode == SkipMode::Layers).then(|| LayerReport::new(&self.layers, n)),
            raw_difference: (!self.raw_differences.is_empty()).then(|| RawDifference {
                mean: self.raw_differences.iter().sum::<f64>() / self.raw_differences.len() as f64,
                max: self.raw_differences.iter().copied().fold(0.0, f64::max),
                frames: self.raw_differences.clone(),
            }),
            patches: (self.mode != SkipMode::Off).then_some(self.patches),
            full_frames: self.n_full,
            runs: self.n_runs,
            detections: self.n_detections,
        }
    }
}

fn ms(d: Duration) -> f64 {
    d.as_secs_f64() * 1e3
}

/// A copy of a frame, with noise if there is to be some.
pub(super) fn with_noise(frame: &Frame, grain: Option<&Grain>, n: u64) -> Frame {
    let mut data = frame.data().to_vec();
    let row = frame.size().width as usize * 3;
    let content = frame.letterbox.content;
    for (y, bytes) in data.chunks_exact_mut(row).take(content.height as usize).enumerate() {
        if let Some(grain) = grain {
            grain.add(&mut bytes[..content.width as usize * 3], n, y as u64);
        }
    }
    Frame::new(frame.id, frame.pts_ns, frame.letterbox, crate::frame::Pixels::owned(data))
        .at(frame.captured_ns, frame.captured_unix_ns)
        .of_epoch(frame.epoch)
}

fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpu
        .lines()
        .find(|l| l.starts_with("model name"))
        .and_then(|l| l.split_once(':'))
        .map_or(std::env::consts::ARCH, |l| l.1.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{name}, {cores} cores, {}", std::env::consts::ARCH)
}
