//! What is kept on the broker: retained topics as a function of the board. Pure.
//!
//! | topic | payload |
//! |---|---|
//! | `passd/status` | `online`, `offline` (the last will) |
//! | `passd/CAMERA/state` | `live`, `connecting`, `stalled`, `backing_off`, `ended` |
//! | `passd/CAMERA/count/LABEL`, `passd/CAMERA/zone/ZONE/LABEL` | objects there now |
//! | `passd/CAMERA/line/LINE/LABEL` | `{"right": 3, "left": 1}`, crossings since the camera's start |
//! | `passd/CAMERA/detection/state`, `…/skip_mode/state`, `…/score/state` | what is set; `…/set` sets it, nothing undoes it |
//! | `passd/CAMERA/events` | not retained: messages about events |
//! | `passd/CAMERA/mark/set` | what somebody says of an event or a picture, JSON; where something is learned |

use crate::output::board::CameraBoard;
use crate::output::desk::NewMark;
use crate::output::{Command, Setting};
use crate::wire::frame::CountsJson;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Retained topics with their payloads.
pub type Kept = BTreeMap<String, String>;

/// Labels that a camera has shown since the connection was made: they stay, with a count of 0.
pub type Shown = BTreeMap<String, BTreeSet<String>>;

pub const ONLINE: &str = "online";
pub const OFFLINE: &str = "offline";
const SKIP_MODES: [&str; 4] = ["auto", "off", "regions", "layers"];
/// Largest mark, bytes.
const MAX_MARK: usize = 4 << 10;

pub fn status(prefix: &str) -> String {
    format!("{prefix}/status")
}

pub fn events(prefix: &str, camera: &str) -> String {
    format!("{prefix}/{camera}/events")
}

/// Topics of which a message is a command.
pub fn commands(prefix: &str) -> [String; 3] {
    ["detection", "skip_mode", "score"].map(|what| format!("{prefix}/+/{what}/set"))
}

/// Topics of which a message is a mark.
pub fn marks(prefix: &str) -> String {
    format!("{prefix}/+/mark/set")
}

/// The camera of whose pictures a message on a topic says something.
pub fn marked<'a>(prefix: &str, topic: &'a str) -> Option<&'a str> {
    let parts = topic.strip_prefix(prefix)?.strip_prefix('/')?;
    let camera = parts.strip_suffix("/mark/set")?;
    (!camera.contains('/')).then_some(camera)
}

/// Reads a mark of that camera.
///
/// # Errors
/// What is wrong with it, for the log.
pub fn mark(camera: &str, payload: &[u8]) -> Result<NewMark, String> {
    if payload.len() > MAX_MARK {
        return Err(format!("{} bytes are too many", payload.len()));
    }
    let mark: NewMark = serde_json::from_slice(payload).map_err(|e| format!("that is no mark: {e}"))?;
    match &mark.camera {
        Some(other) if other != camera => Err(format!("it is of '{other}'")),
        _ => Ok(NewMark { camera: Some(camera.to_owned()), ..mark }),
    }
}

/// Reads a command.
///
/// # Errors
/// What is wrong with it, for the log.
pub fn command(prefix: &str, topic: &str, payload: &[u8]) -> Result<Command, String> {
    let parts: Vec<&str> =
        topic.strip_prefix(prefix).and_then(|t| t.strip_prefix('/')).unwrap_or("").split('/').collect();
    let [camera, what, "set"] = parts.as_slice() else { return Err("is no topic of ours".into()) };
    if payload.len() > 64 {
        return Err(format!("{} bytes are too many", payload.len()));
    }
    let text = std::str::from_utf8(payload).map_err(|_| "is no text".to_owned())?.trim();
    let setting = match *what {
        "detection" => Setting::Detection(match text {
            "" => None,
            "ON" | "on" | "true" | "1" => Some(true),
            "OFF" | "off" | "false" | "0" => Some(false),
            _ => return Err(format!("'{text}' is neither ON nor OFF")),
        }),
        "skip_mode" if text.is_empty() => Setting::SkipMode(None),
        "skip_mode" => match serde_json::from_value(json!(text)) {
            Ok(mode) if SKIP_MODES.contains(&text) => Setting::SkipMode(Some(mode)),
            _ => return Err(format!("'{text}' is none of {}", SKIP_MODES.join(", "))),
        },
        "score" if text.is_empty() => Setting::Score(None),
        "score" => match text.parse::<f32>() {
            Ok(score) if (0.0..=1.0).contains(&score) => Setting::Score(Some(score)),
            _ => return Err(format!("'{text}' is no number from 0 to 1")),
        },
        _ => return Err("is no topic of ours".into()),
    };
    Ok(Command { camera: (*camera).to_owned(), setting })
}

