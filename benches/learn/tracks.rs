//! What tracks as the only labels bring on real clips, judged by what an independent program detects there.
//!
//! Of each clip the first 70 % are learned from, with what the model itself follows and what moves as labels; the gate judges
//! as always. The base and what came out of it then see the rest of the clip, against the reference detections beside the
//! shared clips (`$PASSD_SHARED/reference/clips`, made by its `tools/reference.py`). Those are of YOLOX-nano at 640x384: the
//! same weights can only lose against them; FastestDet, or YOLOX-nano at another `--size`, can gain.

use super::{SCORE, number, option};
use passd::capture::{Clip, SourceSpec};
use passd::detect::Detection;
use passd::detect::heads::Thresholds;
use passd::eval::score::{Agreement, AveragePrecision, Wanted};
use passd::geom::{Letterbox, Rect, Size};
use passd::learn::backbone::Backbone;
use passd::learn::base::Base;
use passd::learn::fit::FitSettings;
use passd::learn::follow::{FollowedFrames, FollowedSamples, KEEP};
use passd::learn::latents::Latents;
use passd::learn::lesson::{Lesson, teach};
use passd::learn::net::{Depth, LearnNet};
use passd::learn::sample::Origin;
use passd::models::model::{Model, ModelFolders};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use train::float::FloatTrainer;
use train::params::Params;

/// Clips, and what matters in them.
const CLIPS: [(&str, &[&str]); 5] = [
    ("person-indoor", &["person"]),
    ("room-sparse", &["person"]),
    ("bottles-bench", &["bottle", "person"]),
    ("car-overhead", &["car", "truck"]),
    ("parking-street", &["car", "truck"]),
];
/// The size that the reference is of.
const REFERENCE: Size = Size::new(640, 384);
/// Blocks of time of what is learned from: every fourth is held out.
const BLOCKS: u64 = 8;
/// Frames whose labels would be told with the help of what is judged, two seconds at thirty a second.
const BETWEEN: u64 = 60;

/// A picture that judges.
struct Judged {
    latents: Latents,
    reference: Vec<Detection>,
}

/// What weights do on such pictures, in points.
#[derive(Clone, Copy, Default)]
struct Points {
    ap50: f64,
    f1: f64,
}

fn points(net: &LearnNet, params: &Params, pictures: &[Judged], classes: &[u16]) -> Points {
    let mut trainer = FloatTrainer::new(net.plan(), 1, engine::kernels::Kernels::best());
    let (mut precision, mut agreement) = (AveragePrecision::default(), Agreement::at(SCORE));
    for picture in pictures {
        net.feed(&mut trainer, &[&picture.latents]);
        let mut found = net.shown(&mut trainer, params, Thresholds { score: 0.05, iou: 0.5 });
        found.retain(|d| classes.contains(&d.class));
        let wanted = |d: &Detection| Wanted { id: 0, class: d.class, bbox: d.bbox, counts: d.score >= SCORE };
        precision.add(&picture.reference.iter().map(wanted).collect::<Vec<_>>(), &found);
        agreement.add(&picture.reference, &found);
    }
    Points { ap50: 100.0 * precision.mean().unwrap_or(0.0), f1: 100.0 * agreement.agreement() }
}

/// Detections of each frame, those of `classes` of the reference's labels as numbers of `labels`.
fn reference(path: &Path, coco: &[String], labels: &[String], classes: &[&str]) -> Option<Vec<Vec<Detection>>> {
    let out = std::process::Command::new("gzip").arg("-dc").arg(path).output().ok().filter(|o| o.status.success())?;
    let text = String::from_utf8(out.stdout).ok()?;
    let detection = |v: &serde_json::Value| {
        let name = coco.get(v["class"].as_u64()? as usize).filter(|name| classes.contains(&name.as_str()))?;
        let class = labels.iter().position(|label| label == name)? as u16;
        let b: Vec<f32> = v["box"].as_array()?.iter().filter_map(|v| Some(v.as_f64()? as f32)).collect();
        Some(Detection::new(class, v["score"].as_f64()? as f32, Rect::new(b[0], b[1], b[2], b[3])))
    };
    let frame = |line: &str| {
        let json: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        json["detections"].as_array().expect("detections").iter().filter_map(detection).collect()
    };
    Some(text.lines().map(frame).collect())
}

fn n_frames(clip: &Path) -> u64 {
    let spec = SourceSpec::File { path: clip.into() };
    let mut clip = Clip::open(&spec, Size::new(64, 64)).expect("a clip");
    let mut n = 0;
    while clip.next_frame().expect("a frame").is_some() {
        n += 1;
    }
    n
}

