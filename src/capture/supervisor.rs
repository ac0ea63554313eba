//! Keeps one camera alive: opens its source, watches it, rebuilds it.
//!
//! Runs on a thread of its own. Opening and closing, which may hang inside a
//! driver or a network stack, happen on helper threads with a deadline; a
//! helper that hangs is left behind, and no more than a few are.

use super::intake::Intake;
use super::source::{CaptureError, Source, SourceEvent};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, select};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Where a camera stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// Opened, no frame yet.
    Connecting,
    /// Frames come.
    Live,
    /// Frames came, and come no more.
    Stalled,
    /// Waiting before the next attempt.
    BackingOff,
    /// A file or clip is over.
    Ended,
}

impl CameraState {
    pub const ALL: [Self; 5] = [Self::Connecting, Self::Live, Self::Stalled, Self::BackingOff, Self::Ended];

    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Live => "live",
            Self::Stalled => "stalled",
            Self::BackingOff => "backing_off",
            Self::Ended => "ended",
        }
    }
}

/// Opens a source once. Called again for every attempt, on a helper thread.
pub type Opener = Arc<dyn Fn(&Intake, u64) -> Result<Source, CaptureError> + Send + Sync>;

/// Finds cause and remedy for what a source said of its end. Called on a helper thread, as it may take seconds.
pub type Explainer = Arc<dyn Fn(String) -> String + Send + Sync>;

/// Told of every change of state, with its cause where there is one.
pub type Observer = Box<dyn Fn(CameraState, Option<&str>) + Send>;

#[derive(Debug, Clone, PartialEq)]
pub struct SupervisorSettings {
    /// Longest wait for a source to open and for its first frame.
    pub connect: Duration,
    /// A live source without a frame for this long has stalled.
    pub stall: Duration,
    /// Wait after the first failure; doubles up to `backoff_cap`.
    pub backoff_first: Duration,
    pub backoff_cap: Duration,
    /// Wait before the very first attempt: staggers many cameras.
    pub delay: Duration,
}

impl Default for SupervisorSettings {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { connect: s(15), stall: s(10), backoff_first: s(1), backoff_cap: s(60), delay: Duration::ZERO }
    }
}

/// A stream that showed pictures for this long is a good one: after it the next attempt comes soon.
const STEADY_NS: u64 = 10_000_000_000;
/// A file stalls no sooner.
const FILE_STALL: Duration = Duration::from_secs(10);
/// Helpers of one camera that may hang at a time before it stops trying.
const MAX_STUCK: usize = 4;

pub struct Supervisor {
    pub settings: SupervisorSettings,
    pub opener: Opener,
    /// `None`: what a source says is good enough.
    pub explainer: Option<Explainer>,
    pub intake: Intake,
    pub clock: Arc<dyn Clock>,
    pub observer: Observer,
    /// Closed or written to: stop.
    pub stop: Receiver<()>,
    pub seed: u64,
    /// A camera never ends: if its stream does, it comes back.
    pub live_source: bool,
    /// Threads that open or drop a source just now.
    pub helpers: Arc<AtomicUsize>,
}

/// How one incarnation of the source came to its end.
enum Outcome {
    Ended,
    Failed(String),
    Stopped,
}

impl Supervisor {
    /// Runs until the source ends for good or `stop` says so.
    pub fn run(self) {
        let s = &self.settings;
        let mut backoff = Backoff::new(s.backoff_first, s.backoff_cap, self.seed);
        if self.wait(s.delay) {
            return;
        }
        loop {
            let before = self.intake.n_frames();
            match self.run_once() {
                Outcome::Stopped => return,
                Outcome::Ended => {
                    (self.observer)(CameraState::Ended, None);
                    self.intake.slot().close();
                    return;
                }
                // A file that cannot be played, or breaks in the middle, does so every time.
                Outcome::Failed(cause) if !self.live_source => {
                    let Some(cause) = self.explain(cause) else { return };
                    (self.observer)(CameraState::Ended, Some(&cause));
                    self.intake.slot().close();
                    return;
                }
                Outcome::Failed(cause) => {
                    // A camera that comes and goes is not asked ever faster.
                    let stood_ns = self.intake.last_frame_ns().saturating_sub(self.intake.first_frame_ns());
                    if self.intake.n_frames() > before && stood_ns >= STEADY_NS {
                        backoff.reset();
                    }
                    let Some(cause) = self.explain(cause) else { return };
                    let wait = backoff.wait();
                    let text = format!("{cause}; next attempt in {:.1} s", wait.as_secs_f64());
                    (self.observer)(CameraState::BackingOff, Some(&text));
                    if self.wait(wait) {
                        return;
                    }
                }
            }
        }
    }

