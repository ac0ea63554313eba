//! Model files as strangers make them, through the whole program: what brings ONNX Runtime down brings nothing else down,
//! and what cannot be used is refused in the same words by `check`, `doctor`, `models info` and `run`.

mod common;

use common::model::{Attr::Ints, ModelBuilder};
use common::service::Service;
use common::wait_for;
use engine::import::onnx;
use prost::Message as _;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const STREET: &[u8] = include_bytes!("../models/street-nano.onnx");

/// Writes a model and a sidecar for it; its path.
fn write(folder: &Path, name: &str, file: &[u8], head: &str, labels: usize) -> String {
    let sum: String = Sha256::digest(file).iter().map(|b| format!("{b:02x}")).collect();
    let labels: Vec<String> = (0..labels).map(|i| format!("\"thing {i}\"")).collect();
    let sidecar = format!(
        "file = \"{name}.onnx\"\ndescription = \"of a test\"\nsource = \"here\"\nlicence = \"MIT\"\nsha256 = \"{sum}\"\n\
         labels = [{}]\n[input]\nsize = \"640x384\"\nmultiple_of = 32\ncolour = \"bgr\"\nscale = [0.004, 0.004, 0.004]\n[head]\n{head}\n",
        labels.join(", ")
    );
    std::fs::write(folder.join(format!("{name}.onnx")), file).unwrap();
    std::fs::write(folder.join(format!("{name}.toml")), sidecar).unwrap();
    folder.join(format!("{name}.onnx")).display().to_string()
}

const HEAD: &str = "kind = \"street\"\nstrides = [8, 16, 32]";

fn street(edit: impl FnOnce(&mut onnx::ModelProto)) -> Vec<u8> {
    let mut model = onnx::ModelProto::decode(STREET).unwrap();
    edit(&mut model);
    model.encode_to_vec()
}

fn graph(model: &mut onnx::ModelProto) -> &mut onnx::GraphProto {
    model.graph.as_mut().unwrap()
}

/// A shape that is worked out by a division by zero, as ONNX Runtime folds it.
fn divides_by_zero() -> Vec<u8> {
    let mut m = ModelBuilder::new(13);
    let x = m.input(3, 384, 640);
    let w = m.weights(&[6, 3, 8, 8], 192);
    let y = m.node("Conv", &[&x, &w], &[("strides", Ints(&[8, 8]))]);
    let (a, b) = (m.ints(&[1, 6, 48, 80]), m.ints(&[1, 1, 0, 1]));
    let shape = m.node("Div", &[&a, &b], &[]);
    let y = m.node("Reshape", &[&y, &shape], &[]);
    m.output(&y);
    m.build()
}

fn passd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_passd")).args(args).output().unwrap()
}

fn config(folder: &Path, model: &str) -> String {
    let path = folder.join("passd.toml");
    let text =
        format!("[cameras.a]\nsource = \"sim://street\"\ndetector.model = \"{model}\"\n[http]\nenabled = false\n");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn what_cannot_be_used_is_refused_in_the_same_words_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::write(dir.join("secret.txt"), [b'x'; 4096]).unwrap();
    let elsewhere = |place: &'static str| {
        street(move |m| {
            let w = &mut graph(m).initializer[0];
            (w.raw_data, w.data_location) = (Vec::new(), 1);
            let entry = |key: &str, value: &str| onnx::StringEntryProto { key: key.into(), value: value.into() };
            w.external_data = vec![entry("location", place)];
        })
    };
    let stride_0 = street(|m| {
        let conv = graph(m).node.iter_mut().find(|n| n.op_type == "Conv").unwrap();
        conv.attribute.iter_mut().find(|a| a.name == "strides").unwrap().ints = vec![0, 0];
    });
    let halves = street(|m| {
        graph(m).input[0].kind.as_mut().unwrap().tensor.as_mut().unwrap().elem_type = 10;
    });
    let cases = [
        (write(dir, "stride", &stride_0, HEAD, 2), "strides holds 0"),
        (write(dir, "absolute", &elsewhere("/etc/hostname"), HEAD, 2), "by its plain name"),
        (write(dir, "outside", &elsewhere("../secret.txt"), HEAD, 2), "by its plain name"),
        (write(dir, "absent", &elsewhere("absent.data"), HEAD, 2), "save_as_external_data=False"),
        (write(dir, "divides", &divides_by_zero(), HEAD, 2), "division by zero"),
        (write(dir, "halves", &halves, HEAD, 2), "keep_io_types=True"),
        (write(dir, "labels", STREET, HEAD, 3), "the model has 2 classes, the sidecar 3 labels"),
        (write(dir, "family", STREET, "kind = \"yolov8\"", 2), "has shape [1, 6, 48, 80], expected [1, 6,"),
        (
            write(dir, "strides", STREET, &format!("kind = \"street\"\nstrides = {:?}", vec![8; 1000]), 2),
            "head.strides",
        ),
    ];
    for (model, part) in &cases {
        let config = config(dir, model);
        for args in [
            &["check", "--config", &config][..],
            &["doctor", "--config", &config],
            &["models", "info", model],
            &["run", "--config", &config],
        ] {
            let out = passd(args);
            let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
            assert_eq!(out.status.code(), Some(1), "{args:?}: {:?} {said}", out.status);
            assert!(said.contains(part), "{args:?}: {said}\nlacks '{part}'");
            for word in ["Some(", ".cc:", "panicked"] {
                assert!(!said.contains(word), "{args:?}: {said}");
            }
        }
    }
}

