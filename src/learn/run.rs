//! A run of learning beside everything else: on a thread of its own, when nobody else wants the processor.

use super::error::LearnError;
use super::fit::FitSettings;
use super::lesson::{Lesson, Taught, teach};
use super::net::LearnNet;
use crate::process::only_when_idle;
use crossbeam_channel::{Receiver, bounded};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What a run is told while it runs, and what it says of itself.
#[derive(Debug, Default)]
pub struct RunFlags {
    pub stop: AtomicBool,
    /// It waits: a camera gets less than it should.
    pub pause: AtomicBool,
    /// How far it is, thousandths.
    pub progress: AtomicU32,
    /// Milliseconds of work so far.
    pub worked_ms: AtomicU32,
}

/// A run under way.
pub struct LearnRun {
    pub flags: Arc<RunFlags>,
    done: Receiver<Result<Taught, LearnError>>,
    pub latest_mark: String,
}

/// Between two looks at whether to go on.
const PAUSE: Duration = Duration::from_millis(50);

impl LearnRun {
    /// Begins. Learns on one thread for `share` of the time, for `most` of work at the most.
    ///
    /// # Errors
    /// There are no more threads.
    pub fn begin(
        net: Arc<LearnNet>,
        lesson: Lesson,
        settings: FitSettings,
        score: f32,
        (share, most): (f32, Duration),
        latest_mark: String,
    ) -> std::io::Result<Self> {
        let flags = Arc::new(RunFlags::default());
        let (sender, done) = bounded(1);
        let told = flags.clone();
        // The pool's one thread does all of it; the other one waits for it.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .thread_name(|_| "learn-run".into())
            .start_handler(|_| only_when_idle())
            .build()
            .map_err(std::io::Error::other)?;
        std::thread::Builder::new().name("learn-wait".into()).spawn(move || {
            let mut last = Instant::now();
            let mut worked = Duration::ZERO;
            let mut progress = |done: f32, _loss: f32| {
                let step = last.elapsed();
                worked += step;
                told.progress.store((done * 1000.0) as u32, Ordering::Relaxed);
                told.worked_ms.store(worked.as_millis() as u32, Ordering::Relaxed);
                std::thread::sleep(step.mul_f32((1.0 / share.clamp(0.01, 1.0) - 1.0).min(100.0)));
                while told.pause.load(Ordering::Relaxed) && !told.stop.load(Ordering::Relaxed) {
                    std::thread::sleep(PAUSE);
                }
                last = Instant::now();
                match told.stop.load(Ordering::Relaxed) || worked > most {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            };
            let taught = pool.install(|| teach(&net, &lesson, settings, score, &mut progress));
            let _ = sender.send(taught);
        })?;
        Ok(Self { flags, done, latest_mark })
    }

    /// What it came to, if it is over.
    pub fn result(&self) -> Option<Result<Taught, LearnError>> {
        match self.done.try_recv() {
            Ok(result) => Some(result),
            Err(e) if e.is_empty() => None,
            Err(_) => Some(Err(LearnError::Refused("it ended before its time: see the log".into()))),
        }
    }

    pub fn worked(&self) -> Duration {
        Duration::from_millis(self.flags.worked_ms.load(Ordering::Relaxed).into())
    }
}

impl Drop for LearnRun {
    fn drop(&mut self) {
        self.flags.stop.store(true, Ordering::Relaxed);
    }
}
