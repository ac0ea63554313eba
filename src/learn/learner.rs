//! The learner's thread: keeps pictures, answers what people ask and say, and has runs begin, end and be taken over.

use super::class::{Class, STILLS};
use super::error::LearnError;
use super::fit::FitSettings;
use super::in_use::{InUse, NotUsable};
use super::picture::moved;
use super::pupil::Pupil;
use super::run::{LearnRun, RunBounds};
use super::settings::{GroupSettings, LearnSettings};
use super::shadow::Shadow;
use super::sink::{BestFrame, LearnSink, MapWishes, Trails};
use super::stored::EventHead;
use crate::clock::Clock;
use crate::files::OwnFolder;
use crate::infer::tap::KeptMaps;
use crate::models::model::ModelFolders;
use crate::outcome::FrameResult;
use crate::output::Sink;
use crate::output::board::Board;
use crate::output::desk::{Asked, Desk};
use crate::process::{give_way, only_when_idle};
use crate::schedule::load::Degraded;
use crossbeam_channel::{Receiver, Sender, select};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the learner works with.
#[derive(Clone)]
pub struct LearnContext {
    pub board: Arc<Board>,
    pub clock: Arc<dyn Clock>,
    pub folders: ModelFolders,
    /// Told of every change of what is in use.
    pub in_use: Sender<InUse>,
    /// Tells what of it cannot be used.
    pub not_usable: Receiver<NotUsable>,
}

/// Between two looks at what there is to do.
const TICK: Duration = Duration::from_millis(200);
/// Between two events' pictures of a camera.
const EVENT_NS: u64 = 2_000_000_000;
/// So long it is waited for a frame with its detector's maps.
const MAPS_WAIT_NS: u64 = 1_000_000_000;
/// Between two looks of a shadow.
const SHADOW_NS: u64 = 500_000_000;
/// After something could not be done, or written, the next run waits for so long.
const AGAIN_NS: u64 = 60_000_000_000;
/// Of a run's time so much is noted as spent before it is: who is killed again and again learns for ever otherwise.
const AHEAD: Duration = Duration::from_secs(60);

/// What learns, running; ends when dropped.
pub struct Learner {
    pub desk: Desk,
    pub sink: Arc<dyn Sink>,
    /// Maps that cameras' detectors are to keep, by camera.
    pub kept_maps: BTreeMap<String, KeptMaps>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _own: OwnFolder,
}

