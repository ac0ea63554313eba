//! Models whose end the engine does not know: ONNX Runtime runs it on what the engine
//! computes, and the detections are those of ONNX Runtime alone.

mod common;

use common::model::{Attr::Int, ModelBuilder, random_picture};
use common::zoo;
use engine::gating::gate::Gates;
use engine::import::onnx;
use engine::import::{import, import_with_tail};
use passd::detect::Detection;
use passd::detect::heads::Thresholds;
use passd::frame::{Frame, FrameId, Pixels};
use passd::geom::{Letterbox, PatchGrid, PatchMask, Rect, Size};
use passd::infer::detector::DenseDetector;
use passd::infer::layers::{LayersDetector, LayersSettings, Plans};
use passd::infer::session::{Runtime, SessionSettings};
use passd::infer::{Detector, Inference, StreamId, Work};
use passd::models::model::{Model, ModelFolders};
use prost::Message as _;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

#[test]
fn the_end_of_a_detector_is_left_over() {
    let (_, file, [c, h, w]) = zoo::yolov8_detect();
    let (graph, tail) = import_with_tail(&file, h, w).unwrap();
    let tail = tail.expect("a tail");
    println!("{} nodes are left, from {:?}: {}", tail.n_nodes, tail.inputs, tail.why);
    assert!((1..30).contains(&tail.n_nodes));
    assert_eq!(import(&file, h, w).unwrap_err(), tail.why, "without a tail it is refused by the operation's name");
    // What the tail reads is what ONNX Runtime computes at that place.
    let mut whole = onnx::ModelProto::decode(file.as_slice()).unwrap();
    whole.graph.as_mut().unwrap().output =
        tail.inputs.iter().map(|name| onnx::ValueInfo::floats(name, &[]).without_shape()).collect();
    let picture = random_picture([c, h, w], -1.0, 1.0);
    let wanted = common::ort::onnx_runtime(&whole.encode_to_vec(), &picture, [1, c, h, w]);
    common::ort::check_oracle("yolov8_detect", &graph, &picture, &wanted, 1e-3);
}

#[test]
fn the_middle_of_a_network_is_refused_by_name() {
    let mut m = ModelBuilder::new(13);
    let x = m.input(3, 16, 16);
    let w = m.weights(&[8, 3, 3, 3], 27);
    let y = m.node("Conv", &[&x, &w], &[]);
    let y = m.node("Erf", &[&y], &[]);
    let w = m.weights(&[8, 8, 3, 3], 72);
    let y = m.node("Conv", &[&y, &w], &[]);
    m.output(&y);
    let error = import_with_tail(&m.build(), 16, 16).unwrap_err().to_string();
    assert!(error.contains("(Erf): not supported"), "{error}");
}

/// An output that needs no tail, one that does, and something that nobody reads.
#[test]
fn some_outputs_need_a_tail() {
    let mut m = ModelBuilder::new(13);
    let x = m.input(3, 16, 16);
    let w = m.weights(&[8, 3, 3, 3], 27);
    let y = m.node("Conv", &[&x, &w], &[]);
    let best = m.node("ArgMax", &[&y], &[("axis", Int(1))]);
    let odd = m.node("Erf", &[&y], &[]);
    m.node("Identity", &[&best], &[]);
    m.output(&odd);
    m.output(&y);
    let (graph, tail) = import_with_tail(&m.build(), 16, 16).unwrap();
    let tail = tail.unwrap();
    assert_eq!((tail.inputs.as_slice(), &tail.model_outputs), ([y.clone()].as_slice(), &vec![odd, y.clone()]));
    assert_eq!(graph.outputs.len(), 1, "what is an output already is not put out twice");
    let mut m = ModelBuilder::new(13);
    let x = m.input(3, 16, 16);
    let w = m.weights(&[8, 3, 3, 3], 27);
    let y = m.node("Conv", &[&x, &w], &[]);
    m.node("Erf", &[&y], &[]);
    m.output(&y);
    assert_eq!(import_with_tail(&m.build(), 16, 16).unwrap().1, None, "nothing depends on it");
}

const SIZE: Size = Size::new(96, 64);
const T: Thresholds = Thresholds { score: 0.5, iou: 0.5 };

