//! Learning when things go wrong: disks that are full, power that goes at any moment, files that are damaged, more marks than
//! anybody makes. Nothing that was answered is lost, every loss is said, and cameras go on.

mod common;

use common::service::Service;
use common::{get_json, request, wait_for};
use passd::frame::Frame;
use passd::geom::{Letterbox, Size};
use passd::learn::fit::FitSettings;
use passd::learn::gate::Judgement;
use passd::learn::lesson::Taught;
use passd::learn::mark::Mark;
use passd::learn::pupil::{KeptPicture, Pupil};
use passd::learn::run::{LearnRun, RunBounds};
use passd::learn::settings::{GroupSettings, LearnCamera, LearnMode, LearnSettings};
use passd::learn::stored;
use passd::learn::trail::Followed;
use passd::models::model::ModelFolders;
use passd::output::desk::Said;
use rustix::fs::inotify;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
/// A run in a build for tests, beside other tests.
const LESSON: Duration = Duration::from_secs(240);
const STREET: &str = "sim://street?decoys=bush&seed=9000";

/// A folder that no disk is waited for, where there is such a thing.
fn in_memory() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

// ---- The daemon ----

fn config(learn: &str) -> String {
    format!(
        "[cameras.front]\nsource = \"{STREET}\"\n[cameras.back]\nsource = \"sim://street?seed=2\"\nlearn.mode = \"off\"\n\
         [http]\nlisten = \"{{http}}\"\n[events]\npath = \"{{dir}}/events\"\n\
         [learn]\nmode = \"auto\"\npath = \"{{dir}}/learn\"\nevery = 1\nquiet = 2\nshare = 1.0\n{learn}\n"
    )
}

fn start(learn: &str) -> Service {
    let service = Service::start(&config(learn), None);
    service.wait_told("READY=1");
    service
}

fn again(mut service: Service) -> Service {
    service.process.signal("KILL");
    service.wait_end();
    let service = service.restart();
    service.wait_told("READY=1");
    service
}

fn post(service: &Service, path: &str, body: &Value) -> (u16, Value) {
    let headers = "Content-Type: application/json\r\n";
    let (status, _, answer) = request(service.http, "POST", path, headers, body.to_string().as_bytes());
    (status, serde_json::from_slice(&answer).unwrap_or(Value::Null))
}

fn learner(service: &Service) -> Value {
    get_json(service.http, "/api/learn").1["cameras"][0].clone()
}

fn n_marks(service: &Service) -> usize {
    get_json(service.http, "/api/marks").1.as_array().unwrap().len()
}

fn n_logged(service: &Service, part: &str) -> usize {
    service.log.lock().unwrap().iter().filter(|l| l.contains(part)).count()
}

fn wait_pictures(service: &Service, least: u64) {
    wait_for("pictures", LONG, || learner(service)["samples"].as_u64().filter(|n| *n >= least));
}

/// Both cameras put out so many frames more, and none failed.
fn wait_frames(service: &Service, n: u64) {
    for camera in ["front", "back"] {
        let told = || get_json(service.http, &format!("/api/cameras/{camera}")).1;
        let frames = || told()["frames_processed"].as_u64().unwrap();
        let before = frames();
        wait_for("frames", LONG, || (frames() >= before + n).then_some(()));
        assert_eq!((told()["frames_failed"].as_u64(), told()["reconnects"].as_u64()), (Some(0), Some(0)));
    }
}

/// Holds a picture; its frame.
fn hold(service: &Service) -> u64 {
    wait_for("a still", LONG, || {
        let (status, _, still) = request(service.http, "POST", "/api/cameras/front/still", "", b"");
        assert!(matches!(status, 200 | 404), "{status}");
        let told: Value = serde_json::from_slice(still.split(|b| *b == b'\n').next()?).ok()?;
        told["frame"].as_u64()
    })
}

fn place(said: &str, frame: u64, bbox: [f32; 4]) -> Value {
    json!({ "said": said, "camera": "front", "frame": frame, "box": bbox, "label": "person" })
}

/// Has every write of a process fail (beyond `bytes` of a file), or none.
fn limit_files(service: &Service, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(service.process.0.id()).unwrap());
    let maximum = rustix::process::getrlimit(Resource::Fsize).maximum;
    prlimit(pid, Resource::Fsize, Rlimit { current: bytes.or(maximum), maximum }).unwrap();
}

