//! The config as it runs, written as a config again: every default filled in, secrets hidden.
//!
//! Where there are no secrets, what it says can be loaded and gives the same config.

use super::file::{self, File};
use super::resolved::{CameraConfig, Config, JsonlTarget};
use crate::scene::filter::Filter;
use std::time::Duration;

/// Stands for a secret.
const HIDDEN: &str = "***";

/// The config as TOML.
pub fn effective(config: &Config) -> String {
    let file = File {
        cameras: config
            .cameras
            .iter()
            .map(|c| (c.id.clone(), file::CameraTable { learn: camera_learn(config, &c.id), ..camera(c) }))
            .collect(),
        inference: inference(config),
        budget: file::BudgetTable { cpu: config.budget.cpu, latency: config.budget.latency.map(seconds) },
        http: http(config),
        output: file::OutputTable { jsonl: jsonl(config) },
        events: events(config),
        mqtt: mqtt(config),
        webhook: webhook(config),
        restream: restream(config),
        learn: learn(config),
        ..File::default()
    };
    toml::to_string(&file).unwrap_or_else(|e| format!("# the config cannot be written: {e}\n"))
}

fn camera(c: &CameraConfig) -> file::CameraTable {
    file::CameraTable {
        source: Some(c.source.shown.clone()),
        enabled: None,
        detect: Some(c.detect),
        masks: c.skip.masks.clone(),
        zones: c.scene.zones.iter().map(|z| (z.name.clone(), zone(z))).collect(),
        lines: c.scene.lines.iter().map(|l| (l.name.clone(), line(l))).collect(),
        filters: c.filters.by_label.iter().map(|(label, f)| (label.clone(), filter(f))).collect(),
        required_zones: c.scene.required.clone(),
        detector: file::DetectorTable {
            model: Some(c.detector.model.clone()),
            size: c.detector.size.map(|s| s.to_string()),
            score: Some(c.detector.score),
            nms_iou: Some(c.detector.nms_iou),
            labels: (!c.labels.is_empty()).then(|| c.labels.clone()),
        },
        skip: file::Skip {
            mode: Some(c.skip_mode.into()),
            patch: c.skip.patch,
            threshold: c.skip.threshold,
            max_age: c.skip.max_age_ns.map(ns),
            predict: c.skip.predict_ns.map(ns),
            global_share: Some(c.skip.global_share),
            context: c.detector.context,
            break_even: c.detector.break_even,
        },
        tracking: file::TrackingTable {
            lost: Some(ns(c.tracking.lost_ns)),
            lost_stationary: Some(ns(c.tracking.lost_stationary_ns)),
            stationary: Some(ns(c.tracking.stationary_ns)),
        },
        capture: file::Capture {
            pace: (c.pace == crate::capture::Pace::Fast).then_some(file::PaceChoice::Fast),
            max_fps: c.max_fps,
            connect_timeout: Some(seconds(c.capture.connect)),
            stall_timeout: Some(seconds(c.capture.stall)),
            backoff_first: Some(seconds(c.capture.backoff_first)),
            backoff_max: Some(seconds(c.capture.backoff_cap)),
        },
        priority: Some(c.priority),
        learn: file::CameraLearn::default(),
    }
}

fn learn(config: &Config) -> file::LearnTable {
    let Some(l) = config.learn.as_ref().map(|l| &l.settings) else { return file::LearnTable::default() };
    file::LearnTable {
        mode: None,
        path: Some(l.path.clone()),
        daily: Some(l.daily.as_secs_f64()),
        share: Some(l.share),
        max_mib: Some(l.max_bytes >> 20),
        max_days: Some(l.max_age.as_secs_f64() / 86_400.0),
        every: Some(l.every.as_secs_f64()),
        steps: Some(l.n_steps),
        quiet: Some(l.quiet.as_secs_f64()),
        teacher: l.teacher.as_ref().map(ToString::to_string),
    }
}

