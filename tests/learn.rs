//! Learning in the real daemon: a decoy is marked over HTTP, and is not reported any more; persons beside it are. And what
//! happens when the power goes, files are damaged, or marks make no sense.

mod common;

use common::service::Service;
use common::{get, get_json, request, wait_for};
use passd::geom::{CameraPixels, Rect};
use passd::learn::export::write_model;
use passd::models::model::{Learned, Model, ModelFolders};
use passd::sim::{SimCamera, SimSettings, Truth};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
/// A run in a build for tests, beside other tests.
const LESSON: Duration = Duration::from_secs(240);

/// A street with two bushes that are taken for persons.
const STREET: &str = "sim://street?decoys=bush&seed=9000";

fn config(mode: &str, steps: u32) -> String {
    format!(
        "[cameras.front]\nsource = \"{STREET}\"\n[http]\nlisten = \"{{http}}\"\n[events]\npath = \"{{dir}}/events\"\n\
         [learn]\nmode = \"{mode}\"\npath = \"{{dir}}/learn\"\nevery = 1\nquiet = 2\nshare = 1.0\nsteps = {steps}\n"
    )
}

/// Asks again where what learns had no time to answer.
fn post(service: &Service, path: &str, body: &Value) -> (u16, Value) {
    let headers = "Content-Type: application/json\r\n";
    wait_for(path, LONG, || {
        let (status, _, answer) = request(service.http, "POST", path, headers, body.to_string().as_bytes());
        (status != 503).then(|| (status, serde_json::from_slice(&answer).unwrap_or(Value::Null)))
    })
}

/// Where the bushes stand.
fn decoys() -> Vec<Rect<CameraPixels>> {
    let mut decoys = Vec::new();
    SimCamera::new(SimSettings::parse(STREET).unwrap()).decoys(0, &mut decoys);
    decoys.into_iter().map(|d| d.bbox).collect()
}

fn bbox(json: &Value) -> Rect<CameraPixels> {
    let v: Vec<f32> = json["box"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap() as f32).collect();
    Rect::new(v[0], v[1], v[2], v[3])
}

/// What is reported now: frame and detections.
fn reported(service: &Service) -> Option<(u64, Vec<Value>)> {
    let (status, json) = get_json(service.http, "/api/cameras/front/detections");
    let n = (json["pts"].as_f64()? * 10.0).round() as u64;
    (status == 200).then(|| (n, json["detections"].as_array().unwrap().clone()))
}

/// Marks what is reported where some of the decoys stand, each once.
fn mark_decoys(service: &Service, mut left: Vec<Rect<CameraPixels>>) -> usize {
    let n = left.len();
    wait_for("false alarms to mark", LONG, || {
        let (status, _, still) = request(service.http, "POST", "/api/cameras/front/still", "", b"");
        assert!(matches!(status, 200 | 404), "{status}");
        let line = still.split(|b| *b == b'\n').next()?;
        let still: Value = serde_json::from_slice(line).ok()?;
        for d in still["detections"].as_array().into_iter().flatten() {
            let Some(i) = left.iter().position(|decoy| decoy.iou(&bbox(d)) > 0.6) else { continue };
            let mark = json!({
                "said": "not-an-object", "camera": "front", "frame": still["frame"], "box": d["box"], "label": d["label"],
            });
            let (status, told) = post(service, "/api/marks", &mark);
            assert_eq!(status, 201, "{told}");
            left.remove(i);
        }
        left.is_empty().then_some(())
    });
    n
}

/// What is reported, against the truth.
#[derive(Debug, Default)]
struct Looks {
    /// Decoys with nobody near, and how many of them were reported.
    n_decoys: usize,
    n_false: usize,
    n_there: usize,
    n_found: usize,
    /// How often each of them was.
    n_of: Vec<usize>,
}

