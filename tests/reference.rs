//! Dense detections against an independent program (OpenCV + ONNX Runtime):
//! exact model inputs, and whole clips. Needs the shared clips and models.

mod common;

use passd::capture::{Clip, SourceSpec};
use passd::detect::Detection;
use passd::detect::heads::Thresholds;
use passd::eval::score::Agreement;
use passd::geom::{PatchGrid, PatchMask, Rect, Size};
use passd::infer::detector::DenseDetector;
use passd::infer::session::{Runtime, SessionSettings};
use passd::infer::{Detector, Inference, StreamId, Work};
use passd::models::model::{Model, ModelFolders};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

fn boxed(v: &Value) -> [f64; 4] {
    std::array::from_fn(|i| v["box"][i].as_f64().unwrap())
}

/// Every expected detection is found within 1 px and 0.01 of score, none extra above 0.32.
#[test]
fn stills_equal_the_reference() {
    let Some(shared) = common::shared() else { return };
    let mut n_checked = 0;
    for entry in std::fs::read_dir(shared.join("reference")).unwrap() {
        let folder = entry.unwrap().path();
        let Ok(expected) = std::fs::read_to_string(folder.join("expected.json")) else { continue };
        let expected: Vec<Value> = serde_json::from_str(&expected).unwrap();
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let (model, size) = name.rsplit_once('_').unwrap();
        let images = expected.iter().map(|e| folder.join(e["image"].as_str().unwrap()));
        let out = Command::new(env!("CARGO_BIN_EXE_passd"))
            .args(["detect", "--score", "0.3", "--model", model, "--size", size, "--models"])
            .arg(shared.join("models"))
            .args(images)
            .output()
            .unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let lines = String::from_utf8(out.stdout).unwrap();
        assert_eq!(lines.lines().count(), expected.len());
        for (line, expected) in lines.lines().zip(&expected) {
            let found: Value = serde_json::from_str(line).unwrap();
            let mut found: Vec<&Value> = found["detections"].as_array().unwrap().iter().collect();
            for want in expected["detections"].as_array().unwrap() {
                let fits = |d: &&Value| {
                    let near = boxed(d).iter().zip(boxed(want)).all(|(a, b)| (a - b).abs() <= 1.0);
                    let score = (d["score"].as_f64().unwrap() - want["score"].as_f64().unwrap()).abs();
                    near && score <= 0.01 && d["class"] == want["class"]
                };
                let at = found
                    .iter()
                    .position(fits)
                    .unwrap_or_else(|| panic!("{name} {}: {want} is not found", expected["image"]));
                found.remove(at);
                n_checked += 1;
            }
            let extra: Vec<_> = found.iter().filter(|d| d["score"].as_f64().unwrap() > 0.32).collect();
            assert!(extra.is_empty(), "{name} {}: {extra:?}", expected["image"]);
        }
    }
    println!("{n_checked} detections are where the reference has them");
    assert!(n_checked > 50);
}

fn gunzip(path: &Path) -> String {
    let out = Command::new("gzip").args(["-dc"]).arg(path).output().unwrap();
    String::from_utf8(out.stdout).unwrap()
}

/// Whole clips in mode `off` agree with the reference at 0.97 or better; decoder and scaler are others.
#[test]
fn clips_agree_with_the_reference() {
    let Some(shared) = common::shared() else { return };
    let runtime = Runtime::get(None).unwrap();
    let size = Size::new(640, 384);
    let model = Arc::new(Model::load("yolox_nano", &ModelFolders(vec![shared.join("models")])).unwrap());
    let everything = PatchMask::full(PatchGrid::new(size, 16));
    let clips = ["person-indoor", "room-sparse", "bottles-bench", "parking-street"];
    std::thread::scope(|scope| {
        for half in clips.chunks(2) {
            let (shared, model, everything) = (&shared, model.clone(), &everything);
            scope.spawn(move || {
                for clip in half {
                    let thresholds = Thresholds { score: 0.3, iou: 0.5 };
                    let session = SessionSettings::default();
                    let mut detector = DenseDetector::open(runtime, model.clone(), size, thresholds, &session).unwrap();
                    let reference = gunzip(&shared.join(format!("reference/clips/{clip}.yolox_nano_640x384.jsonl.gz")));
                    let path = shared.join(format!("clips/{clip}.mp4"));
                    let mut frames = Clip::open(&SourceSpec::File { path }, size).unwrap();
                    let (mut fresh, mut ours) = (Inference::default(), Vec::new());
                    while let Some(frame) = frames.next_frame().unwrap() {
                        let work = Work { frame: &frame, patches: everything, known: &[], max_age_ns: u64::MAX };
                        detector.detect(StreamId(0), &work, &mut fresh).unwrap();
                        ours.push(fresh.detections.clone());
                    }
                    // The reference's decoder leaves out up to a second of frames before the first
                    // whole picture; both end with the last frame.
                    let n = reference.lines().count();
                    assert!((n..n + 25).contains(&ours.len()), "{clip}: {} frames, the reference has {n}", ours.len());
                    let mut agreement = Agreement::default();
                    for (line, ours) in reference.lines().zip(&ours[ours.len() - n..]) {
                        let want: Value = serde_json::from_str(line).unwrap();
                        let wanted: Vec<Detection> =
                            want["detections"].as_array().unwrap().iter().map(detection).collect();
                        agreement.add(&wanted, ours);
                    }
                    println!("{clip}: {n} frames, agreement {:.4}", agreement.agreement());
                    assert!(agreement.agreement() >= 0.97, "{clip}: {:.4}", agreement.agreement());
                }
            });
        }
    });
}

fn detection(v: &Value) -> Detection {
    let b = boxed(v).map(|v| v as f32);
    Detection::new(
        v["class"].as_u64().unwrap() as u16,
        v["score"].as_f64().unwrap() as f32,
        Rect::new(b[0], b[1], b[2], b[3]),
    )
}
