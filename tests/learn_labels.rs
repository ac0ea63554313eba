//! Labels on their way out of the real daemon and in again, with their pictures: by command, and over HTTP where somebody
//! sends what makes no sense.

mod common;

use common::service::Service;
use common::{get, get_json, request, wait_for};
use passd::geom::Size;
use passd::output::parcel::{LABELS, Packer, ParcelError, unpack};
use passd::sim::{SimCamera, SimSettings};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);
const LESSON: Duration = Duration::from_secs(240);
const STREET: &str = "sim://street?seed=9000";

/// Two cameras that learn apart, neither of them by itself.
fn service() -> Service {
    let config = format!(
        "[cameras.front]\nsource = \"{STREET}\"\n[cameras.back]\nsource = \"{STREET}\"\n[http]\nlisten = \"{{http}}\"\n\
         [learn]\nmode = \"ask\"\npath = \"{{dir}}/learn\"\nevery = 86400\nquiet = 86400\nshare = 1.0\nsteps = 10\n"
    );
    let service = Service::start(&config, None);
    service.wait_told("READY=1");
    wait_for("pictures", LONG, || {
        let shows = |id: &str| get(service.http, &format!("/api/cameras/{id}/detections")).0 == 200;
        ["front", "back"].iter().all(|id| shows(id)).then_some(())
    });
    service
}

fn passd(service: &Service, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_passd"));
    command.arg("learn").args(args).arg("--config").arg(&service.config);
    command.env("PASSD_MODELS", common::models(service.folder.path())).output().unwrap()
}

#[track_caller]
fn succeeds(service: &Service, args: &[&str]) -> String {
    let output = passd(service, args);
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {said}{wrong}");
    said.into_owned()
}

fn files(tar: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    unpack(std::fs::File::open(tar).unwrap(), |name, data| {
        files.insert(name.to_owned(), data);
        Ok::<_, ParcelError>(())
    })
    .unwrap();
    files
}

fn labels(tar: &Path) -> Value {
    serde_json::from_slice(&files(tar)[LABELS]).unwrap()
}

/// What was said of a camera, without ids and times; boxes in shares of the picture's sides, in thousandths.
fn said(labels: &Value) -> Vec<(u64, Value, Vec<i64>)> {
    let [w, h] = ["width", "height"].map(|key| labels["images"][0][key].as_f64().unwrap());
    let of = |a: &Value| {
        let at = a["bbox"].as_array().unwrap().iter().zip([w, h, w, h]);
        let at = at.map(|(v, side)| (v.as_f64().unwrap() / side * 1000.0).round() as i64).collect();
        (a["category_id"].as_u64().unwrap(), a["attributes"].clone(), at)
    };
    let mut said: Vec<_> = labels["annotations"].as_array().unwrap().iter().map(of).collect();
    said.sort_by_key(|(category, ..)| *category);
    said
}

