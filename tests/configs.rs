//! Every example in `configs/` is a good config, and the demo's is the built-in one.

use passd::config;
use std::ffi::OsString;
use std::path::Path;

#[test]
fn every_example_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let mut n = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let variables = [("CAM_PASSWORD", "secret")].map(|(k, v)| (OsString::from(k), OsString::from(v)));
        let config = config::load_text(&path.display().to_string(), &text, variables.into_iter());
        let config = config.unwrap_or_else(|e| panic!("{e}"));
        assert!(!config.cameras.is_empty());
        assert!(text.starts_with('#'), "{}: begins with what it is for", path.display());
        n += 1;
    }
    assert!(n >= 5, "demo, one RTSP camera, four cameras, Jetson CSI, Jetson RTSP TensorRT");
}

/// Every config in every document, as it stands: complete, and good. What is indented belongs to a list.
#[test]
fn every_config_in_a_document_loads() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut documents = vec![root.join("README.md")];
    documents.extend(std::fs::read_dir(root.join("docs")).unwrap().map(|e| e.unwrap().path()));
    documents.retain(|d| d.extension().is_some_and(|e| e == "md"));
    let (mut n, mut bad) = (0, Vec::new());
    for document in documents {
        let words = std::fs::read_to_string(&document).unwrap();
        let name = document.file_name().unwrap().display().to_string();
        for (i, block) in words.split("```toml\n").skip(1).enumerate() {
            let text: String = block.split("```").next().unwrap().lines().map(|l| format!("{}\n", l.trim())).collect();
            if text.contains("sha256 =") {
                continue; // a model's sidecar
            }
            let named = text.split("${").skip(1).filter_map(|rest| rest.split('}').next());
            let variables: Vec<(OsString, OsString)> =
                named.map(|name| (name.into(), "a-secret-of-some-length".into())).collect();
            if let Err(e) = config::load_text(&format!("{name}, {}. config", i + 1), &text, variables.into_iter()) {
                bad.push(e.to_string());
            }
            n += 1;
        }
    }
    assert!(bad.is_empty() && n > 5, "{n}: {}", bad.join("\n"));
}

#[test]
fn the_schema_describes_every_key() {
    let schema = serde_json::to_value(config::schema()).unwrap();
    let mut undescribed = Vec::new();
    let definitions = schema["$defs"].as_object().unwrap();
    for (name, definition) in definitions {
        let Some(properties) = definition["properties"].as_object() else { continue };
        for (key, property) in properties {
            if property.get("description").is_none() && property.get("$ref").is_none() {
                undescribed.push(format!("{name}.{key}"));
            }
        }
    }
    assert!(undescribed.is_empty(), "{undescribed:?}");
}

#[test]
fn the_reference_is_what_the_schema_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/config.md");
    let wanted = config::reference();
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == wanted, "docs/config.md is out of date: passd schema --reference > docs/config.md");
}

/// Every metric that a document names is one that is there.
#[test]
fn documents_name_metrics_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // Not what is rendered: a family without a camera is left out there.
    let source = std::fs::read_to_string(root.join("src/output/metrics.rs")).unwrap();
    let mut n = 0;
    for document in ["docs/metrics.md", "docs/tuning.md", "docs/home-assistant.md", "docs/events.md"] {
        let words = std::fs::read_to_string(root.join(document)).unwrap();
        for name in words.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|w| w.starts_with("passd_"))
        {
            // Counters, histograms and units have endings.
            let endings = ["", "_total", "_seconds", "_bytes", "_seconds_bucket"];
            let bare = endings.iter().filter_map(|e| name.strip_prefix("passd_")?.strip_suffix(e));
            let known = bare.into_iter().any(|bare| source.contains(&format!("\"{bare}\"")));
            assert!(known, "{document}: {name}");
            n += 1;
        }
    }
    assert!(n > 20, "{n}");
}

/// Far too much of everything is refused, with a reason, soon.
#[test]
fn huge_configs_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    std::fs::write(&path, format!("# {}\n[cameras.a]\nsource = \"sim://street\"\n", "x".repeat(10 << 20))).unwrap();
    let error = config::load(&path).unwrap_err().to_string();
    assert!(error.contains("a.toml") && error.contains("too many for a config"), "{error}");

    let zone = |i: usize| format!("[cameras.a.zones.z{i}]\npolygon = [[0, 0], [1, 0], [1, 1]]\n");
    let zones: String = (0..200).map(zone).collect();
    let text = format!("[cameras.a]\nsource = \"sim://street\"\n{zones}");
    let error = config::load_text("a.toml", &text, std::iter::empty()).unwrap_err().to_string();
    assert!(error.contains("cameras.a.zones: 200 are too many; 64 are the most"), "{error}");
}
