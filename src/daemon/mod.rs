//! `passd run`: config, pipeline, signals and the service manager.
//!
//! The main thread owns everything and does nothing but wait: for a signal, or
//! for the tick at which it looks after the watchdog and the status line.

mod error;
mod learning;
mod notify;
mod outputs;
mod overrides;
mod signals;
mod watch;

pub use error::DaemonError;
pub use notify::Notifier;
pub use signals::{Signal, signals};

use crate::clock::SystemClock;
use crate::config::{self, Config};
use crate::files::OwnFolder;
use crate::infer::session::Runtime;
use crate::learn::in_use::{InUse, NotUsable};
use crate::models::model::ModelFolders;
use crate::output::board::Board;
use crate::output::metrics::Metrics;
use crate::output::{Command, Sink};
use crate::pipeline::{CameraContext, Detectors, OrtFactory, Pipeline, Prepared, StartError, open_source};
use crate::schedule::load::Degraded;
use crossbeam_channel::{Receiver, bounded, select, tick};
use learning::Learning;
use outputs::RunningOutputs;
use overrides::Overrides;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use watch::{FileLook, Watch};

/// Time for everything to come to its end.
const SHUTDOWN: Duration = Duration::from_millis(4000);
/// Commands that may wait.
const COMMANDS: usize = 64;
/// No output for this long while frames come: stuck, unless the service manager asks for less.
const STUCK: Duration = Duration::from_secs(30);

/// What the daemon is made of.
pub struct Daemon {
    pipeline: Pipeline,
    pub board: Arc<Board>,
    pub metrics: Arc<Metrics>,
    outputs: RunningOutputs,
    config: Config,
    overrides: Overrides,
    learning: Learning,
    /// What somebody wants to be set.
    commands: Receiver<Command>,
    /// What is kept there is this daemon's alone.
    _state: Option<OwnFolder>,
}

impl Daemon {
    /// Starts everything that `config` asks for. `extra` sinks get every result, too.
    ///
    /// # Errors
    /// The first thing that does not work; nothing stays running then.
    pub fn start(config: Config, extra: Vec<Arc<dyn Sink>>) -> Result<Self, DaemonError> {
        let runtime = Runtime::get(config.library.as_deref())?;
        let folders = ModelFolders::usual(config.models.as_deref());
        Self::start_with(config, extra, Detectors::new(Arc::new(OrtFactory::new(runtime, folders))))
    }

    /// As [`Daemon::start`], with other detectors.
    ///
    /// # Errors
    /// As [`Daemon::start`].
    pub fn start_with(config: Config, extra: Vec<Arc<dyn Sink>>, detectors: Detectors) -> Result<Self, DaemonError> {
        crate::capture::init().map_err(|e| DaemonError::Other(e.to_string()))?;
        let (board, metrics) = (Arc::new(Board::default()), Arc::new(Metrics::default()));
        board.healthy.store(true, Ordering::Relaxed);
        let (commander, commands) = bounded(COMMANDS);
        let mut outputs = RunningOutputs::new(board.clone(), metrics.clone(), commander, extra);
        let mut learning = Learning::new(board.clone());
        learning.apply(&config)?;
        outputs.set_learning(learning.ends());
        outputs.apply(&config)?;
        let around = CameraContext {
            clock: Arc::new(SystemClock::new()),
            board: board.clone(),
            metrics: metrics.clone(),
            sinks: outputs.sinks(),
            open: Arc::new(open_source),
        };
        let mut pipeline = Pipeline::new(detectors, around);
        let state = config::state_directory().map(|folder| {
            let named = |e| DaemonError::Other(format!("STATE_DIRECTORY {}: {e}", folder.display()));
            OwnFolder::claim(&folder, ".state.lock").map_err(named)
        });
        let state = state.transpose()?;
        let mut overrides = Overrides::from_environment();
        pipeline.set_budget(config.budget);
        apply(&mut pipeline, &config, &mut overrides, &mut learning)?;
        let daemon = Self { pipeline, board, metrics, outputs, config, overrides, learning, commands, _state: state };
        daemon.show_config();
        Ok(daemon)
    }

