//! `passd learn`: what a camera was told, and what was made of it.

mod remote;

use super::common::{Failure, ModelArgs, print_line, progress_bar};
use crate::detect::heads::loss::PictureLabels;
use crate::learn::backbone::Backbone;
use crate::learn::base::Base;
use crate::learn::coco::Truths;
use crate::learn::error::LearnError;
use crate::learn::export::{learned_file, write_model};
use crate::learn::fit::{Bits, FitSettings};
use crate::learn::follow::{self, FollowedFrames, FollowedSamples};
use crate::learn::frames::Frames;
use crate::learn::gate::{Compared, Judgement, Score};
use crate::learn::labelling::add_taught;
use crate::learn::lesson::{Lesson, teach};
use crate::learn::net::{Depth, LearnNet};
use crate::learn::sample::{Origin, Sample};
use crate::learn::settings::TeacherSpec;
use crate::learn::teacher::{FAINT, Teacher};
use crate::models::model::{Learned, Model};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

/// Learn from a camera's own pictures, so that it does not err twice
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    Train(TrainArgs),
    #[command(flatten)]
    Remote(remote::RemoteCommand),
}

/// Learn from clips with labels, and write a model like any other
///
/// Blocks of time are held out: the new model is written only if it is better there, if it keeps what the model
/// knew before (its anchors), and if nothing is lost that was found. Exit status 1: it was not, and why.
///
/// Labels are a COCO file whose images are frames of the clip, numbered from 0 by their names (000123.png), or a
/// folder of YOLO's texts (000123.txt); simulated clips need none. With --tracks a clip needs none either: what the
/// model itself follows there, and what moves, is right, also where it was missed in between; all else is in doubt.
///
/// A teacher, a larger model or the same one at a larger size, labels the frames that have no labels: what it is sure
/// of is there, what it is not sure of is in doubt.
///
/// Example: passd learn train yard.mp4 --labels yard.json --model street-nano --out learned/
#[derive(clap::Args)]
struct TrainArgs {
    /// Video files, or simulated cameras such as 'sim://street?scene=snow&frames=600'
    #[arg(required = true)]
    clips: Vec<String>,
    /// COCO file or folder of texts, one a clip, in the clips' order
    #[arg(long, value_name = "FILE")]
    labels: Vec<PathBuf>,
    /// Take what the model follows and what moves for the only labels
    #[arg(long, conflicts_with_all = ["labels", "teacher"])]
    tracks: bool,
    /// Model that labels the frames without labels, of simulated clips too: yolox_s, yolox_nano@640x384
    #[arg(long, value_name = "MODEL[@WxH]")]
    teacher: Option<TeacherSpec>,
    #[command(flatten)]
    model: ModelArgs,
    /// Folder for MODEL.onnx, MODEL.toml and MODEL.report.json
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
    /// Name of the new model [default: the model's, and "-learned"]
    #[arg(long)]
    name: Option<String>,
    /// Take every Nth frame
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
    /// Steps of training
    #[arg(long, default_value_t = 400, value_parser = clap::value_parser!(u32).range(1..1_000_000))]
    steps: u32,
    /// Pictures of a step
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    batch: u16,
    /// Largest change of a weight in a step
    #[arg(long, default_value_t = 5e-4)]
    rate: f32,
    /// Train all layers, not only those behind the backbone
    #[arg(long)]
    all_layers: bool,
    /// Compute in 32-bit floats, not in eight bits: slower, to compare with
    #[arg(long)]
    float: bool,
    /// Least score that counts as reported
    #[arg(long, default_value_t = 0.4)]
    score: f32,
    /// Threads to train with; 0: one a core
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Seed of the order of pictures
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl From<LearnError> for Failure {
    fn from(e: LearnError) -> Self {
        Self::Failed(e.to_string())
    }
}

pub fn run(args: &Args) -> Result<(), Failure> {
    match &args.command {
        Command::Train(args) => train(args),
        Command::Remote(command) => remote::run(command),
    }
}

/// Frames of a block of time.
const BLOCK: u64 = 100;

fn train(args: &TrainArgs) -> Result<(), Failure> {
    if !args.labels.is_empty() && args.labels.len() != args.clips.len() {
        let (labels, clips) = (args.labels.len(), args.clips.len());
        return Err(Failure::Usage(format!(
            "--labels: {labels} files for {clips} clips; give one a clip, in their order"
        )));
    }
    if !(f32::MIN_POSITIVE..=0.1).contains(&args.rate) || !(0.05..1.0).contains(&args.score) {
        return Err(Failure::Usage("expected --rate above 0 to 0.1, --score 0.05 to 1".into()));
    }
    let (model, size) = args.model.model()?;
    let name = args.name.clone().unwrap_or_else(|| format!("{}-learned", model.name));
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')) {
        return Err(Failure::Usage(format!("--name '{name}': expected letters, digits, '-' and '_'")));
    }
    if args.threads > 256 {
        return Err(Failure::Usage("--threads: expected 0 to 256".into()));
    }
    let unwritable = |e: std::io::Error| Failure::Failed(format!("{}: {e}", args.out.display()));
    std::fs::create_dir_all(&args.out).map_err(unwritable)?;
    crate::files::try_to_write(&args.out).map_err(unwritable)?;
    crate::capture::init().map_err(|e| Failure::Failed(e.to_string()))?;
    let depth = if args.all_layers { Depth::All } else { Depth::Head };
    let net = LearnNet::open(&model, size, depth)?;
    let mut backbone = Backbone::open(&model, &net)?;
    let teacher = args.teacher.as_ref().map(|spec| Teacher::open(spec, &args.model.folders(), &model, size));
    let mut teacher = teacher.transpose().map_err(|e| Failure::Failed(format!("--teacher: {e}")))?;
    let mut base = Base::new(&net);
    let (mut lesson, mut n_taught) = (Lesson::default(), 0);
    for (i, clip) in args.clips.iter().enumerate() {
        if args.tracks {
            add_followed(&mut lesson, clip, i as u64, &model, &net, &mut backbone, args)?;
            continue;
        }
        let truths = args.labels.get(i).map(|path| Truths::read(path, &model.labels)).transpose()?;
        // With a teacher nothing is known of a frame but what a file says of it.
        let truths = truths.or_else(|| teacher.is_some().then(Truths::default));
        let mut frames = Frames::open(clip, size, args.every, truths)?;
        let own_size = teacher.as_ref().map(Teacher::size).filter(|own| *own != size);
        let mut larger =
            own_size.map(|own| Frames::open(clip, own, args.every, Some(Truths::default()))).transpose()?;
        while let Some(frame) = frames.next_frame()? {
            let shown = match &mut larger {
                Some(larger) => larger.next_frame()?.map(|larger| larger.frame),
                None => Some(frame.frame.clone()),
            };
            let Some(shown) = shown else { break };
            if frame.labels.is_none() && teacher.is_none() {
                continue;
            }
            let latents = backbone.latents(frame.frame.data());
            let labels = match (frame.labels, &mut teacher) {
                (None, Some(teacher)) => {
                    n_taught += 1;
                    let taught = teacher.look_for(&shown, &frame.frame.letterbox)?;
                    let mut labels = PictureLabels::default();
                    add_taught(&mut labels, &taught, &base.found(&latents, FAINT), &[]);
                    labels
                }
                (labels, _) => labels.unwrap_or_default(),
            };
            let block = i as u64 + frame.number / BLOCK;
            lesson.add(Sample { latents, labels, origin: Origin::Labelled, n_sure: 0, block, picture: None });
        }
    }
    let n_frames = lesson.learned.len() + lesson.held_out.len();
    if n_frames == 0 {
        return Err(Failure::Failed(
            "no frame of the clips has labels: give --labels or --teacher, or --tracks to learn from what moves".into(),
        ));
    }
    lesson.add_anchors(&model, &net, &mut backbone, &mut || ControlFlow::Continue(()))?;
    drop((backbone, teacher));
    if let Some(spec) = &args.teacher {
        let objects = |s: &Sample| s.labels.objects.len();
        let n_objects: usize = lesson.learned.iter().chain(&lesson.held_out).map(objects).sum();
        print_line(&format!("{n_taught} frames without labels are labelled by {spec}; {n_objects} objects in all"))?;
    }
    print_line(&format!(
        "{n_frames} frames, {} anchors; {} MiB to learn from",
        lesson.learned.len() + lesson.held_out.len() - n_frames,
        lesson.learned.iter().map(|s| s.latents.n_bytes()).sum::<usize>() >> 20
    ))?;
    let settings = FitSettings {
        bits: if args.float { Bits::Float } else { Bits::default() },
        n_batch: usize::from(args.batch),
        n_steps: args.steps,
        rate: args.rate,
        seed: args.seed,
        keep: if args.tracks { follow::KEEP } else { FitSettings::default().keep },
        ..FitSettings::default()
    };
    let bar = progress_bar();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(args.threads)
        .build()
        .map_err(|e| Failure::Failed(format!("threads to train with: {e}")))?;
    let mut progress = |share: f32, loss: f32| {
        bar.set_position((share * 1000.0) as u64);
        bar.set_message(format!("loss {loss:.3}"));
        ControlFlow::Continue(())
    };
    let started = std::time::Instant::now();
    let taught = pool.install(|| teach(&net, &net.params(), &lesson, settings, args.score, &mut progress))?;
    bar.finish_and_clear();
    let took = started.elapsed();
    let curve: Vec<String> = taught.curve.iter().map(|v| format!("{v:.3}")).collect();
    print_line(&format!("loss, a tenth of the steps each: {}; {:.1} s", curve.join(" "), took.as_secs_f32()))?;
    for line in lines(&taught.verdict) {
        print_line(&line)?;
    }
    if let Some(why) = &taught.verdict.refused {
        return Err(Failure::Failed(format!("nothing is written: {why}")));
    }
    let onnx = learned_file(&model, &net, &taught.params)?;
    let from = args.clips.clone();
    let learned = Learned { base: model.name.clone(), base_sha256: model.sha256.clone(), from };
    write_model(&args.out, &name, &model, &onnx, learned)?;
    let report = args.out.join(format!("{name}.report.json"));
    let text = serde_json::to_string_pretty(&taught.verdict).map_err(|e| Failure::Failed(e.to_string()))?;
    crate::files::write_whole(&report, text.as_bytes())?;
    print_line(&format!("written to {}", args.out.join(format!("{name}.onnx")).display()))
}

