//! What learning from marks and labels brings, in the simulated street, where the truth is known.
//!
//!     cargo bench --bench learn -- decoys [--kinds mannequin,poster,bush,trailer] [--seeds 5] [--steps 400] [--bits 8|32]
//!         [--depth head|all]
//!     cargo bench --bench learn -- shift  [--scenes night,infrared] [--seeds 5] [--steps 400] [--model …/street-day.onnx]
//!
//! `decoys`: a street has decoys of one kind. Somebody looks at its first minutes and marks what is falsely reported, ten
//! times at most. Counted before and after: false alarms of that kind and persons and cars found, in later hours of the same
//! street, and in other streets.
//!
//! `shift`: a model that knows days alone sees another scene: 60 labelled pictures of two streets, judged in four others, in
//! eight bits and in `f32`, what lies behind the backbone alone and all layers (`--depth head|all|both`). `--arms`: ways to
//! compute, of f32, int8, uniform, octo, octo-zero-points, nearest, no-gain, no-clip, per-tensor.
//!
//!     cargo bench --bench learn -- tracks [--model yolox_nano|fastestdet] [--size WxH] [--clips room-sparse,…] [--seeds 1]
//!         [--keep 8] [--reference DIR]
//!
//! `tracks`: the shared clips, with what is followed and moves as the only labels (`benches/learn/tracks.rs`).
//!
//!     cargo bench --bench learn -- teacher [--clip …] [--model yolox_nano@416x256] [--teacher yolox_nano@640x384] [--seeds N]
//!
//! `teacher`: a model learns from a larger one, or from itself at a larger size, on the shared clips (`PASSD_SHARED`).
//!
//! Results are kept in `benches/README.md`.

#[path = "learn/arms.rs"]
mod arms;
#[path = "learn/teacher.rs"]
mod teacher;
#[path = "learn/tracks.rs"]
mod tracks;

use arms::Arm;
use passd::detect::Detection;
use passd::detect::heads::Thresholds;
use passd::detect::heads::loss::{LabelledBox, PictureLabels};
use passd::geom::{ModelInput, Rect, Size};
use passd::learn::backbone::Backbone;
use passd::learn::fit::{Bits, FitSettings};
use passd::learn::gate::{Score, stand};
use passd::learn::latents::Latents;
use passd::learn::lesson::{Lesson, teach};
use passd::learn::net::{Depth, LearnNet};
use passd::learn::sample::{Origin, Sample};
use passd::models::model::{Model, ModelFolders};
use passd::sim::{DecoyTruth, SimCamera, SimSettings, Truth};
use std::ops::ControlFlow;
use std::time::Instant;
use train::float::FloatTrainer;
use train::params::Params;

const SCORE: f32 = 0.4;
const IOU: f32 = 0.5;

fn option(name: &str, default: &str) -> String {
    let args: Vec<String> = std::env::args().collect();
    args.iter().position(|a| a == name).and_then(|i| args.get(i + 1)).cloned().unwrap_or_else(|| default.into())
}

fn number<T: std::str::FromStr + std::fmt::Display>(name: &str, default: T) -> T {
    option(name, &default.to_string()).parse().unwrap_or_else(|_| panic!("{name}: a number"))
}

/// A street, frame by frame.
struct Street {
    camera: SimCamera,
    bgr: Vec<u8>,
}

/// A frame of it.
struct Seen {
    latents: Latents,
    labels: PictureLabels,
    decoys: Vec<Rect<ModelInput>>,
}

impl Street {
    fn new(address: &str) -> Self {
        let settings = SimSettings::parse(address).expect("an address");
        let bgr = vec![0; settings.size.area() * 3];
        Self { camera: SimCamera::new(settings), bgr }
    }

    fn see(&mut self, n: u64, backbone: &mut Backbone) -> Seen {
        let input = |r: Rect<passd::geom::CameraPixels>| Rect::<ModelInput>::new(r.x1, r.y1, r.x2, r.y2);
        self.camera.render(n, &mut self.bgr);
        let (mut truth, mut decoys): (Vec<Truth>, Vec<DecoyTruth>) = (Vec::new(), Vec::new());
        self.camera.truth(n, &mut truth);
        self.camera.decoys(n, &mut decoys);
        let mut labels = PictureLabels { is_complete: true, ..PictureLabels::default() };
        for t in truth {
            match t.counts() {
                true => labels.objects.push(LabelledBox { class: t.kind as u16, bbox: input(t.bbox) }),
                false => labels.ignored.push(input(t.bbox)),
            }
        }
        let decoys: Vec<_> = decoys.iter().map(|d| input(d.bbox)).collect();
        labels.absent.clone_from(&decoys);
        Seen { latents: backbone.latents(&self.bgr), labels, decoys }
    }
}

