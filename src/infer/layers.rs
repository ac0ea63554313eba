//! The detector on the layer engine: each layer only where its input changed.

use super::candidates::Candidates;
use super::cells::CellHead;
use super::preprocess::{Crop, Follower, fill_map, warm_map};
use super::session::{Runtime, TailSession};
use super::tap::{Tap, Tapped, WholeMap};
use super::whole::WholeHead;
use super::{Coverage, Detector, InferError, Inference, Seen, StreamId, Work};
use crate::detect::heads::{HeadLayout, Thresholds};
use crate::geom::Size;
use crate::models::model::Model;
use engine::exec::executor::{Delta, Executor, Picture, StreamMaps};
use engine::exec::outputs::Outputs;
use engine::exec::runner::Runner;
use engine::exec::stream::Stream;
use engine::exec::threads::Threads;
use engine::gating::gate::Gates;
use engine::gating::policy::Policy;
use engine::gating::profile::Profile;
use engine::import::{self, Tail};
use engine::kernels::Kernels;
use engine::plan::Plan;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use tracing_mutex::stdsync::Mutex;

/// How the engine is used.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LayersSettings {
    /// In place of the policy's least difference of a pixel.
    pub pixel: Option<u8>,
    /// The score that is in doubt, where that is not the least one that is wanted: calibration
    /// looks at fainter ones too.
    pub reported: Option<f32>,
    /// Maps that are handed out with each frame, by their names in the model.
    pub taps: Vec<String>,
    /// Maps that can be read when somebody wants them.
    pub kept_maps: Vec<String>,
}

/// One plan, shared weights, a state for each stream; what computes them stands behind [`Executor`].
pub struct LayersDetector<E: Executor = Runner> {
    model: Arc<Model>,
    planned: Arc<Planned>,
    follower: Follower,
    reading: Reading,
    gates: Gates,
    taps: Vec<Tap>,
    kept_maps: Vec<Tap>,
    /// Streams so far.
    n_begun: u64,
    executor: E,
    streams: HashMap<StreamId, State<E::Stream>>,
    thresholds: Thresholds,
    settings: LayersSettings,
    size: Size,
}

/// How detections are read from a stream's maps.
enum Reading {
    Cells(CellHead),
    Whole(Box<WholeHead>),
}

struct State<S> {
    stream: S,
    candidates: Candidates,
    pts_ns: u64,
    /// How many streams were begun before it.
    incarnation: u64,
    /// Frames of which maps were handed out.
    n_handed_out: u64,
    hands_out_whole: bool,
}

/// Reads a model for the engine and lays it out; what is left to ONNX Runtime comes along.
///
/// # Errors
/// The model cannot be read, has, before its end, an operation that the engine does not know, by name, or has no such map.
pub fn plan_of(model: &Model, size: Size, kept: &[String]) -> Result<(Plan, Option<Tail>), InferError> {
    model.check_size(size)?;
    let err = |e: &dyn std::fmt::Display| InferError::model(&model.file, e);
    let (mut graph, tail) =
        import::import_with_tail(&model.onnx, size.height as usize, size.width as usize).map_err(|e| err(&e))?;
    for name in kept {
        let map = graph.value(name).ok_or_else(|| err(&format!("it has no map '{name}'")))?;
        graph.kept.push(map);
    }
    let plan = Plan::new(graph).map_err(|e| err(&e))?;
    check_state(&plan, model.onnx.len()).map_err(|e| err(&e))?;
    let (head, n_classes) = (&model.sidecar.head, model.labels.len());
    let conditions = match CellHead::bind(head, &plan, size, n_classes) {
        Ok(head) => head.conditions(),
        Err(_) => WholeHead::conditions(head, &plan, n_classes),
    };
    Ok((plan.given(&conditions), tail))
}

/// Memory of a stream's maps: of any file, for each of its bytes, and at most. YOLOX-nano (3.7 MB) takes 374 MiB for
/// pictures of 1920x1088.
const STATE: (usize, usize, usize) = (1 << 30, 256, 4 << 30);

/// Whether a camera's state is what the model is worth: a small file may describe maps of any size.
fn check_state(plan: &Plan, n_bytes: usize) -> Result<(), String> {
    let most = n_bytes.saturating_mul(STATE.1).saturating_add(STATE.0).min(STATE.2);
    let needed = Stream::bytes_of(plan);
    match needed > most {
        false => Ok(()),
        true => Err(format!(
            "its maps need {} MiB a camera, more than {}, the most for a file of {n_bytes} bytes; take a smaller size",
            needed >> 20,
            most >> 20
        )),
    }
}

/// A model as the engine runs it, and what is left to ONNX Runtime.
pub struct Planned {
    plan: Arc<Plan>,
    tail: Option<Tail>,
}