impl Looks {
    fn of(service: &Service, n_looks: usize) -> Self {
        let (decoys, mut truth) = (decoys(), SimCamera::new(SimSettings::parse(STREET).unwrap()));
        let (mut looks, mut n, mut last) = (Self::default(), 0, 0);
        wait_for("looks", LONG, || {
            let (frame, found) = reported(service)?;
            if frame == last {
                return None;
            }
            (n, last) = (n + 1, frame);
            let boxes: Vec<Rect<CameraPixels>> = found.iter().map(bbox).collect();
            let mut objects: Vec<Truth> = Vec::new();
            truth.truth(frame, &mut objects);
            let is = |r: &Rect<CameraPixels>| boxes.iter().any(|b| b.iou(r) > 0.5);
            let alone: Vec<_> = decoys.iter().filter(|d| objects.iter().all(|o| o.bbox.iou(d) < 0.2)).collect();
            looks.n_decoys += alone.len();
            looks.n_false += alone.iter().filter(|d| is(d)).count();
            looks.n_of.resize(decoys.len(), 0);
            let counted = looks.n_of.iter_mut().zip(&decoys);
            counted.for_each(|(n, d)| *n += usize::from(alone.contains(&d) && is(d)));
            let seen: Vec<&Truth> = objects.iter().filter(|o| o.counts() && o.visible > 0.8).collect();
            looks.n_there += seen.len();
            looks.n_found += seen.iter().filter(|o| is(&o.bbox)).count();
            (n >= n_looks).then_some(())
        });
        looks
    }

    /// Whether two thirds of the false alarms before are gone: `benches/learn.rs` measures how many.
    fn is_rid_of(&self, before: &Self) -> bool {
        self.n_false * before.n_decoys * 3 <= before.n_false * self.n_decoys
    }
}

fn learner(service: &Service) -> Value {
    get_json(service.http, "/api/learn").1["cameras"][0].clone()
}

/// Waits until what was learned is where `is_there` says. What is refused is tried again with the pictures that came
/// meanwhile: the gate may do so, and what is tested is what comes after it.
fn wait_lesson(service: &Service, is_there: impl Fn(&Value) -> bool) {
    let mut refused = Vec::new();
    wait_for(&format!("a lesson, log {:#?}", service.log.lock().unwrap()), LESSON, || {
        let told = learner(service);
        let run = &told["last"];
        if told["state"] == "idle" && run["refused"].is_string() && !refused.contains(run) {
            refused.push(run.clone());
            assert!(refused.len() < 4, "{refused:#?}");
            assert_eq!(post(service, "/api/learn/front/run", &json!({})).0, 200);
        }
        is_there(&told).then_some(())
    });
}

/// Waits until a learned model is in use.
fn wait_learned(service: &Service) {
    wait_lesson(service, |told| told["model"].as_str().is_some_and(|m| m.starts_with("learned")));
    // The camera goes on with it.
    wait_for("the swap", LONG, || {
        let model = get_json(service.http, "/api/cameras/front").1["model"].as_str()?.to_owned();
        (model != "street-nano").then_some(())
    });
}

