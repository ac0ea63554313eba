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
    text: &'a str,
    root: Option<Spanned<DeTable<'a>>>,
}

impl<'a> Document<'a> {
    /// # Errors
    /// The file is no TOML: line and reason.
    pub fn parse(text: &'a str) -> Result<Self, Problem> {
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { text, root: Some(root) }),
            Err(e) => Err(Problem {
                line: e.span().map(|s| line_of(text, s.start)),
                key: String::new(),
                what: format!("this is no TOML: {}", e.message()),
            }),
        }
    }

    /// The line of `key`, or of the nearest table around it that is in the file.
    pub fn line(&self, key: &str) -> Option<usize> {
        let mut table = self.root.as_ref()?.get_ref();
        let mut found = None;
        for part in key.split('.') {
            let part = part.split('[').next().unwrap_or(part);
            let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == part) else { break };
            found = Some(line_of(self.text, name.span().start));
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        found
    }

    /// Every key that `schema` does not have, with the one that was probably meant.
    pub fn unknown_keys(&self, schema: &serde_json::Value) -> Vec<Problem> {
        let mut problems = Vec::new();
        if let Some(root) = &self.root {
            self.check_table(root.get_ref(), schema, schema, "", &mut problems);
        }
        problems
    }

    fn check_table(
        &self,
        table: &DeTable<'_>,
        schema: &serde_json::Value,
        root: &serde_json::Value,
        path: &str,
        out: &mut Vec<Problem>,
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
                None => out.push(Problem {
                    line: Some(line_of(self.text, name.span().start)),
                    what: unknown(name.get_ref(), known.keys().map(String::as_str)),
                    key,
                }),
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

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}
