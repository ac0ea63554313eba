//! The whole pipeline on the simulated camera, with a simulated clock: its
//! threads must give, frame by frame, what the pure parts give.

mod common;

use common::wait_for;
use passd::capture::{Clip, SourceSpec};
use passd::clock::{Clock, SimClock, SystemClock};
use passd::config::{self, Config, DetectorConfig};
use passd::detect::Detection;
use passd::frame::FrameId;
use passd::geom::Size;
use passd::infer::{Coverage, Detector, InferError, Inference, StreamId, Work};
use passd::merge::{MergeSettings, Provenance};
use passd::outcome::FrameResult;
use passd::output::board::Board;
use passd::output::metrics::Metrics;
use passd::output::{Sink, Sinks};
use passd::pipeline::{CameraContext, DetectorFactory, DetectorInfo, Detectors, Pipeline, open_source};
use passd::scene::event::Phase;
use passd::schedule::load::Degraded;
use passd::skip::SkipMode;
use passd::stage::Stage;
use passd::wire::event::EventMessage;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Recorder(Mutex<Vec<Arc<FrameResult>>>, Mutex<Vec<Arc<EventMessage>>>);

impl Sink for Recorder {
    fn publish(&self, result: &Arc<FrameResult>) {
        self.0.lock().unwrap().push(result.clone());
    }

    fn event(&self, message: &Arc<EventMessage>) {
        self.1.lock().unwrap().push(message.clone());
    }
}

/// Finds what is dark: enough of a detector to follow cars by, exact and without a library.
struct DarkSpots {
    size: Size,
    hang: Arc<AtomicBool>,
    fail_every: u64,
    takes: Duration,
    n: Arc<AtomicU64>,
}

impl Detector for DarkSpots {
    fn detect(&mut self, _: StreamId, work: &Work<'_>, fresh: &mut Inference) -> Result<(), InferError> {
        fresh.clear();
        while self.hang.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(self.takes);
        let n = self.n.fetch_add(1, Ordering::Relaxed) + 1;
        if self.fail_every > 0 && n.is_multiple_of(self.fail_every) {
            return Err(InferError::Run {
                model: "dark".into(),
                reason: "output 'o' holds values that are no finite numbers".into(),
            });
        }
        let data = work.frame.data();
        let w = self.size.width as usize;
        for cell in 0..(w / 16) * (self.size.height as usize / 16) {
            let (x, y) = (cell % (w / 16) * 16, cell / (w / 16) * 16);
            let at = ((y + 8) * w + x + 8) * 3;
            if data[at] < 30 {
                let bbox = passd::geom::Rect::new(x as f32, y as f32, x as f32 + 16.0, y as f32 + 16.0);
                fresh.detections.push(Detection::new(0, 0.9, bbox));
                fresh.cut.push(false);
            }
        }
        fresh.coverage = Coverage::Full;
        fresh.executed_px = self.size.area() as u64;
        fresh.n_runs = 1;
        Ok(())
    }
}

#[derive(Default)]
struct DarkFactory {
    hang: Arc<AtomicBool>,
    fail_every: u64,
    takes: Duration,
    dense: bool,
    n: Arc<AtomicU64>,
    n_made: AtomicU64,
}

impl DetectorFactory for DarkFactory {
    fn make(&self, _: &DetectorConfig, _: Option<SkipMode>) -> Result<(Box<dyn Detector>, DetectorInfo), InferError> {
        self.n_made.fetch_add(1, Ordering::Relaxed);
        let size = Size::new(320, 192);
        let info = DetectorInfo {
            simulated: false,
            model: "dark".into(),
            state_bytes: 0,
            policy: engine::gating::policy::Policy::default(),
            labels: ["spot".to_owned()].into(),
            size,
            provider: "cpu".into(),
            mode: if self.dense { SkipMode::Off } else { SkipMode::Regions },
        };
        let (hang, n) = (self.hang.clone(), self.n.clone());
        Ok((Box::new(DarkSpots { size, hang, fail_every: self.fail_every, takes: self.takes, n }), info))
    }
}

