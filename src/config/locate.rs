//! From a key to its place in the file, and the words of a complaint.

use std::fmt;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line in the file, from 1; `None` where the value came from the environment or a default.
    pub line: Option<usize>,
    /// `cameras.front.source`; empty for the file as a whole.
    pub key: String,
    pub what: String,
}

/// Everything that is wrong with a config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    pub file: String,
    pub problems: Vec<Problem>,
}

/// Most problems that are listed: who has more has one mistake many times.
pub const MOST_PROBLEMS: usize = 20;

impl ConfigError {
    /// Of `n_all` problems the first are `problems`.
    pub fn new(file: &str, mut problems: Vec<Problem>, n_all: usize) -> Self {
        problems.truncate(MOST_PROBLEMS);
        let n_more = n_all.saturating_sub(problems.len());
        if n_more > 0 {
            problems.push(Problem { line: None, key: String::new(), what: format!("and {n_more} more like these") });
        }
        Self { file: file.into(), problems }
    }

    /// One problem of the file as a whole.
    pub fn whole(file: &str, what: String) -> Self {
        Self::new(file, vec![Problem { line: None, key: String::new(), what }], 1)
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, p) in self.problems.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if let Some(line) = p.line {
                write!(f, ":{line}")?;
            }
            if !p.key.is_empty() {
                write!(f, ": {}", p.key)?;
            }
            write!(f, ": {}", p.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// A parsed file that still knows its lines.
pub struct Document<'a> {
    root: Spanned<DeTable<'a>>,
    /// Where each line ends, in bytes.
    ends: Vec<usize>,
}

/// Keys that a schema does not have: the first of them, and how many there are.
#[derive(Debug, Default)]
pub struct UnknownKeys {
    pub first: Vec<Problem>,
    pub n: usize,
}

impl<'a> Document<'a> {
    /// # Errors
    /// The file is no TOML: line and reason.
    pub fn parse(text: &'a str) -> Result<Self, Problem> {
        let ends = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at).collect::<Vec<_>>();
        let problem = |e: &toml::de::Error, why: &str| Problem {
            line: e.span().map(|s| line_of(&ends, s.start)),
            key: String::new(),
            what: format!("not valid TOML: {why}"),
        };
        let root = DeTable::parse(text).map_err(|e| problem(&e, e.message()))?;
        // Numbers are texts up to here.
        let in_words = |e: toml::de::Error| {
            let is_number = ["integer", "float"].iter().any(|kind| e.message().contains(kind));
            problem(&e, if is_number { "the number is too large" } else { e.message() })
        };
        toml::from_str::<toml::Table>(text).map_err(in_words)?;
        Ok(Self { root, ends })
    }

    /// The line of `key`, or of the nearest table around it that is in the file.
    pub fn line(&self, key: &str) -> Option<usize> {
        let mut table = self.root.get_ref();
        let mut found = None;
        for part in key.split('.') {
            let part = part.split('[').next().unwrap_or(part);
            let Some((name, value)) = table.get_key_value(part) else { break };
            found = Some(line_of(&self.ends, name.span().start));
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        found
    }

    /// Every key that `schema` does not have, with the one that was probably meant.
    pub fn unknown_keys(&self, schema: &serde_json::Value) -> UnknownKeys {
        let mut unknown = UnknownKeys::default();
        self.check_table(self.root.get_ref(), schema, schema, "", &mut unknown);
        unknown
    }

    fn check_table(
        &self,
        table: &DeTable<'_>,
        schema: &serde_json::Value,
        root: &serde_json::Value,
        path: &str,
        out: &mut UnknownKeys,
    ) {
        let schema = follow(schema, root);
        let Some(known) = schema.get("properties").and_then(|p| p.as_object()) else {
            // A map: any key, one schema for all values.
            if let Some(values) = schema.get("additionalProperties").filter(|v| v.is_object()) {
                for (name, value) in table {
                    if let DeValue::Table(inner) = value.get_ref() {
                        self.check_table(inner, values, root, &join(path, name.get_ref()), out);
                    }
                }
            }
            return;
        };
        for (name, value) in table {
            let key = join(path, name.get_ref());
            match known.get(name.get_ref().as_ref()) {
                Some(inner) => {
                    if let DeValue::Table(table) = value.get_ref() {
                        self.check_table(table, inner, root, &key, out);
                    }
                }
                None => {
                    out.n += 1;
                    if out.first.len() < MOST_PROBLEMS {
                        let what = unknown(name.get_ref(), known.keys().map(String::as_str));
                        out.first.push(Problem { line: Some(line_of(&self.ends, name.span().start)), what, key });
                    }
                }
            }
        }
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

/// The schema itself, where it only points to another.
fn follow<'s>(schema: &'s serde_json::Value, root: &'s serde_json::Value) -> &'s serde_json::Value {
    let pointer = schema.get("$ref").and_then(|r| r.as_str()).and_then(|r| r.strip_prefix('#'));
    pointer.and_then(|p| root.pointer(p)).unwrap_or(schema)
}

/// Least likeness (Jaro-Winkler) of a suggestion.
const ALIKE: f64 = 0.75;

/// "unknown key", with a suggestion or the list of what there is.
pub fn unknown<'k>(key: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    let near = known
        .clone()
        .map(|k| (strsim::jaro_winkler(key, k), k))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match near {
        Some((_, k)) => format!("unknown key; did you mean '{k}'?"),
        None => format!("unknown key; there are {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// The line of a byte, from 1; `ends` are those of the lines before.
fn line_of(ends: &[usize], at: usize) -> usize {
    ends.partition_point(|end| *end < at) + 1
}