    /// Changes what differs; what cannot be changed while running is said.
    ///
    /// # Errors
    /// A new camera cannot be started; running ones go on.
    pub fn reload(&mut self, config: Config) -> Result<(), DaemonError> {
        match self.learning.apply(&config) {
            Ok(true) => self.outputs.set_learning(self.learning.ends()),
            Ok(false) => {}
            Err(e) => {
                self.restore_outputs();
                self.pipeline.hold(Prepared::default());
                return Err(e);
            }
        }
        if let Err(e) = self.outputs.apply(&config) {
            self.restore_outputs();
            // What was opened for this config goes.
            self.pipeline.hold(Prepared::default());
            return Err(e);
        }
        if let Err(e) = apply(&mut self.pipeline, &config, &mut self.overrides, &mut self.learning) {
            self.restore_outputs();
            return Err(e.into());
        }
        if config.budget != self.config.budget {
            self.pipeline.set_budget(config.budget);
        }
        if (&config.library, &config.models) != (&self.config.library, &self.config.models) {
            tracing::warn!("changes of inference.library and inference.models take effect at the next start");
        }
        for key in self.overrides.hidden(&self.config, &config) {
            tracing::warn!(
                "camera {key} of the config waits: another value was set while running, and is kept in {}; an empty message \
                 to the topic that set it undoes that",
                self.overrides.place()
            );
        }
        self.config = config;
        self.show_config();
        Ok(())
    }

    /// Opens the models that a config asks for and that are not open yet; a reload finds them then. As [`apply`]: with
    /// what was set laid over it, and where that does not fit any more, without it.
    fn preparation(&self, config: &Config) -> impl FnOnce() -> Result<Prepared, StartError> + Send + use<> {
        let set = self.pipeline.preparation(&self.laid_over(config).cameras);
        let plain = (!self.overrides.is_empty() || self.learning.is_in_use())
            .then(|| self.pipeline.preparation(&config.cameras));
        move || set().or_else(|e| plain.map_or(Err(e), |plain| plain()))
    }

    /// A config with what was set, and what was learned.
    fn laid_over(&self, config: &Config) -> Config {
        self.learning.lay_over(self.overrides.apply(config))
    }

    /// Has cameras use another model, their streams untouched.
    ///
    /// # Errors
    /// It cannot be run: they go on with the one that they have, and the learner is told.
    fn use_learned(&mut self, in_use: &InUse) -> Result<(), DaemonError> {
        let before = self.learning.use_model(in_use);
        if let Err(e) = self.pipeline.apply(&self.laid_over(&self.config).cameras) {
            self.learning.put_back(before);
            if let Some(model) = &in_use.model {
                self.learning.tell(NotUsable { model: model.clone(), why: e.to_string() });
            }
            return Err(e.into());
        }
        self.show_config();
        Ok(())
    }

    fn restore_outputs(&mut self) {
        match self.learning.apply(&self.config) {
            Ok(false) => {}
            Ok(true) => self.outputs.set_learning(self.learning.ends()),
            Err(e) => {
                tracing::error!("nothing is learned any more: {e}");
                self.outputs.set_learning(None);
            }
        }
        if let Err(e) = self.outputs.apply(&self.config) {
            tracing::error!("an output is lost: {e}");
        }
    }

    /// Sets what a command asks for, and keeps it for the next start.
    ///
    /// # Errors
    /// The camera cannot be run like this: it goes on as it was.
    fn obey(&mut self, command: &Command) -> Result<(), DaemonError> {
        let before = self.overrides.get(&command.camera);
        self.overrides.set(command);
        if let Err(e) = self.pipeline.apply(&self.laid_over(&self.config).cameras) {
            self.overrides.put_back(&command.camera, before);
            return Err(e.into());
        }
        self.show_config();
        if let Err(e) = self.overrides.write() {
            tracing::warn!(camera = command.camera, "what was set is forgotten at the end: {e}");
        }
        Ok(())
    }

    /// Puts the config on the board, with what was set laid over it.
    fn show_config(&self) {
        self.board.set_config(&config::effective(&self.laid_over(&self.config)));
    }