impl Learner {
    /// Opens all groups, and says what is in use of each; then keeps watch on a thread of its own.
    ///
    /// # Errors
    /// A group's model cannot be trained, or nothing can be written.
    pub fn start(
        settings: &LearnSettings,
        groups: &[GroupSettings],
        context: &LearnContext,
    ) -> Result<(Self, Vec<InUse>), LearnError> {
        // Nobody else may be at work there: not even look.
        let path = &settings.path;
        std::fs::create_dir_all(path).map_err(|e| LearnError::file(path, &e))?;
        let own = OwnFolder::claim(path, ".learn.lock").map_err(|e| LearnError::file(path, &e))?;
        let (desk, asked) = Desk::new();
        let cameras = groups.iter().flat_map(|g| g.cameras.iter().map(|c| c.id.clone()));
        let trails = Arc::new(Trails::of(cameras));
        let (mut classes, mut kept_maps, mut may_wish) = (Vec::new(), BTreeMap::new(), Vec::new());
        for group in groups {
            let (pupil, lost) = Pupil::open(group.clone(), settings, &context.folders)?;
            lost.iter().for_each(|what| tracing::warn!(group = group.name, "{what}"));
            if !pupil.net().reads_picture() {
                let kept = KeptMaps { of: pupil.base().into(), names: pupil.net().source_names() };
                // All of a group, so that they share a detector.
                kept_maps.extend(group.cameras.iter().map(|c| (c.id.clone(), kept.clone())));
                // What is masked is black before anything is computed of it.
                may_wish.extend(group.cameras.iter().filter(|c| c.masks.is_empty()).map(|c| c.id.clone()));
            }
            classes.push(Class::new(pupil, trails.clone()));
        }
        let wishes = Arc::new(MapWishes::of(may_wish.into_iter()));
        let (sink, best) = LearnSink::new(trails, wishes.clone());
        let in_use = classes.iter().map(Class::in_use).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let mut work = School {
            settings: settings.clone(),
            context: context.clone(),
            classes,
            stop: stop.clone(),
            pool: rayon::ThreadPoolBuilder::new()
                .num_threads(1)
                .thread_name(|_| "learn-look".into())
                .start_handler(|_| only_when_idle())
                .build()
                .map_err(|e| LearnError::Refused(format!("no thread to learn on: {e}")))?,
            stills: BTreeMap::new(),
            wishes,
            wished_ns: BTreeMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("learn".into())
            .spawn(move || {
                give_way();
                work.run(&asked, &best);
            })
            .map_err(|e| LearnError::Refused(format!("no thread to learn on: {e}")))?;
        Ok((Self { desk, sink: Arc::new(sink), kept_maps, stop, thread: Some(thread), _own: own }, in_use))
    }
}

impl Drop for Learner {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The thread's own.
pub(super) struct School {
    pub settings: LearnSettings,
    pub context: LearnContext,
    pub classes: Vec<Class>,
    stop: Arc<AtomicBool>,
    /// One thread, for what is computed beside runs.
    pool: rayon::ThreadPool,
    /// Frames that somebody looks at, by camera.
    pub stills: BTreeMap<String, VecDeque<Arc<FrameResult>>>,
    wishes: Arc<MapWishes>,
    /// Since when a camera's maps are wished for.
    wished_ns: BTreeMap<String, u64>,
}

impl School {
    fn run(&mut self, asked: &Receiver<Asked>, best: &Receiver<BestFrame>) {
        let mut trimmed_ns = 0;
        // What waited to look along when the daemon ended.
        for i in 0..self.classes.len() {
            if self.classes[i].pupil.versions().waiting.is_some() {
                self.begin_shadow(i);
            }
        }
        while !self.stop.load(Ordering::Acquire) {
            select! {
                recv(asked) -> asked => match asked {
                    // Who has gone away does not want it any more.
                    Ok(asked) if asked.is_awaited() => {
                        let _ = asked.reply.send(self.answer(asked.ask));
                    }
                    _ => {}
                },
                recv(best) -> best => if let Ok(best) = best {
                    self.keep_event(&best);
                },
                default(TICK) => {}
            }
            while let Ok(failed) = self.context.not_usable.try_recv() {
                self.step_back(&failed);
            }
            let now_ns = self.context.clock.monotonic_ns();
            let now_ms = self.now_ms();
            let is_short = self.is_short();
            for i in 0..self.classes.len() {
                self.keep_scene(i, now_ns);
                if !is_short {
                    self.classes[i].keep_due(now_ns);
                }
                self.look_along(i, now_ns);
                self.look_after_run(i, now_ms);
                self.begin_run(i, now_ns);
            }
            if now_ns.saturating_sub(trimmed_ns) > 60_000_000_000 {
                trimmed_ns = now_ns;
                self.classes.iter_mut().for_each(|c| c.pupil.store_mut().trim(now_ms));
            }
        }
        self.classes.iter_mut().for_each(|c| c.keep_due(u64::MAX));
        let now_ms = self.now_ms();
        for class in &mut self.classes {
            class.end_run(now_ms);
        }
    }

    pub fn now_ms(&self) -> u64 {
        self.context.clock.unix_ns() / 1_000_000
    }

    /// A camera's newest frame.
    pub fn latest(&self, camera: &str) -> Option<Arc<FrameResult>> {
        self.context.board.get(camera).and_then(|c| c.latest())
    }

    /// A camera's newest frame with its detector's maps, once it is there; without them, where they cannot be had.
    fn latest_with_maps(&mut self, camera: &str, now_ns: u64) -> Option<Arc<FrameResult>> {
        let board = self.context.board.get(camera)?;
        let is_kept = board.looks().keeps_maps() && self.wishes.can_be_granted(camera);
        if !is_kept {
            self.wishes.give_up(camera);
            self.wished_ns.remove(camera);
            return board.latest();
        }
        if let Some(result) = self.wishes.take(camera) {
            self.wished_ns.remove(camera);
            return Some(result);
        }
        let since_ns = self.wished_ns.entry(camera.to_owned()).or_insert(now_ns);
        let waited_ns = now_ns.saturating_sub(*since_ns);
        if waited_ns > 3 * MAPS_WAIT_NS {
            // Who wished for it has gone: this is another one.
            *since_ns = now_ns;
            return None;
        }
        // Where nothing changes nothing is computed: then the processor has time.
        if waited_ns < MAPS_WAIT_NS {
            return None;
        }
        self.wishes.give_up(camera);
        self.wished_ns.remove(camera);
        board.latest()
    }