struct Rig {
    pipeline: Pipeline,
    recorder: Arc<Recorder>,
    board: Arc<Board>,
    metrics: Arc<Metrics>,
    clock: Arc<SimClock>,
}

fn config(text: &str) -> Config {
    config::load_text("test.toml", text, std::iter::empty()).unwrap()
}

fn rig(factory: Arc<dyn DetectorFactory>) -> Rig {
    let clock = Arc::new(SimClock::default());
    Rig { clock: clock.clone(), ..rig_on(factory, clock) }
}

fn rig_on(factory: Arc<dyn DetectorFactory>, clock: Arc<dyn Clock>) -> Rig {
    passd::capture::init().unwrap();
    let (recorder, board, metrics) =
        (Arc::new(Recorder::default()), Arc::new(Board::default()), Arc::new(Metrics::default()));
    let around = CameraContext {
        clock,
        board: board.clone(),
        metrics: metrics.clone(),
        sinks: Arc::new(Sinks::new(vec![recorder.clone()])),
        open: Arc::new(open_source),
    };
    let clock = Arc::default();
    Rig { pipeline: Pipeline::new(Detectors::new(factory), around), recorder, board, metrics, clock }
}

const CLIP: &str = "sim://street?frames=60&size=320x192&seed=4&traffic=2";

#[test]
fn threads_give_what_the_pure_parts_give() {
    let config = config(&format!("[cameras.a]\nsource = \"{CLIP}\"\ncapture.pace = \"fast\"\n"));
    let mut rig = rig(Arc::new(DarkFactory::default()));
    rig.pipeline.apply(&config.cameras).unwrap();
    wait_for("the clip's end", LONG, || rig.pipeline.is_finished().then_some(()));
    let results = std::mem::take(&mut *rig.recorder.0.lock().unwrap());
    assert_eq!(results.len(), 60, "nothing is dropped at full speed");

    let size = Size::new(320, 192);
    let mut clip = Clip::open(&SourceSpec::parse(CLIP).unwrap(), size).unwrap();
    let camera = &config.cameras[0];
    let max_age_ns = camera.skip.max_age_in(SkipMode::Regions);
    let merge = MergeSettings {
        iou: camera.detector.nms_iou,
        min_score: camera.detector.score,
        max_age_ns,
        ..MergeSettings::default()
    };
    let mut stage = Stage::new(SkipMode::Regions, size, &camera.skip, merge, camera.tracking);
    let mut detector = DarkFactory::default().make(&camera.detector, None).unwrap().0;
    let mut fresh = Inference::default();
    let (mut carried, mut computed) = (0, 0);
    for (i, result) in results.iter().enumerate() {
        let frame = clip.next_frame().unwrap().expect("as many frames");
        assert_eq!(frame.data(), result.frame.data(), "frame {i}");
        assert_eq!((result.frame.id, result.frame.pts_ns), (FrameId(i as u64), i as u64 * 100_000_000));
        let (patches, known) = stage.begin(&frame);
        if patches.is_empty() {
            fresh.clear();
        } else {
            detector
                .detect(StreamId(0), &Work { frame: &frame, patches, known, max_age_ns: u64::MAX }, &mut fresh)
                .unwrap();
        }
        let merged = stage.finish(&frame, &fresh, |_| true).to_vec();
        let reported: Vec<_> = result.detections.iter().map(|d| d.merged).collect();
        assert_eq!(merged, reported, "frame {i}");
        let tracks = stage.track(&frame, |_| true);
        assert_eq!(tracks, result.tracks, "frame {i}");
        for (n, d) in result.detections.iter().enumerate() {
            let track = tracks.iter().find(|t| t.detection == Some(n)).map(|t| (t.id, t.state));
            assert_eq!(d.track, track, "frame {i}");
        }
        assert_eq!(stage.computed(), &result.computed, "frame {i}");
        for m in &reported {
            match m.provenance {
                Provenance::Computed => {
                    computed += 1;
                    assert_eq!(m.frame, result.frame.id);
                }
                Provenance::Carried => {
                    carried += 1;
                    assert!(m.frame < result.frame.id && m.age_ns(&result.frame) <= max_age_ns);
                }
                Provenance::Predicted => panic!("frame {i}: not in mode regions"),
            }
        }
    }
    assert!(computed > 0, "computed {computed}, carried {carried}");
    let text = rig.metrics.render();
    assert!(text.contains("passd_frames_processed_total{camera=\"a\"} 60"), "{text}");
    rig.pipeline.stop(Duration::from_secs(3));
}