    /// Where HTTP listens.
    pub fn address(&self) -> Option<std::net::SocketAddr> {
        self.outputs.address()
    }

    /// Every camera is a clip, and over.
    pub fn is_finished(&self) -> bool {
        self.pipeline.is_finished()
    }

    /// Clips that could not be played to their end, each with the reason.
    pub fn failures(&self) -> Vec<String> {
        self.pipeline.failures()
    }

    /// Cameras that get frames but put nothing out.
    pub fn stuck(&self, limit: Duration) -> Vec<&str> {
        self.pipeline.stuck(limit)
    }

    /// One line for people: "2/3 cameras live, 31 frames/s, 6% of patches computed".
    pub fn status(&self, since: &mut (u64, Instant)) -> String {
        let cameras = self.board.all();
        let live = cameras.iter().filter(|c| c.state().0 == crate::capture::CameraState::Live).count();
        let processed = self.board.sum(|c| &c.n_processed);
        let rate = processed.saturating_sub(since.0) as f64 / since.1.elapsed().as_secs_f64().max(1e-3);
        *since = (processed, Instant::now());
        let share =
            100.0 * self.board.sum(|c| &c.n_patches_computed) as f64 / self.board.sum(|c| &c.n_patches).max(1) as f64;
        let mut text =
            format!("{live}/{} cameras live, {rate:.1} frames/s, {share:.0}% of patches computed", cameras.len());
        let n = cameras.iter().filter(|c| c.degraded() != Degraded::No).count();
        if n > 0 {
            text += &format!(", {n} degraded");
        }
        if let Some(trouble) = self.board.trouble() {
            text += &format!("; config not reloaded: {}", trouble.lines().next().unwrap_or_default());
        }
        text
    }

    /// Ends in order: cameras, what they still put out, sinks, HTTP.
    pub fn stop(self) {
        self.pipeline.stop(SHUTDOWN.saturating_sub(Duration::from_secs(1)));
        self.outputs.stop();
        drop(self.learning);
    }
}

/// Brings the pipeline to the config, with what was set laid over it: where that does not fit the config any
/// more, without it.
fn apply(
    pipeline: &mut Pipeline,
    config: &Config,
    overrides: &mut Overrides,
    learning: &mut Learning,
) -> Result<(), StartError> {
    match apply_learned(pipeline, &overrides.apply(config), learning) {
        Err(e) if !overrides.is_empty() => {
            // Else it is the config's own fault, and what was set stays.
            apply_learned(pipeline, config, learning)?;
            tracing::warn!("what was set while running ({}) is left out: {e}", overrides.place());
            overrides.clear();
            Ok(())
        }
        done => done,
    }
}

/// Brings the pipeline to a config with what was learned. Learned models that cannot be used are left out, and the learner
/// is told of them, if it works without them: else they are not to blame, and stay.
fn apply_learned(pipeline: &mut Pipeline, config: &Config, learning: &mut Learning) -> Result<(), StartError> {
    let before = learning.models().clone();
    let mut failed = Vec::new();
    while let Err(e) = pipeline.apply(&learning.lay_over(config.clone()).cameras) {
        let Some(model) = learning.leave_out(e.camera()) else {
            learning.put_back(before);
            return Err(e);
        };
        failed.push(NotUsable { model, why: e.to_string() });
    }
    for failed in failed {
        tracing::error!("what was learned is not used: {}", failed.why);
        learning.tell(failed);
    }
    Ok(())
}

/// Runs until a signal says stop or every clip is over.
///
/// # Errors
/// As [`Daemon::start`]; once running it fails only if every clip is over, and one of them could not be played.
pub fn run(path: &Path, watch: bool) -> Result<(), DaemonError> {
    let watch = watch.then(|| Watch::new(path));
    let config = config::load(path)?;
    let signals = signals().map_err(|e| DaemonError::Other(format!("signals: {e}")))?;
    let notifier = Notifier::from_environment();
    notifier.status("loading models");
    let (daemon, told) =
        while_busy(&signals, || notifier.extend_timeout(STOP_EXTENSION), || Daemon::start(config, Vec::new()));
    if told == Some(Signal::Stop) {
        // Nothing has been computed yet that could be lost.
        return Ok(());
    }
    let daemon = daemon?;
    notifier.ready();
    match serve(daemon, path, watch, &signals, &notifier, told) {
        failures if failures.is_empty() => Ok(()),
        failures => Err(DaemonError::Clips(failures.join("\n"))),
    }
}