#[test]
fn a_decoy_that_is_marked_is_gone_and_persons_beside_it_are_not() {
    let mut service = Service::start(&config("auto", 300), None);
    service.wait_told("READY=1");
    // Pictures of what is always there.
    wait_for("pictures", LONG, || learner(&service)["samples"].as_u64().filter(|n| *n >= 20));
    let before = Looks::of(&service, 20);
    let n_marks = mark_decoys(&service, decoys());
    let (_, marks) = get_json(service.http, "/api/marks?camera=front");
    assert_eq!(marks.as_array().unwrap().len(), n_marks);
    let id = marks[0]["id"].as_str().unwrap().to_owned();
    let (status, jpeg) = get(service.http, &format!("/api/marks/{id}/picture.jpg"));
    assert!(status == 200 && jpeg.starts_with(&[0xff, 0xd8]), "a mark has a picture");
    let frames_before = get_json(service.http, "/api/cameras/front").1["frames_processed"].as_u64().unwrap();
    wait_learned(&service);

    // Nobody was disturbed: no frame failed, and no reconnect.
    let camera = get_json(service.http, "/api/cameras/front").1;
    assert_eq!((camera["reconnects"].as_u64(), camera["frames_failed"].as_u64()), (Some(0), Some(0)));
    assert!(camera["frames_processed"].as_u64().unwrap() > frames_before);

    // What it changed is shown as pictures.
    let (_, pairs) = get_json(service.http, "/api/learn/front/pairs");
    let shown = pairs.as_array().unwrap().clone();
    assert!((1..=6).contains(&shown.len()), "{pairs}");
    for pair in &shown {
        let boxes = ["before", "after"].map(|side| pair[side].as_array().unwrap());
        assert!(boxes.iter().any(|boxes| boxes.iter().any(|b| b["differs"] == true)), "{pair}");
    }
    let picture = |name: &str| get(service.http, &format!("/api/learn/front/pairs/{name}/picture.jpg"));
    let name = shown[0]["sample"].as_str().unwrap().to_owned();
    let (status, jpeg) = picture(&name);
    assert!(status == 200 && jpeg.starts_with(&[0xff, 0xd8]), "{status}");
    assert_eq!(picture("..%2F..%2Fstate").0, 404);
    assert_eq!(get(service.http, "/api/learn/back/pairs").0, 404);

    let mut after = Looks::of(&service, 60);
    println!("before {before:?}, after {after:?}");
    assert!(before.n_false * 2 > before.n_decoys, "the base takes them for persons: {before:?}");
    // Few pictures were kept where the machine had other things to do: then somebody marks once more what is left.
    let mut models = vec!["base".to_owned()];
    let model = || learner(&service)["model"].as_str().unwrap().to_owned();
    if !after.is_rid_of(&before) {
        models.push(model());
        let most = after.n_of.iter().max().copied().unwrap_or(0);
        let left = decoys().into_iter().zip(&after.n_of).filter(|(_, n)| **n * 2 > most);
        mark_decoys(&service, left.map(|(decoy, _)| decoy).collect());
        wait_lesson(&service, |told| told["model"].as_str() != models.last().map(String::as_str));
        after = Looks::of(&service, 60);
        println!("marked once more: {after:?}");
    }
    assert!(after.is_rid_of(&before), "{before:?}, {after:?}");
    assert!(after.n_found * 100 >= after.n_there * 90, "{after:?}");

    let (_, pairs) = get_json(service.http, "/api/learn/front/pairs");

    // What was learned outlives the daemon, and one step back is one request.
    service.process.signal("TERM");
    assert_eq!(service.wait_end(), Some(0));
    let service = service.restart();
    service.wait_told("READY=1");
    assert_ne!(get_json(service.http, "/api/cameras/front").1["model"], "street-nano");
    while let Some(before) = models.pop() {
        let (status, told) = post(&service, "/api/learn/front/rollback", &json!({}));
        assert_eq!((status, told["model"].as_str()), (200, Some(&*before)), "{told}");
    }
    wait_for("the model as it came", LONG, || {
        (get_json(service.http, "/api/cameras/front").1["model"] == "street-nano").then_some(())
    });
    let (status, told) = post(&service, "/api/learn/front/rollback", &json!({}));
    assert!(status == 400 && told["error"].as_str().unwrap().contains("nothing to go back to"), "{told}");
    // What is forgotten is not shown any more.
    assert_eq!(get_json(service.http, "/api/learn/front/pairs").1, pairs, "pictures outlive the daemon");
    assert_eq!(post(&service, "/api/learn/front/forget", &json!({})).0, 200);
    assert_eq!(get_json(service.http, "/api/learn/front/pairs").1, json!([]));
    assert_eq!(get(service.http, &format!("/api/learn/front/pairs/{name}/picture.jpg")).0, 404);
    assert!(!service.folder.path().join("learn/front/pairs.json").exists());
}

