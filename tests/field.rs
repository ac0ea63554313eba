//! Failures that people reported of other systems, on real clips and a real model: what is right here stays so.

mod common;

use common::shared;
use passd::capture::{Clip, SourceSpec};
use passd::detect::Detection;
use passd::detect::heads::Thresholds;
use passd::eval::score::{Agreement, SURE};
use passd::frame::{Frame, Pixels};
use passd::geom::{ModelInput, Rect, Size};
use passd::infer::factory::DetectorSpec;
use passd::infer::layers::{LayersSettings, Plans};
use passd::infer::plan::PlanSettings;
use passd::infer::session::{Runtime, SessionSettings};
use passd::infer::{Inference, StreamId, Work};
use passd::merge::MergeSettings;
use passd::models::model::{Model, ModelFolders};
use passd::scene::event::{Moment, Phase};
use passd::scene::{Scene, SceneSettings};
use passd::sim::Grain;
use passd::skip::{SkipMode, SkipSettings};
use passd::stage::Stage;
use passd::track::TrackSettings;
use std::path::Path;
use std::sync::Arc;

const SIZE: Size = Size::new(640, 384);
/// Classes of the model.
const PERSON: u16 = 0;
const CAR: u16 = 2;

/// `n` frames of a clip from number `first` on.
fn frames(shared: &Path, clip: &str, first: usize, n: usize) -> Vec<Frame> {
    let path = shared.join("clips").join(clip);
    let mut clip = Clip::open(&SourceSpec::File { path }, SIZE).unwrap();
    std::iter::from_fn(|| clip.next_frame().unwrap()).skip(first).take(n).collect()
}

/// A frame that is painted over, `paint` getting each row of the picture; noise comes on top.
fn painted(frame: &Frame, grain: &Grain, n: u64, mut paint: impl FnMut(&mut [u8], usize)) -> Frame {
    let mut data = frame.data().to_vec();
    let content = frame.letterbox.content;
    let rows = data.chunks_exact_mut(SIZE.width as usize * 3).take(content.height as usize);
    for (y, row) in rows.enumerate() {
        let row = &mut row[..content.width as usize * 3];
        paint(row, y);
        grain.add(row, n, y as u64);
    }
    Frame::new(frame.id, frame.pts_ns, frame.letterbox, Pixels::owned(data))
}

/// Light of so many parts of 256.
fn dim(row: &mut [u8], light: u32) {
    row.iter_mut().for_each(|v| *v = (u32::from(*v) * light / 256) as u8);
}

/// A still picture as a clip: frames of 40 ms.
fn standing(frame: &Frame, n: u64) -> impl Iterator<Item = Frame> + '_ {
    (0..n).map(|i| {
        let mut frame = frame.clone();
        frame.pts_ns = i * 40_000_000;
        frame
    })
}

/// What one mode makes of frames.
struct Seen {
    frames: Vec<Vec<Detection>>,
    /// Class and place of each event that began.
    events: Vec<(u16, Rect<ModelInput>)>,
}

impl Seen {
    fn by(shared: &Path, mode: SkipMode, frames: &[Frame]) -> Self {
        let folders = ModelFolders::usual(Some(&shared.join("models")));
        let model = Arc::new(Model::load("yolox_nano", &folders).unwrap());
        let recipe = DetectorSpec {
            model: model.clone(),
            size: SIZE,
            thresholds: Thresholds { score: SURE, iou: 0.5 },
            session: SessionSettings::default(),
            regions: PlanSettings::for_input(SIZE, 32),
            batches: Vec::new(),
            layers: LayersSettings::default(),
            profile: None,
            plans: Plans::default(),
        };
        let mut detector = recipe.make(Runtime::get(None).unwrap(), Some(mode)).unwrap().detector;
        let skip = SkipSettings::default();
        let max_age_ns = skip.max_age_in(mode);
        let merge = MergeSettings { max_age_ns, min_score: SURE, ..MergeSettings::default() };
        let mut stage = Stage::new(mode, SIZE, &skip, merge, TrackSettings::default());
        let mut scene = Scene::new(SceneSettings::default(), &model.labels);
        let (mut seen, mut fresh, mut told) =
            (Self { frames: Vec::new(), events: Vec::new() }, Inference::default(), Vec::new());
        for frame in frames {
            let (patches, known) = stage.begin(frame);
            fresh.clear();
            if !patches.is_empty() {
                detector.detect(StreamId(0), &Work { frame, patches, known, max_age_ns }, &mut fresh).unwrap();
            }
            stage.finish(frame, &fresh, |_| true);
            let tracks = stage.track(frame, |d| d.score >= SURE);
            let now = Moment { pts_ns: frame.pts_ns, unix_ns: frame.pts_ns };
            scene.update(now, frame.letterbox.content, tracks, &mut told);
            let new = told.drain(..).filter(|m| m.phase == Phase::New);
            seen.events.extend(new.map(|m| (m.event.class, m.event.bbox)));
            let least = Agreement::least_of(SURE);
            seen.frames.push(stage.followed().iter().map(|m| m.detection).filter(|d| d.score >= least).collect());
        }
        seen
    }

