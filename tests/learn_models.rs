//! What training sees of a model is what ONNX Runtime sees, and a model with other weights is what training made of it.
//! Needs the shared clips and models, but for `street-nano`.

mod common;

use passd::capture::{Clip, SourceSpec};
use passd::detect::Detection;
use passd::detect::heads::Thresholds;
use passd::frame::Frame;
use passd::geom::{PatchGrid, PatchMask, Size};
use passd::infer::detector::DenseDetector;
use passd::infer::session::{Runtime, SessionSettings};
use passd::infer::{Detector, Inference, StreamId, Work};
use passd::learn::backbone::Backbone;
use passd::learn::export::{learned_file, write_model};
use passd::learn::net::{Depth, LearnNet};
use passd::models::model::{Learned, Model, ModelFolders};
use std::path::Path;
use std::sync::Arc;
use train::float::FloatTrainer;
use train::params::Params;

const T: Thresholds = Thresholds { score: 0.3, iou: 0.5 };

fn frames(clip: &str, size: Size, every: usize, n: usize) -> Vec<Frame> {
    let mut clip = Clip::open(&SourceSpec::parse(clip).unwrap(), size).unwrap();
    let all = std::iter::from_fn(|| clip.next_frame().unwrap());
    all.step_by(every).take(n).collect()
}

fn dense(model: &Arc<Model>, size: Size, frames: &[Frame]) -> Vec<Vec<Detection>> {
    let runtime = Runtime::get(None).unwrap();
    let mut detector = DenseDetector::open(runtime, model.clone(), size, T, &SessionSettings::default()).unwrap();
    let everything = PatchMask::full(PatchGrid::new(size, 16));
    let mut fresh = Inference::default();
    let mut run = |frame: &Frame| {
        detector.detect(StreamId(1), &Work::whole(frame, &everything), &mut fresh).unwrap();
        fresh.detections.clone()
    };
    frames.iter().map(&mut run).collect()
}

/// How many of the sure ones of `wanted` are in `found`, nearly in place and nearly as sure.
fn agree(wanted: &[Vec<Detection>], found: &[Vec<Detection>]) -> (usize, usize) {
    let (mut n, mut n_found) = (0, 0);
    for (wanted, found) in wanted.iter().zip(found) {
        for d in wanted.iter().filter(|d| d.score >= 0.4) {
            let is =
                |f: &Detection| f.class == d.class && f.bbox.iou(&d.bbox) > 0.85 && (f.score - d.score).abs() < 0.08;
            n += 1;
            n_found += usize::from(found.iter().any(is));
        }
    }
    (n_found, n)
}

/// `factor`: of all weights, so that other things are seen.
fn check(model: &Arc<Model>, size: Size, clip: &str, (depth, factor): (Depth, f32), every: usize) {
    let net = LearnNet::open(model, size, depth).unwrap();
    let frames = frames(clip, size, every, 24);
    let wanted = dense(model, size, &frames);
    let mut backbone = Backbone::open(model, &net).unwrap();
    let mut trainer = FloatTrainer::new(net.plan(), 1, engine::kernels::Kernels::best());
    let mut seen = |params: &Params| -> Vec<Vec<Detection>> {
        let mut of = |frame: &Frame| {
            let latents = backbone.latents(frame.data());
            net.feed(&mut trainer, &[&latents]);
            net.shown(&mut trainer, params, T)
        };
        frames.iter().map(&mut of).collect()
    };
    let first = net.params();
    let before = seen(&first);
    let (n_found, n) = agree(&wanted, &before);
    println!("{} {depth:?}: {n_found} of {n} detections as ONNX Runtime has them", model.name);
    assert!(n >= 8 && n_found * 20 >= n * 19, "{} {depth:?}: {n_found} of {n}", model.name);

    // Other weights, written: ONNX Runtime sees what training saw.
    let mut other = first.clone();
    for layer in &mut other.0 {
        layer.gain.iter_mut().for_each(|g| *g *= factor);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = learned_file(model, &net, &other).unwrap();
    let learned = Learned { base: model.name.clone(), base_sha256: model.sha256.clone(), from: vec!["a test".into()] };
    write_model(folder.path(), "other", model, &file, learned).unwrap();
    let written = load(&folder.path().join("other.onnx"));
    let after = seen(&other);
    let (n_same, n_before) = agree(&before, &after);
    assert!(n_same * 10 < n_before * 9, "other weights see others: {n_same} of {n_before}");
    let (n_found, n) = agree(&dense(&written, size, &frames), &after);
    assert!(n >= 8 && n_found * 20 >= n * 19, "{} {depth:?}, written: {n_found} of {n}", model.name);
}

fn load(path: &Path) -> Arc<Model> {
    Arc::new(Model::load(&path.display().to_string(), &ModelFolders(Vec::new())).unwrap())
}

#[test]
fn the_project_s_own_model() {
    let model = Arc::new(Model::load("street-nano", &ModelFolders(Vec::new())).unwrap());
    for depth in [(Depth::Head, 1.12), (Depth::All, 1.06)] {
        check(&model, Size::new(640, 384), "sim://street?seed=3&frames=600", depth, 50);
    }
}

#[test]
fn models_of_other_families() {
    let Some(shared) = common::shared() else { return };
    passd::capture::init().unwrap();
    let folders = ModelFolders(vec![shared.join("models")]);
    let clip = shared.join("clips/person-indoor.mp4").display().to_string();
    for (name, size) in [("yolox_nano", Size::new(640, 384)), ("fastestdet", Size::new(352, 352))] {
        let model = Arc::new(Model::load(name, &folders).unwrap());
        // What is more in each of many layers is a multiple at the end.
        for depth in [(Depth::Head, 1.12), (Depth::All, 1.03)] {
            check(&model, size, &clip, depth, 45);
        }
    }
    let faces = Model::load("yunet_2023mar", &folders).unwrap();
    let error = LearnNet::open(&faces, Size::new(640, 640), Depth::Head).unwrap_err().to_string();
    assert!(error.contains("cannot be trained"), "{error}");
}
