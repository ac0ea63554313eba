//! `passd demo`: the daemon on the embedded default, watched and checked.

use super::common::{Failure, print_line};
use crate::capture::SourceSpec;
use crate::config::{self, EventsConfig};
use crate::daemon::Daemon;
use crate::detect::Detection;
use crate::eval::TruthOf;
use crate::eval::score::{Agreement, AveragePrecision};
use crate::files::try_to_write;
use crate::geom::{Letterbox, PatchGrid, PatchMask};
use crate::infer::detector::DenseDetector;
use crate::infer::session::Runtime;
use crate::infer::{Detector, Inference, StreamId, Work};
use crate::models::model::{Model, ModelFolders};
use crate::outcome::FrameResult;
use crate::output::{Sink, draw};
use crate::sim::{SimCamera, SimSettings};
use crate::skip::SkipMode;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tracing_mutex::stdsync::Mutex;

/// Run the daemon on a simulated street and check what it says
///
/// Needs no camera, no model and no config. Afterwards the same frames are drawn again and run through
/// the model as a whole: the summary compares times and detections with that, and with the truth.
/// Exit status 0 only if all of it happened and the numbers are sound.
///
/// Example: passd demo --seconds 20 --out demo.jpg
#[derive(clap::Args)]
pub struct Args {
    /// How long to watch
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
    /// The annotated picture
    #[arg(long, default_value = "passd-demo.jpg")]
    out: PathBuf,
}

const CONFIG: &str = include_str!("../../configs/demo.toml");

/// Agreement with the dense run below this means that something is broken.
const LEAST_AGREEMENT: f64 = 0.90;
const LEAST_MAP50: f64 = 0.75;

/// Keeps what was said of every frame.
#[derive(Default)]
struct Recorder {
    frames: Mutex<Vec<(u64, Vec<Detection>)>>,
    /// The frame with most to see on the annotated picture.
    best: Mutex<Option<(usize, Arc<FrameResult>)>>,
    executed: AtomicU64,
}

impl Sink for Recorder {
    fn publish(&self, r: &Arc<FrameResult>) {
        let found = r.detections.iter().map(|d| d.merged.detection).collect();
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).push((r.frame.pts_ns, found));
        self.executed.fetch_add((r.executed_share * 1e6) as u64, Ordering::Relaxed);
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        let n_patches = r.computed.count();
        let partial = n_patches > 0 && n_patches < r.computed.grid().n_patches() * 2 / 3;
        let worth = r.detections.len() + if partial { 100 } else { 0 };
        if best.as_ref().is_none_or(|(w, _)| worth >= *w) {
            *best = Some((worth, r.clone()));
        }
    }
}

/// A folder that goes when this does.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