/// Everything that is to be kept on the broker for a camera.
pub fn camera(prefix: &str, c: &CameraBoard, shown: &mut Shown, out: &mut Kept) {
    let base = format!("{prefix}/{}", c.id);
    out.insert(format!("{base}/state"), c.condition().0.into());
    let control = c.looks().control;
    out.insert(format!("{base}/detection/state"), on_off(control.detection).into());
    out.insert(format!("{base}/skip_mode/state"), control.skip_mode.into());
    out.insert(format!("{base}/score/state"), format!("{:.2}", control.score));
    let counts = CountsJson::new(&c.counts());
    let labels = shown.entry(c.id.to_string()).or_default();
    let all = counts.present.keys().chain(counts.zones.values().flat_map(BTreeMap::keys));
    for label in all {
        labels.insert(label.clone());
    }
    for label in labels.iter() {
        // Labels come from models: what means something in a topic is replaced.
        let plain = plain(label);
        let n = |counts: &BTreeMap<String, u32>| counts.get(label).copied().unwrap_or(0).to_string();
        out.insert(format!("{base}/count/{plain}"), n(&counts.present));
        for (zone, counts) in &counts.zones {
            out.insert(format!("{base}/zone/{zone}/{plain}"), n(counts));
        }
    }
    for (line, crossed) in &counts.lines {
        for (label, n) in crossed {
            out.insert(format!("{base}/line/{line}/{}", plain(label)), json!(n).to_string());
        }
    }
}

const fn on_off(on: bool) -> &'static str {
    if on { "ON" } else { "OFF" }
}