/// With classes that are so much less likely (log-odds).
fn model(folder: &std::path::Path, less: f32) -> Arc<Model> {
    let (name, file, _) = zoo::yolov8_detect();
    let mut file = onnx::ModelProto::decode(file.as_slice()).unwrap();
    for tensor in file.graph.as_mut().unwrap().initializer.iter_mut().filter(|t| t.dims == [6]) {
        tensor.float_data.iter_mut().for_each(|bias| *bias -= less);
        for bias in tensor.raw_data.as_chunks_mut().0 {
            *bias = (f32::from_le_bytes(*bias) - less).to_le_bytes();
        }
    }
    let file = file.encode_to_vec();
    let sum: String = Sha256::digest(&file).iter().map(|b| format!("{b:02x}")).collect();
    std::fs::write(folder.join("m.onnx"), &file).unwrap();
    let sidecar = format!(
        "file = \"m.onnx\"\ndescription = \"{name}\"\nsource = \"test\"\nlicence = \"MIT\"\nsha256 = \"{sum}\"\n\
         labels = [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\"]\n\
         [input]\nsize = \"96x64\"\ncolour = \"rgb\"\nscale = [0.01, 0.01, 0.01]\n[head]\nkind = \"yolov8\"\n"
    );
    std::fs::write(folder.join("m.toml"), sidecar).unwrap();
    Arc::new(Model::load(folder.join("m.onnx").to_str().unwrap(), &ModelFolders::default()).unwrap())
}

/// Noise that stands still, and a bar on the left that moves.
fn frame(i: usize, shift: usize) -> Frame {
    let mut rng = fastrand::Rng::with_seed(3);
    let pixel = |at: usize, noise: u8| if (at / 3) % 96 / 4 == shift { 255 - noise } else { noise };
    let bgr = (0..SIZE.area() * 3).map(|at| pixel(at, rng.u8(..))).collect();
    Frame::new(FrameId(i as u64), i as u64 * 40_000_000, Letterbox::fit(SIZE, SIZE), Pixels::owned(bgr))
}

#[test]
fn detections_are_those_of_onnx_runtime() {
    let everywhere = executed_share(T, 0.0);
    // Boxes are computed where a class may be.
    let here_and_there = executed_share(Thresholds { score: 0.03, ..T }, 7.0);
    assert!(here_and_there < 0.99 * everywhere, "{here_and_there} of {everywhere}");
}

/// Watches some frames, with classes so much less likely.
fn executed_share(t: Thresholds, less: f32) -> f64 {
    let folder = tempfile::tempdir().unwrap();
    let model = model(folder.path(), less);
    let mut layers = LayersDetector::open(
        model.clone(),
        SIZE,
        t,
        LayersSettings { pixel: Some(0), ..LayersSettings::default() },
        1,
        None,
        &Plans::default(),
    )
    .unwrap();
    layers.set_gates(Gates::exact(layers.plan()));
    let runtime = Runtime::get(None).unwrap();
    let mut dense = DenseDetector::open(runtime, model, SIZE, t, &SessionSettings::default()).unwrap();
    let everything = PatchMask::full(PatchGrid::new(SIZE, 8));
    let mut left = PatchMask::empty(PatchGrid::new(SIZE, 8));
    left.set_rect(&Rect::new(0.0, 0.0, 24.0, 64.0));
    let nothing = PatchMask::empty(PatchGrid::new(SIZE, 8));
    let (mut n_found, mut share) = (0, 0.0);
    let mut before: Vec<Detection> = Vec::new();
    for i in 0..6 {
        // In the fourth frame nothing moves.
        let (frame, patches) = match i {
            0 => (frame(i, i), &everything),
            3 => (frame(i, 2), &nothing),
            _ => (frame(i, i), &left),
        };
        let work = |patches| Work { frame: &frame, patches, known: &[], max_age_ns: u64::MAX };
        let (mut found, mut wanted) = (Inference::default(), Inference::default());
        layers.detect(StreamId(0), &work(patches), &mut found).unwrap();
        if i == 3 {
            assert_eq!(found.layers.cells, 0);
            assert_eq!(found.detections, before);
            assert!(found.seen.iter().all(|s| s.frame != FrameId(3)), "nothing was looked at");
            continue;
        }
        dense.detect(StreamId(0), &work(&everything), &mut wanted).unwrap();
        assert_eq!(found.detections.len(), wanted.detections.len(), "frame {i}");
        for (a, b) in found.detections.iter().zip(&wanted.detections) {
            assert_eq!(a.class, b.class);
            assert!((a.score - b.score).abs() < 1e-3 && a.bbox.iou(&b.bbox) > 0.99, "frame {i}: {a:?} {b:?}");
        }
        n_found += found.detections.len();
        share += found.layers.executed_share();
        before = found.detections;
    }
    println!("{n_found} detections, {share} frames executed");
    assert!(n_found > 10);
    share
}