pub fn run(args: &Args) -> Result<(), Failure> {
    // Before twenty seconds are spent on it.
    let folder = args.out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    try_to_write(folder).map_err(|e| Failure::Usage(format!("{}: {e}", folder.display())))?;
    let failed = |e: &dyn std::fmt::Display| Failure::Failed(e.to_string());
    let mut config = config::load_text("configs/demo.toml", CONFIG, std::env::vars_os())
        .map_err(|e| Failure::Usage(e.to_string()))?;
    let [camera] = config.cameras.as_slice() else { return Err(failed(&"the demo has one camera")) };
    let camera = camera.clone();
    let SourceSpec::Sim(sim) = &camera.source.spec else { return Err(failed(&"the demo's camera is a simulated one")) };
    let sim = sim.clone();
    // For the page; it goes with the demo.
    let kept = Folder(std::env::temp_dir().join(format!("passd-demo-{}", std::process::id())));
    config.events = Some(EventsConfig {
        path: kept.0.clone(),
        max_bytes: 64 << 20,
        max_age: Duration::from_secs(3600),
        max_events: 1000,
    });
    let recorder = Arc::new(Recorder::default());
    let begun = Instant::now();
    let daemon = Daemon::start(config, vec![recorder.clone()]).map_err(|e| failed(&e))?;
    let address = daemon.address().map(|a| format!("http://{a}")).unwrap_or_default();
    print_line(&format!("watching {} for {} s", camera.source.shown, args.seconds))?;
    print_line(&format!("the page is at {address}/"))?;
    let style = ProgressStyle::with_template("{bar:30} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(args.seconds * 5).with_style(style);
    let mut since = (0, Instant::now());
    let watching = Instant::now();
    while watching.elapsed() < Duration::from_secs(args.seconds) {
        std::thread::sleep(Duration::from_millis(200));
        bar.inc(1);
        if bar.position().is_multiple_of(5) {
            let status = daemon.status(&mut since);
            bar.set_message(status.clone());
            // Where there is no terminal, a line now and then.
            if bar.is_hidden() && bar.position().is_multiple_of(25) {
                print_line(&format!("  {:>3} s: {status}", watching.elapsed().as_secs()))?;
            }
        }
    }
    bar.finish_and_clear();
    let board = daemon.board.get(&camera.id).ok_or_else(|| failed(&"the camera is gone"))?;
    let watched = watching.elapsed().as_secs_f64();
    daemon.stop();

    let frames = std::mem::take(&mut *recorder.frames.lock().unwrap_or_else(PoisonError::into_inner));
    let best = recorder.best.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((_, best)) = best else { return Err(failed(&"no frame was processed")) };
    print_line("checking against the whole picture …")?;
    let check = check(&camera, &sim, &frames).map_err(|e| failed(&e))?;
    let jpeg = draw::annotate(&best, true).jpeg(90).map_err(|e| failed(&e))?;
    std::fs::write(&args.out, jpeg).map_err(|e| failed(&format!("{}: {e}", args.out.display())))?;

    let n = frames.len();
    let get = |v: &AtomicU64| v.load(Ordering::Relaxed);
    let (computed, patches) = (get(&board.n_patches_computed), get(&board.n_patches).max(1));
    let skipping_ms = get(&board.detect_ns) as f64 / 1e6 / n.max(1) as f64;
    let executed = 100.0 * get(&recorder.executed) as f64 / 1e6 / n.max(1) as f64;
    print_line("")?;
    print_line(&format!(
        "frames       {n} in {watched:.1} s, {} dropped (start-up took {:.1} s)",
        get(&board.n_dropped),
        (begun.elapsed() - watching.elapsed()).as_secs_f64()
    ))?;
    print_line(&format!(
        "patches      {computed} computed, {} skipped ({:.1} % skipped)",
        patches - computed,
        100.0 * (patches - computed) as f64 / patches as f64
    ))?;
    print_line(&format!("detections   {}", get(&board.n_detections)))?;
    print_line(&format!(
        "inference    {skipping_ms:.2} ms a frame, dense {:.2} ms: {:.1}x faster, {executed:.0} % of the work",
        check.dense_ms,
        check.dense_ms / skipping_ms
    ))?;
    print_line(&format!(
        "agreement    {:.3} with dense (recall {:.3}, precision {:.3})",
        check.agreement.agreement(),
        check.agreement.recall(),
        check.agreement.precision()
    ))?;
    print_line(&format!(
        "truth        mAP50 {:.3}, dense {:.3}",
        check.skipping.mean().unwrap_or(0.0),
        check.dense.mean().unwrap_or(0.0)
    ))?;
    print_line(&format!(
        "picture      {}",
        std::path::absolute(&args.out).unwrap_or_else(|_| args.out.clone()).display()
    ))?;

    let expected = (args.seconds as f64 * f64::from(sim.fps) * 0.5) as usize;
    let sound = [
        (n >= expected, format!("only {n} frames were processed, expected at least {expected}")),
        (computed < patches, "nothing was skipped".into()),
        (check.agreement.agreement() >= LEAST_AGREEMENT, format!("agreement is below {LEAST_AGREEMENT}")),
        (check.skipping.mean().unwrap_or(0.0) >= LEAST_MAP50, format!("mAP50 is below {LEAST_MAP50}")),
    ];
    match sound.iter().find(|(good, _)| !good) {
        Some((_, what)) => Err(failed(what)),
        None => Ok(()),
    }
}

struct Check {
    agreement: Agreement,
    skipping: AveragePrecision,
    dense: AveragePrecision,
    dense_ms: f64,
}

/// Draws the frames again and runs the model on the whole of each.
fn check(camera: &config::CameraConfig, sim: &SimSettings, frames: &[(u64, Vec<Detection>)]) -> Result<Check, String> {
    let runtime = Runtime::get(None).map_err(|e| e.to_string())?;
    let model = Arc::new(Model::load(&camera.detector.model, &ModelFolders::usual(None)).map_err(|e| e.to_string())?);
    let size = camera.detector.size.unwrap_or(model.size);
    let d = &camera.detector;
    let mut detector =
        DenseDetector::open(runtime, model, size, d.thresholds(), &d.session()).map_err(|e| e.to_string())?;
    let letterbox = Letterbox::fit(sim.size, size);
    let mut drawn = SimCamera::new(SimSettings { size: letterbox.content, ..sim.clone() });
    let mut bgr = vec![0; letterbox.content.area() * 3];
    let everything = PatchMask::full(PatchGrid::new(size, camera.skip.patch_in(SkipMode::Off)));
    let (mut fresh, mut truth) = (Inference::default(), TruthOf::new(sim, size));
    let mut check = Check {
        agreement: Agreement::default(),
        skipping: AveragePrecision::default(),
        dense: AveragePrecision::default(),
        dense_ms: 0.0,
    };
    for (pts_ns, found) in frames {
        let n = (*pts_ns as f64 / 1e9 * f64::from(sim.fps)).round() as u64;
        drawn.render(n, &mut bgr);
        let frame = crate::frame::Frame::letterboxed(*pts_ns, letterbox, &bgr);
        let start = Instant::now();
        let work = Work::whole(&frame, &everything);
        detector.detect(StreamId(0), &work, &mut fresh).map_err(|e| e.to_string())?;
        check.dense_ms += start.elapsed().as_secs_f64() * 1e3 / frames.len() as f64;
        let wanted = truth.of_frame(n);
        check.agreement.add(&fresh.detections, found);
        check.skipping.add(wanted, found);
        check.dense.add(wanted, &fresh.detections);
    }
    Ok(check)
}