    /// One source from its opening to its end.
    fn run_once(&self) -> Outcome {
        (self.observer)(CameraState::Connecting, None);
        let epoch = self.intake.begin();
        // Before the source runs: a short clip may be over by the time it is watched.
        let before = self.intake.n_frames();
        let source = match self.open(epoch) {
            Ok(source) => source,
            Err(outcome) => return outcome,
        };
        let outcome = self.watch(&source, before);
        // Frames that a dying source still sends are not the next one's.
        self.intake.begin();
        on_helper(&self.helpers, move || drop(source));
        outcome
    }

    fn open(&self, epoch: u64) -> Result<Source, Outcome> {
        if self.helpers.load(Ordering::Acquire) >= MAX_STUCK {
            return Err(Outcome::Failed(format!("{MAX_STUCK} earlier attempts still hang")));
        }
        let (sender, opened) = bounded(1);
        let (opener, intake) = (self.opener.clone(), self.intake.clone());
        on_helper(&self.helpers, move || {
            // Nobody waits any more: the source is dropped here, where it may hang.
            let _ = sender.send(opener(&intake, epoch));
        });
        select! {
            recv(opened) -> result => match result {
                Ok(Ok(source)) => Ok(source),
                Ok(Err(e)) => Err(Outcome::Failed(e.to_string())),
                Err(_) => Err(Outcome::Failed("opening the source failed".into())),
            },
            recv(self.stop) -> _ => Err(Outcome::Stopped),
            default(self.settings.connect) => {
                Err(Outcome::Failed(format!("opening did not finish within {:?}", self.settings.connect)))
            }
        }
    }

    /// What is behind a cause; `None`: told to stop meanwhile.
    fn explain(&self, cause: String) -> Option<String> {
        let Some(explainer) = self.explainer.clone() else { return Some(cause) };
        if self.helpers.load(Ordering::Acquire) >= MAX_STUCK {
            return Some(cause);
        }
        let (sender, explained) = bounded(1);
        let said = cause.clone();
        on_helper(&self.helpers, move || {
            let _ = sender.send(explainer(said));
        });
        select! {
            recv(explained) -> found => Some(found.unwrap_or(cause)),
            recv(self.stop) -> _ => None,
            default(self.settings.connect) => Some(cause),
        }
    }

    fn watch(&self, source: &Source, before: u64) -> Outcome {
        let opened_ns = self.clock.monotonic_ns();
        let corrupt_before = self.intake.n_corrupt();
        let mut waits_for_key = false;
        // The pauses of a file are its own.
        let stall = if self.live_source { self.settings.stall } else { self.settings.stall.max(FILE_STALL) };
        let mut state = CameraState::Connecting;
        loop {
            let live = self.intake.n_frames() > before;
            if live && state != CameraState::Live {
                state = CameraState::Live;
                (self.observer)(state, None);
            }
            let is_corrupt = self.intake.n_corrupt() > corrupt_before;
            if !live && is_corrupt && !waits_for_key {
                waits_for_key = true;
                (self.observer)(CameraState::Connecting, Some("waiting for a key frame"));
            }
            // A picture that is of no use is a sign of life.
            let corrupt_ns = if is_corrupt { self.intake.last_corrupt_ns() } else { 0 };
            let (since_ns, limit) = if live {
                (self.intake.last_frame_ns().max(corrupt_ns), stall)
            } else {
                (opened_ns.max(corrupt_ns), self.settings.connect)
            };
            let silent = Duration::from_nanos(self.clock.monotonic_ns().saturating_sub(since_ns));
            // A source that is held up by a full slot has not stalled.
            if silent >= limit && !self.intake.slot().is_waited_for() {
                if live {
                    (self.observer)(CameraState::Stalled, Some(&format!("no frame for {:.1} s", silent.as_secs_f64())));
                    return Outcome::Failed("the stream stalled".into());
                }
                return Outcome::Failed(format!("no frame within {:.1} s of connecting", silent.as_secs_f64()));
            }
            let tick = (limit.saturating_sub(silent)).min(if live {
                Duration::from_secs(1)
            } else {
                Duration::from_millis(50)
            });
            select! {
                recv(source.events) -> event => return match event {
                    Ok(SourceEvent::Ended) if self.intake.n_frames() == before => Outcome::Failed("it ended before its first frame".into()),
                    Ok(SourceEvent::Ended) if self.live_source => Outcome::Failed("the camera ended the stream".into()),
                    Ok(SourceEvent::Ended) => Outcome::Ended,
                    Ok(SourceEvent::Failed(e)) => Outcome::Failed(e.to_string()),
                    Err(_) => Outcome::Failed("the source went away".into()),
                },
                recv(self.stop) -> _ => return Outcome::Stopped,
                default(tick.max(Duration::from_millis(1))) => {}
            }
        }
    }

