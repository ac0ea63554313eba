//! What a teacher brings: a model at a small size learns from the same one at a larger size, on clips.
//!
//! Of 16 blocks of a clip's time, one in four is for nothing but the test, and one in four judges (`gate.rs`). Agreement is
//! with what the teacher reports in the test's blocks.

use crate::{SCORE, number, option};
use passd::capture::{Clip, SourceSpec};
use passd::detect::Detection;
use passd::detect::heads::loss::PictureLabels;
use passd::eval::score::{Agreement, AveragePrecision, Wanted};
use passd::frame::Frame;
use passd::geom::Size;
use passd::learn::backbone::Backbone;
use passd::learn::base::Base;
use passd::learn::fit::FitSettings;
use passd::learn::labelling::add_taught;
use passd::learn::latents::Latents;
use passd::learn::lesson::{Lesson, teach};
use passd::learn::net::{Depth, LearnNet};
use passd::learn::sample::{Origin, Sample};
use passd::learn::settings::TeacherSpec;
use passd::learn::teacher::{FAINT, Teacher};
use passd::models::model::{Model, ModelFolders};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use train::params::Params;

const CLIPS: &str = "person-indoor,room-sparse,bottles-bench,car-overhead,parking-street";
const N_BLOCKS: usize = 16;
const TEST: u64 = 1;

/// A frame, and what the teacher sees of it where the pupil sees it.
struct Looked {
    latents: Latents,
    taught: Vec<Detection>,
    block: u64,
}

/// How a pupil agrees with its teacher.
struct Agrees {
    f1: f64,
    recall: f64,
    precision: f64,
    ap50: f64,
}

pub fn run(settings: FitSettings) {
    let shared = PathBuf::from(std::env::var_os("PASSD_SHARED").unwrap_or_else(|| "../shared".into()));
    let folders = ModelFolders(vec![shared.join("models")]);
    let spec = |name: &str, default: &str| option(name, default).parse::<TeacherSpec>().expect("MODEL@WxH");
    let (pupil, teaches) = (spec("--model", "yolox_nano@416x256"), spec("--teacher", "yolox_nano@640x384"));
    let model = Model::load(&pupil.model, &folders).expect("a model");
    let size = pupil.size.unwrap_or(model.size);
    let net = LearnNet::open(&model, size, Depth::Head).expect("a model that can be trained");
    let mut backbone = Backbone::open(&model, &net).expect("a model that the engine runs");
    let mut teacher = Teacher::open(&teaches, &folders, &model, size).expect("a teacher");
    // The pupil, run as its teacher is: for the time that it takes. Another teacher opens it.
    let itself = TeacherSpec { model: pupil.model.clone(), size: Some(size) };
    let mut itself = Teacher::open(&itself, &folders, &model, teacher.size()).expect("the model at its own size");
    println!("{pupil} taught by {teaches}, {} steps", settings.n_steps);
    for name in option("--clip", CLIPS).split(',') {
        let path =
            if name.contains(['/', ':']) { name.into() } else { format!("{}/clips/{name}.mp4", shared.display()) };
        let (all, [small, large]) = look_at(&path, size, &mut backbone, &mut teacher, &mut itself);
        let base = net.params();
        let before = agreement(&net, &base, &all);
        let n_reported: usize = tested(&all).map(|l| l.taught.iter().filter(|d| d.score >= SCORE).count()).sum();
        println!(
            "{name}: {} frames, {} to test with {n_reported} reported by the teacher; {:.1} ms and {:.1} ms a frame, the \
             teacher takes {:.2} times as long",
            all.len(),
            tested(&all).count(),
            1e3 * small.as_secs_f64() / all.len() as f64,
            1e3 * large.as_secs_f64() / all.len() as f64,
            large.as_secs_f64() / small.as_secs_f64()
        );
        for seed in 1..=number("--seeds", 1u64) {
            let lesson = lesson(&net, &all);
            let started = Instant::now();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
            let settings = FitSettings { seed, ..settings };
            let taught = pool
                .install(|| teach(&net, &base, &lesson, settings, SCORE, &mut |_, _| ControlFlow::Continue(())))
                .expect("a lesson");
            let after = agreement(&net, &taught.params, &all);
            let points = |of: fn(&Agrees) -> f64| format!("{:.1} -> {:.1}", 100.0 * of(&before), 100.0 * of(&after));
            println!(
                "  seed {seed}: F1 {}  recall {}  precision {}  AP50 {}; share {}, {:.0} s, {}",
                points(|a| a.f1),
                points(|a| a.recall),
                points(|a| a.precision),
                points(|a| a.ap50),
                taught.share,
                started.elapsed().as_secs_f32(),
                taught.verdict.refused.as_deref().unwrap_or("taken")
            );
        }
    }
}

/// Frames of a clip, evenly, and what pupil and teacher took for them in turn.
fn look_at(
    clip: &str,
    size: Size,
    backbone: &mut Backbone,
    teacher: &mut Teacher,
    itself: &mut Teacher,
) -> (Vec<Looked>, [Duration; 2]) {
    let frames = |size: Size| {
        let mut clip = Clip::open(&SourceSpec::parse(clip).expect("a clip"), size).expect("a clip");
        std::iter::from_fn(move || clip.next_frame().expect("a clip that can be decoded"))
    };
    let n = frames(Size::new(64, 64)).count();
    let every = (n / number("--frames", 160)).max(1);
    let mut times = [Duration::ZERO; 2];
    let mut timed = |at: usize, of: &mut Teacher, frame: &Frame, like: &Frame| {
        let started = Instant::now();
        let found = of.look_for(frame, &like.letterbox).expect("numbers");
        times[at] += started.elapsed();
        found
    };
    let mut all = Vec::new();
    for (i, (small, large)) in frames(size).zip(frames(teacher.size())).enumerate().step_by(every) {
        timed(0, itself, &small, &small);
        let taught = timed(1, teacher, &large, &small);
        let latents = backbone.latents(small.data());
        all.push(Looked { latents, taught, block: (i * N_BLOCKS / n) as u64 });
    }
    (all, times)
}

fn tested(all: &[Looked]) -> impl Iterator<Item = &Looked> {
    all.iter().filter(|l| l.block % 4 == TEST)
}

fn lesson(net: &LearnNet, all: &[Looked]) -> Lesson {
    let (mut lesson, mut base) = (Lesson::default(), Base::new(net));
    for looked in all.iter().filter(|l| l.block % 4 != TEST) {
        let mut labels = PictureLabels::default();
        add_taught(&mut labels, &looked.taught, &base.found(&looked.latents, FAINT), &[]);
        let (latents, origin) = (looked.latents.clone(), Origin::Labelled);
        lesson.add(Sample { latents, labels, origin, n_sure: 0, block: looked.block, picture: None });
    }
    lesson
}

fn agreement(net: &LearnNet, params: &Params, all: &[Looked]) -> Agrees {
    let mut base = Base::with(net, params.clone());
    let (mut same, mut precision) = (Agreement::at(SCORE), AveragePrecision::default());
    for looked in tested(all) {
        let found = base.found(&looked.latents, 0.05);
        same.add(&looked.taught, &found);
        let reported = looked.taught.iter().filter(|d| d.score >= SCORE);
        let wanted: Vec<Wanted> =
            reported.map(|d| Wanted { id: 0, class: d.class, bbox: d.bbox, counts: true }).collect();
        precision.add(&wanted, &found);
    }
    let ap50 = precision.mean().unwrap_or(0.0);
    Agrees { f1: same.agreement(), recall: same.recall(), precision: same.precision(), ap50 }
}
