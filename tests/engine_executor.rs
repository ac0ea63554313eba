//! The boundaries of the layers detector: another executor behind it, and maps that it hands out.

mod common;

use engine::changes::ChangeSet;
use engine::exec::counters::Counters;
use engine::exec::executor::{Delta, Executor, Picture, StreamMaps};
use engine::exec::outputs::Outputs;
use engine::gating::estimate::DeltaMap;
use engine::gating::gate::Gates;
use engine::graph::{Graph, ValueId};
use engine::plan::Plan;
use engine::tolerance::ToleranceMap;
use engine::weights::Weights;
use engine::{import, oracle, passes};
use passd::detect::heads::Thresholds;
use passd::frame::{Frame, FrameId, Pixels};
use passd::geom::{Letterbox, PatchGrid, PatchMask, Size};
use passd::infer::layers::{LayersDetector, LayersSettings, Plans, plan_of};
use passd::infer::{Detector, Inference, StreamId, Work};
use passd::learn::net::{Depth, LearnNet};
use passd::merge::MergeSettings;
use passd::models::model::{Model, ModelFolders};
use passd::skip::{SkipMode, SkipSettings};
use passd::stage::Stage;
use passd::track::TrackSettings;
use std::sync::Arc;

const SIZE: Size = Size::new(320, 192);

fn model() -> Arc<Model> {
    Arc::new(Model::load("street-nano", &ModelFolders::default()).unwrap())
}

/// A dark block that moves over a grey street.
fn frame(i: u64) -> Frame {
    let (w, x0) = (SIZE.width as usize, 40 + 12 * i as usize);
    let inside = |at: usize| (x0..x0 + 40).contains(&(at % w)) && (90..120).contains(&(at / w));
    let bgr =
        (0..SIZE.area() * 3).map(|at| if inside(at / 3) { 20 } else { 110 + (at / 3 / w / 16 % 3) as u8 }).collect();
    Frame::new(FrameId(i), i * 40_000_000, Letterbox::fit(SIZE, SIZE), Pixels::owned(bgr))
}

/// Shows frames to a detector through the skip stage.
fn watch(detector: &mut dyn Detector, mut look: impl FnMut(&mut dyn Detector, u64, &Inference)) {
    let skip = SkipSettings::default();
    let mut stage = Stage::new(SkipMode::Layers, SIZE, &skip, MergeSettings::default(), TrackSettings::default());
    let mut fresh = Inference::default();
    for i in 0..8 {
        let frame = frame(i);
        let (patches, known) = stage.begin(&frame);
        let work = Work { frame: &frame, patches, known, max_age_ns: u64::MAX };
        detector.detect(StreamId(0), &work, &mut fresh).unwrap();
        stage.finish(&frame, &fresh, |_| true);
        look(detector, i, &fresh);
    }
}

/// Computes everything, by the definition.
struct Definition(Graph);

struct Maps {
    plan: Arc<Plan>,
    picture: Vec<f32>,
    changed: ChangeSet,
    sizes: DeltaMap,
    tolerance: ToleranceMap,
    sets: Vec<ChangeSet>,
    maps: Vec<Vec<f32>>,
}

impl Executor for Definition {
    type Stream = Maps;

    fn open(&self, plan: Arc<Plan>, _: Gates) -> Maps {
        let s = plan.maps[plan.input].shape;
        let full = |shape| {
            let mut set = ChangeSet::of(shape);
            set.fill();
            set
        };
        Maps {
            picture: vec![0.0; s.n_values()],
            changed: ChangeSet::of(s),
            sizes: DeltaMap::new(s.h, s.w, 0, 0),
            tolerance: ToleranceMap::default(),
            sets: plan.maps.iter().map(|m| full(m.shape)).collect(),
            maps: Vec::new(),
            plan,
        }
    }

    fn run(&mut self, stream: &mut Maps, _: Delta) -> Counters {
        let found = oracle::run(&self.0, &stream.picture);
        let made = self.0.nodes.iter().map(|node| node.output);
        stream.maps = vec![Vec::new(); stream.plan.maps.len()];
        made.for_each(|map| stream.maps[map.0 as usize] = found.get(map).to_vec());
        let macs = stream.plan.macs();
        Counters { dense_macs: macs, executed_macs: macs, cells: 1, ..Counters::default() }
    }

    fn complete(&mut self, _: &mut Maps) {}
}