fn camera_learn(config: &Config, id: &str) -> file::CameraLearn {
    let groups = config.learn.iter().flat_map(|l| &l.groups);
    let group = groups.into_iter().find(|g| g.cameras.iter().any(|c| c.id == id));
    file::CameraLearn { mode: group.map(|g| g.mode), group: group.map(|g| g.name.clone()) }
}

fn zone(z: &crate::scene::Zone) -> file::ZoneTable {
    file::ZoneTable {
        polygon: z.area.0.clone(),
        labels: z.labels.clone(),
        inertia: Some(z.inertia),
        loitering: Some(ns(z.loitering_ns)),
    }
}

fn line(l: &crate::scene::Line) -> file::LineTable {
    file::LineTable {
        from: Some(l.segment.from),
        to: Some(l.segment.to),
        labels: l.labels.clone(),
        inertia: Some(l.inertia),
    }
}

fn filter(f: &Filter) -> file::FilterTable {
    file::FilterTable {
        min_score: Some(f.min_score),
        min_area: Some(f.area[0]),
        max_area: Some(f.area[1]),
        min_ratio: Some(f.ratio[0]),
        max_ratio: f.ratio[1].is_finite().then_some(f.ratio[1]),
        masks: f.masks.iter().map(|m| m.0.clone()).collect(),
    }
}

fn inference(config: &Config) -> file::InferenceTable {
    // These are the same for all cameras.
    let Some(d) = config.cameras.first().map(|c| &c.detector) else { return file::InferenceTable::default() };
    file::InferenceTable {
        library: config.library.clone(),
        providers: Some(d.providers.clone()),
        policy: None,
        threads: Some(d.threads),
        workers: d.workers,
        fp16: Some(d.fp16),
        batch: Some(d.batch),
        models: config.models.clone(),
        cache: d.cache.clone(),
    }
}

fn http(config: &Config) -> file::Http {
    let Some(h) = &config.http else { return file::Http { enabled: Some(false), ..file::Http::default() } };
    file::Http {
        enabled: Some(true),
        listen: Some(h.listen.to_string()),
        stream_fps: Some(h.stream_fps),
        token: h.token.is_some().then(|| HIDDEN.into()),
    }
}

fn jsonl(config: &Config) -> file::Jsonl {
    let Some(j) = &config.jsonl else { return file::Jsonl::default() };
    file::Jsonl {
        path: Some(match &j.target {
            JsonlTarget::Stdout => "-".into(),
            JsonlTarget::File(path) => path.display().to_string(),
        }),
        rotate_mib: Some(j.rotate_bytes >> 20),
        keep: Some(j.keep),
        empty_frames: Some(j.empty_frames),
    }
}

fn events(config: &Config) -> file::Events {
    let Some(e) = &config.events else { return file::Events { enabled: Some(false), ..file::Events::default() } };
    file::Events {
        enabled: Some(true),
        path: Some(e.path.clone()),
        max_mib: Some(e.max_bytes >> 20),
        max_days: Some(seconds(e.max_age) / 86_400.0),
        max_events: Some(e.max_events),
    }
}

fn mqtt(config: &Config) -> file::Mqtt {
    let Some(m) = &config.mqtt else { return file::Mqtt::default() };
    let host = if m.host.contains(':') { format!("[{}]", m.host) } else { m.host.clone() };
    file::Mqtt {
        url: Some(format!("{}://{host}:{}", if m.tls { "mqtts" } else { "mqtt" }, m.port)),
        username: m.login.as_ref().map(|(user, _)| user.clone()),
        password: m.login.as_ref().map(|_| HIDDEN.into()),
        ca: m.ca.clone(),
        client_id: Some(m.client_id.clone()),
        prefix: Some(m.prefix.clone()),
        discovery: Some(m.discovery.is_some()),
        discovery_prefix: m.discovery.clone(),
    }
}

fn webhook(config: &Config) -> file::Webhook {
    let Some(w) = &config.webhook else { return file::Webhook::default() };
    file::Webhook {
        url: Some(w.shown()),
        token: w.token.is_some().then(|| HIDDEN.into()),
        ca: w.ca.clone(),
        events: Some(w.phases.clone()),
        timeout: Some(seconds(w.timeout)),
    }
}