#[test]
fn weights_beside_the_model_and_newer_files_are_run() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    let mut data = Vec::new();
    let outside = street(|m| {
        for w in &mut graph(m).initializer {
            if w.raw_data.len() < 64 {
                continue;
            }
            let entry = |key: &str, value: String| onnx::StringEntryProto { key: key.into(), value };
            w.external_data = vec![
                entry("location", "outside.onnx.data".into()),
                entry("offset", data.len().to_string()),
                entry("length", w.raw_data.len().to_string()),
            ];
            data.append(&mut w.raw_data);
            w.data_location = 1;
        }
    });
    std::fs::write(dir.join("outside.onnx.data"), data).unwrap();
    let newer = street(|m| m.ir_version = 99);
    for model in [write(dir, "outside", &outside, HEAD, 2), write(dir, "newer", &newer, HEAD, 2)] {
        let out = passd(&["check", "--config", &config(dir, &model)]);
        let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        assert_eq!(out.status.code(), Some(0), "{said}");
        assert!(said.contains("mode layers"), "{said}");
        if model.contains("newer") {
            assert!(said.contains("IR version 99"), "what ONNX Runtime says is told: {said}");
        }
    }
    let path = config(dir, &dir.join("newer.onnx").display().to_string());
    let text = std::fs::read_to_string(&path).unwrap() + "[skip]\nmode = \"off\"\n";
    std::fs::write(&path, text).unwrap();
    let out = passd(&["check", "--config", &path]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.code() == Some(1) && said.contains("model.ir_version = 10") && !said.contains(".cc:"), "{said}");
}

/// A camera whose model ends ONNX Runtime comes along at a reload: those that run know nothing of it.
#[test]
fn a_reload_with_a_model_that_kills_leaves_everything_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "divides", &divides_by_zero(), HEAD, 2);
    let good = "[cameras.street]\nsource = \"sim://street?seed=5&fps=20\"\n[http]\nlisten = \"{http}\"\n";
    let service = Service::start(good, None);
    service.wait_told("READY=1");
    let processed = || common::get_json(service.http, "/api/cameras/street").1["frames_processed"].as_u64().unwrap();
    wait_for("frames", Duration::from_secs(30), || (processed() > 5).then_some(()));
    service.rewrite(&format!("{good}[cameras.bad]\nsource = \"sim://street\"\ndetector.model = \"{model}\"\n"));
    service.process.signal("HUP");
    let line = service.wait_log("config is not reloaded");
    service.wait_log("division by zero");
    assert!(!line.contains("panicked"));
    let before = processed();
    wait_for("more frames", Duration::from_secs(30), || (processed() > before + 5).then_some(()));
}

/// One field of a message, as protobuf writes it.
fn field(tag: u32, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    prost::encoding::encode_key(tag, prost::encoding::WireType::LengthDelimited, &mut out);
    prost::encoding::encode_varint(body.len() as u64, &mut out);
    out.extend_from_slice(body);
    out
}