impl StreamMaps for Maps {
    fn picture(&mut self) -> Picture<'_> {
        Picture { numbers: &mut self.picture, changed: &mut self.changed, sizes: &mut self.sizes }
    }

    fn tolerance_mut(&mut self) -> &mut ToleranceMap {
        &mut self.tolerance
    }

    fn require(&mut self, _: Option<f32>) {}

    fn forget(&mut self) {}

    fn set_weights(&mut self, _: Arc<Weights>) {}

    fn changes(&self, map: usize) -> &ChangeSet {
        &self.sets[map]
    }

    fn computed(&self, map: usize) -> &ChangeSet {
        &self.sets[map]
    }

    fn cell(&self, map: usize, y: usize, x: usize) -> &[f32] {
        let s = self.plan.maps[map].shape;
        &self.maps[map][(y * s.w + x) * s.c..][..s.c]
    }

    fn read(&self, map: usize, cells: &ChangeSet, into: &mut Vec<f32>) {
        into.clear();
        cells.for_each(|cell| into.extend_from_slice(self.cell(map, cell.y as usize, cell.x as usize)));
    }

    fn read_outputs(&self, _: &Outputs, _: &mut Vec<Vec<f32>>) {
        unreachable!("this head is read cell by cell");
    }
}

#[test]
fn another_executor_behind_the_boundary_finds_the_same() {
    let (model, t, plans) = (model(), Thresholds { score: 0.02, iou: 0.5 }, Plans::default());
    let mut ours = LayersDetector::open(model.clone(), SIZE, t, LayersSettings::default(), 1, None, &plans).unwrap();
    ours.set_gates(Gates::exact(ours.plan()));
    let mut graph = import::import(&model.onnx, SIZE.height as usize, SIZE.width as usize).unwrap();
    passes::optimise(&mut graph).unwrap();
    let planned = plans.get(&model, SIZE, &[]).unwrap();
    let settings = LayersSettings::default();
    let mut other =
        LayersDetector::with_executor(model, SIZE, t, settings, 1, None, planned, Definition(graph)).unwrap();
    let mut wanted = Vec::new();
    watch(&mut other, |_, _, fresh| wanted.push(fresh.detections.clone()));
    let mut n_found = 0;
    watch(&mut ours, |_, i, fresh| {
        let found: Vec<_> = fresh.detections.iter().map(|d| d.class).collect();
        assert_eq!(found, wanted[i as usize].iter().map(|d| d.class).collect::<Vec<_>>(), "frame {i}");
        for (a, b) in fresh.detections.iter().zip(&wanted[i as usize]) {
            assert!((a.score - b.score).abs() < 1e-4 && a.bbox.iou(&b.bbox) > 0.999, "frame {i}: {a:?} {b:?}");
        }
        n_found += found.len();
    });
    assert!(n_found > 0, "nothing was found, so nothing was compared");
}

#[test]
fn a_map_is_handed_out_as_what_changed_of_it_frame_by_frame() {
    let (model, t, plans) = (model(), Thresholds { score: 0.3, iou: 0.5 }, Plans::default());
    let open = |taps: &[&str]| {
        let taps = taps.iter().map(|&name| name.to_owned()).collect();
        let settings = LayersSettings { taps, ..LayersSettings::default() };
        LayersDetector::open(model.clone(), SIZE, t, settings, 1, None, &plans)
    };
    let error = open(&["nowhere"]).err().unwrap().to_string();
    assert!(error.contains("no map 'nowhere'"), "{error}");
    // A map that is kept nowhere unless it is asked for: between the halves of a separable convolution.
    let plain = open(&[]).unwrap();
    let graph = import::import(&model.onnx, SIZE.height as usize, SIZE.width as usize).unwrap();
    let is_hidden = |v: &usize| {
        let map = ValueId(*v as u32);
        graph.nodes.iter().any(|n| n.output == map) && plain.plan().maker(*v).is_none()
    };
    let hidden = (0..graph.values.len()).find(is_hidden).expect("something is fused");
    let name = graph.name(ValueId(hidden as u32)).to_owned();
    let mut tapped = open(&[&name]).unwrap();
    let s = graph.shape(ValueId(hidden as u32));
    // What one reader, that misses nothing, and one that misses a frame know of the map.
    let (mut known, mut n_cells) = ([(); 2].map(|()| vec![f32::NAN; s.n_values()]), Vec::new());
    let mut next = 0;
    watch(&mut tapped, |detector, i, fresh| {
        let [tap] = &fresh.taps[..] else { panic!("one map") };
        if tap.frame.is_none() {
            return;
        }
        assert_eq!((tap.frame, tap.shape, &tap.map, tap.incarnation), (Some(FrameId(i)), Some(s), &name, 1));
        let changed = tap.changed.as_ref().unwrap();
        assert_eq!(tap.numbers.len(), changed.count() * s.c);
        let is_missed = tap.number == 2;
        let readers = if is_missed { 1 } else { 2 };
        for known in &mut known[..readers] {
            let mut numbers = tap.numbers.chunks_exact(s.c);
            changed.for_each(|cell| {
                let at = (cell.y as usize * s.w + cell.x as usize) * s.c;
                known[at..at + s.c].copy_from_slice(numbers.next().unwrap());
            });
        }
        if !is_missed {
            if tap.number != next {
                detector.hand_out_whole(StreamId(0));
            }
            next = tap.number + 1;
        }
        n_cells.push(changed.count());
    });
    let whole = s.n_cells();
    assert!(n_cells.len() > 5 && n_cells[0] == whole, "the first frame is handed out as a whole: {n_cells:?}");
    assert!(n_cells.iter().enumerate().all(|(i, n)| [0, 4].contains(&i) == (*n == whole)), "{n_cells:?} of {whole}");
    assert!(n_cells[1..4].iter().all(|n| *n < whole / 2), "{n_cells:?} of {whole}");
    let stream = tapped.stream(StreamId(0)).unwrap();
    let map = stream.plan().maps.iter().position(|m| m.name == name).unwrap();
    for known in known {
        assert_eq!(known, stream.map(map), "what was handed out adds up to the map");
    }
}

