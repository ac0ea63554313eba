//! The config as it runs: complete, typed, its relations checked.

use super::checks::{Complain, address_of, check_name, ns, within};
pub use super::file::ProviderPolicy;
use super::file::{self, File, PaceChoice};
use super::learn::{self, LearnConfig, Learns};
use super::state::state_directory;
use super::{mqtt, scene, webhook};
use crate::capture::{CameraSource, SourceSpec, SupervisorSettings};
use crate::detect::heads::Thresholds;
use crate::geom::Size;
use crate::infer::session::{Provider, SessionSettings};
use crate::infer::tap::KeptMaps;
use crate::output::http::HttpSettings;
use crate::output::mqtt::MqttSettings;
use crate::output::restream::RestreamSettings;
use crate::output::webhook::WebhookSettings;
use crate::scene::SceneSettings;
use crate::scene::filter::Filters;
use crate::schedule::Priority;
use crate::schedule::allowance::Budget;
use crate::secret::Lookup;
use crate::skip::{SkipMode, SkipSettings};
use crate::track::TrackSettings;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Enabled cameras, by name.
    pub cameras: Vec<CameraConfig>,
    pub http: Option<HttpSettings>,
    pub jsonl: Option<JsonlConfig>,
    pub events: Option<EventsConfig>,
    pub mqtt: Option<MqttSettings>,
    pub webhook: Option<WebhookSettings>,
    pub restream: Option<RestreamSettings>,
    pub learn: Option<LearnConfig>,
    pub budget: Budget,
    /// The libonnxruntime.so to use.
    pub library: Option<PathBuf>,
    /// Folder of models that is looked into first.
    pub models: Option<PathBuf>,
}

/// Everything that one camera needs. Equal: nothing has to be restarted.
#[derive(Clone, PartialEq)]
pub struct CameraConfig {
    pub id: String,
    pub source: CameraSource,
    pub pace: crate::capture::Pace,
    /// Whether anything is looked for.
    pub detect: bool,
    pub detector: DetectorConfig,
    pub skip_mode: Option<SkipMode>,
    pub skip: SkipSettings,
    /// Labels to report; empty: all.
    pub labels: Vec<String>,
    pub tracking: TrackSettings,
    pub scene: SceneSettings,
    pub filters: Filters,
    pub capture: SupervisorSettings,
    /// Frames a second; `None`: all.
    pub max_fps: Option<f64>,
    pub priority: Priority,
}

impl CameraConfig {
    /// Whether a model has all labels that are asked for, and zones and lines ask for none that is left out.
    ///
    /// # Errors
    /// Says which key asks for what, and what there is.
    pub fn check_labels(&self, model: &str, known: &[String]) -> Result<(), String> {
        let places = std::iter::once(("detector.labels".to_owned(), &self.labels))
            .chain(self.scene.zones.iter().map(|z| (format!("zones.{}.labels", z.name), &z.labels)))
            .chain(self.scene.lines.iter().map(|l| (format!("lines.{}.labels", l.name), &l.labels)));
        let mut labels = places.flat_map(|(key, labels)| labels.iter().map(move |label| (key.clone(), label)));
        let wanted = |label: &String| self.labels.is_empty() || self.labels.contains(label);
        match labels.find(|(_, label)| !known.contains(label) || !wanted(label)) {
            None => Ok(()),
            Some((key, label)) if known.contains(label) => Err(format!(
                "{key}: '{label}' is left out by detector.labels, which has {}: add it there, or take it out here",
                self.labels.join(", ")
            )),
            Some((key, label)) => {
                Err(format!("{key}: the model {model} has no label '{label}'; it has {}", known.join(", ")))
            }
        }
    }

    /// Whether a model is for pictures such as this camera's.
    ///
    /// # Errors
    /// It knows only the simulated street; says which to take.
    pub fn check_model(&self, model: &str, is_simulated: bool) -> Result<(), String> {
        // Where nothing is looked for nothing is told that is wrong.
        if !is_simulated || !self.detect || matches!(self.source.spec, SourceSpec::Sim(_)) {
            return Ok(());
        }
        Err(format!(
            "detector.model: {model} knows only the simulated street (sim://) and sees cars and people on a bare floor. \
             {ANOTHER_MODEL}"
        ))
    }