/// A loop that has no reason to end.
fn never_ends() -> Vec<u8> {
    let node = |op: &str, from: &str, to: &str| onnx::NodeProto {
        op_type: op.into(),
        input: vec![from.into()],
        output: vec![to.into()],
        ..Default::default()
    };
    let typed = |name: &str, element: i32| {
        let mut value = onnx::ValueInfo::floats(name, &[]);
        value.kind.as_mut().unwrap().tensor.as_mut().unwrap().elem_type = element;
        value
    };
    let body = onnx::GraphProto {
        name: "body".into(),
        node: vec![node("Identity", "goes_on", "still"), node("Identity", "x", "y")],
        input: vec![typed("i", 7), typed("goes_on", 9), typed("x", 1).without_shape()],
        output: vec![typed("still", 9), typed("y", 1).without_shape()],
        ..Default::default()
    };
    // name = "body", g = the graph, type = GRAPH.
    let mut attribute = field(1, b"body");
    attribute.extend(field(6, &body.encode_to_vec()));
    attribute.extend([0xa0, 0x01, 5]);
    let mut looping = onnx::NodeProto { op_type: "Loop".into(), name: "loop".into(), ..Default::default() };
    (looping.input, looping.output) = (vec!["most".into(), "yes".into(), "picture".into()], vec!["out".into()]);
    let mut looping = looping.encode_to_vec();
    looping.extend(field(5, &attribute));
    let mut m = ModelBuilder::new(13);
    m.input(3, 384, 640);
    m.output("out");
    let tensor = |name: &str, data_type: i32, raw_data: Vec<u8>| onnx::TensorProto {
        name: name.into(),
        data_type,
        raw_data,
        ..Default::default()
    };
    m.graph().initializer.push(tensor("most", 7, i64::MAX.to_le_bytes().to_vec()));
    m.graph().initializer.push(tensor("yes", 9, vec![1]));
    let mut graph = m.graph().encode_to_vec();
    graph.extend(field(1, &looping));
    m.model.graph = None;
    let mut model = m.build();
    model.extend(field(7, &graph));
    model
}

/// While a model that never ends is tried, everything goes on; and a stop is a stop, of what runs and of the trial.
#[test]
fn a_stop_does_not_wait_for_a_model_that_never_ends() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "endless", &never_ends(), HEAD, 2);
    let good = "[cameras.street]\nsource = \"sim://street?seed=5&fps=20\"\n[http]\nlisten = \"{http}\"\n\
                [output.jsonl]\npath = \"{dir}/out.jsonl\"\n";
    let mut service = Service::start(good, Some(Duration::from_secs(4)));
    service.wait_told("READY=1");
    let processed = || common::get_json(service.http, "/api/cameras/street").1["frames_processed"].as_u64().unwrap();
    wait_for("frames", Duration::from_secs(30), || (processed() > 5).then_some(()));
    service.rewrite(&format!("{good}[cameras.bad]\nsource = \"sim://street\"\ndetector.model = \"{model}\"\n"));
    service.process.signal("HUP");
    service.wait_told("RELOADING=1");
    let trial = wait_for("the trial", Duration::from_secs(30), || child_of(service.process.0.id()));
    let (before, fed) = (processed(), service.told().iter().filter(|t| *t == "WATCHDOG=1").count());
    wait_for("more frames, and food", Duration::from_secs(30), || {
        let now_fed = service.told().iter().filter(|t| *t == "WATCHDOG=1").count();
        (processed() > before + 20 && now_fed > fed + 1).then_some(())
    });
    let n = processed();
    service.process.signal("TERM");
    assert_eq!(service.wait_end(), Some(0));
    let text = std::fs::read_to_string(service.folder.path().join("out.jsonl")).unwrap();
    assert!(text.lines().count() as u64 >= n, "what was computed is written");
    wait_for("the trial's end", Duration::from_secs(30), || {
        (!Path::new(&format!("/proc/{trial}")).exists()).then_some(())
    });
}

/// A process that another one has started.
fn child_of(parent: u32) -> Option<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children = tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    children.flat_map(|c| c.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).find_map(|c| c.parse().ok())
}