fn restream(config: &Config) -> file::RestreamTable {
    let Some(r) = &config.restream else { return file::RestreamTable::default() };
    file::RestreamTable {
        listen: Some(r.listen.to_string()),
        password: r.password.is_some().then(|| HIDDEN.into()),
        software: Some(r.software),
        kbps: Some(r.kbps),
        patches: Some(r.patches),
    }
}

fn ns(ns: u64) -> f64 {
    ns as f64 / 1e9
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::super::load_text;
    use super::*;

    /// Whatever is set, and whatever is not: what is written gives the same config.
    #[test]
    fn what_is_written_says_the_same() {
        let full = r#"
            [cameras.a]
            source = "sim://street?fps=5"
            detect = false
            priority = "high"
            masks = [[[0, 0], [0.3, 0], [0.3, 0.3]]]
            required_zones = ["door"]
            zones.door = { polygon = [[0.1, 0.1], [0.5, 0.1], [0.5, 0.9]], labels = ["person"], loitering = 1.5, inertia = 5 }
            lines.gate = { from = [0.1, 0.2], to = [0.7, 0.2], labels = ["car"] }
            filters.person = { min_score = 0.55, min_area = 0.001, max_ratio = 1.5, masks = [[[0, 0], [0.2, 0], [0.2, 0.2]]] }
            detector = { size = "320x192", score = 0.35, labels = ["person", "car"] }
            skip = { mode = "regions", patch = 32, threshold = 4.5, max_age = 7.5, predict = 0.3, context = 24, break_even = 0.5 }
            tracking = { lost = 3.25 }
            capture = { pace = "fast", max_fps = 4, backoff_first = 0.5 }
            [cameras.b]
            source = "rtsp://10.0.0.7/stream"
            detector.model = "yolox_nano"
            [cameras.c]
            source = "sim://street"
            enabled = false
            [filters."*"]
            min_score = 0.5
            [inference]
            providers = ["cuda", "cpu"]
            policy = "require"
            threads = 2
            workers = 3
            [budget]
            cpu = 0.5
            latency = 0.25
            [output.jsonl]
            path = "/tmp/out.jsonl"
            keep = 2
            [events]
            path = "/tmp/events"
            max_days = 3.5
            [mqtt]
            url = "mqtts://[::1]"
            prefix = "home/passd"
            discovery = false
            [restream]
            listen = "127.0.0.1:8554"
            software = true
        "#;
        for text in [full, "[cameras.a]\nsource = \"sim://street\"\n[http]\nenabled = false\n"] {
            let config = load_text("a.toml", text, std::iter::empty()).unwrap();
            let written = effective(&config);
            let again = load_text("b.toml", &written, std::iter::empty()).unwrap_or_else(|e| panic!("{e}\n{written}"));
            assert!(again == config, "{written}");
            assert_eq!(effective(&again), written);
            assert!(!written.contains("0.3499") && !written.contains("0.5500"), "{written}");
        }
    }

    #[test]
    fn secrets_are_hidden() {
        let text = "[cameras.a]\nsource = \"rtsp://admin:hunter2@10.0.0.7/stream?token=hunter2\"\ndetector.model = \"m\"\n\
            [http]\ntoken = \"hunter2hunter2hunter2\"\n[mqtt]\nurl = \"mqtt://broker\"\nusername = \"me\"\npassword = \"hunter2\"\n\
            [webhook]\nurl = \"https://me:hunter2@host/hook/hunter2?sig=hunter2\"\ntoken = \"hunter2\"\n[restream]\nlisten = \"127.0.0.1:1\"\npassword = \"hunter2hunter2\"\n";
        let written = effective(&load_text("a.toml", text, std::iter::empty()).unwrap());
        assert!(!written.contains("hunter2"), "{written}");
        assert!(written.contains("***"), "{written}");
    }
}
