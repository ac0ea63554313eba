//! Models as they are used: whole runs of the kernels against ONNX Runtime at every
//! size, and heads decoded where cells changed against heads decoded everywhere.

mod common;

use engine::exec::executor::StreamMaps;
use engine::exec::runner::Runner;
use engine::exec::stream::Stream;
use engine::gating::gate::Gates;
use engine::gating::policy::{GatePolicy, Policy};
use engine::import;
use engine::kernels::Kernels;
use engine::plan::Plan;
use passd::detect::Detection;
use passd::detect::heads::{Tensor, Thresholds};
use passd::frame::{Frame, FrameId, Pixels};
use passd::geom::{Letterbox, PatchMask, Size};
use passd::infer::candidates::Candidates;
use passd::infer::cells::CellHead;
use passd::infer::layers::{LayersDetector, LayersSettings, Plans};
use passd::infer::{Detector, Inference, Seen, StreamId, Work};
use passd::merge::MergeSettings;
use passd::models::model::{Model, ModelFolders};
use passd::models::onnx::with_input_shape;
use passd::skip::{GlobalChange, SkipMode, SkipSettings};
use passd::stage::Stage;
use passd::track::TrackSettings;
use std::sync::Arc;

/// Name, sizes.
const MODELS: [(&str, &[(usize, usize)]); 5] = [
    ("street-nano", &[(640, 384)]),
    ("yolox_nano", &[(416, 416), (640, 384), (1280, 736)]),
    ("yunet_2023mar", &[(640, 640)]),
    ("ultraface_rfb_320", &[(320, 240)]),
    ("fastestdet", &[(352, 352)]),
];

fn models() -> Vec<(Model, usize, usize)> {
    let shared = common::shared().map(|s| s.join("models"));
    let folders = ModelFolders::usual(shared.as_deref());
    let sized = MODELS.iter().filter(|(name, _)| shared.is_some() || *name == "street-nano");
    sized.flat_map(|(name, sizes)| sizes.iter().map(|(w, h)| (Model::load(name, &folders).unwrap(), *w, *h))).collect()
}

/// Blocks of flat colour: nearer to a picture than noise is, and some of it moves.
fn picture(model: &Model, w: usize, h: usize, step: usize) -> Vec<f32> {
    let n = &model.normalise;
    let pixel = |x: usize, y: usize, c: usize| {
        let moving = x / 48 == (2 + step) % 6 && y / 64 == 1;
        let level = ((x / 40 * 37 + y / 56 * 91 + c * 53 + if moving { 120 } else { 0 }) % 256) as f32;
        (level - n.mean[c]) * n.scale[c]
    };
    (0..h)
        .flat_map(|y| (0..w).flat_map(move |x| (0..3).map(move |c| (x, y, c))))
        .map(|(x, y, c)| pixel(x, y, c))
        .collect()
}

#[test]
fn the_kernels_equal_onnx_runtime_at_every_size() {
    for (model, w, h) in models() {
        let sized = with_input_shape(&model.onnx, [1, 3, h as i64, w as i64]).unwrap();
        let picture = picture(&model, w, h, 0);
        let wanted = common::ort::onnx_runtime(&sized, &picture, [1, 3, h, w]);
        let plan = Arc::new(Plan::new(import::import(&model.onnx, h, w).unwrap()).unwrap());
        for kernels in Kernels::all().iter().filter(|k| k.is_fast()) {
            let mut stream = Stream::new(plan.clone(), Gates::exact(&plan), f32::NAN);
            stream.input().0.copy_from_slice(&picture);
            Runner::new(&plan, *kernels).run(&mut stream, 0.0);
            for ((name, _, wanted), found) in wanted.iter().zip(stream.outputs()) {
                let off = common::ort::difference(wanted, &found);
                assert!(off < 1e-3, "{} at {w}x{h} on {}, output {name}: off by {off}", model.name, kernels.name);
            }
        }
        if model.name == "yolox_nano" && (w, h) == (640, 384) {
            let mib = Stream::bytes_of(&plan) as f64 / (1 << 20) as f64;
            assert!(mib <= 64.0, "{mib} MiB for a stream");
        }
    }
}

/// What a head decodes from all of a stream's outputs, best first.
fn decoded(model: &Model, stream: &Stream, size: Size, t: Thresholds) -> Vec<Detection> {
    let (plan, values) = (stream.plan(), stream.outputs());
    let shapes: Vec<Vec<i64>> = plan.outputs.iter().map(|o| o.dims.iter().map(|d| *d as i64).collect()).collect();
    let tensors = plan.outputs.iter().zip(&shapes).zip(&values);
    let tensors: Vec<Tensor<'_>> = tensors.map(|((o, shape), data)| Tensor { name: &o.name, shape, data }).collect();
    let mut found = Vec::new();
    model.sidecar.head.decode(&tensors, size, model.labels.len(), t, &mut found).unwrap();
    found
}

/// Gates that rise so.
fn rising(first: f32, last: f32) -> Policy {
    Policy { gates: GatePolicy { first, last, ..GatePolicy::default() }, ..Policy::default() }
}

