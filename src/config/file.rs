//! The config as it is written. Everything that may be left out is an `Option`.
//!
//! The words here become the schema (`passd schema`) and so the reference.

use crate::infer::session::Provider;
use crate::learn::settings::LearnMode;
use crate::scene::event::Phase;
use crate::schedule::Priority;
use crate::skip::ModeChoice;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Configuration of passd.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    /// The cameras, each under a name of its own: lower-case letters, digits, `-` and `_`.
    pub cameras: BTreeMap<String, CameraTable>,
    /// What to detect, unless a camera says otherwise.
    pub detector: DetectorTable,
    /// What to skip, unless a camera says otherwise.
    pub skip: Skip,
    /// When an object is the same, unless a camera says otherwise.
    pub tracking: TrackingTable,
    /// What detections of a label must be like, unless a camera says otherwise; `"*"` stands for all other labels.
    pub filters: BTreeMap<String, FilterTable>,
    /// How to hold on to a camera, unless it says otherwise.
    pub capture: Capture,
    /// How models are run.
    pub inference: InferenceTable,
    /// What all cameras together keep to. Without it they take what they need.
    pub budget: BudgetTable,
    pub http: Http,
    pub output: OutputTable,
    pub events: Events,
    pub mqtt: Mqtt,
    pub webhook: Webhook,
    pub restream: RestreamTable,
    /// Learning from what people say of pictures, on this machine.
    pub learn: LearnTable,
}

/// One camera.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CameraTable {
    /// Address: `rtsp://…`, `rtsps://…`, a video file, `/dev/video0`, `csi://0`, `sim://street?…`, or
    /// `gst:` and a GStreamer pipeline. `${NAME}` stands for a secret.
    pub source: Option<String>,
    /// False: the camera is left alone.
    pub enabled: Option<bool>,
    /// False: pictures are taken and shown, but nothing is looked for in them. Default: true.
    pub detect: Option<bool>,
    /// Areas whose changes are ignored: polygons of `[x, y]`, shares (0 to 1) of the picture's sides.
    /// They hold back the gate, not the detector: a full picture still shows what is there.
    pub masks: Vec<Vec<[f32; 2]>>,
    /// Areas of interest, each under a name of its own, 64 at most.
    pub zones: BTreeMap<String, ZoneTable>,
    /// Lines whose crossings are counted, each under a name of its own, 64 at most.
    pub lines: BTreeMap<String, LineTable>,
    /// What detections of a label must be like, instead of what `[filters]` says; `"*"` stands for all other labels.
    pub filters: BTreeMap<String, FilterTable>,
    /// Zones of which an object must have been in one before there is an event of it. Default: none.
    pub required_zones: Vec<String>,
    pub detector: DetectorTable,
    pub skip: Skip,
    pub tracking: TrackingTable,
    pub capture: Capture,
    pub learn: CameraLearn,
    /// Who is looked at first when not all can be: `high` gets four times the computing time of `normal`, that
    /// four times that of `low`; nobody is left out. Default: normal.
    pub priority: Option<Priority>,
}

/// What to detect.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DetectorTable {
    /// Name of a model (`passd models list`) or path of an .onnx file with a sidecar. Default: street-nano for
    /// `sim://`, none for anything else.
    pub model: Option<String>,
    /// Input size, `640x384`, if the model runs at others than its own.
    pub size: Option<String>,
    /// Least score of a detection, 0 to 1. Default: 0.4.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub score: Option<f32>,
    /// Overlap (IoU) at which the weaker of two boxes of one class goes. Default: 0.5.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub nms_iou: Option<f32>,
    /// Labels to report. Default: all of the model's.
    pub labels: Option<Vec<String>>,
}

