//! File, environment and secrets become one [`File`], then a [`Config`].

use super::file::File;
use super::locate::{ConfigError, Document, MOST_PROBLEMS, Problem};
use super::resolved::{Config, resolve};
use crate::files::read_text;
use crate::secret::{expand, percent_encoded};
use serde_json::Value;
use std::path::Path;

/// Largest config file that is read.
const MAX_BYTES: u64 = 4 << 20;

/// Loads a config file, with overrides from the environment (`PASSD__SKIP__PATCH=32`).
///
/// # Errors
/// Everything that is wrong, each with file, line and key.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let file = path.display().to_string();
    let text = read_text(path, MAX_BYTES, "a config").map_err(|e| ConfigError::whole(&file, e.to_string()))?;
    load_text(&file, &text, std::env::vars_os())
}

/// Loads a config from text and variables. `file` names it in complaints.
///
/// # Errors
/// As [`load`].
pub fn load_text(
    file: &str,
    text: &str,
    variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
) -> Result<Config, ConfigError> {
    let fail = |problem: Problem| ConfigError::new(file, vec![problem], 1);
    let document = Document::parse(text).map_err(fail)?;
    let schema = serde_json::to_value(super::file::schema()).expect("a schema is JSON");
    let unknown = document.unknown_keys(&schema);
    if unknown.n > 0 {
        return Err(ConfigError::new(file, unknown.first, unknown.n));
    }
    let variables: Vec<(String, String)> =
        variables.filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
    let overrides: config::Map<String, String> =
        variables.iter().filter(|(k, _)| k.starts_with("PASSD__")).cloned().collect();
    // `[4000000000]` would be a list of so many.
    let is_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if let Some(odd) = overrides.keys().find(|name| !name.chars().all(is_key)) {
        let what = format!("{odd} in the environment sets no single value: lists are set in the file alone");
        return Err(ConfigError::whole(file, what));
    }
    let problem = |key: &str, what: String| {
        let name = format!("PASSD__{}", key.to_uppercase().replace('.', "__"));
        // Of the key itself, or of something in it.
        let is_of = |v: &str| v == name || v.strip_prefix(&name).is_some_and(|rest| rest.starts_with("__"));
        match overrides.keys().find(|v| is_of(&v.to_uppercase())) {
            Some(v) => Problem { line: None, key: key.into(), what: format!("{what} (set by {v} in the environment)") },
            None => Problem { line: document.line(key), key: key.into(), what },
        }
    };
    let several = |mut complaints: Vec<(String, String)>| {
        let n = complaints.len();
        complaints.truncate(MOST_PROBLEMS);
        ConfigError::new(file, complaints.into_iter().map(|(key, what)| problem(&key, what)).collect(), n)
    };
    let environment = config::Environment::with_prefix("PASSD")
        .prefix_separator("__")
        .separator("__")
        .try_parsing(true)
        .source(Some(overrides.clone()));
    let mut values: Value = config::Config::builder()
        .add_source(config::File::from_str(text, config::FileFormat::Toml))
        .add_source(environment)
        .build()
        .and_then(config::Config::try_deserialize)
        .map_err(|e| fail(problem("", e.to_string())))?;
    // JSON has no word for them: they would count as not set.
    let mut complaints = Vec::new();
    walk(&mut values, "", &mut |value, key| {
        if value.is_null() {
            complaints
                .push((key.to_owned(), "expected a finite number or a text in quotes, not inf or nan".to_owned()));
        }
    });
    if !complaints.is_empty() {
        return Err(several(complaints));
    }

    // Types first: what is said of a value then is said of it as written, without its secrets.
    let typed = |values: &Value| {
        serde_path_to_error::deserialize::<_, File>(values).map_err(|e| {
            let key = match e.path().to_string() {
                path if path == "." => String::new(),
                path => path,
            };
            let what = in_words(&without_value(&e.inner().to_string()));
            fail(problem(&key, what))
        })
    };
    typed(&values)?;
    let lookup = |name: &str| secret(name, &variables);
    walk(&mut values, "", &mut |value, key| {
        let is_address = key == "webhook.url";
        let Value::String(text) = value else { return };
        // A source says itself where its secrets belong.
        if !text.contains("${") || is_source(key) {
            return;
        }
        let encoded = |name: &str| lookup(name).map(|secret| percent_encoded(&secret));
        match if is_address { expand(text, &encoded) } else { expand(text, &lookup) } {
            Ok(expanded) => *text = expanded,
            Err(what) => complaints.push((key.to_owned(), what)),
        }
    });
    if !complaints.is_empty() {
        return Err(several(complaints));
    }
    resolve(&typed(&values)?, &lookup).map_err(several)
}