    /// Holds a frame that somebody looks at.
    pub fn hold(&mut self, result: &Arc<FrameResult>) {
        let stills = self.stills.entry(result.camera.to_string()).or_default();
        if stills.len() >= STILLS {
            stills.pop_front();
        }
        stills.push_back(result.clone());
    }

    fn keep_event(&mut self, best: &BestFrame) {
        let (now_ns, now_ms) = (self.context.clock.monotonic_ns(), self.now_ms());
        if self.is_short() {
            return;
        }
        let Some(class) = self.classes.iter_mut().find(|c| c.has(&best.result.camera)) else { return };
        let last_ns = class.event_ns.entry(best.result.camera.to_string()).or_default();
        if *last_ns > 0 && now_ns.saturating_sub(*last_ns) < EVENT_NS {
            return;
        }
        *last_ns = now_ns;
        let bbox = best.result.frame.letterbox.to_source(&best.bbox).to_array();
        let event = EventHead { id: best.event.id.clone(), label: best.event.label.clone(), bbox };
        class.put_off(&best.result, (now_ns, now_ms), Some(event));
    }

    /// A picture of each camera now and then: what is always there, and what moves.
    fn keep_scene(&mut self, i: usize, now_ns: u64) {
        let every_ns = self.settings.every.as_nanos() as u64;
        let cameras: Vec<String> = self.classes[i].pupil.settings.cameras.iter().map(|c| c.id.clone()).collect();
        for camera in cameras {
            let last_ns = self.classes[i].kept_ns.get(&camera).copied();
            if last_ns.is_some_and(|last| now_ns.saturating_sub(last) < every_ns) {
                continue;
            }
            if self.is_short() {
                continue;
            }
            let Some(result) = self.latest_with_maps(&camera, now_ns) else { continue };
            // Of a camera that is away the last frame stays.
            if self.classes[i].last_kept.insert(camera.clone(), result.frame.id.0) == Some(result.frame.id.0) {
                continue;
            }
            self.classes[i].kept_ns.insert(camera.clone(), now_ns);
            let now_ms = self.now_ms();
            self.classes[i].put_off(&result, (now_ns, now_ms), None);
        }
    }

    /// Whether a camera gets less than it should.
    fn is_short(&self) -> bool {
        self.context.board.all().iter().any(|c| c.degraded() != Degraded::No)
    }

    fn begin_run(&mut self, i: usize, now_ns: u64) {
        let now_ms = self.now_ms();
        // One at a time.
        if self.classes.iter().any(|c| c.run.is_some()) || self.is_short() {
            return;
        }
        let spent_ms = self.classes.iter().map(|c| c.spent_ms(now_ms)).sum();
        let class = &mut self.classes[i];
        // All groups share a day's budget.
        let left = self.settings.daily.saturating_sub(Duration::from_millis(spent_ms));
        let is_quiet = now_ns.saturating_sub(class.marked_ns) >= self.settings.quiet.as_nanos() as u64;
        let may = class.shadow.is_none() && !left.is_zero() && now_ns >= class.not_before_ns;
        let is_due = class.pupil.has_news() && is_quiet && may;
        // Who asks for a run gets it, whatever was spent.
        let most = if class.is_asked { left.max(self.settings.daily) } else { left };
        if !class.is_asked && !is_due {
            return;
        }
        class.is_asked = false;
        let latest_mark = class.pupil.latest_mark();
        let noted = AHEAD.min(most);
        let may = class.pupil.expect_room().and_then(|()| class.pupil.spend(noted.as_millis() as u64, now_ms));
        if let Err(e) = may {
            return self.give_up(i, &e, latest_mark, Duration::ZERO);
        }
        let in_use = class.pupil.weights(class.pupil.versions().current, &self.context.folders);
        let begun = in_use.and_then(|in_use| {
            let settings = FitSettings { n_steps: self.settings.n_steps, ..FitSettings::default() };
            let bounds = RunBounds { share: self.settings.share, most, noted, latest_mark };
            LearnRun::begin(class.pupil.draft(), in_use, settings, bounds, class.pupil.gates())
                .map_err(|e| LearnError::Refused(format!("no thread to learn on: {e}")))
        });
        match begun {
            Ok(run) => {
                tracing::info!(group = class.pupil.settings.name, "learning begins");
                class.run = Some(run);
            }
            Err(e) => {
                if let Err(e) = class.pupil.spent(noted.as_millis() as u64, 0, now_ms) {
                    tracing::error!(group = class.pupil.settings.name, "{e}");
                }
                self.give_up(i, &e, latest_mark, Duration::ZERO);
            }
        }
    }