/// What to skip.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Skip {
    /// `layers`: each layer of the network is computed only where its input changed (on the CPU).
    /// `regions`: rectangles around what changed go to the detector. `off`: everything, always.
    /// `auto`: layers on the CPU if the engine knows all of the model's operations, else regions, or off where
    /// the model runs at one size only; the log says which and why. Default: auto.
    pub mode: Option<ModeChoice>,
    /// Side of a patch in pixels of the model's input: 8, 16, 32 or 64. Default: 8 in layers, else 16.
    pub patch: Option<u32>,
    /// Least change of an 8x8 cell that counts, levels of 255, on top of the cell's own noise. Default: 1 in
    /// layers, else 7.
    #[schemars(range(min = 0.1, max = 255.0))]
    pub threshold: Option<f32>,
    /// Seconds after which a patch is computed again even if nothing changed. Default: 30 in mode `layers`, else 10.
    #[schemars(range(min = 0.1, max = 86400.0))]
    pub max_age: Option<f64>,
    /// Seconds that an object goes without a look, though it moves, while it keeps to the way that is expected of it; its
    /// detection says `predicted` then. 0: every change is looked at. Default: 0.15 in mode `layers`, else 0.
    #[schemars(range(min = 0.0, max = 5.0))]
    pub predict: Option<f64>,
    /// Changed share of the picture from which all of it is computed, 0 to 1. Default: 0.6.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub global_share: Option<f32>,
    /// Pixels of the model's input around a change that are computed with it. Default: 40.
    pub context: Option<u32>,
    /// Share of the picture's area from which all of it is run instead of regions. Default: 0.6.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub break_even: Option<f32>,
}

/// When an object is the same from frame to frame.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrackingTable {
    /// Seconds for which an object that is not seen is expected to come back. Default: 2.
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub lost: Option<f64>,
    /// The same for one that stood still: what hides it passes by. Default: 10.
    #[schemars(range(min = 0.0, max = 3600.0))]
    pub lost_stationary: Option<f64>,
    /// Seconds of standing still after which an object is stationary. Default: 5.
    #[schemars(range(min = 0.1, max = 86400.0))]
    pub stationary: Option<f64>,
}

/// How to hold on to a camera.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Capture {
    /// Files and simulated cameras: `realtime` at their own rate, late frames dropped; `fast` as fast as the
    /// detector takes them, none dropped. Default: realtime.
    pub pace: Option<PaceChoice>,
    /// Most frames a second that are looked at; further ones are left out. Default: all.
    #[schemars(range(min = 0.01, max = 240.0))]
    pub max_fps: Option<f64>,
    /// Seconds a source may take to open and to show its first frame. Default: 15.
    #[schemars(range(min = 0.1, max = 3600.0))]
    pub connect_timeout: Option<f64>,
    /// Seconds without a frame after which a live source counts as stalled. Default: 10.
    #[schemars(range(min = 0.1, max = 3600.0))]
    pub stall_timeout: Option<f64>,
    /// Seconds before the second attempt; doubles from attempt to attempt. Default: 1.
    #[schemars(range(min = 0.01, max = 3600.0))]
    pub backoff_first: Option<f64>,
    /// Most seconds between two attempts. Default: 60.
    #[schemars(range(min = 0.01, max = 86400.0))]
    pub backoff_max: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PaceChoice {
    Realtime,
    Fast,
}

/// How models are run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InferenceTable {
    /// The libonnxruntime.so to use. Default: ORT_DYLIB_PATH, beside the binary, then the system's folders.
    pub library: Option<PathBuf>,
    /// What may run a model, best first. Default: tensorrt, cuda, cpu.
    pub providers: Option<Vec<Provider>>,
    /// `prefer`: a provider that does not work gives way to the next. `require`: only the first will do.
    /// Default: prefer.
    pub policy: Option<ProviderPolicy>,
    /// Threads of one run on the CPU; 0: one a core. Default: 1.
    pub threads: Option<usize>,
    /// Detections of one kind that run at the same time on the CPU, each on a thread of its own (or on `threads`
    /// of them), and at most one a camera. Default: as many as there are cores for, in mode `regions` one, as each
    /// holds several copies of the model.
    #[schemars(range(min = 1, max = 256))]
    pub workers: Option<usize>,
    /// Half precision on TensorRT. Default: false.
    pub fp16: Option<bool>,
    /// Equal regions that run at once on an accelerator: 1, 2 or 4. Default: 1.
    pub batch: Option<usize>,
    /// Folder of models that is looked into first.
    pub models: Option<PathBuf>,
    /// Folder for what is built once and kept (TensorRT engines). Default: CACHE_DIRECTORY of systemd.
    pub cache: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProviderPolicy {
    Prefer,
    Require,
}