    /// Waits; true when told to stop.
    fn wait(&self, duration: Duration) -> bool {
        !matches!(self.stop.recv_timeout(self.clock.timeout(duration)), Err(RecvTimeoutError::Timeout))
    }
}

/// Runs `work` on a thread of its own, counted while it runs.
fn on_helper(count: &Arc<AtomicUsize>, work: impl FnOnce() + Send + 'static) {
    count.fetch_add(1, Ordering::AcqRel);
    let counted = Counted(count.clone());
    let helper = std::thread::Builder::new().name("source".into()).spawn(move || {
        let _counted = counted;
        work();
    });
    if let Err(e) = helper {
        tracing::error!("no thread for a source: {e}");
    }
}

/// Counts down when its thread ends, however it does.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{CaptureError, Slot, SlotMode, SourceEvent};
    use crate::clock::SimClock;
    use crate::geom::{Letterbox, Size};
    use std::sync::atomic::AtomicBool;
    use tracing_mutex::stdsync::Mutex;

    const HOUR_NS: u64 = 3_600_000_000_000;

    /// A camera that shows pictures for `stands` and then fails, again and again for an hour: when it was off line.
    fn flap(stands: Duration) -> Vec<u64> {
        let clock = Arc::new(SimClock::default());
        let size = Size::new(64, 64);
        let intake = Intake::new(size, clock.clone(), Arc::new(Slot::new(SlotMode::Latest)), None);
        let (stopper, stop) = bounded(1);
        let opening = clock.clone();
        let opener: Opener = Arc::new(move |intake, epoch| {
            let letterbox = Letterbox::fit(size, size);
            for _ in 0..5 {
                intake.deliver(
                    epoch,
                    opening.monotonic_ns(),
                    &letterbox,
                    &[90; 64 * 64 * 3],
                    192,
                    &AtomicBool::new(false),
                );
                opening.sleep(stands / 5);
            }
            let (sender, events) = bounded(1);
            let _ = sender.send(SourceEvent::Failed(CaptureError::Transient("gone".into())));
            Ok(Source { events, guard: Box::new(sender) })
        });
        let off_line = Arc::new(Mutex::new(Vec::new()));
        let (said, now) = (off_line.clone(), clock.clone());
        let helpers = Arc::new(AtomicUsize::new(0));
        let at_work = helpers.clone();
        let supervisor = Supervisor {
            settings: SupervisorSettings { connect: Duration::from_secs(100_000), ..SupervisorSettings::default() },
            opener,
            explainer: None,
            intake,
            clock,
            observer: Box::new(move |state, _| {
                // Here and not where sources open: those threads may be late, while this clock runs on.
                if now.monotonic_ns() > HOUR_NS {
                    let _ = stopper.try_send(());
                }
                if state == CameraState::BackingOff {
                    // They take real time, of which this clock knows nothing: to it, they would seem to hang.
                    while at_work.load(Ordering::Acquire) > 0 {
                        std::thread::yield_now();
                    }
                    said.lock().unwrap().push(now.monotonic_ns() / 1_000_000_000);
                }
            }),
            stop,
            seed: 5,
            live_source: true,
            helpers,
        };
        supervisor.run();
        std::mem::take(&mut *off_line.lock().unwrap())
    }

    #[test]
    fn a_camera_that_comes_and_goes_is_asked_ever_less() {
        let seen = flap(Duration::from_secs(1));
        assert!((60..200).contains(&seen.len()), "{}: the log is short", seen.len());
        assert!(seen[3] < 20 && seen.last().unwrap() > &3500, "{seen:?}");
        // One that stands for a while each time comes back at once.
        let seen = flap(Duration::from_secs(20));
        assert!(seen.windows(2).all(|w| w[1] - w[0] <= 22), "{seen:?}");
    }
}