/// What the base model reports.
struct Base<'a> {
    net: &'a LearnNet,
    trainer: FloatTrainer,
}

impl Base<'_> {
    fn detections(&mut self, latents: &Latents, score: f32) -> Vec<Detection> {
        self.net.feed(&mut self.trainer, &[latents]);
        self.net.shown(&mut self.trainer, &self.net.params(), Thresholds { score, iou: 0.5 })
    }
}

fn line(what: &str, before: &Score, after: &Score) {
    let recall = |s: &Score| 100.0 * s.n_found as f64 / s.n_objects.max(1) as f64;
    let ap = |s: &Score| 100.0 * s.ap50.unwrap_or(0.0);
    println!(
        "  {what:12} false alarms {:4} -> {:4} ({:+.0} %)  recall {:.1} -> {:.1} %  AP50 {:.1} -> {:.1}  stray {} -> {}",
        before.n_false,
        after.n_false,
        100.0 * (after.n_false as f64 / before.n_false.max(1) as f64 - 1.0),
        recall(before),
        recall(after),
        ap(before),
        ap(after),
        before.n_stray,
        after.n_stray,
    );
}

fn standing(net: &LearnNet, params: &Params, samples: &[&Sample]) -> Score {
    stand(net, params, samples, SCORE, &mut || ControlFlow::Continue(())).expect("it goes on").0
}

/// Frames between two looks, and of each hour.
const EVERY: u64 = 50;

fn decoys(model: &Model, net: &LearnNet, settings: FitSettings) {
    let mut backbone = Backbone::open(model, net).expect("a model that the engine runs");
    let mut base = Base { net, trainer: FloatTrainer::new(net.plan(), 1, engine::kernels::Kernels::best()) };
    for kind in option("--kinds", "mannequin,poster,bush,trailer").split(',') {
        for seed in 0..number("--seeds", 5u64) {
            let address =
                |seed: u64| format!("sim://street?decoys={kind}&seed={seed}&scene={}", option("--scene", "day"));
            let started = Instant::now();
            let n_streets = number("--streets", 1u64);
            let mut streets: Vec<Street> =
                (0..n_streets).map(|i| Street::new(&address(9000 + seed + 100 * i))).collect();
            let (mut lesson, mut n_marks) = (Lesson::default(), 0);
            let mut marked: Vec<Vec<(Rect<ModelInput>, Latents)>> = vec![Vec::new(); streets.len()];
            for i in 0..60 {
                let at = i as usize % streets.len();
                let marked = &mut marked[at];
                let seen = streets[at].see(i * EVERY, &mut backbone);
                let found = base.detections(&seen.latents, SCORE / 2.0);
                let mut labels = PictureLabels::default();
                for d in &found {
                    let is_false = seen.decoys.iter().any(|r| r.iou(&d.bbox) >= IOU);
                    if is_false && d.score >= SCORE && n_marks < number("--marks", 10) {
                        n_marks += 1;
                        marked.push((d.bbox, seen.latents.clone()));
                        labels.absent.push(d.bbox);
                    } else if marked.iter().any(|(m, then)| {
                        let like = then.likeness(&seen.latents, net.input(), m);
                        m.iou(&d.bbox) >= 0.7 && like >= number("--like", 0.75)
                    }) {
                        // What stands where something was marked, as it stood there.
                        labels.absent.push(d.bbox);
                    }
                }
                let origin = if labels.absent.is_empty() { Origin::Labelled } else { Origin::Marked };
                lesson.add(Sample { latents: seen.latents, labels, origin, n_sure: 0, block: i, picture: None });
            }
            lesson.add_anchors(model, net, &mut backbone, &mut || ControlFlow::Continue(())).expect("anchors");
            let collected = started.elapsed();
            if n_marks == 0 {
                println!("{kind}, street {seed}: nothing is falsely reported");
                continue;
            }
            let started = Instant::now();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
            let taught = pool
                .install(|| teach(net, &net.params(), &lesson, settings, SCORE, &mut |_, _| ControlFlow::Continue(())))
                .expect("a lesson");
            let took = started.elapsed();
            let anchors = taught.verdict.anchors;
            line("anchors", &anchors.before, &anchors.after);
            println!(
                "{kind}, street {seed}: {n_marks} marks, {:.1} s to collect, {:.1} s to learn and judge, share {}; {}",
                collected.as_secs_f32(),
                took.as_secs_f32(),
                taught.share,
                taught.verdict.refused.as_deref().unwrap_or("taken")
            );
            let judge = |what: &str, frames: Vec<Seen>| {
                let samples: Vec<Sample> = frames
                    .into_iter()
                    .map(|s| Sample {
                        latents: s.latents,
                        labels: s.labels,
                        origin: Origin::Labelled,
                        n_sure: 0,
                        block: 0,
                        picture: None,
                    })
                    .collect();
                let samples: Vec<&Sample> = samples.iter().collect();
                line(what, &standing(net, &net.params(), &samples), &standing(net, &taught.params, &samples));
            };
            let later = (0..60)
                .map(|i| streets[i as usize % n_streets as usize].see(36_000 + i * EVERY, &mut backbone))
                .collect();
            judge("later hours", later);
            let others = (0..6u64).flat_map(|other| {
                let mut street = Street::new(&address(9500 + 10 * seed + other));
                (0..10).map(|i| street.see(i * 83, &mut backbone)).collect::<Vec<_>>()
            });
            judge("other streets", others.collect());
        }
    }
}