    fn agreement(&self, dense: &Self) -> f64 {
        let mut agreement = Agreement::with_gap(SURE);
        dense.frames.iter().zip(&self.frames).for_each(|(dense, found)| agreement.add(dense, found));
        agreement.agreement()
    }

    /// Most events at one place.
    fn most_at_a_place(&self) -> usize {
        let at = |place: &Rect<ModelInput>| self.events.iter().filter(|(_, other)| other.iou(place) > 0.3).count();
        self.events.iter().map(|(_, place)| at(place)).max().unwrap_or(0)
    }

    fn n_in(&self, frame: usize, class: u16) -> usize {
        self.frames[frame].iter().filter(|d| d.class == class && d.score >= SURE).count()
    }
}

/// A person leaves a room at night, whose picture is dark and full of noise, and comes back.
#[test]
fn who_leaves_at_night_leaves_no_ghost() {
    let Some(shared) = shared() else { return };
    let grain = Grain::new(4.0, 1);
    let night: Vec<Frame> = frames(&shared, "person-indoor.mp4", 80, 180)
        .iter()
        .zip(0..)
        .map(|(frame, n)| painted(frame, &grain, n, |row, _| dim(row, 100)))
        .collect();
    let dense = Seen::by(&shared, SkipMode::Off, &night);
    let n_without = (0..night.len()).filter(|i| dense.n_in(*i, PERSON) == 0).count();
    assert!(n_without >= 20 && dense.events.len() == 2, "{n_without} frames without anybody, {:?}", dense.events);
    for mode in [SkipMode::Regions, SkipMode::Layers] {
        let seen = Seen::by(&shared, mode, &night);
        let differs = |i: &usize| seen.n_in(*i, PERSON) != dense.n_in(*i, PERSON);
        let others: Vec<usize> = (0..night.len()).filter(differs).collect();
        assert!(others.len() <= 2, "{mode:?} differs in frames {others:?}");
        assert_eq!(seen.events.len(), 2, "{mode:?}: {:?}", seen.events);
    }
}

/// A lamp goes off over some frames, and on again.
#[test]
fn a_lamp_is_no_event() {
    let Some(shared) = shared() else { return };
    let grain = Grain::new(1.5, 2);
    let scene = &frames(&shared, "bottles-bench.mp4", 0, 1)[0];
    for over in [1, 3, 6] {
        let lamp: Vec<Frame> = standing(scene, 120)
            .zip(0u64..)
            .map(|(frame, n)| {
                let down = n.saturating_sub(40).min(over) as u32;
                let up = n.saturating_sub(80).min(over) as u32;
                painted(&frame, &grain, n, |row, _| dim(row, 256 - 150 * (down - up) / over as u32))
            })
            .collect();
        let dense = Seen::by(&shared, SkipMode::Off, &lamp);
        assert_eq!(dense.events.len(), 3, "bottles: {:?}", dense.events);
        for mode in [SkipMode::Regions, SkipMode::Layers] {
            let seen = Seen::by(&shared, mode, &lamp);
            let agreement = seen.agreement(&dense);
            assert!(agreement > 0.98, "{mode:?}, over {over} frames: {agreement}");
            assert_eq!(seen.events.len(), 3, "{mode:?}, over {over} frames: {:?}", seen.events);
        }
    }
}

/// A bright ellipse moves over parked cars.
#[test]
fn a_light_that_sweeps_over_parked_cars_makes_no_new_ones() {
    let Some(shared) = shared() else { return };
    let grain = Grain::new(1.0, 3);
    let street = &frames(&shared, "parking-street.mp4", 0, 1)[0];
    let swept: Vec<Frame> = standing(street, 150)
        .zip(0..)
        .map(|(frame, n)| {
            let centre = n as f32 * 6.0 - 100.0;
            painted(&frame, &grain, n, |row, y| {
                for (i, v) in row.iter_mut().enumerate() {
                    let (dx, dy) = (((i / 3) as f32 - centre) / 110.0, (y as f32 - 130.0) / 60.0);
                    let light = 90.0 * (1.0 - (dx * dx + dy * dy)).max(0.0).sqrt();
                    *v = v.saturating_add(light as u8);
                }
            })
        })
        .collect();
    let dense = Seen::by(&shared, SkipMode::Off, &swept);
    for mode in [SkipMode::Off, SkipMode::Regions, SkipMode::Layers] {
        let seen = Seen::by(&shared, mode, &swept);
        let agreement = seen.agreement(&dense);
        println!("{mode:?}: agreement {agreement:.3}, {:?}", seen.events);
        // Layers 0.847 and regions 0.853 (EPYC, AVX-512, 2026-11-29): what hovers around the score under the light.
        assert!(agreement > 0.8, "{mode:?}: {agreement}");
        assert_eq!(seen.events.iter().filter(|(class, _)| *class == CAR).count(), 2, "{mode:?}: {:?}", seen.events);
        assert_eq!(seen.most_at_a_place(), 1, "{mode:?}: {:?}", seen.events);
    }
}
