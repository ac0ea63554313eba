//! A run of learning beside everything else: on a thread of its own, when nobody else wants the processor.

use super::draft::LessonDraft;
use super::error::LearnError;
use super::fit::FitSettings;
use super::lesson::{Ending, Taught, stopped, teach};
use super::pairs::differing;
use super::skipping::compare_gates;
use super::teacher::TeacherAnswer;
use crate::process::only_when_idle;
use crossbeam_channel::{Receiver, bounded};
use engine::gating::profile::Profile;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use train::params::Params;

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
    answers: Receiver<(String, TeacherAnswer)>,
    pub latest_mark: u64,
    /// Of its time, what is noted as spent.
    pub noted: Duration,
}

/// What a run may take, and what it counts for.
#[derive(Debug, Clone, Copy)]
pub struct RunBounds {
    /// Share of the time in which it works.
    pub share: f32,
    /// Work, at most.
    pub most: Duration,
    /// Of that, what is noted as spent already.
    pub noted: Duration,
    /// The last mark that it learns from.
    pub latest_mark: u64,
}

/// How fast a run may go, and for how long.
struct Pace<'a> {
    told: &'a RunFlags,
    share: f32,
    most: Duration,
    worked: Duration,
    last: Instant,
}

impl Pace<'_> {
    /// After a piece of work: rests, and waits while it is told to.
    fn step(&mut self) -> ControlFlow<Ending> {
        let took = self.last.elapsed();
        self.worked += took;
        self.told.worked_ms.store(self.worked.as_millis() as u32, Ordering::Relaxed);
        let is_stopped = || self.told.stop.load(Ordering::Relaxed);
        let rest = took.mul_f32((1.0 / self.share.clamp(0.01, 1.0) - 1.0).min(100.0));
        let until = Instant::now() + rest;
        while !is_stopped() && (Instant::now() < until || self.told.pause.load(Ordering::Relaxed)) {
            std::thread::sleep(PAUSE.min(rest.max(Duration::from_millis(1))));
        }
        self.last = Instant::now();
        match (is_stopped(), self.worked > self.most) {
            (true, _) => ControlFlow::Break(Ending::Stopped),
            (_, true) => ControlFlow::Break(Ending::Enough),
            _ => ControlFlow::Continue(()),
        }
    }

    /// The same where what was begun is brought to its end, though time is up.
    fn go_on(&mut self) -> ControlFlow<()> {
        match self.step() {
            ControlFlow::Break(Ending::Stopped) => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Between two looks at whether to go on.
const PAUSE: Duration = Duration::from_millis(50);

impl LearnRun {
    /// Begins. Asks the teacher, for half of its time at the longest, makes the lesson, learns and judges on one thread; what
    /// was reached when time is up is judged. `gates` are the model's, if it has some.
    ///
    /// # Errors
    /// There are no more threads.
    pub fn begin(
        mut draft: LessonDraft,
        in_use: Params,
        settings: FitSettings,
        bounds: RunBounds,
        gates: Option<Arc<Profile>>,
    ) -> std::io::Result<Self> {
        let flags = Arc::new(RunFlags::default());
        let (sender, done) = bounded(1);
        // Room for all that may be said: nobody waits.
        let (told_of, answers) = bounded(draft.pictures.len());
        let told = flags.clone();
        // The pool's one thread does all of it; the other one waits for it.
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(1)
            .thread_name(|_| "learn-run".into())
            .start_handler(|_| only_when_idle())
            .build()
            .map_err(std::io::Error::other)?;
        std::thread::Builder::new().name("learn-wait".into()).spawn(move || {
            let RunBounds { share, most, .. } = bounds;
            let mut pace = Pace { told: &told, share, most, worked: Duration::ZERO, last: Instant::now() };
            let taught = pool.install(|| {
                draft.ask_teacher(
                    &mut |sample, answer| drop(told_of.try_send((sample.to_owned(), answer))),
                    &mut || {
                        let is_stopped = pace.go_on().is_break();
                        if is_stopped || pace.worked > most / 2 {
                            ControlFlow::Break(())
                        } else {
                            ControlFlow::Continue(())
                        }
                    },
                );
                let (model, net, score) = (draft.model.clone(), draft.net.clone(), draft.score);
                let marked = draft.places.iter().map(|(_, place)| place.sample.clone()).collect();
                let lesson = draft.finish(&mut || pace.go_on())?;
                let mut progress = |done: f32, _loss: f32| {
                    pace.told.progress.store((done * 1000.0) as u32, Ordering::Relaxed);
                    pace.step()
                };
                let mut taught = teach(&net, &in_use, &lesson, settings, score, &mut progress)?;
                // What is not taken anyway needs no gates.
                if let Some(gates) = gates.filter(|_| taught.verdict.refused.is_none()) {
                    let weights = [&in_use, &taught.params];
                    let report = compare_gates(&model, &net, &gates, weights, &mut || pace.go_on())?;
                    taught.verdict.add_gates(report.ok_or_else(stopped)?);
                }
                let (weights, pictures) = ([&in_use, &taught.params], (&lesson.learned[..], &lesson.held_out[..]));
                taught.pairs =
                    differing(&net, weights, pictures, &marked, score, &mut || pace.go_on()).ok_or_else(stopped)?;
                Ok(taught)
            });
            let _ = sender.send(taught);
        })?;
        Ok(Self { flags, done, answers, latest_mark: bounds.latest_mark, noted: bounds.noted })
    }

    /// What it came to, if it is over.
    pub fn result(&self) -> Option<Result<Taught, LearnError>> {
        match self.done.try_recv() {
            Ok(result) => Some(result),
            Err(e) if e.is_empty() => None,
            Err(_) => Some(Err(LearnError::Refused("it ended before its time: see the log".into()))),
        }
    }

    /// What the teacher said since this was last asked, and of which samples.
    pub fn answers(&self) -> Vec<(String, TeacherAnswer)> {
        self.answers.try_iter().collect()
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
