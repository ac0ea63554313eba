//! The shape of the code base: which module may know of which, who may name
//! which library, how long a file may be, and that documents name what exists.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files_below(folder: &Path, ending: &str, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files_below(&path, ending, out);
        } else if path.extension().is_some_and(|e| e == ending) {
            out.push(path);
        }
    }
}

/// The files of the daemon, by their paths below `src`.
fn sources() -> Vec<(String, String)> {
    sources_below("src")
}

fn sources_below(folder: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    files_below(&root().join(folder), "rs", &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(root().join(folder)).unwrap().display().to_string();
            (name, std::fs::read_to_string(&path).unwrap())
        })
        .collect()
}

/// The crates beside the daemon's, which are pure.
const CRATES: [&str; 2] = ["engine", "train"];

/// The files of all crates.
fn all_sources() -> Vec<(String, String)> {
    let of = |name: &'static str| {
        let sources = sources_below(&format!("crates/{name}/src")).into_iter();
        sources.map(move |(file, text)| (format!("{name}/{file}"), text))
    };
    sources().into_iter().chain(CRATES.iter().copied().flat_map(of)).collect()
}

/// A file's code, without its tests and comments.
fn code(text: &str) -> String {
    let is_code = |l: &&str| !l.trim_start().starts_with("//");
    without_tests(text).lines().filter(is_code).collect::<Vec<_>>().join("\n")
}

/// What stands before a file's tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap()
}

/// For each module those of ours that it may use. Arrows point one way:
/// leaves <- pure <- adapters <- pipeline <- daemon <- cli.
/// Arrows between crates are the compiler's; `engine` is the layer engine, of which the skip stage knows only tolerances and the policy.
const MAY_USE: [(&str, &[&str]); 31] = [
    ("geom", &[]),
    ("clock", &[]),
    ("files", &[]),
    ("process", &[]),
    ("web", &["files"]),
    ("secret", &[]),
    ("text", &[]),
    ("backoff", &[]),
    ("schedule", &[]),
    ("frame", &["geom"]),
    ("sim", &["geom"]),
    ("skip", &["engine", "frame", "geom"]),
    ("detect", &["geom"]),
    ("models", &["detect", "engine", "files", "geom", "web"]),
    ("infer", &["detect", "engine", "frame", "geom", "models", "skip", "text"]),
    ("merge", &["detect", "frame", "geom", "infer"]),
    ("track", &["detect", "geom", "merge"]),
    ("scene", &["detect", "geom", "track"]),
    ("stage", &["detect", "engine", "frame", "geom", "infer", "merge", "skip", "track"]),
    ("outcome", &["frame", "geom", "infer", "merge", "scene", "skip", "track"]),
    ("wire", &["detect", "geom", "merge", "outcome", "scene", "track"]),
    ("capture", &["backoff", "clock", "files", "frame", "geom", "process", "secret", "sim", "text"]),
    (
        "output",
        &[
            "backoff", "capture", "files", "geom", "merge", "outcome", "process", "scene", "schedule", "skip", "track",
            "web", "wire",
        ],
    ),
    (
        "config",
        &[
            "capture", "detect", "files", "geom", "infer", "learn", "output", "scene", "schedule", "secret", "skip",
            "track",
        ],
    ),
    (
        "pipeline",
        &[
            "capture", "clock", "config", "detect", "engine", "frame", "geom", "infer", "merge", "models", "outcome",
            "output", "process", "scene", "schedule", "skip", "stage", "text", "track", "wire",
        ],
    ),
    (
        "eval",
        &[
            "capture", "detect", "engine", "frame", "geom", "infer", "merge", "models", "process", "sim", "skip",
            "stage", "track",
        ],
    ),
    (
        "learn",
        &[
            "capture", "clock", "detect", "engine", "eval", "files", "frame", "geom", "infer", "models", "outcome",
            "output", "process", "schedule", "sim", "track", "wire",
        ],
    ),
    (
        "daemon",
        &["capture", "clock", "config", "files", "infer", "learn", "models", "output", "pipeline", "schedule", "skip"],
    ),
    ("doctor", &["capture", "config", "engine", "files", "infer", "models", "output", "pipeline", "web"]),
    (
        "cli",
        &[
            "capture", "config", "daemon", "detect", "doctor", "engine", "eval", "files", "frame", "geom", "infer",
            "learn", "merge", "models", "outcome", "output", "pipeline", "sim", "skip", "text", "web", "wire",
        ],
    ),
    ("main.rs", &["cli"]),
];

