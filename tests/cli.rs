//! The commands as a user types them, wrong input included.

use std::path::Path;
use std::process::{Command, Output};

fn passd(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_passd")).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exit code and what standard error must hold; never a panic.
#[track_caller]
fn refuses(args: &[&str], code: i32, parts: &[&str]) {
    let out = passd(args);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(code), "{args:?}: {said}");
    assert!(parts.iter().all(|p| said.contains(p)), "{args:?}: {said}\nlacks one of {parts:?}");
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn wrong_arguments_and_files_are_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.display().to_string()
    };
    refuses(&[], 2, &["Usage"]);
    refuses(&["detect", "x.png"], 2, &["--model"]);
    refuses(&["detect", "--model", "nonsense", "x.png"], 1, &["no such model", "street-nano"]);
    refuses(&["detect", "--model", "street-nano", "--size", "100x100", "x.png"], 2, &["multiples of 32"]);
    refuses(&["detect", "--model", "street-nano", "--size", "big", "x.png"], 2, &["640x384"]);
    refuses(&["detect", "--model", "street-nano", "--size", "16384x16384", "x.png"], 2, &["at most", "3840x2176"]);
    refuses(&["detect", "--model", "street-nano", "--score", "nan", "x.png"], 2, &["above 0"]);
    refuses(&["detect", "--model", "street-nano", "--threads", "10000", "x.png"], 2, &["0 to 256"]);
    let huge = file("huge.toml", b"[cameras.a]\nsource = \"sim://street\"\ndetector.size = \"16384x16384\"\n");
    refuses(&["check", "--config", &huge], 1, &["at most", "3840x2176"]);
    let out = folder.path().join("every").display().to_string();
    let every = passd(&["sim", "sim://street?frames=2&size=64x48", "--every", "18446744073709551615", "--out", &out]);
    assert!(!String::from_utf8_lossy(&every.stderr).contains("panicked"));
    refuses(&["detect", "--model", "street-nano", "/nowhere.png"], 1, &["/nowhere.png", "1 of 1"]);
    let torn = file("torn.png", b"\x89PNG\r\n\x1a\nno more");
    refuses(&["detect", "--model", "street-nano", &torn], 1, &["torn.png"]);
    refuses(&["sim", "sim://street?sceen=day", "--out", "x"], 2, &["unknown setting 'sceen'"]);
    refuses(&["sim", "sim://street", "--out", "/proc/nothing/here"], 1, &["/proc/nothing/here"]);
    refuses(&["eval", "/nowhere.mp4", "--model", "street-nano"], 1, &["/nowhere.mp4", "no file"]);
    refuses(&["eval", "sim://street", "--model", "street-nano", "--modes", "off,fast"], 2, &["'fast'"]);
    let noise = file("noise.mp4", &[7; 4000]);
    refuses(&["eval", &noise, "--model", "street-nano"], 1, &["noise.mp4"]);
    refuses(&["check", "--config", "/nowhere.toml"], 2, &["/nowhere.toml"]);
    let bad = file("bad.toml", b"[cameras.a]\nsource = \"x.mp4\"\n[skip]\npatch = 7\n");
    refuses(&["check", "--config", &bad], 2, &["bad.toml:4: skip.patch"]);
    refuses(&["run", "--config", &bad], 2, &["bad.toml:4: skip.patch"]);
    let unknown =
        file("unknown.toml", b"[cameras.a]\nsource = \"sim://street\"\ndetector.model = \"nonsense\"\nhttp = {}\n");
    refuses(&["run", "--config", &unknown], 2, &["unknown.toml:4"]);
    let label = file(
        "label.toml",
        b"[cameras.a]\nsource = \"sim://street\"\ndetector.labels = [\"dog\"]\n[http]\nenabled = false\n",
    );
    refuses(&["run", "--config", &label], 1, &["camera a", "no label 'dog'", "person, car"]);
}

#[test]
fn a_library_that_does_not_fit_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("libonnxruntime.so");
    std::fs::write(&fake, b"no library").unwrap();
    for (path, part) in [("/nowhere/libonnxruntime.so", "not there"), (fake.to_str().unwrap(), "failed to load")] {
        let out = Command::new(env!("CARGO_BIN_EXE_passd"))
            .args(["detect", "--model", "street-nano", "x.png"])
            .env("ORT_DYLIB_PATH", path)
            .output()
            .unwrap();
        let said = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1));
        assert!(said.contains(path) && said.contains(part) && said.contains("Remedy"), "{said}");
    }
}