#[test]
fn marks_go_out_with_their_pictures_and_come_in_as_they_were() {
    let service = service();
    let folder = service.folder.path();
    for (what, label, place) in [
        ("not-an-object", "person", "100,200,160,320"),
        ("right", "car", "300,200,500,300"),
        ("missed", "person", "20,30,50,90"),
    ] {
        succeeds(&service, &["mark", what, "--camera", "front", "--box", place, "--label", label]);
    }
    let (tar, again) = (folder.join("front.tar"), folder.join("back.tar"));
    let [out, back] = [&tar, &again].map(|path| path.to_str().unwrap());
    let told = succeeds(&service, &["export", "front", "--out", out]);
    let first = labels(&tar);
    let n = first["images"].as_array().unwrap().len();
    assert!(told.contains(&format!("({n} picture")), "{told}");
    assert_eq!(first["annotations"].as_array().unwrap().len(), 3);
    assert_eq!(first["categories"].as_array().unwrap().last().unwrap()["name"], "not-an-object");
    // Boxes are in pixels of the pictures that go with them.
    for image in first["images"].as_array().unwrap() {
        let jpeg = image::load_from_memory(&files(&tar)[image["file_name"].as_str().unwrap()]).unwrap();
        assert_eq!((json!(jpeg.width()), json!(jpeg.height())), (image["width"].clone(), image["height"].clone()));
    }

    // Where they come from they are there already; another camera takes them over, once.
    let told = succeeds(&service, &["import", "front", out]);
    assert!(told.contains(&format!("0 pictures, 0 new marks; {n} were there already")), "{told}");
    let told = succeeds(&service, &["import", "back", out]);
    // Of two marks in one frame the pictures are the same.
    assert!(told.contains("3 new marks"), "{told}");
    let told = succeeds(&service, &["import", "back", out]);
    assert!(told.contains("0 pictures, 0 new marks"), "{told}");
    succeeds(&service, &["export", "back", "--out", back]);
    assert_eq!(said(&labels(&again)), said(&first));
    let marks = get_json(service.http, "/api/marks?camera=back").1;
    let picture = format!("/api/marks/{}/picture.jpg", marks[0]["id"].as_str().unwrap());
    assert_eq!(get(service.http, &picture).0, 200);

    // A picture that is gone is left out, in words.
    let samples = folder.join("learn/back/samples");
    for path in std::fs::read_dir(samples).unwrap().map(|e| e.unwrap().path()) {
        if path.extension().is_some_and(|e| e == "jpg") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let told = succeeds(&service, &["export", "back", "--out", back]);
    assert!(told.contains("its picture is gone") && told.contains("(0 pictures"), "{told}");
}

/// Pictures that come within a second are still parted into what is learned from and what judges.
#[test]
fn texts_with_pictures_become_a_lesson_that_can_be_judged() {
    let service = service();
    let folder = service.folder.path().join("yolo");
    let settings = SimSettings::parse(STREET).unwrap();
    let (mut street, size): (_, Size) = (SimCamera::new(settings.clone()), settings.size);
    let (mut bgr, mut objects, mut n_marks, mut n_pictures) = (vec![0; size.area() * 3], Vec::new(), 0, 0);
    ["images", "labels"].iter().for_each(|part| std::fs::create_dir_all(folder.join(part)).unwrap());
    for n in (0..).step_by(40) {
        street.truth(n, &mut objects);
        objects.retain(|o| o.counts() && o.visible > 0.8);
        if objects.is_empty() {
            continue;
        }
        street.render(n, &mut bgr);
        bgr.chunks_exact_mut(3).for_each(|pixel| pixel.swap(0, 2));
        let picture = image::RgbImage::from_raw(size.width, size.height, bgr.clone()).unwrap();
        picture.save(folder.join(format!("images/{n:05}.jpg"))).unwrap();
        let [w, h] = [size.width as f32, size.height as f32];
        let line = |o: &passd::sim::Truth| {
            let b = &o.bbox;
            let [x, y] = [(b.x1 + b.x2) / 2.0 / w, (b.y1 + b.y2) / 2.0 / h];
            format!("{} {x} {y} {} {}\n", o.kind as u8, b.width() / w, b.height() / h)
        };
        std::fs::write(folder.join(format!("labels/{n:05}.txt")), objects.iter().map(line).collect::<String>())
            .unwrap();
        (n_marks, n_pictures) = (n_marks + objects.len(), n_pictures + 1);
        if n_pictures == 12 {
            break;
        }
    }
    let told = succeeds(&service, &["import", "back", folder.to_str().unwrap()]);
    assert!(told.contains(&format!("12 pictures, {n_marks} new mark")), "{told}");
    let (status, _, _) = request(service.http, "POST", "/api/learn/back/run", "", b"");
    assert_eq!(status, 200);
    let last = wait_for("a lesson", LESSON, || {
        let (_, told) = get_json(service.http, "/api/learn");
        let back = told["cameras"].as_array()?.iter().find(|c| c["camera"] == "back")?.clone();
        back["last"]["time"].is_number().then(|| back["last"].clone())
    });
    let n_held_out = last["held_out"]["before"]["n_objects"].as_u64().unwrap();
    assert!(n_held_out > 0 && n_held_out < n_marks as u64, "{last}");
}

fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut packer = Packer::new(&mut out);
    files.iter().for_each(|(name, data)| packer.put(name, data).unwrap());
    packer.finish().unwrap();
    out
}

#[test]
fn what_makes_no_sense_is_refused_in_words_and_nothing_is_kept() {
    let service = service();
    let text = |label: &str| {
        json!({
            "images": [{ "id": 1, "width": 64, "height": 64, "file_name": "images/a.png" }],
            "annotations": [{ "id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 40] }],
            "categories": [{ "id": 1, "name": label }],
        })
        .to_string()
    };
    let kind = "Content-Type: application/x-tar\r\n";
    let send = |path: &str, headers: &str, tar: &[u8]| {
        let (status, _, answer) = request(service.http, "POST", path, headers, tar);
        (status, serde_json::from_slice::<Value>(&answer).unwrap_or(Value::Null))
    };
    let refused = |headers: &str, tar: &[u8], status: u16, part: &str| {
        let (found, told) = send("/api/learn/back/import", headers, tar);
        let words = told["error"].as_str().unwrap_or_default();
        assert!(found == status && words.contains(part), "{part}: {found}, {told}");
    };
    let good = text("person");
    let with = |picture: &[u8]| packed(&[(LABELS, good.as_bytes()), ("images/a.png", picture)]);
    refused("Content-Type: text/plain\r\n", &with(b""), 415, "application/x-tar");
    refused(&format!("{kind}Origin: http://elsewhere\r\n"), &with(b""), 403, "another page");
    refused(kind, b"", 400, "there is no labels.json");
    refused(kind, b"no tar", 400, "nothing was taken");
    refused(kind, &packed(&[(LABELS, text("tiger").as_bytes())]), 400, "'tiger' (image 'images/a.png') is no label");
    refused(kind, &packed(&[(LABELS, b"{}")]), 400, "labels.json: it is no COCO file");
    refused(kind, &with(b"no picture"), 400, "images/a.png: it is no JPEG or PNG");
    refused(kind, &with(&[7; 900])[..1600], 400, "cut short");
    // Much of it, that nobody wants any more: the answer is heard all the same.
    let large = vec![7; 20 << 20];
    refused(kind, &packed(&[(LABELS, b"{}"), ("images/a.png", &large)]), 400, "no COCO file");
    let (status, told) = send("/api/learn/side/import", kind, &with(b""));
    assert!(status == 404 && told["error"].as_str().unwrap().contains("'side'"), "{told}");
    assert_eq!(get(service.http, "/api/learn/side/export.tar").0, 404);
    assert_eq!(get_json(service.http, "/api/marks").1, json!([]));
    // The camera's own pictures may be there.
    for path in std::fs::read_dir(service.folder.path().join("learn/back/samples")).unwrap().map(|e| e.unwrap().path())
    {
        let file = std::fs::read(&path).unwrap_or_default();
        assert!(!file.windows(9).any(|part| part == b"\"brought\""), "{}", path.display());
    }
}