/// Adds a clip's frames with its tracks as labels, as the `i`th of all.
fn add_followed(
    lesson: &mut Lesson,
    clip: &str,
    i: u64,
    model: &Arc<Model>,
    net: &LearnNet,
    backbone: &mut Backbone,
    args: &TrainArgs,
) -> Result<(), Failure> {
    let mut frames = FollowedFrames::open(clip, model, net.input(), args.score, args.every)?;
    let base = model.sidecar.anchors.is_empty().then(|| Base::new(net));
    let mut samples = FollowedSamples::new(base, args.score);
    while let Some(frame) = frames.next_frame()? {
        let latents = backbone.latents(frame.frame.data());
        lesson.add(samples.sample(latents, frame.labels.unwrap_or_default(), i + frame.number / BLOCK));
    }
    Ok(())
}

/// A judgement in words.
fn lines(v: &Judgement) -> Vec<String> {
    let points = |s: &Score| s.ap50.map_or_else(|| "none".to_owned(), |ap| format!("{ap:.3}"));
    let line = |what: &str, c: &Compared| {
        format!(
            "{what}: AP50 {} -> {}, found {} -> {} of {}, stray {} -> {}, false alarms {} -> {}",
            points(&c.before),
            points(&c.after),
            c.before.n_found,
            c.after.n_found,
            c.after.n_objects,
            c.before.n_stray,
            c.after.n_stray,
            c.before.n_false,
            c.after.n_false
        )
    };
    vec![line("held out", &v.held_out), line("anchors, held out", &v.anchors)]
}