/// A library that says it is ONNX Runtime 1.16: built here, as none that old can be loaded by itself.
#[test]
fn a_library_that_is_too_old_is_refused_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let (source, library) = (folder.path().join("old.c"), folder.path().join("libonnxruntime.so"));
    let code = "struct base { const void *(*api)(unsigned); const char *(*version)(void); };\n\
        static const void *api(unsigned v) { (void)v; return 0; }\n\
        static const char *version(void) { return \"1.16.3\"; }\n\
        static const struct base it = { api, version };\n\
        const struct base *OrtGetApiBase(void) { return &it; }\n";
    std::fs::write(&source, code).unwrap();
    let built = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status();
    assert!(built.unwrap().success());
    let out = Command::new(env!("CARGO_BIN_EXE_passd"))
        .args(["detect", "--model", "street-nano", "x.png"])
        .env("ORT_DYLIB_PATH", &library)
        .output()
        .unwrap();
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(1));
    for part in ["1.16.3", "1.17", "libonnxruntime.so", "Remedy"] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn models_that_are_not_what_they_say_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("models");
    let onnx = std::fs::read(models.join("street-nano.onnx")).unwrap();
    let sidecar = std::fs::read_to_string(models.join("street-nano.toml")).unwrap();
    let sum = |bytes: &[u8]| {
        use sha2::Digest;
        sha2::Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect::<String>()
    };
    let original = sum(&onnx);
    let check = |name: &str, onnx: &[u8], sidecar: &str, parts: &[&str]| {
        let path = folder.path().join(format!("{name}.onnx"));
        std::fs::write(&path, onnx).unwrap();
        // The checksum is made right, so that the rest is looked at.
        std::fs::write(path.with_extension("toml"), sidecar.replace(&original, &sum(onnx))).unwrap();
        refuses(&["detect", "--model", path.to_str().unwrap(), "x.png"], 1, parts);
    };
    check("cut", &onnx[..onnx.len() / 2], &sidecar, &["cut.onnx", "cut short"]);
    check("text", b"hello", &sidecar, &["text.onnx", "not an ONNX model"]);
    check("empty", b"", &sidecar, &["empty.onnx"]);
    check("size", &onnx, &sidecar.replace("640x384", "320x384"), &["size.onnx", "320x384"]);
    check(
        "labels",
        &onnx,
        &sidecar.replace("[\"person\", \"car\"]", "[\"person\"]"),
        &["labels.onnx", "the model has 2 classes, the sidecar 1 label"],
    );
    check("none", &onnx, &sidecar.replace("[\"person\", \"car\"]", "[]"), &["none.onnx", "0 labels"]);
    check("head", &onnx, &sidecar.replace("kind = \"street\"", "kind = \"yolox\""), &["head.onnx", "shape"]);
    check("key", &onnx, &sidecar.replace("licence", "license"), &["key.toml", "license"]);
    // Weights that are no numbers: refused at load, by the test run.
    let mut nan = onnx.clone();
    let at = nan.len() / 2 / 4 * 4;
    nan[at..at + 4000].as_chunks_mut::<4>().0.iter_mut().for_each(|v| *v = f32::NAN.to_le_bytes());
    check("nan", &nan, &sidecar, &["nan.onnx"]);
    // A wrong checksum.
    let path = folder.path().join("sum.onnx");
    std::fs::write(&path, [&onnx[..], b"x"].concat()).unwrap();
    std::fs::write(path.with_extension("toml"), &sidecar).unwrap();
    refuses(&["detect", "--model", path.to_str().unwrap(), "x.png"], 1, &["sum.onnx", "sha256"]);
    // No sidecar at all.
    let path = folder.path().join("bare.onnx");
    std::fs::write(&path, [&onnx[..], b"y"].concat()).unwrap();
    refuses(&["detect", "--model", path.to_str().unwrap(), "x.png"], 1, &["bare.onnx", "no sidecar"]);
}