    fn give_up(&mut self, i: usize, why: &LearnError, latest_mark: u64, worked: Duration) {
        let time = self.now_ms() as f64 / 1e3;
        let again_ns = self.context.clock.monotonic_ns().saturating_add(AGAIN_NS);
        self.classes[i].not_before_ns = again_ns;
        let pupil = &mut self.classes[i].pupil;
        tracing::warn!(group = pupil.settings.name, "nothing was learned: {why}");
        // Of too few pictures there will be more, and on a full disk room again: then its marks are learned from.
        let is_later = matches!(why, LearnError::TooFew { .. } | LearnError::File { .. });
        let learned = if is_later { pupil.versions().learned_mark } else { latest_mark };
        if let Err(e) = pupil.give_up(why.to_string(), learned, time, worked.as_secs_f64()) {
            tracing::error!(group = pupil.settings.name, "{e}");
        }
    }

    fn look_after_run(&mut self, i: usize, now_ms: u64) {
        let is_short = self.is_short();
        let class = &mut self.classes[i];
        let Some(run) = &mut class.run else { return };
        run.flags.pause.store(is_short, Ordering::Relaxed);
        let latest_mark = run.latest_mark;
        // What was said before it ended is there when it has.
        let result = run.result();
        for (sample, answer) in run.answers() {
            if let Err(e) = class.pupil.put_answer(&sample, &answer) {
                tracing::warn!(group = class.pupil.settings.name, "what the teacher said is not kept: {e}");
            }
        }
        let result = match result {
            Some(result) => result,
            None if run.worked() < run.noted => return,
            None => match class.pupil.spend(AHEAD.as_millis() as u64, now_ms) {
                Ok(()) => {
                    run.noted += AHEAD;
                    return;
                }
                Err(e) => Err(e),
            },
        };
        let worked = class.end_run(now_ms);
        let name = class.pupil.settings.name.clone();
        let taught = match result {
            Ok(taught) => taught,
            Err(e) => return self.give_up(i, &e, latest_mark, worked),
        };
        let class = &mut self.classes[i];
        match class.pupil.settle(&taught, latest_mark, now_ms as f64 / 1e3, worked.as_secs_f64()) {
            Ok(()) if taught.verdict.refused.is_some() => {
                let why = taught.verdict.refused.unwrap_or_default();
                tracing::info!(group = name, "what was learned is not taken: {why}");
            }
            Ok(()) => self.begin_shadow(i),
            Err(e) => self.give_up(i, &e, latest_mark, worked),
        }
    }

    /// Has what waits look along with what is in use.
    fn begin_shadow(&mut self, i: usize) {
        let class = &mut self.classes[i];
        let (current, waiting) = (class.pupil.versions().current, class.pupil.versions().waiting);
        let folders = &self.context.folders;
        let both = class.pupil.weights(current, folders).and_then(|a| Ok((a, class.pupil.weights(waiting, folders)?)));
        match both {
            Ok((now, next)) => {
                let shadow = Shadow::new(class.pupil.net(), now, next, class.pupil.settings.score);
                class.shadow = Some(shadow);
            }
            Err(e) => tracing::error!(group = class.pupil.settings.name, "what was learned cannot be read: {e}"),
        }
    }

