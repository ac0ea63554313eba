//! The reference of the config as a page, made from the schema: what is said of a key is said once.

use serde_json::{Map, Value};
use std::fmt::Write as _;

/// The page in Markdown; `docs/config.md` is a copy of it.
pub fn reference() -> String {
    let schema = serde_json::to_value(super::file::schema()).unwrap_or_default();
    let mut tables = Vec::new();
    walk(&schema, &schema, "", &mut tables);
    let mut page = String::from(
        "# Config reference\n\n\
         Made by `passd schema --reference`; do not edit. A key that is left out has its default. Every single value (no lists)\n\
         can be set by the environment too: `PASSD__SKIP__PATCH=32` is `skip.patch`. `${NAME}` in a text stands for a secret: a\n\
         credential of systemd, else a variable of the environment.\n",
    );
    for table in tables {
        // Writing to a string cannot fail.
        let _ = table.write(&schema, &mut page);
    }
    page
}

/// A table of the config, and everywhere that it may stand.
struct Table<'a> {
    name: &'a str,
    paths: Vec<String>,
    about: &'a str,
    keys: Vec<(&'a String, &'a Value)>,
}

/// The tables below a schema, in the order in which they come.
fn walk<'a>(root: &'a Value, here: &'a Value, path: &str, tables: &mut Vec<Table<'a>>) {
    let Some(properties) = here["properties"].as_object() else { return };
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    for (key, value) in properties {
        let (name, path) = match (name_of(value), name_of(&value["additionalProperties"])) {
            (Some(name), _) => (name, below(key)),
            (_, Some(name)) => (name, format!("{}.NAME", below(key))),
            _ => continue,
        };
        let table = &root["$defs"][name];
        let Some(keys) = table["properties"].as_object() else { continue };
        match tables.iter_mut().find(|t| t.name == name) {
            Some(known) => known.paths.push(path.clone()),
            None => tables.push(Table {
                name,
                paths: vec![path.clone()],
                about: table["description"].as_str().unwrap_or_default(),
                keys: leaves(root, keys),
            }),
        }
        walk(root, table, &path, tables);
    }
}

/// Keys that hold a value, not a table.
fn leaves<'a>(root: &Value, keys: &'a Map<String, Value>) -> Vec<(&'a String, &'a Value)> {
    let is_table = |v: &Value| name_of(v).is_some_and(|name| root["$defs"][name]["properties"].is_object());
    keys.iter().filter(|(_, v)| !is_table(v) && !is_table(&v["additionalProperties"])).collect()
}

fn name_of(value: &Value) -> Option<&str> {
    value["$ref"].as_str()?.strip_prefix("#/$defs/")
}

impl Table<'_> {
    fn write(&self, root: &Value, page: &mut String) -> std::fmt::Result {
        let titles: Vec<String> = self.paths.iter().map(|p| format!("`[{p}]`")).collect();
        write!(page, "\n## {}\n\n{}\n", titles.join(", "), self.about)?;
        if !self.keys.is_empty() {
            page.push_str("\n| key | what it takes | meaning |\n|---|---|---|\n");
        }
        for (key, value) in &self.keys {
            let about = value["description"].as_str().unwrap_or_default().replace('\n', " ").replace('|', "\\|");
            writeln!(page, "| `{key}` | {} | {about} |", takes(root, value))?;
        }
        Ok(())
    }
}

/// What a value may be, in words.
fn takes(root: &Value, value: &Value) -> String {
    if let Some(name) = name_of(value) {
        return takes(root, &root["$defs"][name]);
    }
    let words = |values: &mut dyn Iterator<Item = &Value>| {
        values.filter_map(Value::as_str).map(|v| format!("`{v}`")).collect::<Vec<_>>().join(", ")
    };
    if let Some(values) = value["enum"].as_array() {
        return words(&mut values.iter());
    }
    if let Some(any) = value["anyOf"].as_array().or(value["oneOf"].as_array()) {
        if any.iter().any(|v| v["const"].is_string()) {
            return words(&mut any.iter().map(|v| &v["const"]));
        }
        return any.iter().find(|v| v["type"] != "null").map_or(String::new(), |v| takes(root, v));
    }
    let kind = value["type"].as_str().or_else(|| value["type"].as_array()?.first()?.as_str()).unwrap_or_default();
    let range = match (value["minimum"].as_f64(), value["maximum"].as_f64()) {
        (Some(lo), Some(hi)) => format!(", {lo} to {hi}"),
        (Some(lo), None) if lo > 0.0 => format!(", {lo} or more"),
        _ => String::new(),
    };
    match kind {
        "array" if value["maxItems"].is_number() => format!("[{0}, {0}]", takes(root, &value["items"])),
        "array" => format!("list of {}", takes(root, &value["items"])),
        "integer" => format!("whole number{range}"),
        "number" => format!("number{range}"),
        "boolean" => "true or false".into(),
        "string" => "text".into(),
        other => other.into(),
    }
}