#[test]
fn a_power_cut_loses_no_mark_and_damaged_files_are_said() {
    let mut service = Service::start(&config("ask", 40), None);
    service.wait_told("READY=1");
    wait_for("pictures", LONG, || learner(&service)["samples"].as_u64().filter(|n| *n >= 12));
    let n_marks = mark_decoys(&service, decoys());
    wait_for("learning", LONG, || (learner(&service)["state"] == "learning").then_some(()));
    service.process.signal("KILL");
    service.wait_end();
    let learn = service.folder.path().join("learn/front");
    let mut samples: Vec<PathBuf> =
        std::fs::read_dir(learn.join("samples")).unwrap().map(|e| e.unwrap().path()).collect();
    samples.retain(|p| p.extension().is_some_and(|e| e == "sample"));
    samples.sort();
    // The first pictures are of nobody's mark.
    std::fs::write(&samples[0], b"passdL1\nno").unwrap();
    std::fs::write(learn.join("state.json"), b"{\"current\": 7").unwrap();
    std::fs::write(learn.join("marks/1700000000000-9.json"), b"\0\0\0").unwrap();

    let mut service = service.restart();
    service.wait_told("READY=1");
    service.wait_log("it is erased");
    service.wait_log("state.json");
    service.wait_log("1700000000000-9.json");
    let (_, marks) = get_json(service.http, "/api/marks");
    assert_eq!(marks.as_array().unwrap().len(), n_marks, "no mark is lost");
    // It begins again by itself, and waits to be accepted.
    wait_lesson(&service, |told| told["state"] == "waiting");
    assert_eq!(learner(&service)["model"], "base", "nothing is taken over unasked");
    let (status, told) = post(&service, "/api/learn/front/accept", &json!({}));
    assert_eq!((status, told["model"].as_str()), (200, Some("learned 1")), "{told}");
    // In the middle of the swap.
    service.process.signal("KILL");
    service.wait_end();
    let mut service = service.restart();
    service.wait_told("READY=1");
    assert_eq!(learner(&service)["model"], "learned 1", "what was accepted is in use");
    wait_for("frames", LONG, || {
        get_json(service.http, "/api/cameras/front").1["frames_processed"].as_u64().filter(|n| *n > 5)
    });
    // A model whose file is damaged is not used, and nothing else is touched.
    service.process.signal("KILL");
    service.wait_end();
    std::fs::write(learn.join("models/0001.onnx"), b"no model").unwrap();
    let service = service.restart();
    service.wait_told("READY=1");
    service.wait_log("what was learned is not used");
    assert_eq!(get_json(service.http, "/api/cameras/front").1["model"], "street-nano");
    // Pictures come all the time; those that were there are erased.
    let pictures = || -> BTreeSet<PathBuf> {
        std::fs::read_dir(learn.join("samples")).unwrap().map(|e| e.unwrap().path()).collect()
    };
    let before = pictures();
    let (status, _) = post(&service, "/api/learn/front/forget", &json!({}));
    assert_eq!(status, 200);
    assert!(pictures().is_disjoint(&before), "pictures are erased");
    assert_eq!(get_json(service.http, "/api/marks").1, json!([]));
}

#[test]
fn a_learned_model_that_cannot_be_opened_is_stepped_back_from() {
    let mut service = Service::start(&config("ask", 40), None);
    service.wait_told("READY=1");
    service.process.signal("TERM");
    assert_eq!(service.wait_end(), Some(0));
    // As if something had been learned.
    let learn = service.folder.path().join("learn/front");
    let model = Model::load("street-nano", &ModelFolders::default()).unwrap();
    let learned = Learned { base: model.name.clone(), base_sha256: model.sha256.clone(), from: Vec::new() };
    write_model(&learn.join("models"), "0001", &model, &model.onnx, learned).unwrap();
    let state = json!({ "base": format!("{}@{}", model.sha256, model.size), "waiting": 1, "last_number": 1 });
    std::fs::write(learn.join("state.json"), state.to_string()).unwrap();

    let mut service = service.restart();
    service.wait_told("READY=1");
    assert_eq!(learner(&service)["waiting"]["version"], 1);
    std::fs::write(learn.join("models/0001.onnx"), b"no model").unwrap();
    let (status, told) = post(&service, "/api/learn/front/accept", &json!({}));
    assert_eq!(status, 200, "{told}");
    let stands = wait_for("a step back", LONG, || {
        let stands = learner(&service);
        stands["trouble"].is_string().then_some(stands)
    });
    assert!(stands["trouble"].as_str().unwrap().starts_with("learned 1 cannot be used"), "{stands}");
    assert_eq!((&stands["model"], &stands["waiting"]), (&json!("base"), &Value::Null), "{stands}");
    // The camera goes on with what it had.
    let camera = || get_json(service.http, "/api/cameras/front").1;
    let frames = || camera()["frames_processed"].as_u64();
    let before = frames();
    wait_for("frames", LONG, || (frames() > before).then_some(()));
    assert_eq!(camera()["model"], "street-nano");
    service.process.signal("TERM");
    assert_eq!(service.wait_end(), Some(0));
}

