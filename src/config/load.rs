//! File, environment and secrets become one [`File`], then a [`Config`].

use super::file::File;
use super::locate::{ConfigError, Document, Problem};
use super::resolved::{Config, resolve};
use crate::files::read_at_most;
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
    let fail = |what: String| ConfigError {
        file: file.clone(),
        problems: vec![Problem { line: None, key: String::new(), what }],
    };
    let bytes = read_at_most(path, MAX_BYTES, "a config").map_err(|e| fail(e.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|e| fail(e.to_string()))?;
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
    let fail = |problems: Vec<Problem>| ConfigError { file: file.into(), problems };
    let document = Document::parse(text).map_err(|p| fail(vec![p]))?;
    let schema = serde_json::to_value(super::schema()).expect("a schema is JSON");
    let problems = document.unknown_keys(&schema);
    if !problems.is_empty() {
        return Err(fail(problems));
    }
    let variables: Vec<(String, String)> =
        variables.filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
    let overrides: config::Map<String, String> =
        variables.iter().filter(|(k, _)| k.starts_with("PASSD__")).cloned().collect();
    let problem = |key: &str, what: String| {
        let name = format!("PASSD__{}", key.to_uppercase().replace('.', "__"));
        // Of the key itself, or of something in it.
        let is_of = |v: &str| v == name || v.strip_prefix(&name).is_some_and(|rest| rest.starts_with("__"));
        match overrides.keys().find(|v| is_of(&v.to_uppercase())) {
            Some(v) => Problem { line: None, key: key.into(), what: format!("{what} (set by {v} in the environment)") },
            None => Problem { line: document.line(key), key: key.into(), what },
        }
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
        .map_err(|e| fail(vec![problem("", e.to_string())]))?;

    // Types first: what is said of a value then is said of it as written, without its secrets.
    let typed = |values: &Value| {
        serde_path_to_error::deserialize::<_, File>(values).map_err(|e| {
            let key = match e.path().to_string() {
                path if path == "." => String::new(),
                path => path,
            };
            // Types are said with their values.
            let what = match key.ends_with("password") || key.ends_with("token") {
                true => "expected a text".to_owned(),
                false => in_words(&crate::capture::redact(&e.inner().to_string())),
            };
            fail(vec![problem(&key, what)])
        })
    };
    typed(&values)?;
    let lookup = |name: &str| secret(name, &variables);
    let mut problems = Vec::new();
    expand(&mut values, "", &lookup, &mut |key, what| problems.push(problem(key, what)));
    if !problems.is_empty() {
        return Err(fail(problems));
    }
    let parsed = typed(&values)?;
    resolve(&parsed).map_err(|problems| fail(problems.into_iter().map(|(key, what)| problem(&key, what)).collect()))
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

/// A secret: a credential of systemd (`LoadCredential=`), else a variable.
fn secret(name: &str, variables: &[(String, String)]) -> Option<String> {
    let variable = |name: &str| variables.iter().find(|(k, _)| k == name).map(|(_, v)| v.clone());
    let file = variable("CREDENTIALS_DIRECTORY").map(|folder| Path::new(&folder).join(name));
    file.and_then(|path| std::fs::read_to_string(path).ok())
        .map(|text| text.trim_end().to_owned())
        .or_else(|| variable(name))
}

/// Replaces `${NAME}` in every string; `$${` stands for `${`.
fn expand(
    value: &mut Value,
    key: &str,
    lookup: &dyn Fn(&str) -> Option<String>,
    complain: &mut dyn FnMut(&str, String),
) {
    match value {
        Value::String(text) if text.contains("${") => match expand_text(text, lookup) {
            Ok(expanded) => *text = expanded,
            Err(what) => complain(key, what),
        },
        Value::Array(items) => items.iter_mut().for_each(|item| expand(item, key, lookup, complain)),
        Value::Object(map) => {
            for (name, item) in map {
                let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                expand(item, &key, lookup, complain);
            }
        }
        _ => {}
    }
}

fn expand_text(text: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let end = rest[at..].find('}').ok_or("'${' is never closed by '}'")? + at;
        let name = &rest[at + 2..end];
        if name.is_empty()
            || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-' || c == '.')
            || name.contains("..")
        {
            return Err(format!("'${{{name}}}' is no name of a secret"));
        }
        let value = lookup(name).ok_or_else(|| {
            format!("secret '{name}' is not set: neither a variable of the environment nor a credential of systemd")
        })?;
        out.push_str(&value);
        rest = &rest[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
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
        check("cameras = [\n", &["passd.toml:", "no TOML"]);
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
        check("[cameras.a]\nsource = \"rtsp://u:hunter2@:x/\"\n", &["passd.toml:2: cameras.a.source", "***@"]);
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
        let text = "[cameras.a]\nsource = \"rtsp://u:${CAM_PW}@h/$${x}\"\n";
        let config = with(
            text,
            &[("CAM_PW", "hunter2"), ("PASSD__SKIP__PATCH", "64"), ("PASSD__HTTP__LISTEN", "127.0.0.1:1234")],
        );
        let config = config.unwrap();
        assert_eq!(config.cameras[0].skip.patch, Some(64));
        assert_eq!(config.http.as_ref().unwrap().listen.port(), 1234);
        assert_eq!(config.cameras[0].source, "rtsp://u:hunter2@h/${x}");
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