/// What is trained, by `--depth`.
fn depths(default: &str) -> Vec<Depth> {
    match option("--depth", default).as_str() {
        "head" => vec![Depth::Head],
        "all" => vec![Depth::All],
        _ => vec![Depth::Head, Depth::All],
    }
}

fn shift(model: &Model, settings: FitSettings) {
    let size = Size::new(640, 384);
    for scene in option("--scenes", "night,infrared").split(',') {
        for seed in 0..number("--seeds", 5u64) {
            for depth in depths("both") {
                let net = LearnNet::open(model, size, depth).expect("a model that can be trained");
                let mut backbone = Backbone::open(model, &net).expect("a model that the engine runs");
                let mut seen = |streets: std::ops::Range<u64>, n: u64| -> Vec<Sample> {
                    let of = |street: u64| {
                        let mut street = Street::new(&format!("sim://street?scene={scene}&seed={street}"));
                        (0..n).map(|i| street.see(i * 83, &mut backbone)).collect::<Vec<_>>()
                    };
                    let origin = Origin::Labelled;
                    let sample = |s: Seen| Sample {
                        latents: s.latents,
                        labels: s.labels,
                        origin,
                        n_sure: 0,
                        block: 0,
                        picture: None,
                    };
                    streets.flat_map(of).map(sample).collect()
                };
                let (learned, judged) = (seen(8000 + 10 * seed..8002 + 10 * seed, 30), seen(8500..8504, 20));
                let judged: Vec<&Sample> = judged.iter().collect();
                let mut lesson = Lesson { learned, held_out: Vec::new() };
                lesson.add_anchors(model, &net, &mut backbone, &mut || ControlFlow::Continue(())).expect("anchors");
                let before = standing(&net, &net.params(), &judged);
                for name in option("--arms", "int8,f32").split(',') {
                    let started = Instant::now();
                    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
                    let settings = FitSettings { seed: seed + 1, ..settings };
                    let params = pool.install(|| Arm::of(name).learn(&net, &lesson.learned, settings));
                    println!("{scene}, seed {seed}, {depth:?}, {name}: {:.0} s", started.elapsed().as_secs_f32());
                    line("other streets", &before, &standing(&net, &params, &judged));
                    let anchors: Vec<&Sample> = lesson.held_out.iter().collect();
                    line("anchors", &standing(&net, &net.params(), &anchors), &standing(&net, &params, &anchors));
                }
            }
        }
    }
}

fn main() {
    let settings = FitSettings {
        bits: if number("--bits", 8) == 8 { Bits::default() } else { Bits::Float },
        n_steps: number("--steps", 400),
        rate: number("--rate", 5e-4),
        pull: number("--pull", FitSettings::default().pull),
        keep: number("--keep", FitSettings::default().keep),
        ..FitSettings::default()
    };
    let what = std::env::args().nth(1);
    match what.as_deref() {
        Some("tracks") => return tracks::tracks(settings),
        Some("teacher") => return teacher::run(settings),
        _ => {}
    }
    let model = Model::load(&option("--model", "street-nano"), &ModelFolders::usual(None)).expect("a model");
    match what.as_deref() {
        Some("decoys") => depths("head").into_iter().for_each(|depth| {
            println!("{depth:?}");
            let net = LearnNet::open(&model, Size::new(640, 384), depth).expect("a model that can be trained");
            decoys(&model, &net, settings);
        }),
        Some("shift") => shift(&model, settings),
        _ => panic!("decoys, shift, tracks or teacher"),
    }
}