/// What all cameras together keep to. Where it is too little for all of them, cameras are looked at less often, in
/// the order of their priority; results do not come later.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetTable {
    /// Share of the machine's processor time, all cores, decoding included: 0.5 is half. Default: all of it.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub cpu: Option<f64>,
    /// Seconds from the decoder to the output that 95 % of the results shall keep to: less is computed until they
    /// do. Default: none.
    #[schemars(range(min = 0.001, max = 3600.0))]
    pub latency: Option<f64>,
}

/// Status, metrics and pictures over HTTP.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// False: no HTTP at all. Default: true.
    pub enabled: Option<bool>,
    /// Address and port. Any but loopback needs a `token`. Default: 127.0.0.1:8090.
    pub listen: Option<String>,
    /// What whoever looks must know, 16 letters or more: `${NAME}` stands for a secret. Programs send it as
    /// `Authorization: Bearer …`, people type it into the page. It goes over the network as it is: where others
    /// listen, put a proxy with TLS before passd.
    pub token: Option<String>,
    /// Most frames a second of a live view. Default: 10.
    #[schemars(range(min = 0.1, max = 60.0))]
    pub stream_fps: Option<f32>,
}

/// Where detections go.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OutputTable {
    pub jsonl: Jsonl,
}

/// One JSON object a frame and line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Jsonl {
    /// A file, `-` for standard output; absent: none.
    pub path: Option<String>,
    /// Size in MiB at which a new file is begun. Default: 64.
    #[schemars(range(min = 1))]
    pub rotate_mib: Option<u64>,
    /// How many old files are kept beside the current one. Default: 4.
    pub keep: Option<u32>,
    /// Also write frames without any detection. Default: true.
    pub empty_frames: Option<bool>,
}

/// An area of interest. An object is where the middle of its box's lower side is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ZoneTable {
    /// Corners `[x, y]`, shares (0 to 1) of the picture's sides.
    pub polygon: Vec<[f32; 2]>,
    /// Labels that count. Default: all.
    pub labels: Vec<String>,
    /// Frames in a row that an object must be inside, or outside, before it counts as such. Default: 3.
    #[schemars(range(min = 1, max = 1000))]
    pub inertia: Option<u32>,
    /// Seconds for which an object must be inside before it counts. Default: 0.
    #[schemars(range(min = 0.0, max = 86400.0))]
    pub loitering: Option<f64>,
}

/// A line whose crossings are counted, to the right and to the left as seen from its first point to its second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LineTable {
    /// First point `[x, y]`, shares (0 to 1) of the picture's sides.
    pub from: Option<[f32; 2]>,
    /// Second point.
    pub to: Option<[f32; 2]>,
    /// Labels that count. Default: all.
    pub labels: Vec<String>,
    /// Frames in a row that an object must be on the other side before it has crossed. Default: 3.
    #[schemars(range(min = 1, max = 1000))]
    pub inertia: Option<u32>,
}

/// What detections of one label must be like. Others are neither reported nor followed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FilterTable {
    /// Least score, where that is above the detector's.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_score: Option<f32>,
    /// Least area, as a share of the picture's. Default: 0.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_area: Option<f32>,
    /// Largest area. Default: 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_area: Option<f32>,
    /// Least width over height. Default: 0.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub min_ratio: Option<f32>,
    /// Largest width over height. Default: any.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub max_ratio: Option<f32>,
    /// Areas in which nothing of this label is believed if it stands there: polygons of `[x, y]`.
    pub masks: Vec<Vec<[f32; 2]>>,
}

/// Events on disk: one is an object's stay in the picture.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    /// False: no events are kept. Default: true where there is a folder for them.
    pub enabled: Option<bool>,
    /// Folder for events and their pictures. Default: `events` in STATE_DIRECTORY of systemd.
    pub path: Option<PathBuf>,
    /// Most MiB that are kept; the oldest events go first. Default: 1024.
    #[schemars(range(min = 1))]
    pub max_mib: Option<u64>,
    /// Days after which an event goes. Default: 14.
    #[schemars(range(min = 0.01, max = 36500.0))]
    pub max_days: Option<f64>,
    /// Most events that are kept, 10000 at most. Default: 10000.
    #[schemars(range(min = 1, max = 10000))]
    pub max_events: Option<usize>,
}