/// How much longer the service manager is asked to wait, again and again.
const STOP_EXTENSION: Duration = Duration::from_secs(30);
/// How long something is waited for that was told to stop.
const GRACE: Duration = Duration::from_secs(3);

/// Does long work (models are loaded, engines built) on a thread of its own, and
/// goes on to listen to signals and to call `keep_alive` meanwhile.
///
/// Returns the signal that came meanwhile, too. Work that does not end soon
/// after a stop cannot be broken off: the process ends with it.
fn while_busy<T: Send>(
    signals: &Receiver<Signal>,
    keep_alive: impl Fn(),
    work: impl FnOnce() -> T + Send,
) -> (T, Option<Signal>) {
    let (working, done) = crossbeam_channel::bounded::<()>(0);
    let ticks = tick(Duration::from_secs(1));
    std::thread::scope(|scope| {
        let worker = scope.spawn(move || {
            let _working = working;
            work()
        });
        let mut told = None;
        let mut deadline = crossbeam_channel::never();
        keep_alive();
        loop {
            select! {
                // Nothing is ever sent: the channel closes when the work ends.
                recv(done) -> _ => {
                    let value = worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    return (value, told);
                }
                recv(signals) -> signal => match signal {
                    Ok(Signal::Reload) => told = told.or(Some(Signal::Reload)),
                    Ok(Signal::Stop) | Err(_) => {
                        told = Some(Signal::Stop);
                        deadline = crossbeam_channel::after(GRACE);
                    }
                },
                recv(deadline) -> _ => {
                    tracing::warn!("stopping while models are being loaded");
                    std::process::exit(0);
                }
                recv(ticks) -> _ => keep_alive(),
            }
        }
    })
}

/// Longest time for reading a config: it may lie on a network that is away.
const READING: Duration = Duration::from_secs(10);

/// How work ended that was done aside.
enum Aside<T> {
    Done(T),
    /// Told to stop, or too late: it is left behind.
    LeftBehind,
}

/// Does work on a thread of its own that may hang or take minutes, and goes on to listen to signals and to call
/// `keep_alive` meanwhile. Nothing that runs is touched by it, so that a stop does not wait for it.
fn aside<T: Send + 'static>(
    signals: &Receiver<Signal>,
    told: &mut Option<Signal>,
    keep_alive: impl Fn(),
    limit: Option<Duration>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Aside<T> {
    let (sender, done) = bounded(1);
    let spawned = std::thread::Builder::new().name("aside".into()).spawn(move || {
        let _ = sender.send(work());
    });
    if let Err(e) = spawned {
        tracing::error!("no thread: {e}");
        return Aside::LeftBehind;
    }
    let ticks = tick(Duration::from_secs(1));
    let deadline = limit.map_or_else(crossbeam_channel::never, crossbeam_channel::after);
    loop {
        select! {
            recv(done) -> value => return value.map_or(Aside::LeftBehind, Aside::Done),
            recv(signals) -> signal => match signal {
                Ok(Signal::Reload) => *told = told.or(Some(Signal::Reload)),
                Ok(Signal::Stop) | Err(_) => {
                    *told = Some(Signal::Stop);
                    return Aside::LeftBehind;
                }
            },
            recv(deadline) -> _ => return Aside::LeftBehind,
            recv(ticks) -> _ => keep_alive(),
        }
    }
}

/// Reads the config anew and takes it over. What takes long, opening models, is done before anything is touched.
fn reload(
    daemon: &mut Daemon,
    path: &Path,
    signals: &Receiver<Signal>,
    told: &mut Option<Signal>,
    notifier: &Notifier,
) -> Result<(), DaemonError> {
    let feed = || notifier.feed();
    let left = |what: &str| DaemonError::Other(format!("{}: {what}", path.display()));
    let owned = path.to_owned();
    let Aside::Done(config) = aside(signals, told, feed, Some(READING), move || config::load(&owned)) else {
        return Err(left("it could not be read in time"));
    };
    let config = config?;
    let Aside::Done(prepared) = aside(signals, told, feed, None, daemon.preparation(&config)) else {
        return Err(left("told to stop while its models were being opened"));
    };
    daemon.pipeline.hold(prepared?);
    let (done, signal) = while_busy(signals, feed, || daemon.reload(config));
    *told = told.or(signal);
    done
}

