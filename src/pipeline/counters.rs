//! A camera's metrics, looked up once, so that counting a frame costs an addition.

use crate::outcome::SceneCounts;
use crate::output::metrics::{CameraLabel, KindLabel, LineLabel, Metrics, PlaceLabel, ReasonLabel, StageLabel};
use crate::scene::Scene;
use crate::scene::event::Phase;
use crate::schedule::load::Degraded;
use crate::skip::SkipMode;
use engine::exec::counters::Counters;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

/// A camera's metrics, looked up once.
pub(super) struct Handles {
    pub captured: Counter,
    pub processed: Counter,
    pub replaced: Counter,
    pub lost: Counter,
    pub surplus: Counter,
    pub corrupt: Counter,
    pub undecoded: Counter,
    pub failed: Counter,
    pub computed: Counter,
    pub carried: Counter,
    pub predicted: Counter,
    pub executed: Counter,
    pub dense: Counter,
    pub runs: Counter,
    pub scene: SceneHandles,
    /// In mode layers.
    pub layers: Option<LayerHandles>,
    /// Kept, masked, changed, stale, forced, predicted.
    pub patches: [Counter; 6],
    pub skip: Histogram,
    pub wait: Histogram,
    /// As in [`Degraded::KINDS`].
    degraded: [Gauge; 3],
    pub detect: Histogram,
    pub latency: Histogram,
}

/// What the layer engine counts.
pub(super) struct LayerHandles {
    /// Dense, requested (what changes reach), executed.
    macs: [Counter; 3],
    /// Computed, passed, refreshed.
    cells: [Counter; 3],
    /// Bookkeeping, gates, kernels.
    seconds: [Counter<f64, AtomicU64>; 3],
}

impl LayerHandles {
    pub fn new(m: &Metrics, id: &str) -> Self {
        let kind = |kind| KindLabel { camera: id.into(), kind };
        Self {
            macs: ["dense", "requested", "executed"].map(|k| m.layer_macs.get_or_create_owned(&kind(k))),
            cells: ["computed", "passed", "refreshed"].map(|k| m.layer_cells.get_or_create_owned(&kind(k))),
            seconds: ["bookkeeping", "gates", "kernels"].map(|k| m.layer_seconds.get_or_create_owned(&kind(k))),
        }
    }

    pub fn count(&self, c: &Counters) {
        let add = |counters: &[Counter], by: &[u64]| {
            for (counter, by) in counters.iter().zip(by) {
                counter.inc_by(*by);
            }
        };
        add(&self.macs, &[c.dense_macs, c.reached_macs, c.executed_macs]);
        add(&self.cells, &[c.cells, c.passed, c.refreshed]);
        for (counter, time) in self.seconds.iter().zip([c.bookkeeping, c.gates, c.kernels]) {
            counter.inc_by(time.as_secs_f64());
        }
    }
}

/// Counters of events and places.
pub(super) struct SceneHandles {
    metrics: Arc<Metrics>,
    camera: String,
    /// New, update, end; objects that got none.
    events: [Counter; 3],
    pub refused: Counter,
}

impl SceneHandles {
    pub fn tell(&self, phase: Phase) {
        self.events[phase as usize].inc();
    }

    /// A zone is watched no more.
    pub fn forget_zone(&self, zone: &str, labels: &[String]) {
        for label in labels {
            let place = PlaceLabel { camera: self.camera.clone(), zone: zone.into(), label: label.clone() };
            self.metrics.objects.remove(&place);
        }
    }

    /// What differs between what was known and what is.
    pub fn count(&self, known: &SceneCounts, scene: &Scene) {
        let labels = &known.names.labels;
        let objects = |zone: &str, class: usize| PlaceLabel {
            camera: self.camera.clone(),
            zone: zone.into(),
            label: labels[class].clone(),
        };
        let set = |zone: &str, before: &[u32], now: &[u32]| {
            for (class, (_, now)) in before.iter().zip(now).enumerate().filter(|(_, (before, now))| before != now) {
                self.metrics.objects.get_or_create(&objects(zone, class)).set((*now).into());
            }
        };
        set("", &known.present, scene.present());
        for (zone, (before, now)) in known.names.zones.iter().zip(known.inside.iter().zip(scene.inside())) {
            set(zone, before, now);
        }
        for (line, (before, now)) in known.names.lines.iter().zip(known.crossed.iter().zip(scene.crossed())) {
            for (class, (before, now)) in before.iter().zip(now).enumerate() {
                for (direction, name) in ["right", "left"].into_iter().enumerate() {
                    let n = now[direction] - before[direction];
                    if n > 0 {
                        let label = LineLabel {
                            camera: self.camera.clone(),
                            line: line.clone(),
                            label: labels[class].clone(),
                            direction: name,
                        };
                        self.metrics.crossings.get_or_create(&label).inc_by(n);
                    }
                }
            }
        }
    }
}

impl Handles {
    pub fn set_degraded(&self, now: Degraded) {
        for (gauge, kind) in self.degraded.iter().zip(Degraded::KINDS) {
            gauge.set(i64::from(kind == now));
        }
    }

    pub fn new(m: &Arc<Metrics>, id: &str, mode: SkipMode) -> Self {
        let camera = CameraLabel { camera: id.into() };
        let reason = |reason| ReasonLabel { camera: id.into(), reason };
        let kind = |kind| KindLabel { camera: id.into(), kind };
        let stage = |stage| m.stage_seconds.get_or_create_owned(&StageLabel { camera: id.into(), stage });
        let dropped = |why| m.frames_dropped.get_or_create_owned(&reason(why));
        Self {
            captured: m.frames_captured.get_or_create_owned(&camera),
            processed: m.frames_processed.get_or_create_owned(&camera),
            replaced: dropped("replaced"),
            lost: dropped("queue"),
            surplus: dropped("max_fps"),
            corrupt: dropped("corrupt"),
            undecoded: dropped("undecoded"),
            degraded: Degraded::KINDS
                .map(|d| m.degraded.get_or_create_owned(&KindLabel { camera: id.into(), kind: d.name() })),
            failed: dropped("failed"),
            computed: m.detections.get_or_create_owned(&reason("computed")),
            carried: m.detections.get_or_create_owned(&reason("carried")),
            predicted: m.detections.get_or_create_owned(&reason("predicted")),
            executed: m.executed_pixels.get_or_create_owned(&camera),
            dense: m.dense_pixels.get_or_create_owned(&camera),
            runs: m.model_runs.get_or_create_owned(&camera),
            scene: SceneHandles {
                metrics: m.clone(),
                camera: id.into(),
                events: ["new", "update", "end"].map(|k| m.events.get_or_create_owned(&kind(k))),
                refused: m.events.get_or_create_owned(&kind("refused")),
            },
            layers: (mode == SkipMode::Layers).then(|| LayerHandles::new(m, id)),
            patches: ["kept", "masked", "changed", "stale", "forced", "predicted"]
                .map(|why| m.patches.get_or_create_owned(&reason(why))),
            skip: stage("skip"),
            wait: stage("wait"),
            detect: stage("detect"),
            latency: m.latency_seconds.get_or_create_owned(&camera),
        }
    }
}