    fn look_along(&mut self, i: usize, now_ns: u64) {
        if self.classes[i].shadow.is_none() || now_ns.saturating_sub(self.classes[i].looked_ns) < SHADOW_NS {
            return;
        }
        if self.is_short() {
            return;
        }
        let cameras: Vec<String> = self.classes[i].pupil.settings.cameras.iter().map(|c| c.id.clone()).collect();
        for camera in cameras {
            let Some(result) = self.latest_with_maps(&camera, now_ns) else { continue };
            let class = &mut self.classes[i];
            if class.last_looked.insert(camera, result.frame.id.0) == Some(result.frame.id.0) {
                continue;
            }
            class.looked_ns = now_ns;
            let Some(latents) = class.latents(&result) else { continue };
            if let Some(shadow) = &mut class.shadow {
                // On the one thread that gives way, not on as many as there are.
                self.pool.install(|| shadow.look(&latents, &moved(&result)));
            }
        }
        let class = &mut self.classes[i];
        let Some(verdict) = class.shadow.as_ref().and_then(Shadow::verdict) else { return };
        class.shadow = None;
        let name = class.pupil.settings.name.clone();
        let done = match verdict {
            Err(why) => {
                tracing::info!(group = name, "what was learned is not taken: {why}");
                class.pupil.refuse(why)
            }
            Ok(()) if class.pupil.is_auto() => self.accept(i),
            Ok(()) => {
                tracing::info!(group = name, "what was learned passed, and waits to be accepted");
                Ok(())
            }
        };
        if let Err(e) = done {
            tracing::error!(group = name, "{e}");
        }
    }

    /// Takes what waits into use.
    pub fn accept(&mut self, i: usize) -> Result<(), LearnError> {
        self.classes[i].pupil.accept()?;
        self.classes[i].shadow = None;
        self.tell(i);
        Ok(())
    }

    /// Goes back to what was in use before a model that cannot be used. What was learned from the marks is gone with it, and
    /// is not tried again before there are more of them, or somebody asks.
    fn step_back(&mut self, failed: &NotUsable) {
        let is_it = |c: &Class| c.pupil.in_use().as_ref() == Some(&failed.model);
        // What was replaced meanwhile does not matter any more.
        let Some(i) = self.classes.iter().position(is_it) else { return };
        let now_ms = self.now_ms();
        let class = &mut self.classes[i];
        let name = class.pupil.settings.name.clone();
        // Why it cannot be used was logged where it could not.
        class.cancel(now_ms);
        match class.pupil.step_back(&failed.why) {
            Ok(()) => self.tell(i),
            Err(e) => tracing::error!(group = name, "{e}"),
        }
    }