/// Learning from what people say of pictures. `[cameras.NAME.learn]` says who learns with whom.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LearnTable {
    /// `off`: nothing is kept and nothing is learned. `ask`: what was learned waits until somebody accepts it. `auto`:
    /// what was learned and passed is taken over. Default: off.
    pub mode: Option<LearnMode>,
    /// Folder for marks, pictures and learned models. Default: `learn` in STATE_DIRECTORY of systemd.
    pub path: Option<PathBuf>,
    /// Seconds of learning a day. Default: 600.
    #[schemars(range(min = 1.0, max = 86400.0))]
    pub daily: Option<f64>,
    /// Share of one core while it learns, 0 to 1. It learns only when nobody else wants the core. Default: 0.5.
    #[schemars(range(min = 0.01, max = 1.0))]
    pub share: Option<f32>,
    /// Most MiB of pictures that are kept, a group. Default: 256.
    #[schemars(range(min = 16, max = 1048576))]
    pub max_mib: Option<u64>,
    /// Days after which a picture goes that nobody marked. Default: 90.
    #[schemars(range(min = 0.01, max = 36500.0))]
    pub max_days: Option<f64>,
    /// Seconds between two pictures that are kept of a camera. Default: 60.
    #[schemars(range(min = 1.0, max = 86400.0))]
    pub every: Option<f64>,
    /// Steps of a run. Default: 800.
    #[schemars(range(min = 10, max = 100000))]
    pub steps: Option<u32>,
    /// Seconds without a new mark after which learning begins. Default: 20.
    #[schemars(range(min = 0.0, max = 86400.0))]
    pub quiet: Option<f64>,
    /// A larger model, such as `yolox_s`, that is asked what some of the kept pictures show, and learned from. It must be
    /// installed, know the labels of the cameras' models and run at their sizes. Default: none.
    pub teacher: Option<String>,
}

/// Whether a camera learns, and with whom.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CameraLearn {
    /// As `learn.mode`, of this camera.
    pub mode: Option<LearnMode>,
    /// Cameras of one group learn from each other's marks; they have one model. Default: the camera's name.
    pub group: Option<String>,
}

/// A broker that is told of events, counts and states, and takes commands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Mqtt {
    /// Address: `mqtt://host`, or `mqtts://host` for TLS, with a port if it is not 1883 or 8883. Absent: no MQTT.
    pub url: Option<String>,
    /// User name, if the broker wants one.
    pub username: Option<String>,
    /// Password: `${NAME}` stands for a secret.
    pub password: Option<String>,
    /// File with the certificates to believe in, PEM. Default: the system's.
    pub ca: Option<PathBuf>,
    /// Name of this client, different for each daemon at one broker. Default: passd- and the host's name.
    pub client_id: Option<String>,
    /// First part of all topics. Default: passd.
    pub prefix: Option<String>,
    /// Whether cameras appear in Home Assistant by themselves. Default: true.
    pub discovery: Option<bool>,
    /// First part of Home Assistant's topics. Default: homeassistant.
    pub discovery_prefix: Option<String>,
}

/// A web address that is told of events: a POST of JSON each (`passd schema --events`).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    /// Address: `http://…` or `https://…`. Absent: none.
    pub url: Option<String>,
    /// Goes along as `Authorization: Bearer …`: `${NAME}` stands for a secret.
    pub token: Option<String>,
    /// File with the certificates to believe in, PEM. Default: the system's.
    pub ca: Option<PathBuf>,
    /// Which messages: `new`, `update`, `end`. Default: all.
    pub events: Option<Vec<Phase>>,
    /// Seconds for an answer. Default: 10.
    #[schemars(range(min = 0.1, max = 300.0))]
    pub timeout: Option<f64>,
}

/// RTSP out: every camera with its boxes at `rtsp://HOST:PORT/CAMERA`, encoded only while somebody watches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RestreamTable {
    /// Address and port, `127.0.0.1:8554`. Any but loopback needs a `password`. Absent: no RTSP.
    pub listen: Option<String>,
    /// What viewers must know, 8 letters or more, beside the name `passd`: `${NAME}` stands for a secret.
    pub password: Option<String>,
    /// Whether the processor may encode where there is no hardware for it. Default: false.
    pub software: Option<bool>,
    /// Kilobits a second. Default: 2000.
    #[schemars(range(min = 100, max = 100000))]
    pub kbps: Option<u32>,
    /// Show patches, too. Default: false.
    pub patches: Option<bool>,
}

/// The JSON schema of the config file.
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(File)
}