pub fn tracks(settings: FitSettings) {
    let shared = PathBuf::from(std::env::var("PASSD_SHARED").unwrap_or_else(|_| "../shared".into()));
    if !shared.join("clips").is_dir() {
        println!("skipped: no clips in {} (PASSD_SHARED)", shared.display());
        return;
    }
    passd::capture::init().expect("GStreamer");
    let folders = ModelFolders::usual(Some(&shared.join("models")));
    let model = Arc::new(Model::load(&option("--model", "yolox_nano"), &folders).expect("a model"));
    let coco = Model::load("yolox_nano", &folders).expect("the reference's model").labels;
    let size: Size = option("--size", "640x384").parse().expect("--size: as 640x384");
    let net = LearnNet::open(&model, size, Depth::Head).expect("a model that can be trained");
    let mut backbone = Backbone::open(&model, &net).expect("a model that the engine runs");
    let kept = PathBuf::from(option("--reference", &shared.join("reference/clips").display().to_string()));
    let only = option("--clips", "");
    let (mut n_lessons, mut n_taken, mut worst) = (0, 0, 0.0f64);
    println!(
        "| clip | seed | labels | judged by | before: AP50, F1 | learned, before the gate | change after the gate | gate |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for (name, classes) in CLIPS.into_iter().filter(|(name, _)| only.is_empty() || only.split(',').any(|c| c == *name))
    {
        let path = shared.join("clips").join(format!("{name}.mp4"));
        let mut found = None;
        for folder in [&kept, &shared.join("reference/clips")] {
            let file = folder.join(format!("{name}.yolox_nano_{REFERENCE}.jsonl.gz"));
            found = found.or_else(|| reference(&file, &coco, &model.labels, classes));
        }
        let Some(reference) = found else {
            println!("| {name} | skipped: no reference detections |");
            continue;
        };
        let numbers: Vec<u16> = (model.labels.iter().enumerate())
            .filter(|(_, label)| classes.contains(&label.as_str()))
            .map(|(i, _)| i as u16)
            .collect();
        let started = Instant::now();
        let n = n_frames(&path);
        let n_first = n * 7 / 10;
        // The reference's decoder may leave out the first frames; both end with the last one.
        let missing = n.saturating_sub(reference.len() as u64);
        let clip = path.display().to_string();
        let mut frames = FollowedFrames::open(&clip, &model, size, SCORE, number("--every", 5)).expect("a clip");
        let base = model.sidecar.anchors.is_empty().then(|| Base::new(&net));
        let mut samples = FollowedSamples::new(base, SCORE);
        let (mut lesson, mut judged, mut n_objects, mut n_doubtful) = (Lesson::default(), Vec::new(), 0, 0);
        while let Some(frame) = frames.next_frame().expect("a frame") {
            if frame.number >= n_first {
                let latents = backbone.latents(frame.frame.data());
                let at = frame.number.saturating_sub(missing) as usize;
                let theirs = Letterbox::fit(frame.frame.letterbox.source, REFERENCE);
                let mut reference = reference.get(at).cloned().unwrap_or_default();
                reference.iter_mut().for_each(|d| d.bbox = frame.frame.letterbox.to_input(&theirs.to_source(&d.bbox)));
                judged.push(Judged { latents, reference });
            } else if frame.number + BETWEEN < n_first {
                let labels = frame.labels.unwrap_or_default();
                (n_objects, n_doubtful) = (n_objects + labels.objects.len(), n_doubtful + labels.ignored.len());
                let latents = backbone.latents(frame.frame.data());
                lesson.add(samples.sample(latents, labels, frame.number * BLOCKS / n_first));
            }
        }
        lesson.add_anchors(&model, &net, &mut backbone, &mut || ControlFlow::Continue(())).expect("anchors");
        let n_anchors = lesson.learned.iter().filter(|s| s.origin == Origin::Anchor).count();
        let n_pictures = lesson.learned.len() + lesson.held_out.len();
        // A clip in whose rest the reference is sure of nothing says little.
        let n_wanted = judged.iter().flat_map(|p| &p.reference).filter(|d| d.score >= SCORE).count();
        let before = points(&net, &net.params(), &judged, &numbers);
        let took = started.elapsed().as_secs_f32();
        eprintln!("{name}: {n} frames, {} judge, by {n_wanted} objects; {took:.0} s to collect", judged.len());
        for seed in 0..number("--seeds", 1u64) {
            let started = Instant::now();
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
            let settings = FitSettings { seed: seed + 1, keep: number("--keep", KEEP), ..settings };
            let taught = pool.install(|| {
                teach(&net, &net.params(), &lesson, settings, SCORE, &mut |_, _| ControlFlow::Continue(()))
            });
            let taught = match taught {
                Ok(taught) => taught,
                Err(e) => {
                    println!("| {name} | {seed} | {n_objects} | {e} |");
                    continue;
                }
            };
            n_lessons += 1;
            let learned = points(&net, &taught.params, &judged, &numbers);
            let is_taken = taught.verdict.refused.is_none();
            n_taken += u32::from(is_taken);
            let change = |of: fn(&Points) -> f64| if is_taken { of(&learned) - of(&before) } else { 0.0 };
            let (ap50, f1) = (change(|p| p.ap50), change(|p| p.f1));
            worst = worst.min(ap50).min(f1);
            println!(
                "| {name} | {seed} | {n_objects} in {n_pictures}, {n_doubtful} in doubt, {n_anchors} anchors | {n_wanted} objects | {:.1}, {:.1} | \
                 {:.1}, {:.1} (share {}) | {ap50:+.2}, {f1:+.2} | {} |",
                before.ap50,
                before.f1,
                learned.ap50,
                learned.f1,
                taught.share,
                taught.verdict.refused.as_deref().unwrap_or("taken")
            );
            eprintln!("  {:.0} s to learn and judge; {:?}", started.elapsed().as_secs_f32(), taught.verdict);
        }
    }
    println!("{n_lessons} lessons, {n_taken} taken, {} refused; at the worst {worst:+.2} points", n_lessons - n_taken);
}
