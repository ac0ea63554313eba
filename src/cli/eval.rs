//! `passd eval`: speed and agreement of the modes on a clip.

use super::common::{Failure, ModelArgs, print_line};
use super::numbers;
use crate::eval::{EvalSettings, Report, evaluate};
use crate::infer::plan::PlanSettings;
use crate::infer::session::SessionSettings;
use crate::merge::MergeSettings;
use crate::skip::{SkipMode, SkipSettings};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;

/// Compare modes on a clip: time, computed share, agreement with the dense run
///
/// Runs the modes over the same decoded frames in one process, taking turns of 16 frames. A mode's
/// time runs from the decoded frame to the merged detections, nothing left out.
///
/// Example: passd eval clip.mp4 --model yolox_nano --size 640x384 --json result.json
#[derive(clap::Args)]
pub struct Args {
    /// Video file, or a simulated camera such as 'sim://street?scene=night&seed=1001'
    clip: String,
    #[command(flatten)]
    model: ModelArgs,
    /// Modes to run; `off` is the reference
    #[arg(long, value_delimiter = ',', default_value = "off,regions,layers")]
    modes: Vec<String>,
    /// Threads of the model
    #[arg(long, value_parser = numbers::threads, default_value_t = 1)]
    threads: usize,
    /// Stop after this many frames
    #[arg(long)]
    frames: Option<u64>,
    /// Add sensor noise of this sigma (levels of 255) to the decoded frames
    #[arg(long, value_parser = numbers::sigma, default_value_t = 0.0, value_name = "SIGMA")]
    noise: f32,
    /// Write the result as JSON to this file ('-': standard output, instead of the table)
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Least score of a detection that is reported. Agreement finds what one run reports in the other from
    /// three quarters of this score on; agreement at the score has no such gap
    #[arg(long, value_parser = numbers::score, default_value_t = crate::config::SCORE)]
    score: f32,
    /// Leave out the floor: dense runs with a sensor's noise against those without, which take as long
    /// as two more of mode off
    #[arg(long)]
    no_floor: bool,
    /// Side of a patch, pixels of model input [default: 8 in layers, else 16]
    #[arg(long, value_parser = numbers::patch)]
    patch: Option<u32>,
    /// Least change of an 8x8 cell that counts, levels of 255 [default: 1 in layers, else 7]
    #[arg(long, value_parser = numbers::level)]
    threshold: Option<f32>,
    /// Gate profile of the layer engine [default: the model's own, if it has one]
    #[arg(long, value_name = "FILE")]
    gates: Option<PathBuf>,
    /// Context around what has changed, pixels of model input
    #[arg(long, value_parser = clap::value_parser!(u32).range(0..=4096))]
    context: Option<u32>,
    /// Share of the picture from which all of it is run
    #[arg(long, value_parser = numbers::share)]
    break_even: Option<f32>,
    /// Compare the raw outputs of mode layers with a whole run's, frame by frame (in the JSON as a
    /// curve); takes as long as a dense run, and the times are those of a busier machine
    #[arg(long)]
    raw: bool,
    /// Nothing that is known is older than this many seconds; 30 in mode layers, else 10
    #[arg(long, value_parser = numbers::seconds)]
    max_age: Option<f32>,
    /// Seconds that objects whose way is known go without a look; 0: every change is looked at [default: 0.15 in
    /// layers, else 0]
    #[arg(long, value_parser = numbers::predict)]
    predict: Option<f32>,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let modes = args
        .modes
        .iter()
        .map(|m| match m.as_str() {
            "off" => Ok(SkipMode::Off),
            "regions" => Ok(SkipMode::Regions),
            "layers" => Ok(SkipMode::Layers),
            other => Err(Failure::Usage(format!("--modes: '{other}' is none of off, regions, layers"))),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let (runtime, model, size) = args.model.load()?;
    crate::capture::init().map_err(|e| Failure::Failed(e.to_string()))?;
    let mut plan = PlanSettings::for_input(size, model.sidecar.input.multiple_of.unwrap_or(32));
    plan.context = args.context.unwrap_or(plan.context);
    plan.break_even = args.break_even.unwrap_or(plan.break_even);
    let ns = |v: f32| (f64::from(v) * 1e9) as u64;
    let settings = EvalSettings {
        clip: args.clip.clone(),
        size,
        modes,
        session: SessionSettings { threads: args.threads, ..SessionSettings::default() },
        n_frames: args.frames,
        noise: args.noise,
        score: args.score,
        floor: !args.no_floor,
        skip: SkipSettings {
            patch: args.patch,
            threshold: args.threshold,
            max_age_ns: args.max_age.map(ns),
            predict_ns: args.predict.map(ns),
            ..SkipSettings::default()
        },
        merge: MergeSettings { min_score: args.score, ..MergeSettings::default() },
        plan,
        profile: crate::models::profiles::find(&model, &args.model.folders(), args.gates.as_deref())?,
        raw: args.raw,
    };
    let style = ProgressStyle::with_template("{spinner} {pos} frames, {per_sec}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let bar = ProgressBar::new_spinner().with_style(style);
    let report = evaluate(runtime, model, &settings, &mut |_| bar.inc(1)).map_err(Failure::Failed)?;
    bar.finish_and_clear();
    let json = serde_json::to_string_pretty(&report).map_err(|e| Failure::Failed(e.to_string()))?;
    match &args.json {
        Some(path) if path.as_os_str() == "-" => return print_line(&json),
        Some(path) => {
            std::fs::write(path, json + "\n").map_err(|e| Failure::Failed(format!("{}: {e}", path.display())))?
        }
        None => {}
    }
    print_table(&report)
}

fn print_table(r: &Report) -> Result<(), Failure> {
    let provider = &r.provider;
    print_line(&format!(
        "{} ({} frames, noise {}), {} at {}, {provider}, {} thread(s)",
        r.clip, r.frames, r.noise, r.model, r.size, r.threads
    ))?;
    print_line(&format!(
        "{:<8} {:>8} {:>7} {:>7} {:>7} {:>7} {:>8} {:>9} {:>9} {:>7} {:>7} {:>8} {:>8} {:>6} {:>8}",
        "mode",
        "mean ms",
        "p50",
        "p95",
        "p99",
        "skip ms",
        "speed-up",
        "computed",
        "agreement",
        "recall",
        "precis.",
        "at score",
        "flicker",
        "mAP50",
        "peak MiB"
    ))?;
    for (mode, m) in &r.modes {
        let share = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.3}"));
        print_line(&format!(
            "{mode:<8} {:>8.2} {:>7.2} {:>7.2} {:>7.2} {:>7.3} {:>8} {:>8.1}% {:>9} {:>7} {:>7} {:>8} {:>7.2}% {:>6} {:>8.0}",
            m.inference_ms.mean,
            m.inference_ms.p50,
            m.inference_ms.p95,
            m.inference_ms.p99,
            m.skip_ms,
            m.speedup_vs_off.map_or("-".into(), |v| format!("{v:.2}x")),
            100.0 * m.computed_share,
            share(m.agreement),
            share(m.recall),
            share(m.precision),
            share(m.agreement_at_score),
            100.0 * m.flicker,
            share(m.map50),
            m.peak_rss_mib,
        ))?;
    }
    for f in &r.floor {
        print_line(&format!(
            "off, with a sensor's noise of sigma {}: agreement {:.3}, {:.3} at score {}, flicker {:.2}%",
            f.sigma,
            f.agreement,
            f.agreement_at_score,
            r.score,
            100.0 * f.flicker
        ))?;
    }
    for (mode, t, track_ms) in r.modes.iter().filter_map(|(mode, m)| Some((mode, m.tracking?, m.track_ms))) {
        print_line(&format!(
            "{mode}: tracks MOTA {:.3}, IDF1 {:.3}, {} switches, {} of {} missed, {} false, {track_ms:.3} ms a frame",
            t.mota, t.idf1, t.switches, t.missed, t.objects, t.n_false
        ))?;
    }
    for (mode, d) in r.modes.iter().filter_map(|(mode, m)| Some((mode, m.raw_difference.as_ref()?))) {
        print_line(&format!("{mode}: raw outputs differ from a whole run's by {:.2e}, {:.2e} at most", d.mean, d.max))?;
    }
    for (mode, m) in r.modes.iter().filter(|(_, m)| m.patches.is_some()) {
        print_line(&format!(
            "{mode}: {} frames in full, {} with nothing to compute ({:.3} ms each), {} runs",
            m.full_frames, m.idle_frames, m.idle_ms, m.runs
        ))?;
    }
    Ok(())
}