/// A label as a part of a topic and of a name in Home Assistant.
fn plain(label: &str) -> String {
    label.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// Home Assistant's discovery: what appears there by itself, one device a camera.
pub fn discovery(prefix: &str, discovery_prefix: &str, c: &CameraBoard, shown: &Shown, out: &mut Kept) {
    let base = format!("{prefix}/{}", c.id);
    let node = format!("{}_{}", plain(prefix), c.id);
    let device = json!({
        "identifiers": [node], "name": format!("passd {}", c.id), "manufacturer": "passd",
        "model": c.looks().model, "sw_version": env!("CARGO_PKG_VERSION"),
    });
    let mut entity = |kind: &str, name: &str, title: &str, more: Value| {
        let mut config = json!({
            "name": title, "unique_id": format!("{node}_{name}"), "object_id": format!("{node}_{name}"), "device": device,
            "availability_topic": status(prefix), "payload_available": ONLINE, "payload_not_available": OFFLINE,
        });
        if let (Value::Object(config), Value::Object(more)) = (&mut config, more) {
            config.extend(more);
        }
        out.insert(format!("{discovery_prefix}/{kind}/{node}/{name}/config"), config.to_string());
    };
    entity(
        "binary_sensor",
        "live",
        "Live",
        json!({ "state_topic": format!("{base}/state"), "value_template": "{{ 'ON' if value == 'live' else 'OFF' }}",
            "device_class": "connectivity", "entity_category": "diagnostic" }),
    );
    let settable = |what: &str| {
        json!({
            "state_topic": format!("{base}/{what}/state"), "command_topic": format!("{base}/{what}/set"), "entity_category": "config",
        })
    };
    let with = |mut value: Value, more: Value| {
        if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
            value.extend(more);
        }
        value
    };
    entity("switch", "detection", "Detection", settable("detection"));
    entity("select", "skip_mode", "Skip mode", with(settable("skip_mode"), json!({ "options": SKIP_MODES })));
    entity(
        "number",
        "score",
        "Least score",
        with(settable("score"), json!({ "min": 0, "max": 1, "step": 0.05, "mode": "slider" })),
    );
    for label in shown.get(&*c.id).into_iter().flatten() {
        let plain = plain(label);
        let sensor = |topic: String| json!({ "state_topic": topic, "state_class": "measurement" });
        entity("sensor", &format!("count_{plain}"), &format!("{label} count"), sensor(format!("{base}/count/{plain}")));
        entity(
            "binary_sensor",
            &format!("seen_{plain}"),
            &format!("{label} seen"),
            json!({ "state_topic": format!("{base}/count/{plain}"), "device_class": "occupancy",
                "value_template": "{{ 'ON' if value | int > 0 else 'OFF' }}" }),
        );
        for zone in c.counts().names.zones.iter() {
            let topic = format!("{base}/zone/{zone}/{plain}");
            entity("sensor", &format!("zone_{zone}_{plain}"), &format!("{label} in {zone}"), sensor(topic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::desk::Said;
    use crate::skip::ModeChoice;

    #[test]
    fn commands_are_read_or_refused() {
        let read =
            |topic: &str, payload: &str| command("passd", topic, payload.as_bytes()).map(|c| (c.camera, c.setting));
        let is = |what: Setting| Ok(("front".to_owned(), what));
        assert_eq!(read("passd/front/detection/set", "OFF"), is(Setting::Detection(Some(false))));
        assert_eq!(read("passd/front/skip_mode/set", "regions"), is(Setting::SkipMode(Some(ModeChoice::Regions))));
        assert_eq!(read("passd/front/score/set", " 0.55\n"), is(Setting::Score(Some(0.55))));
        assert_eq!(read("passd/front/score/set", ""), is(Setting::Score(None)), "as the config has it");
        for (topic, payload, why) in [
            ("passd/front/detection/set", "maybe", "neither ON nor OFF"),
            ("passd/front/skip_mode/set", "Regions", "none of auto"),
            ("passd/front/score/set", "NaN", "no number from 0 to 1"),
            ("passd/front/score/set", "1.01", "no number from 0 to 1"),
            ("passd/front/zoom/set", "1", "no topic"),
            ("passd/a/b/detection/set", "ON", "no topic"),
            ("other/front/detection/set", "ON", "no topic"),
        ] {
            let error = read(topic, payload).unwrap_err();
            assert!(error.contains(why), "{topic}: {error}");
        }
        assert!(command("passd", "passd/front/score/set", &[0xff; 3]).is_err());
        assert!(command("passd", "passd/front/score/set", &[b'1'; 1 << 16]).unwrap_err().contains("too many"));
    }

    #[test]
    fn marks_are_read_or_refused() {
        for (topic, camera) in [
            ("passd/front/mark/set", Some("front")),
            ("passd/a/b/mark/set", None),
            ("passd/mark/set", None),
            ("passd/front/score/set", None),
            ("other/front/mark/set", None),
            ("passdfront/mark/set", None),
        ] {
            assert_eq!(marked("passd", topic), camera, "{topic}");
        }
        let read = mark("front", br#"{"said": "missed", "label": "person", "box": [1, 2, 3, 4.5]}"#).unwrap();
        let want = NewMark {
            said: Said::Missed,
            event: None,
            camera: Some("front".into()),
            frame: None,
            label: Some("person".into()),
            bbox: Some([1.0, 2.0, 3.0, 4.5]),
        };
        assert_eq!(read, want);
        assert_eq!(mark("front", br#"{"said": "right", "camera": "front"}"#).unwrap().said, Said::Right);
        for (payload, why) in [
            ("", "no mark"),
            ("{\"said\": \"maybe\"}", "no mark"),
            ("{\"said\": \"right\", \"when\": 1}", "no mark"),
            ("{\"said\": \"right\", \"camera\": \"yard\"}", "of 'yard'"),
        ] {
            let error = mark("front", payload.as_bytes()).unwrap_err();
            assert!(error.contains(why), "{payload}: {error}");
        }
        assert!(mark("front", &[b' '; MAX_MARK + 1]).unwrap_err().contains("too many"));
    }

    #[test]
    fn labels_become_parts_of_topics() {
        assert_eq!(plain("Traffic light/#+"), "traffic_light___");
    }
}