/// Plans that are in use: detectors of one model at one size share its weights.
#[derive(Debug, Default, Clone)]
pub struct Plans(Arc<Mutex<Vec<PlanInUse>>>);

/// The model's checksum, the input's size, the maps that are kept whatever is fused, and the plan of it.
type PlanInUse = (String, Size, Vec<String>, Weak<Planned>);

impl Plans {
    /// # Errors
    /// As [`plan_of`].
    pub fn get(&self, model: &Model, size: Size, kept: &[String]) -> Result<Arc<Planned>, InferError> {
        let mut plans = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        plans.retain(|(.., planned)| planned.strong_count() > 0);
        let sha256 = &model.sha256;
        let found = plans.iter().find(|(of, s, k, _)| of == sha256 && *s == size && *k == kept);
        if let Some(planned) = found.and_then(|(.., planned)| planned.upgrade()) {
            return Ok(planned);
        }
        let (plan, tail) = plan_of(model, size, kept)?;
        let planned = Arc::new(Planned { plan: Arc::new(plan), tail });
        plans.push((sha256.clone(), size, kept.to_vec(), Arc::downgrade(&planned)));
        Ok(planned)
    }
}

impl LayersDetector<Runner> {
    /// `threads` 0: one a core.
    ///
    /// # Errors
    /// As [`plan_of`], the head cannot be read from the maps, or the profile does not fit.
    pub fn open(
        model: Arc<Model>,
        size: Size,
        thresholds: Thresholds,
        settings: LayersSettings,
        threads: usize,
        profile: Option<&Profile>,
        plans: &Plans,
    ) -> Result<Self, InferError> {
        let kept: Vec<String> = settings.taps.iter().chain(&settings.kept_maps).cloned().collect();
        let planned = plans.get(&model, size, &kept)?;
        let n = if threads == 0 { std::thread::available_parallelism().map_or(1, usize::from) } else { threads };
        let runner = Runner::with_threads(&planned.plan, Kernels::best(), Threads::of(n))
            .map_err(|e| InferError::Runtime(format!("the layer engine's threads: {e}")))?;
        Self::with_executor(model, size, thresholds, settings, threads, profile, planned, runner)
    }
}

impl<E: Executor> LayersDetector<E> {
    /// With another executor of the plan.
    ///
    /// # Errors
    /// As [`LayersDetector::open`].
    #[allow(clippy::too_many_arguments)]
    pub fn with_executor(
        model: Arc<Model>,
        size: Size,
        thresholds: Thresholds,
        settings: LayersSettings,
        threads: usize,
        profile: Option<&Profile>,
        planned: Arc<Planned>,
        executor: E,
    ) -> Result<Self, InferError> {
        let plan = &planned.plan;
        let (head, n_classes) = (&model.sidecar.head, model.labels.len());
        let tail = planned.tail.as_ref();
        let tail = tail.map(|t| TailSession::open(Runtime::get(None)?, &model, t, threads)).transpose()?;
        let reading = match (tail, head) {
            (None, head) if head.layout() == HeadLayout::Cells => Reading::Cells(
                CellHead::bind(head, plan, size, n_classes).map_err(|e| InferError::model(&model.file, e))?,
            ),
            (tail, _) => Reading::Whole(Box::new(WholeHead::open(&model, plan, size, tail)?)),
        };
        let gates = match profile {
            Some(profile) => profile.gates(plan).map_err(|e| InferError::model(&model.file, e))?,
            None => Gates::rising(plan, &Policy::default()),
        };
        let follower =
            Follower::new(&model.normalise, settings.pixel.unwrap_or(gates.policy().picture.pixel), Kernels::best());
        let [taps, kept_maps] =
            [&settings.taps, &settings.kept_maps].map(|names| names.iter().map(|name| Tap::of(plan, name)).collect());
        Ok(Self {
            model,
            planned,
            follower,
            reading,
            gates,
            executor,
            taps,
            kept_maps,
            n_begun: 0,
            streams: HashMap::new(),
            thresholds,
            settings,
            size,
        })
    }

    pub fn plan(&self) -> &Arc<Plan> {
        &self.planned.plan
    }

    /// Other gates, for streams that begin from now on.
    pub fn set_gates(&mut self, gates: Gates) {
        self.gates = gates;
        self.streams.clear();
    }

    /// By what is decided, beside the gates.
    pub fn policy(&self) -> &Policy {
        self.gates.policy()
    }

    /// The state of a stream, if it has one.
    pub fn stream(&self, stream: StreamId) -> Option<&E::Stream> {
        self.streams.get(&stream).map(|s| &s.stream)
    }
}