#[test]
fn every_event_has_a_beginning_and_an_end() {
    let zone = "zones.all = { polygon = [[0, 0], [1, 0], [1, 1], [0, 1]] }";
    let config = config(&format!("[cameras.a]\nsource = \"{CLIP}\"\ncapture.pace = \"fast\"\n{zone}\n"));
    let mut rig = rig(Arc::new(DarkFactory::default()));
    rig.pipeline.apply(&config.cameras).unwrap();
    wait_for("the clip's end", LONG, || rig.pipeline.is_finished().then_some(()));
    let mut phases: BTreeMap<String, Vec<Phase>> = BTreeMap::new();
    for m in rig.recorder.1.lock().unwrap().iter() {
        phases.entry(m.event.id.clone()).or_default().push(m.phase);
        assert_eq!(m.event.end.is_some(), m.phase == Phase::End);
        assert!(m.phase != Phase::New || m.best.is_some(), "an event begins with a picture");
    }
    assert!(phases.len() > 3, "{phases:?}");
    for (id, phases) in &phases {
        let n = |phase: Phase| phases.iter().filter(|p| **p == phase).count();
        assert!(phases[0] == Phase::New && phases.last() == Some(&Phase::End), "{id}: {phases:?}");
        assert_eq!((n(Phase::New), n(Phase::End)), (1, 1), "{id}: {phases:?}");
    }
    let counts = rig.board.get("a").unwrap().counts();
    assert_eq!((&counts.present, &counts.inside), (&vec![0], &vec![vec![0]]), "who was there is not, after the end");
}

#[test]
fn labels_of_places_are_the_models() {
    let with = |places: &str| config(&format!("[cameras.a]\nsource = \"{CLIP}\"\n{places}\n")).cameras;
    let cameras = with("zones.all = { polygon = [[0, 0], [1, 0], [1, 1]], labels = [\"spots\"] }");
    let unknown = rig(Arc::new(DarkFactory::default())).pipeline.apply(&cameras).unwrap_err().to_string();
    assert!(unknown.contains("camera a: zones.all.labels") && unknown.contains("'spots'; it has spot"), "{unknown}");
    let gate = "lines.gate = { from = [0, 0.5], to = [1, 0.5], labels = [\"spot\"] }";
    let check = |labels: &str| {
        with(&format!("detector.labels = {labels}\n{gate}"))[0].check_labels("dark", &["spot".into(), "stain".into()])
    };
    assert_eq!([check("[]"), check("[\"stain\", \"spot\"]")], [Ok(()), Ok(())]);
    let left_out = check("[\"stain\"]").unwrap_err();
    assert!(left_out.contains("lines.gate.labels: 'spot' is left out by detector.labels"), "{left_out}");
}

#[test]
fn a_frame_that_fails_is_dropped_and_counted_and_the_next_one_is_computed() {
    let config = config(&format!("[cameras.a]\nsource = \"{CLIP}\"\ncapture.pace = \"fast\"\n"));
    let mut rig = rig(Arc::new(DarkFactory { fail_every: 5, ..DarkFactory::default() }));
    rig.pipeline.apply(&config.cameras).unwrap();
    wait_for("the clip's end", LONG, || rig.pipeline.is_finished().then_some(()));
    let (done, failed) =
        (rig.recorder.0.lock().unwrap().len() as u64, rig.board.get("a").unwrap().n_failed.load(Ordering::Relaxed));
    assert!(failed >= 5, "{failed}");
    assert_eq!(done + failed, 60);
    assert!(rig.metrics.render().contains(&format!("reason=\"failed\"}} {failed}")));
}