#[test]
fn a_full_disk_is_said_and_nothing_is_lost() {
    // The daemon inherits that such writes fail, instead of ending it.
    // Safety: no handler is called.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    let service = start("steps = 10");
    wait_pictures(&service, 10);
    let frame = hold(&service);
    let mark = place("not-an-object", frame, [10.0, 20.0, 60.0, 90.0]);
    assert_eq!(post(&service, "/api/marks", &mark).0, 201);
    limit_files(&service, Some(0));
    // Of a frame that is kept already, and of one that is not.
    for frame in [frame, hold(&service)] {
        let (status, told) = post(&service, "/api/marks", &place("right", frame, [100.0, 20.0, 160.0, 90.0]));
        let why = told["error"].as_str().unwrap_or_default();
        assert!(status == 500 && why.contains("could not be written down") && why.contains("/front/"), "{told}");
    }
    let id = get_json(service.http, "/api/marks").1[0]["id"].as_str().unwrap().to_owned();
    // The run that is due does not begin, and says why; nor does it try again and again.
    wait_for("why nothing is learned", LONG, || {
        learner(&service)["last"]["refused"].as_str().filter(|why| why.contains("File too large")).map(drop)
    });
    wait_frames(&service, 20);
    assert_eq!((n_logged(&service, "learning begins"), n_logged(&service, "nothing was learned")), (0, 1));
    assert_eq!((learner(&service)["state"].as_str(), n_marks(&service)), (Some("idle"), 1));
    assert_eq!(get_json(service.http, "/api/learn").1["budget"]["used_s"], 0.0);
    // There is room again: all goes on, and what was marked is there.
    limit_files(&service, None);
    assert_eq!(post(&service, "/api/marks", &place("right", hold(&service), [100.0, 20.0, 160.0, 90.0])).0, 201);
    assert_eq!(n_marks(&service), 2);
    let (status, told) = post(&service, "/api/learn/front/run", &json!({}));
    assert_eq!(status, 200, "{told}");
    service.wait_log("learning begins");
    wait_for("a run's end", LESSON, || {
        let told = learner(&service);
        (told["last"]["seconds"].as_f64()? > 0.0 && told["state"] != "learning").then_some(())
    });
    let service = again(service);
    let left = get_json(service.http, "/api/marks").1;
    assert!(left.as_array().unwrap().len() == 2 && left[1]["id"] == id.as_str(), "{left}");
    assert_eq!(n_logged(&service, "left out") + n_logged(&service, "gone"), 0, "{:#?}", service.log.lock().unwrap());
}

#[test]
fn ten_thousand_marks_are_taken_and_the_next_is_refused() {
    // A mark is written, and the disk waited for, twice.
    let folder = in_memory();
    let config = config("steps = 10").replace("{dir}/learn", &folder.path().display().to_string());
    let service = Service::start(&config, None);
    service.wait_told("READY=1");
    wait_pictures(&service, 10);
    let frame = hold(&service);
    assert_eq!(post(&service, "/api/marks", &place("right", frame, [1.0, 2.0, 30.0, 40.0])).0, 201);
    let stats = || get_json(service.http, "/api/stats").1;
    let (before_mib, samples) =
        (stats()["resident_mib"].as_f64().unwrap(), learner(&service)["samples"].as_u64().unwrap());
    let (next, n_taken) = (AtomicUsize::new(1), AtomicUsize::new(1));
    let start = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= 10_003 {
                        return;
                    }
                    // Places everywhere, of all sizes, and a few of which both is said.
                    let at = |step: usize, most: usize| (i * step % most) as f32;
                    let bbox = [at(7, 500), at(13, 280), at(7, 500) + 8.0 + at(3, 90), at(13, 280) + 8.0 + at(5, 60)];
                    let said = if i % 3 == 0 { "right" } else { "not-an-object" };
                    let (status, told) = post(&service, "/api/marks", &place(said, frame, bbox));
                    let why = told["error"].as_str().unwrap_or_default();
                    match status {
                        201 => drop(n_taken.fetch_add(1, Ordering::Relaxed)),
                        _ => assert!(status == 400 && why.contains("10000 marks") && why.contains("undo"), "{told}"),
                    }
                }
            });
        }
    });
    println!("10,000 marks in {:.1} s", start.elapsed().as_secs_f64());
    assert_eq!(n_taken.load(Ordering::Relaxed), 10_000);
    assert_eq!(n_marks(&service), 10_000);
    let told = learner(&service);
    assert_eq!(told["marks"], 10_000);
    // All of one frame: one picture. The others are the scene's, one a second, events', one in two, and those that waited.
    let others = 2 * (start.elapsed().as_secs() + 4);
    assert!(told["samples"].as_u64().unwrap() <= samples + others, "{told}");
    wait_frames(&service, 10);
    // What refuses a mark keeps no picture for it either.
    let (status, told) =
        post(&service, "/api/marks", &json!({ "said": "not-an-object", "camera": "front", "box": [1, 2, 30, 40] }));
    assert_eq!(status, 400, "{told}");
    service.wait_log("learning begins");
    wait_for("a run's end", LESSON, || {
        let told = learner(&service);
        (told["last"]["time"].is_number() && told["state"] != "learning").then_some(())
    });
    let after_mib = stats()["resident_mib"].as_f64().unwrap();
    println!("{before_mib:.0} MiB before, {after_mib:.0} after a run; {}", learner(&service)["last"]);
    assert!(after_mib < before_mib + 200.0, "{before_mib} MiB became {after_mib}");
    wait_frames(&service, 10);
    // One that is taken back makes room for another; and all are there again.
    let id = get_json(service.http, "/api/marks").1[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(request(service.http, "DELETE", &format!("/api/marks/{id}"), "", b"").0, 200);
    assert_eq!(
        post(
            &service,
            "/api/marks",
            &json!({ "said": "right", "label": "person", "camera": "front", "box": [1, 2, 30, 40] })
        )
        .0,
        201
    );
    let service = again(service);
    assert_eq!(n_marks(&service), 10_000);
}

