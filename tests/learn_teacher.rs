//! A larger model says what pictures show: in the daemon's store, where it is asked once of each, and off line.

mod common;

use passd::detect::heads::loss::PictureLabels;
use passd::geom::Size;
use passd::learn::export::{learned_file, write_model};
use passd::learn::frames::Frames;
use passd::learn::net::{Depth, LearnNet};
use passd::learn::picture::jpeg;
use passd::learn::pupil::{KeptPicture, Pupil};
use passd::learn::sample::{Origin, Sample};
use passd::learn::settings::{GroupSettings, LearnCamera, LearnMode, LearnSettings, TeacherSpec};
use passd::learn::trail::Followed;
use passd::models::model::{Learned, Model, ModelFolders};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const SIZE: Size = Size::new(320, 192);
const STREET: &str = "sim://street?seed=3&frames=400";

/// Writes `large.onnx` into a folder: the model with other weights.
fn write_teacher(folder: &Path, factor: f32) {
    let model = Model::load("street-nano", &ModelFolders(Vec::new())).unwrap();
    let net = LearnNet::open(&model, SIZE, Depth::Head).unwrap();
    let mut params = net.params();
    params.0.iter_mut().flat_map(|layer| &mut layer.gain).for_each(|gain| *gain *= factor);
    let file = learned_file(&model, &net, &params).unwrap();
    let learned = Learned { base: model.name.clone(), base_sha256: model.sha256.clone(), from: vec!["a test".into()] };
    write_model(folder, "large", &model, &file, learned).unwrap();
}

fn open(folder: &Path, teacher: &str) -> Result<Pupil, String> {
    let around = LearnSettings {
        path: folder.join("learn"),
        daily: Duration::from_secs(600),
        share: 1.0,
        max_bytes: 64 << 20,
        max_age: Duration::from_secs(86_400),
        every: Duration::from_secs(60),
        n_steps: 10,
        quiet: Duration::ZERO,
        teacher: Some(teacher.parse::<TeacherSpec>().unwrap()),
    };
    let settings = GroupSettings {
        name: "front".into(),
        mode: LearnMode::Ask,
        model: "street-nano".into(),
        size: Some(SIZE),
        score: 0.4,
        cameras: vec![LearnCamera { id: "front".into(), masks: Vec::new() }],
    };
    let folders = ModelFolders(vec![folder.to_owned()]);
    Pupil::open(settings, &around, &folders).map(|(pupil, _)| pupil).map_err(|e| e.to_string())
}

#[test]
fn a_teacher_is_asked_once_of_each_picture() {
    let folder = tempfile::tempdir().unwrap();
    write_teacher(folder.path(), 1.02);
    let mut pupil = open(folder.path(), "large").unwrap();
    let mut frames = Frames::open(STREET, SIZE, 40, None).unwrap();
    let mut n = 0;
    while let Some(frame) = frames.next_frame().unwrap() {
        let (frame, jpeg) = (&frame.frame, jpeg(&frame.frame).unwrap());
        let followed = Followed::default();
        let picture = KeptPicture {
            camera: "front",
            time_ms: 1000 * n,
            frame,
            latents: None,
            jpeg: &jpeg,
            followed,
            event: None,
            brought: None,
        };
        pupil.keep(&picture).unwrap();
        n += 1;
    }
    assert_eq!(n, 10);
    // There is no more time after four of them.
    let mut draft = pupil.draft();
    let mut answers = Vec::new();
    let mut n_left = 4;
    draft.ask_teacher(&mut |sample, answer| answers.push((sample.to_owned(), answer)), &mut || {
        n_left -= 1;
        if n_left < 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert_eq!(answers.len(), 4);
    answers.iter().for_each(|(sample, answer)| pupil.put_answer(sample, answer).unwrap());
    let mut draft = pupil.draft();
    let known = |draft: &passd::learn::draft::LessonDraft| {
        draft.teaching.as_ref().map(|t| (t.answers.len(), t.unasked.len())).unwrap()
    };
    assert_eq!(known(&draft), (4, 6), "what was said is kept");
    let mut n_asked = 0;
    draft.ask_teacher(&mut |_, _| n_asked += 1, &mut || ControlFlow::Continue(()));
    assert_eq!(n_asked, 6);
    let lesson = draft.finish(&mut || ControlFlow::Continue(())).unwrap();
    let all: Vec<&Sample> = lesson.learned.iter().chain(&lesson.held_out).collect();
    let labels: Vec<&PictureLabels> = all.iter().filter(|s| s.origin == Origin::Labelled).map(|s| &s.labels).collect();
    assert!(labels.len() == 10 && labels.iter().all(|l| l.is_complete), "{}", labels.len());
    assert!(labels.iter().any(|l| !l.objects.is_empty()), "it is sure of somebody");
    // Another file of the same name: it is asked anew.
    drop(pupil);
    write_teacher(folder.path(), 1.03);
    let mut pupil = open(folder.path(), "large").unwrap();
    assert_eq!(known(&pupil.draft()), (0, 10));
}

#[test]
fn teachers_that_cannot_teach_are_refused_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let check = |teacher: &str, part: &str| {
        let error = open(folder.path(), teacher).err().unwrap();
        assert!(error.contains("learn.teacher, for group 'front'") && error.contains(part), "{error}");
    };
    check("street-nano@640x384", "write \"street-nano\" without a size");
    check("street-nano", "it is the model itself");
    check("yolox_s", "no such model");
    check("yolox_nano", "passd models pull yolox_nano");
}

fn train(folder: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_passd"))
        .args(["learn", "train", STREET, "--every", "20", "--steps", "10", "--model", "street-nano"])
        .args(["--size", "320x192", "--out"])
        .arg(folder)
        .args(more)
        .output()
        .unwrap()
}

#[test]
fn clips_without_labels_have_the_teacher_s_off_line() {
    let folder = tempfile::tempdir().unwrap();
    let check = |more: &[&str], is_over: bool, part: &str| {
        let out = train(folder.path(), more);
        let said = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        assert!(said.contains(part), "{said}");
        // What was learned may be refused: it was learned.
        assert_eq!(said.contains("held out: AP50"), is_over, "{said}");
        said
    };
    let said = check(
        &["--teacher", "street-nano@640x384"],
        true,
        "20 frames without labels are labelled by street-nano@640x384;",
    );
    assert!(!said.contains("; 0 objects"), "{said}");
    let labels = folder.path().join("labels.json");
    let coco = r#"{"images": [{"id": 1, "width": 640, "height": 384, "file_name": "000000.png"},
        {"id": 2, "width": 640, "height": 384, "file_name": "000040.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [20, 10, 40, 30]}],
        "categories": [{"id": 1, "name": "person"}]}"#;
    std::fs::write(&labels, coco).unwrap();
    let labels = labels.display().to_string();
    check(&["--teacher", "street-nano@640x384", "--labels", &labels], true, "18 frames without labels");
    check(&["--teacher", "street-nano"], false, "--teacher: teacher 'street-nano': it is the model itself");
    check(&["--teacher", "street-nano@640"], false, "is not a size such as 640x384");
    check(&["--teacher", "street-nano@640x384", "--tracks"], false, "cannot be used with");
}