/// Its source is live, and nothing comes of it.
#[test]
fn a_model_whose_every_frame_fails_is_noticed() {
    let config = config("[cameras.a]\nsource = \"sim://street?size=320x192&fps=50\"\n");
    let mut rig = rig(Arc::new(DarkFactory { fail_every: 1, ..DarkFactory::default() }));
    rig.pipeline.apply(&config.cameras).unwrap();
    let limit = Duration::from_secs(1);
    wait_for("the failure is noticed", LONG, || {
        rig.clock.advance(Duration::from_millis(20));
        (rig.pipeline.stuck(limit) == ["a"]).then_some(())
    });
    let (condition, why) = rig.board.get("a").unwrap().condition();
    assert!(condition == "failing" && why.as_ref().unwrap().contains("no finite numbers"), "{why:?}");
    assert!(!rig.board.healthy.load(Ordering::Relaxed));
    rig.pipeline.stop(Duration::from_secs(3));
}

#[test]
fn a_hanging_detector_is_noticed_and_does_not_hold_up_the_end() {
    let config = config("[cameras.a]\nsource = \"sim://street?size=320x192&fps=50\"\n");
    let hang = Arc::new(AtomicBool::new(false));
    let mut rig = rig(Arc::new(DarkFactory { hang: hang.clone(), ..DarkFactory::default() }));
    rig.pipeline.apply(&config.cameras).unwrap();
    let n = || rig.recorder.0.lock().unwrap().len();
    wait_for("some frames", LONG, || (n() > 5).then_some(()));
    let limit = Duration::from_secs(1);
    wait_for("health", LONG, || rig.pipeline.stuck(limit).is_empty().then_some(()));
    hang.store(true, Ordering::Release);
    wait_for("the hang is noticed", LONG, || {
        rig.clock.advance(Duration::from_millis(200));
        (rig.pipeline.stuck(limit) == ["a"]).then_some(())
    });
    assert!(!rig.board.healthy.load(Ordering::Relaxed));
    hang.store(false, Ordering::Release);
    wait_for("recovery", LONG, || rig.pipeline.stuck(limit).is_empty().then_some(()));
    hang.store(true, Ordering::Release);
    let start = std::time::Instant::now();
    rig.pipeline.stop(Duration::from_millis(300));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    hang.store(false, Ordering::Release);
}

#[test]
fn a_reload_leaves_unchanged_cameras_alone() {
    let factory = Arc::new(DarkFactory::default());
    let mut rig = rig(factory.clone());
    let camera =
        |id: &str, seed: u32| format!("[cameras.{id}]\nsource = \"sim://street?size=320x192&fps=20&seed={seed}\"\n");
    let config = |cameras: &str| config(&format!("{cameras}[inference]\nworkers = 1\n"));
    rig.pipeline.apply(&config(&(camera("a", 1) + &camera("b", 2))).cameras).unwrap();
    let last = |id: &str| {
        rig.recorder.0.lock().unwrap().iter().rev().find(|r| &*r.camera == id).map(|r| (r.frame.id.0, r.frame.epoch))
    };
    wait_for("frames of both", LONG, || last("a").filter(|l| l.0 > 5).and(last("b").filter(|l| l.0 > 5)));
    rig.pipeline.apply(&config(&(camera("a", 1) + &camera("b", 3) + &camera("c", 4))).cameras).unwrap();
    let before = last("a").unwrap();
    wait_for("frames of the new one", LONG, || last("c").filter(|l| l.0 > 3));
    wait_for("more frames of the old one", LONG, || last("a").filter(|l| l.0 > before.0 + 5));
    assert_eq!(last("a").unwrap().1, before.1, "its source was not rebuilt");
    assert_eq!(factory.n_made.load(Ordering::Relaxed), 1, "one detector serves all, before and after");
    assert_eq!(rig.board.all().iter().map(|c| c.id.to_string()).collect::<Vec<_>>(), ["a", "b", "c"]);
    rig.pipeline.apply(&config(&camera("c", 4)).cameras).unwrap();
    assert_eq!(rig.board.all().len(), 1);
    rig.pipeline.stop(Duration::from_secs(3));
}