#[test]
fn boxes_that_are_none_and_events_that_are_gone_are_refused_in_words() {
    let service = start("steps = 10");
    wait_pictures(&service, 1);
    let raw = |mark: &str| {
        let headers = "Content-Type: application/json\r\n";
        let (status, _, answer) = request(service.http, "POST", "/api/marks", headers, mark.as_bytes());
        let told: Value = serde_json::from_slice(&answer).unwrap();
        (status, told["error"].as_str().unwrap_or_default().to_owned(), told)
    };
    let at = |numbers: &str| format!("{{\"said\":\"not-an-object\",\"camera\":\"front\",\"box\":[{numbers}]}}");
    for numbers in
        ["NaN, 2, 30, 40", "1, 2, Infinity, 40", "1e999, 2, 30, 40", "1, 2, 30", "\"a\", 2, 3, 4", "null, 2, 3, 4"]
    {
        let (status, why, _) = raw(&at(numbers));
        assert!(status == 400 && why.contains("no mark"), "{numbers}: {status} {why}");
    }
    for numbers in ["1, 2, 1e39, 40", "-1e39, 2, 30, 40", "3, 2, 3.5, 40", "-9, -9, -1, -1", "1e38, 1e38, 2e38, 2e38"] {
        let (status, why, _) = raw(&at(numbers));
        assert!(status == 400 && why.contains("box"), "{numbers}: {status} {why}");
    }
    // A box around everything is cut to the picture.
    let (status, _, told) = raw(&at("-3e38, -3e38, 3e38, 3e38"));
    let cut: Vec<f64> = told["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(status == 201 && cut[0] == 0.0 && cut[2] > 100.0 && cut[2] < 10_000.0, "{told}");
    // A camera that is there and does not learn.
    let (status, told) =
        post(&service, "/api/marks", &json!({ "said": "not-an-object", "camera": "back", "box": [1, 2, 30, 40] }));
    assert!(status == 404 && told["error"].as_str().unwrap().contains("learn.mode"), "{told}");
    // An event whose picture is erased, and names that lead elsewhere.
    let event = wait_for("an event with a picture", LONG, || {
        let events = get_json(service.http, "/api/events?camera=front").1;
        let ids: Vec<String> = events["events"]
            .as_array()
            .or(events.as_array())?
            .iter()
            .filter_map(|e| Some(e["id"].as_str()?.to_owned()))
            .collect();
        ids.into_iter().find(|id| post(&service, "/api/marks", &json!({ "said": "right", "event": id })).0 == 201)
    });
    assert_eq!(post(&service, "/api/learn/front/forget", &json!({})).0, 200);
    for id in [event.as_str(), "../../etc/passwd", ""] {
        let (status, told) = post(&service, "/api/marks", &json!({ "said": "right", "event": id }));
        let why = told["error"].as_str().unwrap_or_default();
        // An event that still goes on may have a new picture by now.
        assert!(
            (status == 404 && why.contains("no picture is kept")) || (status == 201 && id == event),
            "{id}: {status} {told}"
        );
    }
    wait_frames(&service, 5);
}

/// Power that goes in every run would have it learn for ever, and nothing else would come of the day.
#[test]
fn who_is_killed_in_a_run_has_spent_its_time() {
    let service = start("steps = 100000\ndaily = 60");
    wait_pictures(&service, 10);
    assert_eq!(post(&service, "/api/marks", &place("not-an-object", hold(&service), [10.0, 20.0, 60.0, 90.0])).0, 201);
    wait_for("learning", LONG, || (learner(&service)["state"] == "learning").then_some(()));
    let used = |service: &Service| get_json(service.http, "/api/learn").1["budget"]["used_s"].as_f64().unwrap();
    assert!(used(&service) < 30.0, "what is told is what was used");
    let service = again(service);
    assert_eq!((used(&service), n_marks(&service)), (60.0, 1));
    wait_pictures(&service, 1);
    wait_frames(&service, 40);
    assert_eq!(n_logged(&service, "learning begins"), 0, "there is no time left today");
    // Who asks gets a run; one that ends as it should has spent what it took.
    assert_eq!(post(&service, "/api/learn/front/run", &json!({})).0, 200);
    service.wait_log("learning begins");
    let mut service = service;
    service.process.signal("TERM");
    assert_eq!(service.wait_end(), Some(0));
    let service = service.restart();
    service.wait_told("READY=1");
    let used = used(&service);
    assert!((60.0..90.0).contains(&used), "{used}");
}

// ---- What is on the disk ----

const CAMERA: &str = "front";
const SMALL: Size = Size::new(128, 96);

fn around(path: &Path, max_bytes: u64) -> LearnSettings {
    LearnSettings {
        path: path.into(),
        daily: Duration::from_secs(600),
        share: 1.0,
        max_bytes,
        max_age: Duration::from_secs(1 << 30),
        every: Duration::from_secs(60),
        n_steps: 4,
        quiet: Duration::from_secs(20),
        teacher: None,
    }
}

fn group() -> GroupSettings {
    GroupSettings {
        name: "group".into(),
        mode: LearnMode::Auto,
        model: "street-nano".into(),
        size: Some(SMALL),
        score: 0.3,
        cameras: vec![LearnCamera { id: CAMERA.into(), masks: Vec::new() }],
    }
}

fn open(path: &Path, max_bytes: u64) -> (Pupil, Vec<String>) {
    Pupil::open(group(), &around(path, max_bytes), &ModelFolders(Vec::new())).unwrap()
}

fn keep(pupil: &mut Pupil, time_ms: u64) -> String {
    let letterbox = Letterbox::fit(SMALL, SMALL);
    let frame = Frame::letterboxed(time_ms, letterbox, &vec![time_ms as u8; SMALL.area() * 3]);
    let picture = KeptPicture {
        camera: CAMERA,
        time_ms,
        frame: &frame,
        latents: None,
        jpeg: b"\xff\xd8",
        followed: Followed::default(),
        event: None,
        brought: None,
    };
    pupil.keep(&picture).unwrap()
}

fn mark(pupil: &mut Pupil, sample: &str) -> String {
    let (id, number) = (pupil.store_mut().name(1), pupil.next_mark());
    pupil
        .put_mark(Mark {
            id: id.clone(),
            number,
            camera: CAMERA.into(),
            said: Said::NotAnObject,
            label: None,
            bbox: [8.0, 8.0, 40.0, 60.0],
            event: None,
            time: 0.0,
            sample: sample.into(),
        })
        .unwrap();
    id
}

/// What a run came to that is taken.
fn taught(pupil: &Pupil) -> Taught {
    Taught {
        params: pupil.net().params(),
        verdict: Judgement::default(),
        share: 1.0,
        curve: vec![1.0; 10],
        n_left_out: 0,
        pairs: Vec::new(),
    }
}

/// What somebody would miss.
#[derive(Debug, Clone, PartialEq, Default)]
struct Standing {
    marks: BTreeSet<String>,
    current: Option<u32>,
    waiting: Option<u32>,
    spent_ms: u64,
}

impl Standing {
    fn of(pupil: &Pupil) -> Self {
        let v = pupil.versions();
        let marks = pupil.store().marks().map(|m| m.id.clone()).collect();
        Self { marks, current: v.current, waiting: v.waiting, spent_ms: v.spent_ms }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if from.is_dir() { copy(&from, &to) } else { assert!(std::fs::copy(&from, &to).is_ok()) }
    }
}

/// Says in which order files come and go in some folders.
struct Recorder {
    watch: rustix::fd::OwnedFd,
    folders: BTreeMap<i32, PathBuf>,
}

/// A file that is whole from now on, or gone.
type Change = (PathBuf, Option<Vec<u8>>);

impl Recorder {
    fn new(root: &Path) -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        let flags = inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::DELETE;
        let folders = ["", "marks", "samples", "models"].map(|part| {
            let path = root.join(part);
            (inotify::add_watch(&watch, &path, flags).unwrap(), path)
        });
        Self { watch, folders: folders.into() }
    }

    /// What happened since it was asked last.
    fn changes(&self) -> Vec<Change> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.watch, &mut buffer);
        let mut changes = Vec::new();
        while let Ok(event) = reader.next() {
            let name = event.file_name().unwrap().to_str().unwrap().to_owned();
            let path = self.folders[&event.wd()].join(name);
            let is_whole = event.events().contains(inotify::ReadFlags::MOVED_TO);
            let content = is_whole.then(|| std::fs::read(&path).unwrap_or_default());
            changes.push((path, content));
        }
        changes
    }
}