impl<E: Executor> Detector for LayersDetector<E> {
    fn detect(&mut self, stream: StreamId, work: &Work<'_>, fresh: &mut Inference) -> Result<(), InferError> {
        fresh.clear();
        fresh.taps.resize_with(self.taps.len(), Tapped::default);
        let state = self.streams.entry(stream).or_insert_with(|| {
            let mut stream = self.executor.open(self.planned.plan.clone(), self.gates.clone());
            self.n_begun += 1;
            stream.require(match &self.reading {
                Reading::Cells(head) => head.bar(self.thresholds),
                Reading::Whole(head) => head.bar(self.thresholds),
            });
            State {
                stream,
                candidates: Candidates::default(),
                pts_ns: work.frame.pts_ns,
                incarnation: self.n_begun,
                n_handed_out: 0,
                hands_out_whole: false,
            }
        });
        let grid = work.patches.grid();
        let n_asked = work.patches.count();
        if n_asked == grid.n_patches() {
            state.stream.forget();
        }
        let Picture { numbers: map, changed, sizes } = state.stream.picture();
        changed.clear();
        let (bgr, size) = (work.frame.data(), work.frame.size());
        if n_asked == grid.n_patches() {
            fill_map(bgr, size, Crop::whole(size), &self.model.normalise, map);
        } else {
            let crop = |(col, row, n): (usize, usize, usize)| {
                let (x, y) = (col as u32 * grid.patch, row as u32 * grid.patch);
                let size = Size::new((n as u32 * grid.patch).min(size.width - x), grid.patch.min(size.height - y));
                Crop { x, y, size }
            };
            let mut crops = work.patches.runs().map(crop).peekable();
            while let Some(crop) = crops.next() {
                if let Some(next) = crops.peek() {
                    warm_map(size, *next, map);
                }
                self.follower.update(bgr, size, crop, map, changed, sizes);
            }
        }
        let passed_ns = work.frame.pts_ns.saturating_sub(state.pts_ns);
        state.pts_ns = work.frame.pts_ns;
        let share = passed_ns as f64 / work.max_age_ns.max(1) as f64;
        if n_asked == 0 && share == 0.0 {
            return Ok(());
        }
        let counters = self.executor.run(&mut state.stream, Delta { refresh: share });
        let whole = std::mem::take(&mut state.hands_out_whole);
        for (tap, tapped) in self.taps.iter().zip(fresh.taps.iter_mut()) {
            tap.take(&state.stream, work.frame.id, whole, tapped);
            (tapped.incarnation, tapped.number) = (state.incarnation, state.n_handed_out);
        }
        state.n_handed_out += 1;
        let now = Seen { frame: work.frame.id, pts_ns: work.frame.pts_ns };
        let State { stream, candidates, .. } = state;
        let (t, out, seen) = (self.thresholds, &mut fresh.detections, &mut fresh.seen);
        let found = match &mut self.reading {
            Reading::Cells(head) => head
                .update(stream, now, t, candidates, out, seen)
                .map_err(|e| InferError::Run { model: self.model.name.clone(), reason: e.to_string() }),
            Reading::Whole(head) => head.update(stream, now, t, candidates, out, seen),
        };
        if let Err(e) = found {
            // NaN would stay in the maps: the next frame starts anew.
            stream.forget();
            candidates.clear();
            return Err(e);
        }
        let reported = self.settings.reported.unwrap_or(self.thresholds.score);
        let policy = &self.gates.policy().tolerance;
        state.candidates.tolerance(reported, self.size, policy, &mut fresh.tolerance);
        state.stream.tolerance_mut().copy_from(&fresh.tolerance);
        fresh.coverage = Coverage::Layers;
        fresh.executed_px = (self.size.area() as f64 * counters.executed_share()) as u64;
        fresh.n_runs = u32::from(counters.cells > 0);
        fresh.layers = counters;
        Ok(())
    }

    fn raw_outputs(&mut self, stream: StreamId) -> Option<Vec<f32>> {
        let stream = &mut self.streams.get_mut(&stream)?.stream;
        self.executor.complete(stream);
        let mut all = Vec::new();
        stream.read_outputs(&Outputs::new(&self.planned.plan), &mut all);
        Some(all.concat())
    }

    fn hand_out_whole(&mut self, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.hands_out_whole = true;
        }
    }

    fn read_maps(&mut self, stream: StreamId) -> Vec<WholeMap> {
        let Some(State { stream, .. }) = self.streams.get_mut(&stream) else { return Vec::new() };
        if self.kept_maps.iter().any(|map| map.is_lazy(&self.planned.plan)) {
            self.executor.complete(stream);
        }
        self.kept_maps.iter().map(|map| map.read(stream)).collect()
    }

    fn forget(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }
}