/// Frame numbers, epochs and tracks go on, whatever of what is done with the pictures is changed.
#[test]
fn what_is_done_with_pictures_changes_in_place() {
    let factory = Arc::new(DarkFactory::default());
    let mut rig = rig(factory.clone());
    let camera = |more: &str| {
        let source = "source = \"sim://street?size=320x192&fps=20&seed=4&traffic=3\"";
        config(&format!("[cameras.a]\n{source}\n{more}\n")).cameras
    };
    let n = || rig.recorder.0.lock().unwrap().len();
    let more_than = |n_before: usize| wait_for("more frames", LONG, || (n() > n_before + 5).then_some(()));
    rig.pipeline.apply(&camera("")).unwrap();
    more_than(0);
    let everywhere = "zones.all = { polygon = [[0, 0], [1, 0], [1, 1], [0, 1]], inertia = 1 }";
    rig.pipeline.apply(&camera(everywhere)).unwrap();
    let event = || rig.recorder.1.lock().unwrap().iter().any(|m| m.event.zones.iter().any(|z| z == "all"));
    wait_for("somebody in the new zone", LONG, || event().then_some(()));
    let shown = || rig.metrics.render().contains("zone=\"all\"");
    wait_for("its metric", LONG, || shown().then_some(()));
    for (more, n_made) in [
        ("skip.patch = 32", 1),
        ("priority = \"high\"", 1),
        ("tracking.lost = 1.0", 1),
        ("detector.score = 0.6", 2),
        ("skip.mode = \"off\"", 3),
    ] {
        rig.pipeline.apply(&camera(more)).unwrap();
        assert_eq!(factory.n_made.load(Ordering::Relaxed), n_made, "{more}");
        more_than(n());
    }
    assert!(!shown(), "of a zone that is gone: {}", rig.metrics.render());
    let board = rig.board.get("a").unwrap();
    rig.pipeline.apply(&camera("filters.spot.min_score = 0.95")).unwrap();
    let seen = |wanted: bool| {
        let last = rig.recorder.0.lock().unwrap().last().cloned();
        last.is_some_and(|r| r.detections.is_empty() != wanted)
    };
    wait_for("nothing of that score", LONG, || seen(false).then_some(()));
    rig.pipeline.apply(&camera("filters.spot.min_score = 0.5")).unwrap();
    wait_for("somebody", LONG, || seen(true).then_some(()));
    rig.pipeline.apply(&camera("detect = false")).unwrap();
    wait_for("nobody", LONG, || seen(false).then_some(()));
    assert!(!board.looks().control.detection);
    more_than(n());
    rig.pipeline.apply(&camera("")).unwrap();
    wait_for("somebody again", LONG, || seen(true).then_some(()));
    assert!(board.looks().control.detection && Arc::ptr_eq(&board, &rig.board.get("a").unwrap()));
    rig.pipeline.stop(Duration::from_secs(3));
    let results = rig.recorder.0.lock().unwrap();
    assert!(results.windows(2).all(|w| w[0].frame.id < w[1].frame.id && w[0].frame.epoch == w[1].frame.epoch));
    let mut seen = BTreeSet::new();
    for result in results.iter() {
        let last = seen.last().copied();
        let new = result.tracks.iter().map(|t| t.id).filter(|id| !seen.contains(id)).collect::<Vec<_>>();
        assert!(new.iter().all(|id| Some(*id) > last), "numbers of tracks go on: {new:?} after {last:?}");
        seen.extend(new);
    }
}