fn is_source(key: &str) -> bool {
    key.strip_prefix("cameras.").is_some_and(|rest| rest.ends_with(".source"))
}

/// A complaint of a wrong type without the value that was found: it may be a secret.
fn without_value(complaint: &str) -> String {
    match complaint.split_once(", expected ") {
        Some((found, expected)) if complaint.starts_with("invalid type: ") => {
            let kind = found.split(['"', '`']).next().unwrap_or_default().trim_end();
            format!("{kind}, expected {expected}")
        }
        _ => complaint.to_owned(),
    }
}

/// Says what was expected as a user of TOML calls it.
fn in_words(complaint: &str) -> String {
    const WORDS: [(&str, &str); 11] = [
        ("expected f64", "expected a number"),
        ("expected f32", "expected a number"),
        ("expected u32", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("expected usize", "expected a whole number"),
        ("expected a boolean", "expected true or false"),
        ("expected a string", "expected a text"),
        ("expected a sequence", "expected a list"),
        ("expected a map", "expected a table"),
        ("expected struct ", "expected a table: "),
        ("expected an array of length 2", "expected two numbers"),
    ];
    WORDS.iter().fold(complaint.to_owned(), |text, (rust, words)| text.replace(rust, words))
}

/// Largest credential that is read.
const MAX_SECRET: u64 = 64 << 10;

/// A secret: a credential of systemd (`LoadCredential=`), else a variable.
fn secret(name: &str, variables: &[(String, String)]) -> Option<String> {
    let variable = |name: &str| variables.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let file = variable("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(name));
    file.and_then(|path| read_text(&path, MAX_SECRET, "a secret").ok())
        .map(|text| text.trim_end_matches(['\n', '\r']).to_owned())
        .or_else(|| variable(name))
}

/// Visits every value that is no table and no list, with its key.
fn walk(value: &mut Value, key: &str, visit: &mut dyn FnMut(&mut Value, &str)) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, key, visit)),
        Value::Object(map) => {
            for (name, item) in map {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                walk(item, &key, visit);
            }
        }
        _ => visit(value, key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let variables = variables.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        load_text("passd.toml", text, variables).map_err(|e| e.to_string())
    }

    const CAMERA: &str = "[cameras.front]\nsource = \"sim://street\"\n";

    #[test]
    fn complaints_name_file_line_key_and_the_way_out() {
        let check = |text: &str, parts: &[&str]| {
            let error = with(text, &[]).unwrap_err();
            assert!(parts.iter().all(|p| error.contains(p)), "{error}\nlacks one of {parts:?}");
            assert!(!error.contains("hunter2"), "{error}");
        };
        check("cameras = [\n", &["passd.toml:", "not valid TOML"]);
        check("[capture]\nmax_fps = 99999999999999999999\n", &["passd.toml:2: not valid TOML", "too large"]);
        check("[capture]\nmax_fps = 1e400\n", &["passd.toml:2: not valid TOML", "too large"]);
        check("", &["passd.toml", "no camera"]);
        check(&format!("{CAMERA}sorce = \"x\"\n"), &["passd.toml:3: cameras.front.sorce", "did you mean 'source'"]);
        check(&format!("{CAMERA}[skip]\nzebra = 1\n"), &["passd.toml:4: skip.zebra", "there are", "max_age"]);
        check(
            &format!("{CAMERA}[cameras.front.skip]\npatch = \"big\"\n"),
            &["passd.toml:4: cameras.front.skip.patch", "expected a whole number"],
        );
        check(&format!("{CAMERA}[skip]\npatch = 10\n"), &["passd.toml:4: skip.patch", "8, 16, 32 or 64"]);
        check(&format!("{CAMERA}[skip]\nmode = \"fast\"\n"), &["passd.toml:4: skip.mode", "`off`"]);
        check("[cameras.front]\n", &["passd.toml:1: cameras.front", "source"]);
        check("[cameras.Front]\nsource = \"x.mp4\"\n", &["cameras.Front", "lower-case"]);
        check("[cameras.a]\nsource = \"rtsp://u:hunter2@:x/\"\n", &["passd.toml:2: cameras.a.source", "no address"]);
        check(
            "[cameras.a]\nsource = \"rtsp://u:${CAM_PW}@h/\"\n",
            &["passd.toml:2: cameras.a.source", "secret 'CAM_PW' is not set"],
        );
        check(
            &format!("{CAMERA}masks = [[[0.1, 0.2], [0.3, 0.4]]]\n"),
            &["passd.toml:3: cameras.front.masks", "three corners"],
        );
        check(&format!("{CAMERA}masks = [[[0, 0], [2, 0], [0, 1]]]\n"), &["cameras.front.masks", "0 to 1"]);
        check(
            &format!("{CAMERA}zones.door = {{ polygon = [[0, 0], [0.5, 0.5], [1, 1]] }}\n"),
            &["cameras.front.zones.door.polygon", "enclose nothing"],
        );
        check(&format!("{CAMERA}zones.door = {{ polygon = [[0, \"x\"]] }}\n"), &["zones.door", "expected a number"]);
        check(&format!("{CAMERA}[webhook]\ntoken = \"hunter2hunter2\"\n"), &["passd.toml:3: webhook", "url = "]);
        check(&format!("{CAMERA}[restream]\nsoftware = true\n"), &["passd.toml:3: restream", "listen = "]);
        check(&format!("{CAMERA}[mqtt]\nprefix = \"home\"\n"), &["passd.toml:3: mqtt", "url = "]);
        check(
            &format!("{CAMERA}[capture]\nbackoff_first = 9\nbackoff_max = 3\n"),
            &["capture.backoff_max", "less than"],
        );
        check(&format!("{CAMERA}[capture]\nstall_timeout = -1.0\n"), &["capture.stall_timeout", "out of range"]);
        check(&format!("{CAMERA}[events]\npath = \"x\"\nmax_days = -1.0\n"), &["events.max_days", "out of range"]);
        check(&format!("{CAMERA}[http]\nlisten = \"0.0.0.0:80\"\n"), &["http.listen", "loopback"]);
        check(&format!("{CAMERA}[http]\nlisten = \"localhost\"\n"), &["http.listen", "127.0.0.1:8090"]);
        check(&format!("{CAMERA}[detector]\nscore = 2.0\n"), &["passd.toml:4: detector.score", "0 to 1"]);
        check(&format!("{CAMERA}[inference]\nproviders = []\n"), &["inference.providers", "at least one"]);
        check(&format!("{CAMERA}[inference]\nproviders = [\"gpu\"]\n"), &["inference.providers", "`cuda`"]);
        // All unknown keys at once.
        check(
            "bogus = 1\n[cameras.a]\nsource = \"x\"\nmodle = 2\n",
            &["passd.toml:1: bogus", "passd.toml:4: cameras.a.modle"],
        );
    }

    /// As JSON, on the way, they would be nothing: `token = inf` was no token at all.
    #[test]
    fn infinities_are_refused_wherever_they_stand() {
        let schema = serde_json::to_value(super::super::file::schema()).unwrap();
        let mut keys = Vec::new();
        let tables = ["detector", "skip", "tracking", "capture", "inference", "budget", "http", "events", "mqtt"];
        for table in tables.into_iter().chain(["webhook", "restream"]) {
            let of = schema["properties"][table]["$ref"].as_str().unwrap().trim_start_matches('#');
            let properties = schema.pointer(of).unwrap()["properties"].as_object().unwrap();
            keys.extend(properties.keys().map(|key| format!("{table}.{key}")));
        }
        assert!(keys.len() > 38, "{keys:?}");
        for key in keys {
            for value in ["inf", "-inf", "nan", "+nan"] {
                let error = with(&format!("{key} = {value}\n{CAMERA}"), &[]).unwrap_err();
                assert!(error.contains(&format!("passd.toml:1: {key}")) && error.contains("inf or nan"), "{error}");
            }
            let variable = format!("PASSD__{}", key.to_uppercase().replace('.', "__"));
            let error = with(CAMERA, &[(&variable, "inf")]).unwrap_err();
            assert!(error.contains("inf or nan") && error.contains(&variable), "{error}");
        }
        let error = with(&format!("{CAMERA}masks = [[[0, 0], [inf, 0], [0, 1]]]\n"), &[]).unwrap_err();
        assert!(error.contains("passd.toml:3: cameras.front.masks"), "{error}");
        let error = with(&format!("{CAMERA}[http]\ntoken = 12345678901234567\n"), &[]).unwrap_err();
        assert!(error.contains("http.token") && error.contains("expected a text"), "{error}");
    }

    /// The built-in model sees cars and people on any floor.
    #[test]
    fn a_real_camera_needs_a_model() {
        let error = with("[cameras.a]\nsource = \"rtsp://h/\"\n", &[]).unwrap_err();
        assert!(error.contains("passd.toml:1: cameras.a.detector.model: is not set"), "{error}");
        assert!(error.contains("passd models pull yolox_nano"), "{error}");
        assert_eq!(with(CAMERA, &[]).unwrap().cameras[0].detector.model, "street-nano");
        let text = "[cameras.a]\nsource = \"rtsp://h/\"\ndetector.model = \"street-nano\"\n";
        let camera = &with(text, &[]).unwrap().cameras[0];
        assert!(camera.check_model("street-nano", true).unwrap_err().contains("simulated street"));
        assert!(camera.check_model("m", false).is_ok());
        let idle = &with(&format!("{text}detect = false\n"), &[]).unwrap().cameras[0];
        assert!(idle.check_model("street-nano", true).is_ok(), "nothing is looked for");
    }

    #[test]
    fn a_hundred_thousand_mistakes_are_told_in_a_few_lines() {
        let text: String = (0..100_000).map(|i| format!("k{i} = 1\n")).collect();
        let error = with(&text, &[]).unwrap_err();
        assert_eq!(error.lines().count(), 21, "{error}");
        assert!(error.ends_with("and 99980 more like these"), "{error}");
        let text: String = (0..20_000).map(|i| format!("[cameras.Cam{i}]\nsource = \"a:b\"\n")).collect();
        assert_eq!(with(&text, &[]).unwrap_err().lines().count(), 21);
    }

    #[test]
    fn an_index_in_the_environment_is_refused() {
        let error = with(CAMERA, &[("PASSD__CAMERAS__FRONT__MASKS[4000000000]", "1")]).unwrap_err();
        assert!(error.contains("MASKS[4000000000]") && error.contains("lists"), "{error}");
    }

    #[test]
    fn secrets_in_addresses_are_what_they_are() {
        let text = format!("{CAMERA}[webhook]\nurl = \"https://me:${{PW}}@host/${{PW}}\"\n");
        let config = with(&text, &[("PW", "p@s#1/%2")]).unwrap();
        assert_eq!(config.webhook.unwrap().url, "https://me:p%40s%231%2F%252@host/p%40s%231%2F%252");
    }

    #[test]
    fn what_is_wrong_for_all_cameras_is_said_once() {
        let text = format!("{CAMERA}[cameras.back]\nsource = \"x\"\n[capture]\nbackoff_first = 9\nbackoff_max = 3\n");
        let error = with(&text, &[]).unwrap_err();
        assert_eq!(error.matches("less than backoff_first").count(), 1, "{error}");
    }

    #[test]
    fn cameras_inherit_and_override() {
        let config = with(
            "[skip]\npatch = 32\nmax_age = 5.0\n[detector]\nmodel = \"yolox_nano\"\nsize = \"640x384\"\n\
             [cameras.a]\nsource = \"a.mp4\"\n[cameras.b]\nsource = \"b.mp4\"\nskip.patch = 8\ndetector.score = 0.6\n",
            &[],
        )
        .unwrap();
        let [a, b] = &config.cameras[..] else { panic!() };
        assert_eq!((a.skip.patch, b.skip.patch, b.skip.max_age_ns), (Some(32), Some(8), Some(5_000_000_000)));
        assert_eq!((a.detector.model.as_str(), b.detector.score), ("yolox_nano", 0.6));
    }

    #[test]
    fn environment_overrides_and_secrets() {
        let text = "[cameras.a]\nsource = \"rtsp://u:${CAM_PW}@h/$${x}\"\ndetector.model = \"m\"\n";
        let config = with(
            text,
            &[("CAM_PW", "hunter2"), ("PASSD__SKIP__PATCH", "64"), ("PASSD__HTTP__LISTEN", "127.0.0.1:1234")],
        );
        let config = config.unwrap();
        assert_eq!(config.cameras[0].skip.patch, Some(64));
        assert_eq!(config.http.as_ref().unwrap().listen.port(), 1234);
        let source = &config.cameras[0].source;
        let crate::capture::SourceSpec::Rtsp(address) = &source.spec else { panic!("{source:?}") };
        assert_eq!((address.location.as_str(), source.shown.as_str()), ("rtsp://h/${x}", "rtsp://u:${CAM_PW}@h/$${x}"));
        assert_eq!(address.login.as_ref().unwrap().password.0, "hunter2");
        assert!(!format!("{:?}", config.cameras[0]).contains("hunter2"), "nor in debug prints");
        let error = with(text, &[("CAM_PW", "x"), ("PASSD__SKIP__PACTH", "64")]).unwrap_err();
        assert!(error.contains("pacth") && error.contains("environment"), "{error}");
        let error = with(text, &[("CAM_PW", "x"), ("PASSD__Mqtt__Prefix", "home")]).unwrap_err();
        assert!(error.contains("lacks the broker") && error.contains("set by PASSD__Mqtt__Prefix"), "{error}");
        for (value, part) in [("7", "8, 16, 32 or 64"), ("wide", "expected a whole number")] {
            let error = with(text, &[("CAM_PW", "x"), ("PASSD__SKIP__PATCH", value)]).unwrap_err();
            assert!(error.contains(part) && error.contains("set by PASSD__SKIP__PATCH"), "{error}");
        }
        let error = with(text, &[("CAM_PW", "x"), ("PASSD__MQTT__PASSWORD", "123456")]).unwrap_err();
        assert!(error.contains("mqtt.password") && !error.contains("123456"), "{error}");
        let misplaced = "[cameras]\nfront = \"rtsp://u:${CAM_PW}@h/\"\n";
        let error = with(misplaced, &[("CAM_PW", "hunter2")]).unwrap_err();
        assert!(error.contains("cameras.front") && !error.contains("hunter2"), "{error}");
    }
}