    /// Tells what is in use now.
    pub fn tell(&self, i: usize) {
        let in_use = self.classes[i].in_use();
        let name = &self.classes[i].pupil.settings.name;
        tracing::info!(
            group = name,
            "in use from now on: {}",
            match &in_use.model {
                Some(path) => path.display().to_string(),
                None => "the model as it came".into(),
            }
        );
        // Who takes it over may be busy, or waits for this thread to end.
        let mut waits = in_use;
        while !self.stop.load(Ordering::Acquire) {
            match self.context.in_use.send_timeout(waits, TICK) {
                Err(crossbeam_channel::SendTimeoutError::Timeout(again)) => waits = again,
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::backbone::Backbone;
    use super::super::export::write_model;
    use super::super::latents::Latents;
    use super::super::net::{Depth, LearnNet};
    use super::super::picture::without;
    use super::super::settings::{LearnCamera, LearnMode};
    use super::super::stored;
    use super::super::versions::Versions;
    use super::*;
    use crate::clock::SystemClock;
    use crate::frame::{Frame, FrameId, Pixels};
    use crate::geom::{Letterbox, PatchGrid, PatchMask};
    use crate::infer::tap::{FrameMaps, WholeMap};
    use crate::models::model::{Learned, Model};
    use crate::outcome::{Names, SceneCounts};
    use crate::output::board::{CameraBoard, Control, Looks};
    use crate::output::desk::{Answer, Ask, LearnControl};
    use crossbeam_channel::bounded;
    use engine::graph::MapShape;
    use std::path::{Path, PathBuf};
    use std::time::Instant;

    const MODEL: &str = "street-nano";
    const LONG: Duration = Duration::from_secs(60);

    fn settings(path: &Path) -> (LearnSettings, GroupSettings) {
        let day = Duration::from_secs(86_400);
        let settings = LearnSettings {
            path: path.into(),
            daily: day,
            share: 1.0,
            max_bytes: 1 << 20,
            max_age: day,
            every: day,
            n_steps: 1,
            quiet: Duration::ZERO,
            teacher: None,
        };
        let group = GroupSettings {
            name: "front".into(),
            mode: LearnMode::Ask,
            model: MODEL.into(),
            size: None,
            score: 0.4,
            cameras: vec![LearnCamera { id: "front".into(), masks: Vec::new() }],
        };
        (settings, group)
    }

    fn ask(learner: &Learner, ask: Ask) -> serde_json::Value {
        match learner.desk.ask(ask) {
            Ok(Answer::Json(value)) => value,
            other => panic!("{other:?}"),
        }
    }

    /// Versions 1 and 2 are there; of 7 marks was learned.
    fn learned(path: &Path, current: Option<u32>, waiting: Option<u32>) {
        let folder = path.join("front");
        std::fs::create_dir_all(folder.join("models")).unwrap();
        let model = Model::load(MODEL, &ModelFolders::default()).unwrap();
        for name in ["0001", "0002"] {
            let learned = Learned { base: MODEL.into(), base_sha256: model.sha256.clone(), from: Vec::new() };
            write_model(&folder.join("models"), name, &model, &model.onnx, learned).unwrap();
        }
        let base = format!("{}@{}", model.sha256, model.size);
        let (last_number, learned_mark) = (2, 7);
        let versions = Versions { base, current, waiting, last_number, learned_mark, ..Versions::default() };
        versions.write(&folder).unwrap();
    }

    fn context(in_use: Sender<InUse>, not_usable: Receiver<NotUsable>) -> LearnContext {
        LearnContext {
            board: Arc::new(Board::default()),
            clock: Arc::new(SystemClock::new()),
            folders: ModelFolders::default(),
            in_use,
            not_usable,
        }
    }

    /// A camera in mode `layers`.
    fn board() -> CameraBoard {
        let control = Control { detection: true, skip_mode: "auto", score: 0.4 };
        let looks = Looks { model: MODEL.into(), mode: "layers", provider: "cpu".into(), size: String::new(), control };
        let none: Arc<[String]> = Arc::new([]);
        let names = Names { camera: "front".into(), labels: none.clone(), zones: none.clone(), lines: none };
        let counts = SceneCounts { names, present: Vec::new(), inside: Vec::new(), crossed: Vec::new() };
        CameraBoard::new("front", "sim://".into(), looks, Arc::new(counts))
    }

    /// A grey frame.
    fn frame(maps: Option<Arc<FrameMaps>>) -> Arc<FrameResult> {
        let size = Model::load(MODEL, &ModelFolders::default()).unwrap().size;
        let pixels = Pixels::owned(vec![110; size.area() * 3]);
        Arc::new(FrameResult {
            camera: "front".into(),
            frame: Frame::new(FrameId(1), 0, Letterbox::fit(size, size), pixels),
            detections: Vec::new(),
            tracks: Vec::new(),
            labels: Arc::new([]),
            computed: PatchMask::empty(PatchGrid::new(size, 32)),
            reasons: Vec::new(),
            executed_share: 0.0,
            latency_ns: 0,
            maps,
            lossless: false,
        })
    }

    #[test]
    fn maps_that_the_detector_has_are_kept_and_not_computed_again() {
        let folder = tempfile::tempdir().unwrap();
        let (settings, mut group) = settings(folder.path());
        let context = context(bounded(8).0, bounded(8).1);
        let camera = Arc::new(board());
        context.board.add(camera.clone());
        let start = |group: &GroupSettings| Learner::start(&settings, std::slice::from_ref(group), &context).unwrap().0;
        let kept = |n: usize| {
            let samples = folder.path().join("front/samples");
            let files = || std::fs::read_dir(&samples).into_iter().flatten().flatten().map(|e| e.path());
            let mut all = Vec::new();
            let until = Instant::now() + LONG;
            while all.len() < n && Instant::now() < until {
                std::thread::sleep(TICK);
                all = files().filter(|p| p.extension().is_some_and(|e| e == "sample")).collect();
            }
            all.sort();
            stored::decode(&std::fs::read(&all[n - 1]).unwrap()).unwrap().1
        };
        let learner = start(&group);
        let model = Model::load(MODEL, &ModelFolders::default()).unwrap();
        let net = LearnNet::open(&model, model.size, Depth::Head).unwrap();
        let of: Arc<str> = format!("{}@{}", model.sha256, model.size).into();
        let kept_maps = KeptMaps { of: of.clone(), names: net.source_names() };
        assert_eq!(learner.kept_maps["front"], kept_maps);
        // It wishes for them before it takes any frame; what comes without them is not what it waits for.
        let until = Instant::now() + LONG;
        while !learner.sink.wants_maps("front") && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(learner.sink.wants_maps("front") && !learner.sink.wants_maps("yard"));
        learner.sink.publish(&frame(None));
        assert!(learner.sink.wants_maps("front"));
        let map =
            |shape: MapShape| WholeMap { shape, numbers: (0..shape.n_values()).map(|i| (i % 7) as f32).collect() };
        let maps: Vec<WholeMap> = net.source_shapes().into_iter().map(map).collect();
        let came = |of: &Arc<str>| Some(Arc::new(FrameMaps { of: of.clone(), maps: maps.clone() }));
        learner.sink.publish(&frame(came(&of)));
        assert!(!learner.sink.wants_maps("front"), "one frame is enough");
        assert_eq!(kept(1), Latents::of(&maps), "the detector's maps");
        drop(learner);
        // Maps of another model are not taken, and the picture's own are computed.
        let mut backbone = Backbone::open(&model, &net).unwrap();
        let mut anew = |masks: &[Vec<[f32; 2]>]| backbone.latents(without(&frame(None).frame, masks).data());
        let learner = start(&group);
        let until = Instant::now() + LONG;
        while !learner.sink.wants_maps("front") && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        learner.sink.publish(&frame(came(&"another".into())));
        assert_eq!(kept(2), anew(&[]));
        drop(learner);
        // Where something is masked, nothing that was computed of it is kept.
        let mask = vec![[0.0, 0.0], [0.5, 0.0], [0.5, 0.5]];
        group.cameras[0].masks = vec![mask.clone()];
        camera.publish(&frame(came(&of)));
        let learner = start(&group);
        assert_eq!(kept(3), anew(&[mask]));
        assert!(!learner.sink.wants_maps("front"));
    }

    #[test]
    fn what_cannot_be_used_is_stepped_back_from_once() {
        let folder = tempfile::tempdir().unwrap();
        learned(folder.path(), Some(1), Some(2));
        let (settings, group) = settings(folder.path());
        let ((tells, told), (fails, not_usable)) = (bounded(8), bounded(8));
        let context = context(tells, not_usable);
        let start = || Learner::start(&settings, std::slice::from_ref(&group), &context).unwrap();
        let (learner, in_use) = start();
        let first = in_use[0].model.clone().unwrap();
        ask(&learner, Ask::Control(LearnControl::Accept, "front".into()));
        let second = told.recv_timeout(LONG).unwrap().model.unwrap();
        assert_ne!(first, second);
        let fail =
            |model: &PathBuf, why: &str| fails.send(NotUsable { model: model.clone(), why: why.into() }).unwrap();
        fail(&second, "no memory left");
        assert_eq!(told.recv_timeout(LONG).unwrap().model.as_ref(), Some(&first), "one step back");
        let stands = ask(&learner, Ask::Status)["cameras"][0].clone();
        assert_eq!((stands["model"].as_str(), &stands["waiting"]), (Some("learned 1"), &serde_json::Value::Null));
        let trouble = stands["trouble"].as_str().unwrap();
        assert!(trouble.contains("learned 2") && trouble.contains("no memory left"), "{trouble}");
        // Said once more, it is in use no more; then the one before fails, too.
        fail(&second, "no memory left");
        fail(&first, "damaged");
        assert_eq!(told.recv_timeout(LONG).unwrap().model, None, "the model as it came");
        assert!(told.try_recv().is_err());
        drop(learner);
        // Nor is it after a restart; what was learned from marks counts as learned from.
        let (learner, in_use) = start();
        assert_eq!(in_use[0].model, None);
        let stands = ask(&learner, Ask::Status)["cameras"][0].clone();
        assert_eq!((stands["model"].as_str(), stands["state"].as_str()), (Some("base"), Some("idle")));
        assert!(stands["trouble"].as_str().unwrap().contains("learned 1"), "{stands}");
        drop(learner);
        // Damaged while nobody looked.
        learned(folder.path(), Some(1), None);
        std::fs::write(first.with_extension("onnx"), "no model").unwrap();
        let (learner, in_use) = start();
        assert_eq!(in_use[0].model, None);
        let stands = ask(&learner, Ask::Status)["cameras"][0].clone();
        assert!(stands["trouble"].as_str().unwrap().contains("learned 1"), "{stands}");
    }
}