#[test]
fn a_clip_that_is_over_is_not_played_again() {
    let mut rig = rig(Arc::new(DarkFactory::default()));
    let camera =
        |more: &str| config(&format!("[cameras.a]\nsource = \"{CLIP}\"\ncapture.pace = \"fast\"\n{more}\n")).cameras;
    rig.pipeline.apply(&camera("")).unwrap();
    wait_for("the clip's end", LONG, || rig.pipeline.is_finished().then_some(()));
    rig.pipeline.apply(&camera("filters.spot.min_score = 0.5")).unwrap();
    assert!(rig.pipeline.is_finished());
    assert_eq!(rig.recorder.0.lock().unwrap().len(), 60);
    // Another source is another clip.
    let other = CLIP.replace("seed=4", "seed=5");
    let other = config(&format!("[cameras.a]\nsource = \"{other}\"\ncapture.pace = \"fast\"\n"));
    rig.pipeline.apply(&other.cameras).unwrap();
    assert!(!rig.pipeline.is_finished());
    wait_for("the other clip's end", LONG, || rig.pipeline.is_finished().then_some(()));
    assert_eq!(rig.recorder.0.lock().unwrap().len(), 120);
    rig.pipeline.stop(Duration::from_secs(3));
}

#[test]
fn cameras_share_as_many_detectors_as_there_may_be() {
    let factory = Arc::new(DarkFactory::default());
    let mut rig = rig(factory.clone());
    let camera = |id: &str, more: &str| format!("[cameras.{id}]\nsource = \"{CLIP}\"\ncapture.pace = \"fast\"\n{more}");
    let config = |cameras: &[String]| config(&format!("{}[inference]\nworkers = 2\n", cameras.concat())).cameras;
    rig.pipeline.apply(&config(&["a", "b", "c"].map(|id| camera(id, "")))).unwrap();
    assert_eq!(factory.n_made.load(Ordering::Relaxed), 2);
    // Who comes back with the same detector keeps it.
    rig.pipeline.apply(&config(&["a", "b", "c"].map(|id| camera(id, "priority = \"high\"\n")))).unwrap();
    assert_eq!(factory.n_made.load(Ordering::Relaxed), 2);
    wait_for("the clips' end", LONG, || rig.pipeline.is_finished().then_some(()));
    for id in ["a", "b", "c"] {
        let n = rig.recorder.0.lock().unwrap().iter().filter(|r| &*r.camera == id).count();
        assert!(n >= 60, "{id}: {n}: nothing is lost at full speed, whoever waits for whom");
    }
}

/// Three times more work than one detector can do, in real threads and real time: frames are lost by priority and that
/// is said, but no result is older than two intervals. Half a second leaves room for a machine that does other things.
#[test]
fn too_much_work_loses_frames_and_keeps_latency() {
    let interval = Duration::from_millis(500);
    let factory = DarkFactory { takes: interval / 2, dense: true, ..DarkFactory::default() };
    let mut rig = rig_on(Arc::new(factory), Arc::new(SystemClock::new()));
    let camera = |id: &str| {
        let priority = if id == "first" { "high" } else { "normal" };
        format!("[cameras.{id}]\nsource = \"sim://street?size=320x192&fps=2\"\npriority = \"{priority}\"\n")
    };
    let cameras: String = ["first", "b", "c", "d", "e", "f"].map(camera).concat();
    rig.pipeline.apply(&config(&(cameras + "[inference]\nworkers = 1\n")).cameras).unwrap();
    let done = |id: &str| rig.board.get(id).unwrap().n_processed.load(Ordering::Relaxed);
    wait_for("every camera's frames", LONG, || {
        ["first", "b", "c", "d", "e", "f"].iter().all(|id| done(id) >= 5).then_some(())
    });
    let mut ages: Vec<u64> = rig.recorder.0.lock().unwrap().iter().map(|r| r.latency_ns).collect();
    ages.sort_unstable();
    let p99 = Duration::from_nanos(ages[ages.len() * 99 / 100]);
    assert!(p99 < 2 * interval, "{p99:?} of {} frames", ages.len());
    assert!(done("first") > 2 * done("b"), "{} and {}", done("first"), done("b"));
    for id in ["b", "c", "d", "e", "f"] {
        wait_for("degraded", LONG, || (rig.board.get(id).unwrap().degraded() == Degraded::Rate).then_some(()));
    }
    assert!(rig.metrics.render().contains("passd_degraded{camera=\"b\",kind=\"rate\"} 1"), "{}", rig.metrics.render());
    rig.pipeline.stop(Duration::from_secs(3));
}