#[test]
fn whenever_the_power_goes_at_most_the_last_thing_is_missing() {
    let (folder, replayed) = (in_memory(), in_memory());
    // So that pictures let others go.
    let max_bytes = 3 * {
        let folder = in_memory();
        let (mut pupil, _) = open(folder.path(), 1 << 30);
        keep(&mut pupil, 1);
        pupil.store().size().1
    } + 100;
    let (mut pupil, lost) = open(folder.path(), max_bytes);
    assert!(lost.is_empty(), "{lost:?}");
    copy(folder.path(), replayed.path());
    let root = folder.path().join("group");
    let recorder = Recorder::new(&root);
    let mut marked = Vec::new();
    let mut steps: Vec<(&str, Vec<Change>, Standing)> = Vec::new();
    for step in [
        "keep",
        "mark",
        "keep",
        "mark",
        "spend",
        "settle",
        "accept",
        "keep",
        "keep",
        "mark",
        "spend",
        "settle",
        "accept",
        "undo",
        "spend",
        "give up",
        "roll back",
        "settle",
        "factory",
        "keep",
    ] {
        let time = 1000 * steps.len() as u64;
        match step {
            "keep" => drop(keep(&mut pupil, time)),
            "mark" => {
                let sample = pupil.store().samples().last().unwrap().to_owned();
                marked.push(mark(&mut pupil, &sample));
            }
            "spend" => pupil.expect_room().and_then(|()| pupil.spend(7000, 1)).unwrap(),
            "settle" => {
                let latest = pupil.latest_mark();
                pupil.settle(&taught(&pupil), latest, 1.0, 1.0).unwrap();
            }
            "accept" => pupil.accept().unwrap(),
            "give up" => pupil.give_up("why".into(), 1, 1.0, 1.0).unwrap(),
            "roll back" => pupil.roll_back().unwrap(),
            "factory" => pupil.factory().unwrap(),
            _ => {
                pupil.unlearn().unwrap();
                assert!(pupil.store_mut().undo(&marked[0]).unwrap());
            }
        }
        steps.push((step, recorder.changes(), Standing::of(&pupil)));
    }
    let replayed_root = replayed.path().join("group");
    let (mut before, mut n) = (Standing::default(), 0);
    for (step, changes, after) in steps {
        assert!(!changes.is_empty(), "{step}");
        for (path, content) in changes {
            let path = replayed_root.join(path.strip_prefix(&root).unwrap());
            // The power goes while the next one is written: half of it is there.
            if let Some(content) = &content {
                let draft = passd::files::draft_of(&path);
                std::fs::write(&draft, &content[..content.len() / 2]).unwrap();
                check_standing(replayed.path(), max_bytes, step, [&before, &after]);
                std::fs::remove_file(draft).unwrap();
            }
            match content {
                Some(content) => std::fs::write(&path, content).unwrap(),
                None => std::fs::remove_file(&path).unwrap(),
            }
            check_standing(replayed.path(), max_bytes, step, [&before, &after]);
            n += 1;
        }
        before = after;
    }
    println!("{n} changes");
    assert_eq!(before, Standing::of(&pupil));
}