#[test]
fn pictures_are_kept_with_the_maps_that_the_detector_has_computed() {
    let service = Service::start(&config("ask", 40), None);
    service.wait_told("READY=1");
    wait_for("a kept picture", LONG, || {
        service.log.lock().unwrap().iter().any(|line| line.contains("its maps from the detector")).then_some(())
    });
}

#[test]
fn marks_that_make_no_sense_are_refused_in_words() {
    let service = Service::start(&config("ask", 40), None);
    service.wait_told("READY=1");
    wait_for("a picture", LONG, || reported(&service));
    let refused = |mark: Value, status: u16, part: &str| {
        let (found, told) = post(&service, "/api/marks", &mark);
        let text = told["error"].as_str().unwrap_or_default();
        assert!(found == status && text.contains(part), "{mark}: {found}, {told}");
    };
    refused(json!({ "said": "right", "camera": "front", "box": [1, 2, 30, 40] }), 400, "label");
    refused(json!({ "said": "right", "camera": "front", "box": [1, 2, 30, 40], "label": "tiger" }), 400, "person, car");
    refused(json!({ "said": "not-an-object", "camera": "back", "box": [1, 2, 30, 40] }), 404, "no camera 'back'");
    refused(json!({ "said": "not-an-object", "box": [1, 2, 30, 40] }), 400, "camera");
    refused(json!({ "said": "not-an-object", "camera": "front" }), 400, "box");
    refused(json!({ "said": "not-an-object", "camera": "front", "box": [30, 2, 1, 40] }), 400, "box");
    refused(json!({ "said": "not-an-object", "camera": "front", "box": [5000, 2, 6000, 40] }), 400, "outside");
    refused(
        json!({ "said": "not-an-object", "camera": "front", "frame": 1_000_000, "box": [1, 2, 30, 40] }),
        404,
        "not held",
    );
    refused(json!({ "said": "not-an-object", "event": "1700000000000-front-1" }), 404, "1700000000000-front-1");
    refused(json!({ "said": "perhaps" }), 400, "not-an-object");
    assert_eq!(post(&service, "/api/learn/front/run", &json!({})).0, 400, "there is nothing to learn from");
    assert_eq!(post(&service, "/api/learn/front/accept", &json!({})).0, 400, "nothing waits");

    // Contradictions are kept; the later one counts. What is undone is gone.
    let mark = |said: &str| json!({ "said": said, "camera": "front", "box": [10, 20, 60, 90], "label": "person" });
    let ids: Vec<String> = ["right", "not-an-object", "right"]
        .iter()
        .map(|said| {
            let (status, told) = post(&service, "/api/marks", &mark(said));
            assert_eq!(status, 201, "{told}");
            told["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let (status, _, _) = request(service.http, "DELETE", &format!("/api/marks/{}", ids[0]), "", b"");
    assert_eq!(status, 200);
    let (status, _, _) = request(service.http, "DELETE", &format!("/api/marks/{}", ids[0]), "", b"");
    assert_eq!(status, 404);
    let left = get_json(service.http, "/api/marks").1;
    let left: Vec<&str> = left.as_array().unwrap().iter().map(|m| m["id"].as_str().unwrap()).collect();
    assert_eq!(left, [ids[2].as_str(), ids[1].as_str()], "the latest first");
    let (status, file) = get_json(service.http, "/api/learn/front/export");
    assert!(status == 200 && file["annotations"].as_array().unwrap().len() == 1, "{file}");
}