/// Niceness of this process's threads, by name.
fn niceness() -> Vec<(String, i64)> {
    let of = |path: std::path::PathBuf| {
        let stat = std::fs::read_to_string(path.join("stat")).ok()?;
        let (before, after) = stat.rsplit_once(')')?;
        let name = before.split_once('(')?.1.to_owned();
        Some((name, after.split_whitespace().nth(16)?.parse().ok()?))
    };
    std::fs::read_dir("/proc/self/task").unwrap().flatten().filter_map(|t| of(t.path())).collect()
}

/// Real decoders of twelve cameras, and a detector that needs longer for one round than there is between key frames.
#[test]
fn where_far_too_much_comes_key_frames_alone_are_decoded_and_nobody_is_stuck() {
    let folder = tempfile::tempdir().unwrap();
    let clip = folder.path().join("clip.mp4");
    let made = std::process::Command::new(env!("CARGO_BIN_EXE_passd"))
        .args(["sim", "sim://street?frames=3600&fps=30&size=320x192", "--out"])
        .arg(&clip)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let takes = Duration::from_millis(300);
    let factory = DarkFactory { takes, dense: true, ..DarkFactory::default() };
    let mut rig = rig_on(Arc::new(factory), Arc::new(SystemClock::new()));
    let ids: Vec<String> = (0..12).map(|i| format!("c{i}")).collect();
    let camera = |id: &String| format!("[cameras.{id}]\nsource = \"{}\"\n", clip.display());
    let cameras: String = ids.iter().map(camera).collect();
    let text = format!("{cameras}[detector]\nmodel = \"any\"\n[inference]\nworkers = 1\n");
    rig.pipeline.apply(&config(&text).cameras).unwrap();
    let board = |id: &String| rig.board.get(id).unwrap();
    let done = |id: &String| board(id).n_processed.load(Ordering::Relaxed);
    wait_for("every camera's first frames", LONG, || ids.iter().all(|id| done(id) >= 2).then_some(()));
    wait_for("key frames alone", LONG, || {
        // A round takes more than three seconds, and turns go on.
        let stuck = rig.pipeline.stuck(Duration::from_secs(2));
        assert!(stuck.is_empty(), "{stuck:?}");
        ids.iter().all(|id| board(id).degraded() == Degraded::KeyFrames).then_some(())
    });
    let before: Vec<u64> = ids.iter().map(done).collect();
    wait_for("progress", LONG, || ids.iter().zip(&before).all(|(id, n)| done(id) > *n).then_some(()));
    let said = rig.metrics.render();
    assert!(said.contains("passd_degraded{camera=\"c3\",kind=\"key_frames\"} 1"), "{said}");
    let undecoded = |line: &&str| line.contains("camera=\"c3\",reason=\"undecoded\"}") && !line.ends_with(" 0");
    assert!(said.lines().any(|line| undecoded(&line)), "{said}");
    let nice = niceness();
    // Perhaps all of this runs nicely.
    let own = nice.iter().filter(|(name, _)| name.starts_with("stage-")).map(|(_, nice)| *nice).max().unwrap();
    assert!(own < 10 && nice.iter().filter(|(name, _)| name.starts_with("stage-")).all(|(_, n)| *n == own), "{nice:?}");
    assert!(nice.iter().filter(|(_, nice)| *nice == own + 10).count() >= ids.len(), "decoders give way: {nice:?}");
    rig.pipeline.stop(Duration::from_secs(3));
}

#[test]
fn no_more_frames_than_are_wanted() {
    let camera = format!("[cameras.a]\nsource = \"{CLIP}\"\ncapture = {{ pace = \"fast\", max_fps = 5 }}\n");
    let mut rig = rig(Arc::new(DarkFactory::default()));
    rig.pipeline.apply(&config(&camera).cameras).unwrap();
    wait_for("the clip's end", LONG, || rig.pipeline.is_finished().then_some(()));
    assert_eq!(rig.recorder.0.lock().unwrap().len(), 30, "of 60, ten a second");
    assert!(rig.metrics.render().contains("reason=\"max_fps\"} 30"), "{}", rig.metrics.render());
    rig.pipeline.stop(Duration::from_secs(3));
}