#[test]
fn arrows_point_one_way() {
    for (name, text) in sources() {
        let module = name.split('/').next().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let module = if module == "main" { "main.rs" } else { module };
        let (_, allowed) =
            MAY_USE.iter().find(|(m, _)| *m == module).unwrap_or_else(|| panic!("{name}: say what {module} may use"));
        let code = code(&text);
        let word = |at: usize| code[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let ours = code.match_indices("crate::").map(|(at, _)| word(at + 7));
        let engine = code.lines().filter(|l| l.trim_start().starts_with("use engine::")).map(|l| {
            assert!(
                module != "skip" || l.contains("engine::tolerance") || l.contains("engine::gating::policy"),
                "{name}: {l}"
            );
            "engine".to_owned()
        });
        for used in ours.chain(engine) {
            assert!(used == module || allowed.contains(&used.as_str()), "{name} uses {used}, which {module} may not");
        }
    }
}

/// Paths below modules that code names: `a::b::{c, d}` is `a::b::c` and `a::b::d`.
fn paths_of(text: &str) -> Vec<Vec<String>> {
    let end = text.find(|c: char| !c.is_alphanumeric() && !"_:{".contains(c)).unwrap_or(text.len());
    let (head, rest) = match text.find('{').filter(|at| *at <= end) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (&text[..end], ""),
    };
    let head: Vec<String> = head.split("::").filter(|w| !w.is_empty()).map(str::to_owned).collect();
    if rest.is_empty() {
        return vec![head];
    }
    let (mut depth, mut from, mut all) = (0, 0, Vec::new());
    for (at, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            ',' | '}' if depth == 0 => {
                all.extend(paths_of(rest[from..at].trim()).into_iter().map(|p| [head.clone(), p].concat()));
                from = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    all
}

/// Which files of a crate name which others, by their modules.
fn arrows(sources: &[(String, String)]) -> Vec<(Vec<String>, BTreeSet<Vec<String>>)> {
    let module = |name: &str| {
        let name = name.trim_end_matches(".rs");
        name.split('/').filter(|p| !["mod", "lib", "main"].contains(p)).map(str::to_owned).collect::<Vec<_>>()
    };
    let modules: BTreeSet<Vec<String>> = sources.iter().map(|(name, _)| module(name)).collect();
    let file_of = |path: Vec<String>| (0..=path.len()).rev().map(|n| path[..n].to_vec()).find(|m| modules.contains(m));
    let of = |(name, text): &(String, String)| {
        let (this, code) = (module(name), code(text));
        let mut named = Vec::new();
        for (at, _) in code.match_indices("crate::") {
            named.extend(paths_of(&code[at + 7..]));
        }
        for (at, _) in code.match_indices("super::").filter(|(at, _)| !code[..*at].ends_with("::")) {
            let supers = code[at..].split("super::").take_while(|s| s.is_empty()).count() - 1;
            let supers = supers.max(1);
            let base = &this[..this.len().saturating_sub(supers)];
            let rest = paths_of(&code[at + 7 * supers..]);
            named.extend(rest.into_iter().map(|path| [base, &path].concat()));
        }
        // What a file says of its own children.
        for child in modules.iter().filter(|m| m.len() == this.len() + 1 && m.starts_with(&this)) {
            let path = format!("{}::", child[this.len()]);
            let starts = |at: usize| !code[..at].ends_with(|c: char| c.is_alphanumeric() || "_:".contains(c));
            if code.match_indices(&path).any(|(at, _)| starts(at)) {
                named.push(child.clone());
            }
        }
        let files = named.into_iter().filter_map(file_of).filter(|file| *file != this);
        (this.clone(), files.collect())
    };
    sources.iter().map(of).collect()
}

/// Whoever reads a file reads only what stands before it.
#[test]
fn files_know_each_other_in_one_direction() {
    for (crate_name, least) in [("src", 500), ("crates/engine/src", 150), ("crates/train/src", 10)] {
        let mut left = arrows(&sources_below(crate_name));
        let n_arrows = left.iter().map(|(_, to)| to.len()).sum::<usize>();
        assert!(n_arrows > least, "{crate_name}: arrows are found: {n_arrows}");
        // Those that know nobody, again and again.
        loop {
            let known: BTreeSet<_> = left.iter().map(|(file, _)| file.clone()).collect();
            let before = left.len();
            left.retain(|(_, to)| to.iter().any(|file| known.contains(file)));
            if left.len() == before {
                break;
            }
        }
        assert!(left.is_empty(), "{crate_name}: a circle: {left:#?}");
    }
}

/// What the crates beside the daemon's may name of the world, and where: time for counters alone, threads for the pool that
/// they are asked for.
#[test]
fn the_engine_and_training_are_pure() {
    const WORLD: [&str; 8] =
        ["std::fs", "std::net", "std::env", "std::process", "std::thread", "tracing", "log::", "println!"];
    const TIME: [&str; 3] = ["engine/exec/counters.rs", "engine/exec/runner.rs", "engine/exec/tile.rs"];
    const THREADS: [&str; 5] =
        ["engine/exec/", "train/batch.rs", "train/float/conv.rs", "train/int8/conv.rs", "train/int8/transpose.rs"];
    for (name, text) in CRATES.iter().flat_map(|c| all_sources().into_iter().filter(move |(n, _)| n.starts_with(c))) {
        let code = code(&text);
        for word in WORLD {
            assert!(!code.contains(word), "{name} names {word}");
        }
        assert!(!code.contains("std::time") || TIME.contains(&name.as_str()), "{name} has a clock");
        assert!(!code.contains("rayon") || THREADS.iter().any(|p| name.starts_with(p)), "{name} has threads");
    }
}

/// Libraries that only some files may name.
const CONFINED: [(&str, &[&str]); 10] = [
    ("ort::", &["infer/session.rs"]),
    (
        "gstreamer",
        &[
            "capture/gst/",
            "capture/video.rs",
            "capture/mod.rs",
            "capture/template.rs",
            "capture/survey.rs",
            "output/mounts.rs",
            "output/restream.rs",
        ],
    ),
    ("opencv::", &["output/draw/opencv.rs", "skip/diff.rs"]),
    ("embedded_graphics", &["output/draw/plain.rs"]),
    ("axum::", &["output/http/"]),
    ("rumqttc", &["output/mqtt/mod.rs"]),
    ("hyper::", &["output/http/serve.rs"]),
    ("ureq::", &["output/webhook.rs", "web.rs"]),
    ("sd_notify", &["daemon/notify.rs"]),
    ("tar::", &["output/parcel.rs"]),
];

#[test]
fn libraries_stay_where_they_belong() {
    for (name, text) in sources() {
        for (library, places) in CONFINED {
            let named = text.lines().any(|l| {
                let l = l.trim_start();
                let at_word =
                    |i: usize| i == 0 || !l.as_bytes()[i - 1].is_ascii_alphanumeric() && l.as_bytes()[i - 1] != b'_';
                !l.starts_with("//") && !l.contains('"') && l.match_indices(library).any(|(i, _)| at_word(i))
            });
            assert!(!named || places.iter().any(|p| name.starts_with(p)), "{name} names {library}");
        }
    }
}

#[test]
fn files_are_of_one_concept_and_never_panic_by_habit() {
    for (name, text) in all_sources() {
        let n = text.lines().count();
        assert!(n <= 800, "{name} has {n} lines");
        if name != "main.rs" {
            assert!(text.starts_with("//!"), "{name} begins with what it is for");
        }
        let code = without_tests(&text);
        for bad in [".unwrap()", "todo!(", "unimplemented!(", "dbg!("] {
            assert!(!code.contains(bad), "{name} has {bad} outside its tests");
        }
    }
    let main = std::fs::read_to_string(root().join("src/main.rs")).unwrap();
    assert!(main.lines().count() < 100);
}

/// One meaning a word: `Args` are each command's, and GObject wants its wrapper to be called as what it wraps.
#[test]
fn no_public_type_has_the_name_of_another() {
    const SEVERAL: [&str; 2] = ["Args", "HidingMountPoints"];
    let mut known = std::collections::BTreeMap::new();
    for (name, text) in all_sources() {
        for line in code(&text).lines() {
            let words: Vec<&str> = line.trim_start().split([' ', '<', '(', ')', ';', '{', ':']).collect();
            let Some(at) = words.iter().position(|w| ["struct", "enum", "trait", "type", "union"].contains(w)) else {
                continue;
            };
            if words[0] == "pub" && !SEVERAL.contains(&words[at + 1]) {
                let before = known.insert(words[at + 1].to_owned(), name.clone());
                assert!(before.is_none(), "{}: in {name} and in {}", words[at + 1], before.unwrap_or_default());
            }
        }
    }
    assert!(known.len() > 200, "types are found: {}", known.len());
}

/// Those of `tracing_mutex` are the standard library's, but panic in debug builds where two are taken in both orders.
#[test]
fn locks_are_those_whose_order_is_checked() {
    for (name, text) in all_sources() {
        for line in text.lines().filter(|l| l.contains("std::sync::") && !l.trim_start().starts_with("//")) {
            for lock in ["Mutex", "RwLock", "Condvar"] {
                assert!(!line.contains(lock), "{name}: {lock} is to come from tracing_mutex: {line}");
            }
        }
    }
}

#[test]
fn code_cites_documents_that_exist() {
    for (name, text) in all_sources() {
        for line in text.lines().filter(|l| l.trim_start().starts_with("//")) {
            for word in line.split([' ', '`', '(', ')', ',', ':', ';']).filter(|w| w.ends_with(".md")) {
                let is_ours = [root().join(word), root().join("docs").join(word), root().join("benches").join(word)];
                assert!(is_ours.iter().any(|path| path.exists()), "{name} cites {word}");
            }
        }
    }
}

#[test]
fn documents_name_tests_that_exist() {
    let text = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let mut paths = Vec::new();
    ["src", "tests", "crates"].iter().for_each(|folder| files_below(&root().join(folder), "rs", &mut paths));
    let code: String = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let is_test = |word: &&str| {
        word.matches('_').count() >= 3 && word.chars().all(|c| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let named: Vec<&str> = text.split('`').skip(1).step_by(2).filter(is_test).collect();
    assert!(named.len() > 30, "{named:?}");
    for name in named {
        assert!(code.contains(&format!("fn {name}()")), "ARCHITECTURE.md names {name}, which is no test");
    }
}

#[test]
fn documents_name_paths_that_exist() {
    let mut documents: Vec<PathBuf> = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(|f| root().join(f)).to_vec();
    files_below(&root().join("pipelines"), "md", &mut documents);
    files_below(&root().join("benches"), "md", &mut documents);
    let mut missing = BTreeSet::new();
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap_or_else(|e| panic!("{}: {e}", document.display()));
        for word in text.split(['`', '(', ')', ' ', '\n', '|', '"']) {
            let word = word.trim_end_matches(['.', ',', ':', ';']);
            let top = word.split('/').next().unwrap_or_default();
            let ours = [
                "src",
                "crates",
                "models",
                "pipelines",
                "configs",
                "systemd",
                "tests",
                "benches",
                "scripts",
                "examples",
            ];
            let plain = word.contains('/') && !word.contains(['*', '<', '…', '=']) && ours.contains(&top);
            if plain && !root().join(word).exists() {
                missing.insert(format!("{}: {word}", document.file_name().unwrap().display()));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}