/// The maps as they are, where gates hold something back; where they do not, those of a whole run of everything.
#[test]
fn heads_decoded_where_cells_changed_equal_heads_decoded_everywhere() {
    for (model, w, h) in models().into_iter().filter(|(_, w, _)| *w <= 640) {
        let plan = Plan::new(import::import(&model.onnx, h, w).unwrap()).unwrap();
        let size = Size::new(w as u32, h as u32);
        let cells = CellHead::bind(&model.sidecar.head, &plan, size, model.labels.len()).unwrap();
        let plan = Arc::new(plan.given(&cells.conditions()));
        assert_eq!(plan.lazy.steps().count() == 0, model.name == "street-nano", "{}", model.name);
        let mut runner = Runner::new(&plan, Kernels::best());
        // A low bar: flat blocks show little.
        let t = Thresholds { score: 0.0005, iou: 0.5 };
        for is_exact in [false, true] {
            let gates = if is_exact { Gates::exact(&plan) } else { Gates::rising(&plan, &rising(0.05, 0.2)) };
            let mut stream = Stream::new(plan.clone(), gates, f32::NAN);
            stream.require(cells.bar(t));
            let (mut candidates, mut found, mut seen) = (Candidates::default(), Vec::new(), Vec::new());
            let mut n_found = 0;
            for step in 0..6 {
                let (data, changed) = stream.input();
                changed.clear();
                let next = picture(&model, w, h, step);
                for (i, (a, b)) in data.chunks_exact(3).zip(next.chunks_exact(3)).enumerate() {
                    if a != b {
                        changed.set(i / w, i % w);
                    }
                }
                data.copy_from_slice(&next);
                runner.run(&mut stream, 0.02);
                let now = Seen { frame: FrameId(step as u64), pts_ns: step as u64 };
                cells.update(&stream, now, t, &mut candidates, &mut found, &mut seen).unwrap();
                let wanted = if is_exact {
                    let mut whole = Stream::new(plan.clone(), Gates::exact(&plan), f32::NAN);
                    whole.input().0.copy_from_slice(&next);
                    runner.run(&mut whole, 0.0);
                    decoded(&model, &whole, size, t)
                } else {
                    decoded(&model, &stream, size, t)
                };
                let (name, n) = (&model.name, found.len());
                assert!(found == wanted, "{name} frame {step}, exact: {is_exact}: {n} boxes, not {}", wanted.len());
                n_found += n;
            }
            assert!(n_found > 0, "{}: nothing was found, so nothing was compared", model.name);
        }
    }
}

/// Every other square is another in every frame, which reaches nearly all cells; the squares between grow lighter by a
/// level, too little to be asked for.
#[test]
fn a_frame_like_one_that_changed_nearly_everywhere_is_read_and_computed_as_a_whole() {
    let size = Size::new(320, 192);
    let model = Arc::new(Model::load("street-nano", &ModelFolders::default()).unwrap());
    let thresholds = Thresholds { score: 0.3, iou: 0.5 };
    let open = || {
        let settings = LayersSettings::default();
        let mut layers =
            LayersDetector::open(model.clone(), size, thresholds, settings, 1, None, &Plans::default()).unwrap();
        layers.set_gates(Gates::exact(layers.plan()));
        layers
    };
    let frame = |i: u64| {
        let mut random = fastrand::Rng::with_seed(i);
        // In the end all is still.
        let still = i >= 9;
        let pixel = |at: usize, noise: u8| match (at % 320 / 16 + at / 320 / 16) % 2 {
            0 if still => 0,
            0 => noise,
            _ => 100 + i.min(9) as u8,
        };
        let bgr = (0..size.area() * 3).map(|at| pixel(at / 3, random.u8(..))).collect();
        Frame::new(FrameId(i), i * 40_000_000, Letterbox::fit(size, size), Pixels::owned(bgr))
    };
    let skip = SkipSettings { max_age_ns: Some(u64::MAX / 4), ..SkipSettings::default() };
    let mut stage = Stage::new(SkipMode::Layers, size, &skip, MergeSettings::default(), TrackSettings::default());
    let everything = PatchMask::full(stage.grid());
    let mut layers = open();
    let mut whole = Vec::new();
    for i in 0..12 {
        let (frame, mut fresh) = (frame(i), Inference::default());
        let (patches, known) = stage.begin(&frame);
        let work = Work { frame: &frame, patches, known, max_age_ns: u64::MAX };
        layers.detect(StreamId(0), &work, &mut fresh).unwrap();
        stage.finish(&frame, &fresh, |_| true);
        let global = stage.decision().unwrap().global;
        whole.push(u8::from(global == Some(GlobalChange::Motion)));
        let (mut anew, mut wanted) = (open(), Inference::default());
        let work = Work { frame: &frame, patches: &everything, known: &[], max_age_ns: u64::MAX };
        anew.detect(StreamId(0), &work, &mut wanted).unwrap();
        let is_whole = layers.raw_outputs(StreamId(0)) == anew.raw_outputs(StreamId(0));
        assert_eq!(is_whole, global.is_some(), "frame {i}");
        if is_whole {
            assert_eq!(fresh.layers.executed_macs, fresh.layers.dense_macs);
            assert_eq!(fresh.detections, wanted.detections, "frame {i}");
        }
    }
    assert_eq!(whole, [0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0]);
}