/// The main loop. `pending` came while the daemon was being started. Returns what ended before its time, if the end of
/// all clips ended the loop.
fn serve(
    mut daemon: Daemon,
    path: &Path,
    mut watch: Option<Watch>,
    signals: &Receiver<Signal>,
    notifier: &Notifier,
    mut pending: Option<Signal>,
) -> Vec<String> {
    let mut failures = Vec::new();
    let limit = notifier.watchdog().map_or(STUCK, |w| w / 2);
    let ticks = tick(notifier.watchdog().map_or(Duration::from_secs(2), |w| (w / 4).min(Duration::from_secs(2))));
    let mut since = (0, Instant::now());
    let mut complained = false;
    let commands = daemon.commands.clone();
    let learned = daemon.learning.in_use();
    loop {
        if let Some(signal) = pending.take() {
            if signal == Signal::Stop {
                break;
            }
            notifier.reloading();
            if let Some(watch) = &mut watch {
                watch.note();
            }
            let mut told = None;
            match reload(&mut daemon, path, signals, &mut told, notifier) {
                Ok(()) => {
                    daemon.board.set_trouble(None);
                    tracing::info!("config is reloaded");
                }
                Err(_) if told == Some(Signal::Stop) => {}
                Err(e) => {
                    daemon.board.set_trouble(Some(&e.to_string()));
                    tracing::error!("config is not reloaded, the old one stays:\n{e}");
                }
            }
            notifier.ready();
            pending = told;
            continue;
        }
        select! {
            recv(signals) -> signal => pending = Some(signal.unwrap_or(Signal::Stop)),
            recv(commands) -> command => if let Ok(command) = command {
                let (done, told) = while_busy(signals, || notifier.feed(), || daemon.obey(&command));
                match done {
                    Ok(()) => tracing::info!(camera = command.camera, "is set: {:?}", command.setting),
                    Err(e) => tracing::error!(camera = command.camera, "cannot be set to {:?}: {e}", command.setting),
                }
                pending = told;
            },
            recv(learned) -> in_use => if let Ok(in_use) = in_use {
                let (done, told) = while_busy(signals, || notifier.feed(), || daemon.use_learned(&in_use));
                if let Err(e) = done {
                    tracing::error!(cameras = in_use.cameras.join(", "), "what was learned cannot be used: {e}");
                }
                pending = told;
            },
            recv(ticks) -> _ => {
                let stuck = daemon.stuck(limit);
                if stuck.is_empty() {
                    notifier.feed();
                    complained = false;
                } else if !complained {
                    tracing::error!("frames come, but nothing has been put out for {limit:?}: {}", stuck.join(", "));
                    complained = true;
                }
                notifier.status(&daemon.status(&mut since));
                match watch.as_mut().map_or(FileLook::Same, Watch::look) {
                    FileLook::Same => {}
                    FileLook::Gone => tracing::warn!("{} is gone; what it said goes on", path.display()),
                    FileLook::Changed => {
                        tracing::info!("the config file is another one");
                        pending = Some(Signal::Reload);
                    }
                }
                if daemon.is_finished() {
                    tracing::info!("every clip is over");
                    failures = daemon.failures();
                    break;
                }
            }
        }
    }
    notifier.stopping();
    tracing::info!("stopping");
    let (done, ended) = crossbeam_channel::bounded::<()>(0);
    let stopper = std::thread::Builder::new().name("stopper".into()).spawn(move || {
        daemon.stop();
        drop(done);
    });
    if stopper.is_err() || ended.recv_timeout(SHUTDOWN).is_err_and(|e| e.is_timeout()) {
        tracing::error!("not everything came to its end in time");
    }
    failures
}