    /// Labels that are filtered and that the model has not: filters may be meant for the models of other cameras.
    pub fn needless_filters<'a>(&'a self, known: &'a [String]) -> impl Iterator<Item = &'a str> {
        self.filters.by_label.keys().filter(|l| *l != "*" && !known.contains(l)).map(String::as_str)
    }
}

impl fmt::Debug for CameraConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CameraConfig").field("id", &self.id).field("source", &self.source).finish_non_exhaustive()
    }
}

/// Least score, and overlap of one class, where nothing else is set.
pub const SCORE: f32 = 0.4;
const NMS_IOU: f32 = 0.5;
/// What to do where there is no model.
const ANOTHER_MODEL: &str = "Name one that knows yours: `passd models pull yolox_nano` fetches a general one, then \
    [detector] model = \"yolox_nano\"; `passd models list` shows all";

/// What a detector is made of: cameras with equal ones share it.
#[derive(Debug, Clone, PartialEq)]
pub struct DetectorConfig {
    pub model: String,
    pub size: Option<Size>,
    pub score: f32,
    pub nms_iou: f32,
    pub context: Option<u32>,
    pub break_even: Option<f32>,
    pub providers: Vec<Provider>,
    pub threads: usize,
    /// How many of it run at the same time on the CPU, at most; `None`: as the mode wants it.
    pub workers: Option<usize>,
    pub fp16: bool,
    pub batch: usize,
    pub cache: Option<PathBuf>,
    /// Maps that can be read from it in mode `layers`: no key of the config, but what learning needs.
    pub kept_maps: KeptMaps,
}

impl DetectorConfig {
    /// A model as it is used where nothing else is set, on the CPU.
    pub fn usual(model: &str, size: Option<Size>) -> Self {
        Self {
            model: model.into(),
            size,
            score: SCORE,
            nms_iou: NMS_IOU,
            context: None,
            break_even: None,
            providers: vec![Provider::Cpu],
            threads: 1,
            workers: None,
            fp16: false,
            batch: 1,
            cache: None,
            kept_maps: KeptMaps::default(),
        }
    }

    pub fn session(&self) -> SessionSettings {
        SessionSettings {
            providers: self.providers.clone(),
            threads: self.threads,
            fp16: self.fp16,
            cache: self.cache.clone(),
        }
    }