/// Opens a copy: each thing stands as it did before a step or after it, and can be gone on with.
fn check_standing(path: &Path, max_bytes: u64, step: &str, either: [&Standing; 2]) {
    let folder = in_memory();
    copy(path, folder.path());
    let (mut pupil, lost) = open(folder.path(), max_bytes);
    let found = Standing::of(&pupil);
    assert!(lost.is_empty(), "{step}: {lost:?}");
    let [before, after] = either;
    assert!(found.marks == before.marks || found.marks == after.marks, "{step}: {found:?}, {either:?}");
    assert!([before.current, after.current].contains(&found.current), "{step}: {found:?}, {either:?}");
    assert!([before.waiting, after.waiting].contains(&found.waiting), "{step}: {found:?}, {either:?}");
    assert!([before.spent_ms, after.spent_ms].contains(&found.spent_ms), "{step}: {found:?}, {either:?}");
    for n in [found.current, found.waiting] {
        assert!(pupil.weights(n, &ModelFolders(Vec::new())).is_ok(), "{step}: {found:?}");
    }
    let samples: Vec<String> = pupil.store().marks().map(|m| m.sample.clone()).collect();
    assert!(samples.iter().all(|s| pupil.store_mut().sample(s).is_ok()), "{step}");
}

/// All files below a folder.
fn all_files(folder: &Path, to: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all_files(&path, to) } else { to.push(path) }
    }
    to.sort();
}

