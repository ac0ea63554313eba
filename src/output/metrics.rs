//! Prometheus metrics: counters and histograms in base units, bounded labels.

use crate::capture::CameraState;
use crate::schedule::load::Degraded;
use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use std::sync::atomic::AtomicU64;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct CameraLabel {
    pub camera: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct KindLabel {
    pub camera: String,
    pub kind: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ReasonLabel {
    pub camera: String,
    pub reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StageLabel {
    pub camera: String,
    pub stage: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct StateLabel {
    pub camera: String,
    pub state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct SinkLabel {
    pub sink: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct DetectorLabel {
    pub camera: String,
    pub model: String,
    pub size: String,
    pub provider: String,
    pub mode: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct BuildLabel {
    pub version: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct PlaceLabel {
    pub camera: String,
    /// A zone; empty: the whole picture.
    pub zone: String,
    pub label: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct LineLabel {
    pub camera: String,
    pub line: String,
    pub label: String,
    pub direction: &'static str,
}

type SecondsFamily<L> = Family<L, Histogram, fn() -> Histogram>;

/// All metrics of the daemon.
pub struct Metrics {
    registry: Registry,
    pub frames_captured: Family<CameraLabel, Counter>,
    pub frames_processed: Family<CameraLabel, Counter>,
    pub frames_dropped: Family<ReasonLabel, Counter>,
    pub patches: Family<ReasonLabel, Counter>,
    pub global_changes: Family<ReasonLabel, Counter>,
    pub detections: Family<ReasonLabel, Counter>,
    pub executed_pixels: Family<CameraLabel, Counter>,
    pub dense_pixels: Family<CameraLabel, Counter>,
    pub model_runs: Family<CameraLabel, Counter>,
    pub events: Family<KindLabel, Counter>,
    pub objects: Family<PlaceLabel, Gauge>,
    pub crossings: Family<LineLabel, Counter>,
    pub layer_macs: Family<KindLabel, Counter>,
    pub layer_cells: Family<KindLabel, Counter>,
    pub layer_seconds: Family<KindLabel, Counter<f64, AtomicU64>>,
    pub layer_state_bytes: Family<CameraLabel, Gauge>,
    pub stage_seconds: SecondsFamily<StageLabel>,
    pub latency_seconds: SecondsFamily<CameraLabel>,
    pub camera_state: Family<StateLabel, Gauge>,
    pub degraded: Family<KindLabel, Gauge>,
    pub restream_encoders: Gauge,
    pipelines_left: Gauge,
    pub reconnects: Family<CameraLabel, Counter>,
    pub detector: Family<DetectorLabel, Gauge>,
    output_dropped: Family<SinkLabel, Counter>,
    output_errors: Family<SinkLabel, Counter>,
    resident_bytes: Gauge<f64, AtomicU64>,
}

/// 0.1 ms to 3 s, about three steps a decade.
fn seconds() -> Histogram {
    Histogram::new([1e-4, 3e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 3e-2, 5e-2, 0.1, 0.2, 0.5, 1.0, 3.0])
}

impl Default for Metrics {
    fn default() -> Self {
        let mut r = Registry::with_prefix("passd");
        let build: Family<BuildLabel, Gauge> = Family::default();
        build.get_or_create(&BuildLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        r.register("build_info", "Version of this passd", build);
        let m = Self {
            frames_captured: Family::default(),
            frames_processed: Family::default(),
            frames_dropped: Family::default(),
            patches: Family::default(),
            global_changes: Family::default(),
            detections: Family::default(),
            executed_pixels: Family::default(),
            dense_pixels: Family::default(),
            model_runs: Family::default(),
            events: Family::default(),
            objects: Family::default(),
            crossings: Family::default(),
            layer_macs: Family::default(),
            layer_cells: Family::default(),
            layer_seconds: Family::default(),
            layer_state_bytes: Family::default(),
            stage_seconds: SecondsFamily::new_with_constructor(seconds),
            latency_seconds: SecondsFamily::new_with_constructor(seconds),
            camera_state: Family::default(),
            degraded: Family::default(),
            restream_encoders: Gauge::default(),
            pipelines_left: Gauge::default(),
            reconnects: Family::default(),
            detector: Family::default(),
            output_dropped: Family::default(),
            output_errors: Family::default(),
            resident_bytes: Gauge::default(),
            registry: Registry::default(),
        };
        r.register("frames_captured", "Frames that left the decoder", m.frames_captured.clone());
        r.register("frames_processed", "Frames whose detections were put out", m.frames_processed.clone());
        r.register(
            "frames_dropped",
            "Frames that were not processed: replaced by a newer one, lost in a full decoder queue, damaged or before the first key frame (corrupt), failed in the model, or more than max_fps",
            m.frames_dropped.clone(),
        );
        r.register("patches", "Patches by the skip stage's decision", m.patches.clone());
        r.register("global_changes", "Frames that were computed as a whole, by cause", m.global_changes.clone());
        r.register("detections", "Detections put out, by provenance", m.detections.clone());
        r.register("executed_pixels", "Pixels that went through the model", m.executed_pixels.clone());
        r.register("dense_pixels", "Pixels that would have without skipping", m.dense_pixels.clone());
        r.register(
            "layer_macs",
            "Multiply-accumulates in mode layers: of whole frames (dense), of cells whose inputs changed (requested), of what was computed (executed)",
            m.layer_macs.clone(),
        );
        r.register(
            "layer_cells",
            "Cells of feature maps in mode layers: computed, moved by more than their threshold (passed), computed for their age or because they were owed (refreshed)",
            m.layer_cells.clone(),
        );
        r.register(
            "layer_seconds",
            "Time of the layer engine: finding out what to compute (bookkeeping), computing it (kernels), comparing it with what is stored (gates)",
            m.layer_seconds.clone(),
        );
        r.register(
            "layer_state_bytes",
            "Memory of a camera's feature maps in mode layers",
            m.layer_state_bytes.clone(),
        );
        r.register("model_runs", "Runs of the model", m.model_runs.clone());
        r.register(
            "events",
            "Messages about objects: new, update, end; objects for which there was no room (refused)",
            m.events.clone(),
        );
        r.register("objects", "Objects in a zone now, or in the picture (no zone)", m.objects.clone());
        r.register("crossings", "Objects that crossed a line", m.crossings.clone());
        r.register_with_unit(
            "stage_duration",
            "Time a frame spends in a stage",
            Unit::Seconds,
            m.stage_seconds.clone(),
        );
        r.register_with_unit("latency", "From the decoder to the output", Unit::Seconds, m.latency_seconds.clone());
        r.register("camera_state", "1 for the state that a camera is in", m.camera_state.clone());
        r.register(
            "degraded",
            "1 while a camera gets less than it should: what has not changed is looked at half as often (refresh), or frames are lost, too (rate)",
            m.degraded.clone(),
        );
        r.register(
            "restream_encoders",
            "Cameras that are encoded because somebody watches",
            m.restream_encoders.clone(),
        );
        r.register(
            "pipelines_left_behind",
            "Pipelines of GStreamer that could not be stopped",
            m.pipelines_left.clone(),
        );
        r.register("reconnects", "Attempts to connect after the first", m.reconnects.clone());
        r.register("detector_info", "Model, size, provider and mode in use", m.detector.clone());
        r.register("output_dropped", "Results that a sink could not take in time", m.output_dropped.clone());
        r.register("output_errors", "Failed attempts of a sink to write", m.output_errors.clone());
        r.register_with_unit(
            "resident_memory",
            "Resident memory of the process",
            Unit::Bytes,
            m.resident_bytes.clone(),
        );
        Self { registry: r, ..m }
    }
}

impl Metrics {
    pub fn output_dropped(&self, sink: &'static str) {
        self.output_dropped.get_or_create(&SinkLabel { sink }).inc();
    }

    pub fn output_error(&self, sink: &'static str) {
        self.output_errors.get_or_create(&SinkLabel { sink }).inc();
    }

    pub fn set_camera_state(&self, camera: &str, now: CameraState) {
        for state in CameraState::ALL {
            let label = StateLabel { camera: camera.into(), state: state.name() };
            self.camera_state.get_or_create(&label).set(i64::from(state == now));
        }
    }

    /// Forgets a camera that is gone: its state would stay for ever.
    pub fn forget_camera(&self, camera: &str, detector: &DetectorLabel) {
        self.detector.remove(detector);
        for kind in Degraded::KINDS {
            self.degraded.remove(&KindLabel { camera: camera.into(), kind: kind.name() });
        }
        for state in CameraState::ALL {
            self.camera_state.remove(&StateLabel { camera: camera.into(), state: state.name() });
        }
    }

    /// The text that Prometheus scrapes.
    pub fn render(&self) -> String {
        self.pipelines_left.set(crate::capture::n_left_behind() as i64);
        self.resident_bytes.set(crate::process::resident_mib() * 1024.0 * 1024.0);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