    pub fn thresholds(&self) -> Thresholds {
        Thresholds { score: self.score, iou: self.nms_iou }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JsonlTarget {
    Stdout,
    File(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonlConfig {
    pub target: JsonlTarget,
    pub rotate_bytes: u64,
    pub keep: u32,
    pub empty_frames: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsConfig {
    pub path: PathBuf,
    pub max_bytes: u64,
    pub max_age: Duration,
    pub max_events: usize,
}

/// Key and complaint.
type Complaints = Vec<(String, String)>;

/// Checks and completes. Collects every complaint before giving up.
/// `lookup` finds the secrets of sources; those of everything else have been put in already.
pub(super) fn resolve(file: &File, lookup: Lookup<'_>) -> Result<Config, Complaints> {
    let mut complaints = Complaints::new();
    let mut complain = |key: &str, what: String| complaints.push((key.to_owned(), what));
    if file.cameras.is_empty() {
        complain("cameras", "there is no camera; a [cameras.NAME] table with a source is the least".into());
    }
    if file.inference.providers.as_ref().is_some_and(Vec::is_empty) {
        complain("inference.providers", "expected at least one of tensorrt, cuda, cpu".into());
    }
    if !matches!(file.inference.batch.unwrap_or(1), 1 | 2 | 4) {
        complain("inference.batch", "expected 1, 2 or 4".into());
    }
    if file.inference.threads.is_some_and(|n| n > 256) {
        complain("inference.threads", "expected 0 to 256".into());
    }
    within(file.inference.workers, 1, 256, "inference.workers".into(), &mut complain);
    within(file.budget.cpu, 0.01, 1.0, "budget.cpu".into(), &mut complain);
    within(file.budget.latency, 0.001, 3600.0, "budget.latency".into(), &mut complain);
    check_detector(&file.detector, "detector", &mut complain);
    check_skip(&file.skip, "skip", &mut complain);
    check_tracking(&file.tracking, "tracking", &mut complain);
    scene::check_filters(&file.filters, "filters", &mut complain);
    check_capture(&file.capture, &file::Capture::default(), "capture", &mut complain);
    let mut cameras = Vec::new();
    for (id, camera) in &file.cameras {
        let key = format!("cameras.{id}");
        check_name(id, &key, &mut complain);
        check_detector(&camera.detector, &format!("{key}.detector"), &mut complain);
        check_skip(&camera.skip, &format!("{key}.skip"), &mut complain);
        check_tracking(&camera.tracking, &format!("{key}.tracking"), &mut complain);
        check_capture(&camera.capture, &file.capture, &format!("{key}.capture"), &mut complain);
        scene::check_polygons(&camera.masks, &format!("{key}.masks"), &mut complain);
        scene::check_filters(&camera.filters, &format!("{key}.filters"), &mut complain);
        let scene = scene::resolve(camera, &key, &mut complain);
        match camera.source.as_deref().map(|source| CameraSource::parse(source, lookup)) {
            None => complain(&key, "lacks a source".into()),
            Some(Err(e)) => complain(&format!("{key}.source"), e.to_string()),
            Some(Ok(source)) => {
                let has_model = camera.detector.model.is_some() || file.detector.model.is_some();
                if !has_model && !matches!(source.spec, SourceSpec::Sim(_)) {
                    complain(&format!("{key}.detector.model"), format!("is not set. {ANOTHER_MODEL}"));
                }
                if camera.enabled.unwrap_or(true) {
                    cameras.push(resolve_camera(id, camera, source, scene, file));
                }
            }
        }
    }
    let http = resolve_http(&file.http, &mut complain);
    let jsonl = resolve_jsonl(&file.output.jsonl, &mut complain);
    let events = resolve_events(&file.events, &mut complain);
    let mqtt = mqtt::resolve(&file.mqtt, &mut complain);
    let webhook = webhook::resolve(&file.webhook, &mut complain);
    let restream = resolve_restream(&file.restream, &mut complain);
    let learns = cameras.iter().map(|c| Learns {
        id: &c.id,
        masks: &c.skip.masks,
        model: &c.detector.model,
        size: c.detector.size,
        score: c.detector.score,
    });
    let learn = learn::resolve(file, learns.collect(), &mut complain);
    if !complaints.is_empty() {
        return Err(complaints);
    }
    Ok(Config {
        learn,
        cameras,
        http,
        jsonl,
        events,
        mqtt,
        webhook,
        restream,
        budget: Budget { cpu: file.budget.cpu, latency: file.budget.latency.map(duration) },
        library: file.inference.library.clone(),
        models: file.inference.models.clone(),
    })
}

fn resolve_camera(
    id: &str,
    camera: &file::CameraTable,
    source: CameraSource,
    scene: SceneSettings,
    file: &File,
) -> CameraConfig {
    let (d, dd) = (&camera.detector, &file.detector);
    let (s, ds) = (&camera.skip, &file.skip);
    let (c, dc) = (&camera.capture, &file.capture);
    let i = &file.inference;
    let seconds = |v: Option<f64>, or: Option<f64>, default: Duration| v.or(or).map_or(default, duration);
    let defaults = SupervisorSettings::default();
    let mut providers = i.providers.clone().unwrap_or_else(|| vec![Provider::Tensorrt, Provider::Cuda, Provider::Cpu]);
    if i.policy == Some(ProviderPolicy::Require) {
        providers.truncate(1);
    }
    let skip = SkipSettings::default();
    CameraConfig {
        id: id.to_owned(),
        pace: match c.pace.or(dc.pace) {
            _ if source.spec.is_live() => crate::capture::Pace::Live,
            Some(PaceChoice::Fast) => crate::capture::Pace::Fast,
            Some(PaceChoice::Realtime) | None => crate::capture::Pace::Realtime,
        },
        source,
        detect: camera.detect.unwrap_or(true),
        detector: DetectorConfig {
            model: d.model.clone().or_else(|| dd.model.clone()).unwrap_or_else(|| "street-nano".into()),
            size: d.size.as_ref().or(dd.size.as_ref()).and_then(|s| s.parse().ok()),
            score: d.score.or(dd.score).unwrap_or(SCORE),
            nms_iou: d.nms_iou.or(dd.nms_iou).unwrap_or(NMS_IOU),
            context: s.context.or(ds.context),
            break_even: s.break_even.or(ds.break_even),
            providers,
            threads: i.threads.unwrap_or(1),
            workers: i.workers,
            fp16: i.fp16.unwrap_or(false),
            batch: i.batch.unwrap_or(1),
            cache: i.cache.clone().or_else(|| std::env::var_os("CACHE_DIRECTORY").map(PathBuf::from)),
            kept_maps: KeptMaps::default(),
        },
        skip_mode: s.mode.or(ds.mode).unwrap_or_default().fixed(),
        skip: SkipSettings {
            patch: s.patch.or(ds.patch),
            threshold: s.threshold.or(ds.threshold),
            max_age_ns: s.max_age.or(ds.max_age).map(ns),
            predict_ns: s.predict.or(ds.predict).map(ns),
            global_share: s.global_share.or(ds.global_share).unwrap_or(skip.global_share),
            masks: camera.masks.clone(),
        },
        scene,
        filters: scene::resolve_filters(&camera.filters, &file.filters),
        tracking: resolve_tracking(&camera.tracking, &file.tracking),
        labels: d.labels.clone().or_else(|| dd.labels.clone()).unwrap_or_default(),
        capture: SupervisorSettings {
            connect: seconds(c.connect_timeout, dc.connect_timeout, defaults.connect),
            stall: seconds(c.stall_timeout, dc.stall_timeout, defaults.stall),
            backoff_first: seconds(c.backoff_first, dc.backoff_first, defaults.backoff_first),
            backoff_cap: seconds(c.backoff_max, dc.backoff_max, defaults.backoff_cap),
            delay: Duration::ZERO,
        },
        max_fps: c.max_fps.or(dc.max_fps),
        priority: camera.priority.unwrap_or_default(),
    }
}

fn resolve_tracking(t: &file::TrackingTable, defaults: &file::TrackingTable) -> TrackSettings {
    let usual = TrackSettings::default();
    TrackSettings {
        lost_ns: t.lost.or(defaults.lost).map_or(usual.lost_ns, ns),
        lost_stationary_ns: t.lost_stationary.or(defaults.lost_stationary).map_or(usual.lost_stationary_ns, ns),
        stationary_ns: t.stationary.or(defaults.stationary).map_or(usual.stationary_ns, ns),
    }
}

/// Of what is no duration there was a complaint already.
fn duration(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

fn check_detector(d: &file::DetectorTable, key: &str, complain: Complain<'_>) {
    within(d.score, 0.0, 1.0, format!("{key}.score"), complain);
    within(d.nms_iou, 0.0, 1.0, format!("{key}.nms_iou"), complain);
    if let Some(Err(e)) = d.size.as_ref().map(|s| s.parse::<Size>()) {
        complain(&format!("{key}.size"), e);
    }
}

fn check_skip(s: &file::Skip, key: &str, complain: Complain<'_>) {
    if s.patch.is_some_and(|p| ![8, 16, 32, 64].contains(&p)) {
        complain(&format!("{key}.patch"), "expected 8, 16, 32 or 64".into());
    }
    within(s.threshold, 0.1, 255.0, format!("{key}.threshold"), complain);
    within(s.max_age, 0.1, 86_400.0, format!("{key}.max_age"), complain);
    within(s.predict, 0.0, 5.0, format!("{key}.predict"), complain);
    within(s.global_share, 0.0, 1.0, format!("{key}.global_share"), complain);
    within(s.context, 0, 512, format!("{key}.context"), complain);
    within(s.break_even, 0.0, 1.0, format!("{key}.break_even"), complain);
}

fn check_tracking(t: &file::TrackingTable, key: &str, complain: Complain<'_>) {
    within(t.lost, 0.0, 3600.0, format!("{key}.lost"), complain);
    within(t.lost_stationary, 0.0, 3600.0, format!("{key}.lost_stationary"), complain);
    within(t.stationary, 0.1, 86_400.0, format!("{key}.stationary"), complain);
}

fn check_capture(c: &file::Capture, defaults: &file::Capture, key: &str, complain: Complain<'_>) {
    within(c.max_fps, 0.01, 240.0, format!("{key}.max_fps"), complain);
    within(c.connect_timeout, 0.1, 3600.0, format!("{key}.connect_timeout"), complain);
    within(c.stall_timeout, 0.1, 3600.0, format!("{key}.stall_timeout"), complain);
    within(c.backoff_first, 0.01, 3600.0, format!("{key}.backoff_first"), complain);
    within(c.backoff_max, 0.01, 86_400.0, format!("{key}.backoff_max"), complain);
    // What stands in [capture] alone is said there, once.
    let is_its_own = c.backoff_first.is_some() || c.backoff_max.is_some();
    if let (Some(first), Some(max)) =
        (c.backoff_first.or(defaults.backoff_first), c.backoff_max.or(defaults.backoff_max))
        && is_its_own
        && max < first
    {
        complain(&format!("{key}.backoff_max"), format!("{max} s is less than backoff_first, {first} s"));
    }
}

fn resolve_http(h: &file::Http, complain: Complain<'_>) -> Option<HttpSettings> {
    within(h.stream_fps, 0.1, 60.0, "http.stream_fps".into(), complain);
    if !h.enabled.unwrap_or(true) {
        return None;
    }
    let text = h.listen.as_deref().unwrap_or("127.0.0.1:8090");
    let listen = listen_address("http.listen", text, 8090, h.token.is_some(), "an http.token", complain)?;
    check_secret(h.token.as_deref(), 16, "http.token", complain);
    Some(HttpSettings { listen, stream_fps: h.stream_fps.unwrap_or(10.0), token: h.token.clone() })
}

/// Where a server listens; others than this machine may come only if they must know `secret`.
fn listen_address(
    key: &str,
    text: &str,
    usual_port: u16,
    has_secret: bool,
    secret: &str,
    complain: Complain<'_>,
) -> Option<SocketAddr> {
    let Ok(listen) = text.parse::<SocketAddr>() else {
        complain(key, format!("'{text}' is no address with a port such as 127.0.0.1:{usual_port}"));
        return None;
    };
    if !has_secret && !listen.ip().is_loopback() {
        complain(key, format!("{listen} is no loopback address: others could look, so that it needs {secret}"));
    }
    Some(listen)
}

fn check_secret(secret: Option<&str>, least: usize, key: &str, complain: Complain<'_>) {
    if secret.is_some_and(|s| s.len() < least || !s.chars().all(|c| c.is_ascii_graphic())) {
        complain(key, format!("expected {least} letters, digits and signs or more, without spaces"));
    }
}

fn resolve_restream(r: &file::RestreamTable, complain: Complain<'_>) -> Option<RestreamSettings> {
    within(r.kbps, 100, 100_000, "restream.kbps".into(), complain);
    let text =
        address_of("restream", r, r.listen.as_deref(), "where to listen: listen = \"127.0.0.1:8554\"", complain)?;
    let is_safe = r.password.is_some();
    let listen = listen_address("restream.listen", text, 8554, is_safe, "a restream.password", complain)?;
    check_secret(r.password.as_deref(), 8, "restream.password", complain);
    Some(RestreamSettings {
        listen,
        password: r.password.clone(),
        software: r.software.unwrap_or(false),
        kbps: r.kbps.unwrap_or(2000),
        patches: r.patches.unwrap_or(false),
    })
}

fn resolve_jsonl(j: &file::Jsonl, complain: Complain<'_>) -> Option<JsonlConfig> {
    within(j.rotate_mib, 1, 1 << 20, "output.jsonl.rotate_mib".into(), complain);
    within(j.keep, 0, 10_000, "output.jsonl.keep".into(), complain);
    let path = j.path.as_deref()?;
    if path.is_empty() {
        complain("output.jsonl.path", "is empty; '-' is standard output".into());
    }
    Some(JsonlConfig {
        target: if path == "-" { JsonlTarget::Stdout } else { JsonlTarget::File(path.into()) },
        rotate_bytes: j.rotate_mib.unwrap_or(64) << 20,
        keep: j.keep.unwrap_or(4),
        empty_frames: j.empty_frames.unwrap_or(true),
    })
}

fn resolve_events(e: &file::Events, complain: Complain<'_>) -> Option<EventsConfig> {
    within(e.max_mib, 1, 1 << 30, "events.max_mib".into(), complain);
    within(e.max_days, 0.01, 36_500.0, "events.max_days".into(), complain);
    within(e.max_events, 1, 10_000, "events.max_events".into(), complain);
    let path = e.path.clone().or_else(|| Some(state_directory()?.join("events")));
    if path.is_none() && e.enabled == Some(true) {
        complain("events.path", "is not set, and there is no STATE_DIRECTORY; where shall events go?".into());
    }
    if !e.enabled.unwrap_or(true) {
        return None;
    }
    Some(EventsConfig {
        path: path?,
        max_bytes: e.max_mib.unwrap_or(1024).saturating_mul(1 << 20),
        max_age: duration(e.max_days.unwrap_or(14.0) * 86_400.0),
        max_events: e.max_events.unwrap_or(10_000),
    })
}