#[test]
fn any_file_that_is_damaged_is_said_and_costs_nothing_else() {
    let folder = in_memory();
    let (mut pupil, _) = open(folder.path(), 1 << 30);
    for n in 0..3 {
        let sample = keep(&mut pupil, n);
        mark(&mut pupil, &sample);
    }
    for _ in 0..3 {
        pupil.spend(7000, 1).unwrap();
        let latest = pupil.latest_mark();
        pupil.settle(&taught(&pupil), latest, 1.0, 1.0).unwrap();
        pupil.accept().unwrap();
    }
    let whole = Standing::of(&pupil);
    let samples: BTreeSet<String> = pupil.store().samples().map(str::to_owned).collect();
    drop(pupil);
    let mut files = Vec::new();
    all_files(folder.path(), &mut files);
    assert_eq!(files.len(), 3 * 3 + 3 * 3 + 3, "{files:?}");
    let outside = in_memory();
    let secret = outside.path().join("secret");
    std::fs::write(&secret, b"nobody's").unwrap();
    for file in &files {
        let name = file.strip_prefix(folder.path()).unwrap();
        let bytes = std::fs::read(file).unwrap();
        for damage in
            ["empty", "half", "zeros", "flipped", "gone", "folder", "full folder", "link", "dangling", "loop", "unlike"]
        {
            let what = format!("{}: {damage}", name.display());
            let copied = in_memory();
            copy(folder.path(), copied.path());
            let path = copied.path().join(name);
            std::fs::remove_file(&path).unwrap();
            match damage {
                "empty" => std::fs::write(&path, b"").unwrap(),
                "half" => std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap(),
                "zeros" => std::fs::write(&path, vec![0; bytes.len()]).unwrap(),
                "flipped" => {
                    let mut bytes = bytes.clone();
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0x04;
                    std::fs::write(&path, bytes).unwrap();
                }
                "folder" => std::fs::create_dir(&path).unwrap(),
                "full folder" => {
                    std::fs::create_dir(&path).unwrap();
                    std::fs::write(path.join("file"), b"x").unwrap();
                }
                "link" => std::os::unix::fs::symlink(&secret, &path).unwrap(),
                "dangling" => std::os::unix::fs::symlink("nowhere", &path).unwrap(),
                "loop" => std::os::unix::fs::symlink(path.file_name().unwrap(), &path).unwrap(),
                "unlike" => std::fs::write(&path, [0xff, 0x00].repeat(300)).unwrap(),
                _ => {}
            }
            let (mut pupil, lost) = open(copied.path(), 1 << 30);
            let found = Standing::of(&pupil);
            let left: BTreeSet<String> = pupil.store().samples().map(str::to_owned).collect();
            // What is of no use any more is this file's alone.
            let folder = name.iter().nth(1).unwrap().to_str().unwrap();
            let (is_mark, is_sample) = (folder == "marks", path.extension().is_some_and(|e| e == "sample"));
            let is_state = folder == "state.json" || folder == "models";
            let missing = whole.marks.difference(&found.marks).count() + samples.difference(&left).count();
            assert!(missing <= usize::from(is_mark || is_sample), "{what}: {found:?}, {lost:?}");
            let same = (found.current, found.spent_ms) == (whole.current, whole.spent_ms);
            assert!(same || is_state, "{what}: {found:?}, {lost:?}");
            // And is said by name, but for what its owner meant to be gone.
            let stem = path.file_stem().unwrap().to_str().unwrap();
            // Of a sample that is gone its mark says so.
            let is_said = lost.iter().any(|l| l.contains(stem) || (damage == "gone" && l.contains("gone")));
            let is_marked_gone = is_mark && damage == "gone";
            assert!(is_said || is_marked_gone || (missing == 0 && same), "{what}: {found:?}, {lost:?}");
            // It goes on: what comes is kept, and there the next time, when nothing new is to be said but what is still so.
            let sample = keep(&mut pupil, 99);
            let id = mark(&mut pupil, &sample);
            pupil.spend(1, 1).unwrap();
            let n = pupil.versions().last_number;
            let latest = pupil.latest_mark();
            pupil.settle(&taught(&pupil), latest, 1.0, 1.0).unwrap();
            assert!(pupil.versions().waiting.is_some_and(|next| next > n.max(2)), "{what}: no number comes twice");
            drop(pupil.draft());
            let after = Standing::of(&pupil);
            drop(pupil);
            let (mut pupil, _) = open(copied.path(), 1 << 30);
            assert_eq!(Standing::of(&pupil), after, "{what}");
            assert!(pupil.store().mark(&id).is_some(), "{what}");
            pupil.store_mut().forget().unwrap();
            assert_eq!(std::fs::read(&secret).unwrap(), b"nobody's", "{what}");
        }
    }
}

