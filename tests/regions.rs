//! Regions on the real model: what is run, and that batches change nothing.

use passd::detect::heads::Thresholds;
use passd::frame::{Frame, FrameId, Pixels};
use passd::geom::{Letterbox, PatchGrid, PatchMask, Rect, Size};
use passd::infer::detector::{DenseDetector, RegionsDetector};
use passd::infer::plan::PlanSettings;
use passd::infer::session::{Runtime, SessionSettings};
use passd::infer::{Coverage, Detector, Inference, StreamId, Work};
use passd::models::model::{Model, ModelFolders};
use passd::sim::{SimCamera, SimSettings};
use std::sync::Arc;

const SIZE: Size = Size::new(640, 384);
const T: Thresholds = Thresholds { score: 0.4, iou: 0.5 };

fn model() -> Arc<Model> {
    Arc::new(Model::load("street-nano", &ModelFolders::default()).unwrap())
}

fn street() -> Frame {
    let mut bgr = vec![0; SIZE.area() * 3];
    SimCamera::new(SimSettings::parse("sim://street?seed=1002&noise=1").unwrap()).render(50, &mut bgr);
    Frame::new(FrameId(0), 0, Letterbox::fit(SIZE, SIZE), Pixels::owned(bgr))
}

fn detector(batches: &[usize]) -> RegionsDetector {
    let plan = PlanSettings::for_input(SIZE, 32);
    let runtime = Runtime::get(None).unwrap();
    RegionsDetector::open(runtime, model(), SIZE, T, plan, batches, &SessionSettings::default()).unwrap()
}

fn run(detector: &mut dyn Detector, changed: &[[f32; 4]]) -> Inference {
    let mut patches = PatchMask::empty(PatchGrid::new(SIZE, 16));
    changed.iter().for_each(|r| patches.set_rect(&Rect::new(r[0], r[1], r[2], r[3])));
    let frame = street();
    let mut fresh = Inference::default();
    detector
        .detect(StreamId(0), &Work { frame: &frame, patches: &patches, known: &[], max_age_ns: u64::MAX }, &mut fresh)
        .unwrap();
    fresh
}

#[test]
fn batches_change_nothing_but_the_number_of_runs() {
    // Two far corners: two regions of one shape.
    let corners = [[8.0, 100.0, 30.0, 120.0], [600.0, 300.0, 620.0, 320.0]];
    let one_by_one = run(&mut detector(&[1]), &corners);
    let batched = run(&mut detector(&[2]), &corners);
    assert_eq!((one_by_one.n_runs, batched.n_runs), (2, 1));
    assert_eq!(one_by_one.coverage, batched.coverage);
    assert_eq!(one_by_one.executed_px, batched.executed_px);
    assert!(!one_by_one.detections.is_empty());
    assert_eq!(one_by_one.detections.len(), batched.detections.len());
    for (a, b) in one_by_one.detections.iter().zip(&batched.detections) {
        assert_eq!(a.class, b.class);
        assert!((a.score - b.score).abs() < 1e-4 && a.bbox.iou(&b.bbox) > 0.999, "{a:?} {b:?}");
    }
}

#[test]
fn little_runs_little_much_runs_all_and_nothing_runs_nothing() {
    let mut regions = detector(&[]);
    let nothing = run(&mut regions, &[]);
    assert_eq!((nothing.coverage, nothing.n_runs, nothing.executed_px), (Coverage::Nothing, 0, 0));
    let little = run(&mut regions, &[[300.0, 200.0, 310.0, 210.0]]);
    assert!(matches!(little.coverage, Coverage::Regions(_)) && little.executed_px < SIZE.area() as u64 / 4);
    let much = run(&mut regions, &[[0.0, 0.0, 640.0, 300.0]]);
    assert_eq!((&much.coverage, much.n_runs), (&Coverage::Full, 1));
    let runtime = Runtime::get(None).unwrap();
    let mut dense = DenseDetector::open(runtime, model(), SIZE, T, &SessionSettings::default()).unwrap();
    assert_eq!(run(&mut dense, &[[0.0, 0.0, 640.0, 384.0]]).detections, much.detections);
}