#[test]
fn sim_detect_and_eval_work_together() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("frames").display().to_string();
    let out = passd(&["sim", "sim://street?seed=1003&frames=3&noise=1", "--out", &dir, "--every", "10"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let truth = std::fs::read_to_string(Path::new(&dir).join("truth.jsonl")).unwrap();
    assert_eq!(truth.lines().count(), 3);
    let images: Vec<String> = (0..3).map(|n| format!("{dir}/{n:06}.png")).collect();
    let mut args = vec!["detect", "--model", "street-nano"];
    args.extend(images.iter().map(String::as_str));
    let out = passd(&args);
    assert!(out.status.success(), "{}", text(&out.stderr));
    for (line, truth) in text(&out.stdout).lines().zip(truth.lines()) {
        let (found, truth): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(line).unwrap(), serde_json::from_str(truth).unwrap());
        // Every whole car and person is found where it is.
        for object in truth["objects"].as_array().unwrap().iter().filter(|o| o["visible"].as_f64().unwrap() > 0.95) {
            let near = found["detections"].as_array().unwrap().iter().any(|d| {
                let far = |i: usize| (d["box"][i].as_f64().unwrap() - object["box"][i].as_f64().unwrap()).abs();
                d["label"] == object["label"] && (0..4).all(|i| far(i) < 12.0)
            });
            assert!(near, "{object} is not among {found}");
        }
    }

    let json = folder.path().join("eval.json").display().to_string();
    let out = passd(&[
        "eval",
        "sim://street?seed=1003&traffic=0.3&wind=0",
        "--model",
        "street-nano",
        "--frames",
        "40",
        "--json",
        &json,
    ]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(
        (report["frames"].as_u64(), report["size"].as_str(), report["threads"].as_u64()),
        (Some(40), Some("640x384"), Some(1))
    );
    let (off, regions) = (&report["modes"]["off"], &report["modes"]["regions"]);
    assert_eq!(off["computed_share"], 1.0);
    assert_eq!(off["agreement"], 1.0);
    assert!(regions["computed_share"].as_f64().unwrap() < 1.0);
    assert!(regions["agreement"].as_f64().unwrap() > 0.9, "{regions}");
    for mode in [off, regions] {
        assert!(mode["map50"].as_f64().unwrap() > 0.85, "{mode}");
        for key in ["mean", "p50", "p95", "p99"] {
            assert!(mode["inference_ms"][key].as_f64().unwrap() > 0.0);
        }
        for key in ["skip_ms", "speedup_vs_off", "recall", "precision", "agreement_at_score", "flicker", "peak_rss_mib"]
        {
            assert!(mode[key].is_f64(), "{key}");
        }
    }
    // As the daemon reports.
    assert_eq!(report["score"], 0.4_f32);
    let floor = report["floor"].as_array().unwrap();
    assert_eq!(floor.iter().map(|f| f["sigma"].as_f64().unwrap()).collect::<Vec<_>>(), [1.0, 2.0]);
    for f in floor {
        let of = |key: &str| f[key].as_f64().unwrap();
        assert!(of("agreement") > 0.9 && of("agreement_at_score") > 0.9, "{f}");
        assert!(of("agreement") >= of("agreement_at_score") && of("flicker") < 0.1, "{f}");
    }
    let video = folder.path().join("clip.mp4").display().to_string();
    let out = passd(&["sim", "sim://street?frames=20&size=320x192", "--out", &video]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = passd(&["eval", &video, "--model", "street-nano", "--modes", "off", "--json", "-"]);
    let report: serde_json::Value =
        serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", text(&out.stderr)));
    assert_eq!(report["frames"], 20, "every frame of the video");
}

#[test]
fn skipping_costs_no_tracks() {
    // Somebody leaves a dark place, people cross: what stays behind or comes late is a false track or another number.
    for scene in ["day", "night"] {
        let clip = format!("sim://street?scene={scene}&seed=1001");
        let modes = ["--modes", "off,layers", "--no-floor", "--frames", "250", "--json", "-"];
        let out = passd(&[&["eval", &clip, "--model", "street-nano"], &modes[..]].concat());
        let report: serde_json::Value = serde_json::from_str(&text(&out.stdout)).unwrap();
        let of = |mode: &str, key: &str| report["modes"][mode]["tracking"][key].as_f64().unwrap();
        for key in ["idf1", "mota"] {
            let (dense, layers) = (of("off", key), of("layers", key));
            assert!(layers >= dense - 0.015, "{scene}: {key} {layers}, dense {dense}");
        }
        assert!(report["modes"]["layers"]["agreement"].as_f64().unwrap() > 0.97);
    }
}

#[test]
fn calibrate_writes_a_profile_that_fits_its_model_only() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.gates.toml");
    let clip = "sim://street?scene=crowd&seed=3&frames=60";
    let path = file.to_str().unwrap();
    let size = ["--model", "street-nano", "--size", "320x192"];
    // Too little is seen, or it does not hold: nothing is written.
    let few = "sim://street?scene=day&seed=3&frames=24";
    for (clip, target, part) in [(few, "0.9", "a judgement needs 200"), (clip, "1", "less than the target")] {
        let calibrate = ["calibrate", clip, "--windows", "2", "--window", "12", "--target", target, "-o", path];
        let out = passd(&[&calibrate[..], &size[..]].concat());
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.code() == Some(1) && said.contains(part) && !file.exists(), "{said}");
    }
    let calibrate = ["calibrate", clip, "--windows", "2", "--window", "30", "--target", "0.95", "-o", path];
    let out = passd(&[&calibrate[..], &size[..]].concat());
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let words = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(words.contains("held-out windows: agreement") && words.contains(path), "{words}");
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("model = \"street-nano\"") && text.contains("[[gates]]"), "{text}");

    let eval = ["eval", clip, "--modes", "off,layers", "--json", "-", "--raw", "--gates", path];
    let out = passd(&[&eval[..], &size[..]].concat());
    let report: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    let layers = &report["modes"]["layers"];
    assert!(layers["computed_share"].as_f64().unwrap() < 1.0, "{layers}");
    let mmacs = |kind: &str| layers["layers"][format!("{kind}_mmacs")].as_f64().unwrap();
    // Of what changes reach, what they hardly move waits.
    assert!(0.0 < mmacs("executed") && mmacs("requested") < mmacs("dense"));
    assert!(layers["agreement"].as_f64().unwrap() > 0.95, "{layers}");

    let raw = &layers["raw_difference"];
    let curve: Vec<f64> = raw["frames"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert_eq!((curve.len(), curve[0]), (60, 0.0), "the first frame is whole");
    assert!(curve[23] > 0.0 && raw["max"].as_f64().unwrap() < 0.6, "{raw}");
    assert!(report["modes"]["off"].get("raw_difference").is_none());

    std::fs::write(&file, text.replace("sha256 = \"", "sha256 = \"00")).unwrap();
    let out = passd(&[&eval[..], &size[..]].concat());
    let words = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && words.contains("mine.gates.toml") && words.contains("calibrate again"), "{words}");
}