/// Maps of such numbers that sums of them are none.
#[test]
fn gradients_that_are_not_numbers_are_refused_and_what_is_in_use_stays() {
    let folder = in_memory();
    let (mut pupil, _) = open(folder.path(), 1 << 30);
    pupil.settle(&taught(&pupil), 0, 1.0, 1.0).unwrap();
    pupil.accept().unwrap();
    let names: Vec<String> = (0..12).map(|n| keep(&mut pupil, n)).collect();
    names.iter().for_each(|name| drop(mark(&mut pupil, name)));
    for name in &names {
        let (head, mut latents) = pupil.store_mut().sample(name).unwrap();
        for map in &mut latents.0 {
            map.scale = 1e36;
            map.codes.iter_mut().enumerate().for_each(|(i, code)| *code = (i * 7 % 256) as u8);
        }
        let path = folder.path().join(format!("group/samples/{name}.sample"));
        std::fs::write(path, stored::encode(&head, &latents)).unwrap();
    }
    let settings = FitSettings { n_steps: 3, ..FitSettings::default() };
    let bounds = RunBounds { share: 1.0, most: Duration::from_secs(600), noted: Duration::ZERO, latest_mark: 12 };
    let draft = pupil.draft();
    assert_eq!(draft.pictures.len(), 12);
    let folders = ModelFolders(Vec::new());
    let in_use = pupil.weights(Some(1), &folders).unwrap();
    let run = LearnRun::begin(draft, in_use.clone(), settings, bounds, None).unwrap();
    let why = wait_for("the run's end", LONG, || run.result()).unwrap_err().to_string();
    assert!(why.contains("not a number"), "{why}");
    pupil.give_up(why, 12, 1.0, 1.0).unwrap();
    drop(pupil);
    let (pupil, lost) = open(folder.path(), 1 << 30);
    assert!(lost.is_empty() && pupil.versions().current == Some(1), "{lost:?}");
    assert!(pupil.weights(Some(1), &folders).unwrap() == in_use);
    let refused = pupil.versions().last.as_ref().and_then(|l| l.verdict.refused.clone());
    assert!(refused.is_some_and(|why| why.contains("not a number")) && !pupil.has_news());
}