/// Reads a stream's maps frame by frame beside those of a detector that computes all of each frame.
fn check_kept_maps(model: &Arc<Model>, kept_maps: Vec<String>) {
    let (t, plans) = (Thresholds { score: 0.3, iou: 0.5 }, Plans::default());
    let settings = LayersSettings { kept_maps, pixel: Some(0), ..LayersSettings::default() };
    let open = || {
        let mut detector = LayersDetector::open(model.clone(), SIZE, t, settings.clone(), 1, None, &plans).unwrap();
        detector.set_gates(Gates::exact(detector.plan()));
        detector
    };
    let (mut follows, mut anew) = (open(), open());
    assert!(follows.read_maps(StreamId(0)).is_empty(), "no frame was seen");
    let mut n_saved = 0;
    watch(&mut follows, |detector, i, fresh| {
        n_saved += usize::from(fresh.layers.executed_macs * 10 < fresh.layers.dense_macs * 9);
        let maps = detector.read_maps(StreamId(0));
        let (frame, all) = (frame(i), PatchMask::full(PatchGrid::new(SIZE, 32)));
        let work = Work { frame: &frame, patches: &all, known: &[], max_age_ns: u64::MAX };
        anew.detect(StreamId(0), &work, &mut Inference::default()).unwrap();
        let wanted = anew.read_maps(StreamId(0));
        assert_eq!((maps.len(), wanted.len()), (settings.kept_maps.len(), maps.len()));
        for (name, (map, wanted)) in settings.kept_maps.iter().zip(maps.iter().zip(&wanted)) {
            assert_eq!(map.shape, wanted.shape);
            let greatest = wanted.numbers.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            assert!(greatest > 0.1, "{name} says something");
            let off = map.numbers.iter().zip(&wanted.numbers).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(off <= 1e-4 * greatest, "frame {i}, {name}: off by {off} of {greatest}");
        }
    });
    assert!(n_saved > 3, "frames were followed, not computed: {n_saved}");
}

#[test]
fn kept_maps_are_read_as_if_all_of_the_picture_were_computed() {
    let begins = |model: &Model| LearnNet::open(model, SIZE, Depth::Head).unwrap().source_names();
    check_kept_maps(&model(), begins(&model()));
    // One with branches that are computed only where something may be, and a map of such a branch.
    let Some(shared) = common::shared() else { return };
    let model = Arc::new(Model::load("yolox_nano", &ModelFolders(vec![shared.join("models")])).unwrap());
    let (plan, _) = plan_of(&model, SIZE, &[]).unwrap();
    let is_lazy = |map: &usize| plan.maker(*map).is_some_and(|step| plan.lazy.holds(step));
    let lazy = (0..plan.maps.len()).find(is_lazy).expect("a lazy branch");
    let mut names = begins(&model);
    names.push(plan.maps[lazy].name.clone());
    check_kept_maps(&model, names);
}