#[test]
fn models_info_shows_what_the_layer_engine_makes_of_a_model() {
    let out = passd(&["models", "info", "street-nano", "--size", "320x192", "--layers"]);
    let words = String::from_utf8_lossy(&out.stdout).into_owned();
    for part in ["MMAC a picture at 320x192", "MiB of memory a stream", "fuse activations", "gated", "p8"] {
        assert!(words.contains(part), "'{part}' is missing in\n{words}");
    }
}

#[test]
fn what_is_printed_can_be_used() {
    let schema: serde_json::Value = serde_json::from_slice(&passd(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["cameras"].is_object());
    let schema: serde_json::Value = serde_json::from_slice(&passd(&["schema", "--output"]).stdout).unwrap();
    assert!(schema["properties"]["detections"].is_object());
    assert!(text(&passd(&["models", "list"]).stdout).contains("street-nano"));
    let info = text(&passd(&["models", "info", "street-nano"]).stdout);
    assert!(info.contains("checksum right") && info.contains("ap50_night"), "{info}");
    for shell in ["bash", "zsh", "fish"] {
        assert!(text(&passd(&["completions", shell]).stdout).contains("passd"));
    }
    for command in ["run", "check", "schema", "models", "sim", "detect", "eval", "demo"] {
        let help = text(&passd(&[command, "--help"]).stdout);
        assert!(help.contains("Example"), "{command} --help shows no example:\n{help}");
    }
}
