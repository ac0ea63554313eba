//! Where a source's pictures become numbered, letterboxed frames, and the slot
//! in which the newest waits for the pipeline.

use crate::clock::Clock;
use crate::frame::{Frame, FrameId, FramePool, letterbox_into};
use crate::geom::{Letterbox, Size};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tracing_mutex::stdsync::{Condvar, Mutex, MutexGuard};

/// What happens to a frame that comes while another waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlotMode {
    /// It replaces the other, which is counted as dropped.
    Latest,
    /// It waits: the source is held up, no frame is lost.
    Blocking,
}

/// Room for one frame between a camera and the pipeline.
pub struct Slot {
    mode: SlotMode,
    state: Mutex<SlotState>,
    changed: Condvar,
    n_replaced: AtomicU64,
}

#[derive(Default)]
struct SlotState {
    frame: Option<Frame>,
    closed: bool,
}

/// What [`Slot::wait`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    Frame,
    /// Nothing came in time.
    Nothing,
    /// Nothing will ever come.
    Closed,
}

/// What [`Slot::take`] found.
#[derive(Debug)]
pub enum Taken {
    Frame(Frame),
    /// Nothing came in time.
    Nothing,
    /// Nothing will ever come.
    Closed,
}

impl Slot {
    pub fn new(mode: SlotMode) -> Self {
        Self { mode, state: Mutex::default(), changed: Condvar::new(), n_replaced: AtomicU64::new(0) }
    }

    /// Puts a frame in; whether it lies there alone, and not in the place of another.
    /// `cancelled` ends a blocking wait; the frame is then lost.
    pub fn put(&self, frame: Frame, cancelled: &AtomicBool) -> bool {
        let mut state = self.lock();
        while self.mode == SlotMode::Blocking && state.frame.is_some() && !state.closed {
            if cancelled.load(Ordering::Acquire) {
                return false;
            }
            state = self.sleep(state, Duration::from_millis(50));
        }
        if state.closed {
            return false;
        }
        let replaced = state.frame.replace(frame).is_some();
        self.n_replaced.fetch_add(replaced.into(), Ordering::Relaxed);
        self.changed.notify_all();
        !replaced
    }

    /// Waits until a frame is there, and leaves it.
    pub fn wait(&self, timeout: Duration) -> Waiting {
        let state = self.lock_when_filled(timeout);
        match &state.frame {
            Some(_) => Waiting::Frame,
            None if state.closed => Waiting::Closed,
            None => Waiting::Nothing,
        }
    }

    /// Takes the frame out, waiting for one.
    pub fn take(&self, timeout: Duration) -> Taken {
        let mut state = self.lock_when_filled(timeout);
        match state.frame.take() {
            Some(frame) => {
                self.changed.notify_all();
                Taken::Frame(frame)
            }
            None if state.closed => Taken::Closed,
            None => Taken::Nothing,
        }
    }

    /// No more frames: what waits can still be taken.
    pub fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Whether a frame lies here that holds the source up.
    pub fn is_waited_for(&self) -> bool {
        self.mode == SlotMode::Blocking && self.lock().frame.is_some()
    }

    /// Frames that a newer one replaced before they were taken.
    pub fn n_replaced(&self) -> u64 {
        self.n_replaced.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_when_filled(&self, timeout: Duration) -> MutexGuard<'_, SlotState> {
        let state = self.lock();
        if state.frame.is_none() && !state.closed { self.sleep(state, timeout) } else { state }
    }

    fn sleep<'a>(&self, guard: MutexGuard<'a, SlotState>, timeout: Duration) -> MutexGuard<'a, SlotState> {
        self.changed.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner).0
    }
}

/// Lets through at most so many pictures a second, by their own time.
#[derive(Debug, Default)]
struct Pacer {
    /// 0: all.
    interval_ns: u64,
    due_ns: u64,
    epoch: u64,
}

impl Pacer {
    fn lets_through(&mut self, epoch: u64, pts_ns: u64) -> bool {
        let is_new = epoch != self.epoch;
        // A picture that comes a little before its time is the one that was meant.
        let is_early = pts_ns + self.interval_ns / 8 < self.due_ns;
        if is_early && !is_new {
            return false;
        }
        // Times that are behind by more than one begin anew: nothing is made up for.
        let is_late = pts_ns >= self.due_ns + self.interval_ns;
        self.due_ns = if is_new || is_late { pts_ns } else { self.due_ns } + self.interval_ns;
        self.epoch = epoch;
        true
    }
}

/// Media time of one camera, in uninterrupted pieces: within an epoch it never goes back, and never leaps ahead.
#[derive(Debug, Default)]
struct Timeline {
    incarnation: u64,
    epoch: u64,
    last_pts_ns: u64,
    /// When that picture came.
    last_ns: u64,
    /// For how long stamps have stood still, and by how much the clock has stood in for them.
    still_ns: u64,
    lent_ns: u64,
    /// The source waits for who takes its pictures: the clock says nothing of its time.
    is_held_up: bool,
}

/// A smaller step back is a time stamp that trembles: the picture takes the time of the one before.
const SMALL_STEP_NS: u64 = 500_000_000;
/// Media time may run ahead of the clock by this much from one picture to the next. Beyond it nothing that is known
/// still holds.
const LONGEST_LEAP_NS: u64 = 60_000_000_000;
/// Stamps that have advanced by less than a hundredth of the clock for so long stand still: from then on the clock stands in
/// for them, or nothing would ever grow old.
const STILL_NS: u64 = 1_000_000_000;

impl Timeline {
    /// Epoch and media time of the next picture.
    fn next(&mut self, incarnation: u64, pts_ns: u64, now_ns: u64) -> (u64, u64) {
        let back_ns = self.last_pts_ns.saturating_sub(pts_ns);
        let ahead_ns = pts_ns.saturating_sub(self.last_pts_ns);
        let passed_ns = now_ns.saturating_sub(self.last_ns);
        let goes_on = incarnation == self.incarnation
            && back_ns <= SMALL_STEP_NS
            && ahead_ns <= passed_ns.saturating_add(LONGEST_LEAP_NS);
        if !goes_on {
            (self.epoch, self.still_ns, self.lent_ns) = (self.epoch + 1, 0, 0);
        } else if ahead_ns <= passed_ns / 100 && !self.is_held_up {
            if self.still_ns >= STILL_NS {
                self.lent_ns += passed_ns;
            }
            self.still_ns = self.still_ns.saturating_add(passed_ns);
        } else {
            // What the clock lent is paid back where stamps make up for it.
            self.lent_ns -= self.lent_ns.min(ahead_ns.saturating_sub(passed_ns));
            self.still_ns = 0;
        }
        self.last_pts_ns = if goes_on { pts_ns.max(self.last_pts_ns) } else { pts_ns };
        (self.incarnation, self.last_ns) = (incarnation, now_ns);
        (self.epoch, self.last_pts_ns.saturating_add(self.lent_ns))
    }
}

/// Turns pictures into frames. Shared by every incarnation of one camera's source.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

struct Shared {
    input: Size,
    pool: FramePool,
    clock: Arc<dyn Clock>,
    slot: Arc<Slot>,
    n_frames: AtomicU64,
    /// Incarnation whose first frame has come, and when it did.
    first_of: AtomicU64,
    first_frame_ns: AtomicU64,
    last_frame_ns: AtomicU64,
    last_put_ns: AtomicU64,
    waiting_since_ns: AtomicU64,
    n_queue_drops: AtomicU64,
    /// Held for one picture at a time, so that frames are numbered and timed in the order in which they go on.
    time: Mutex<(Timeline, Pacer)>,
    n_corrupt: AtomicU64,
    last_corrupt_ns: AtomicU64,
    n_surplus: AtomicU64,
    n_undecoded: AtomicU64,
    is_spared: AtomicBool,
    is_behind: AtomicBool,
    /// A source that was given up delivers no more.
    incarnation: AtomicU64,
}

impl Intake {
    /// `max_fps`: pictures a second at most; further ones are left out.
    pub fn new(input: Size, clock: Arc<dyn Clock>, slot: Arc<Slot>, max_fps: Option<f64>) -> Self {
        let interval_ns = max_fps.map_or(0, |fps| (1e9 / fps) as u64);
        let timeline = Timeline { is_held_up: slot.mode == SlotMode::Blocking, ..Timeline::default() };
        Self(Arc::new(Shared {
            input,
            pool: FramePool::new(input),
            clock,
            slot,
            n_frames: AtomicU64::new(0),
            first_of: AtomicU64::new(0),
            first_frame_ns: AtomicU64::new(0),
            last_frame_ns: AtomicU64::new(0),
            last_put_ns: AtomicU64::new(0),
            waiting_since_ns: AtomicU64::new(0),
            n_queue_drops: AtomicU64::new(0),
            time: Mutex::new((timeline, Pacer { interval_ns, ..Pacer::default() })),
            n_corrupt: AtomicU64::new(0),
            last_corrupt_ns: AtomicU64::new(0),
            n_surplus: AtomicU64::new(0),
            n_undecoded: AtomicU64::new(0),
            is_spared: AtomicBool::new(false),
            is_behind: AtomicBool::new(false),
            incarnation: AtomicU64::new(0),
        }))
    }

    /// The model input that pictures are fitted into.
    pub fn input(&self) -> Size {
        self.0.input
    }

    /// Starts an incarnation; pictures of earlier ones are refused from now on.
    pub fn begin(&self) -> u64 {
        self.0.incarnation.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub fn is_current(&self, incarnation: u64) -> bool {
        self.0.incarnation.load(Ordering::Acquire) == incarnation
    }

    /// Delivers a picture that has been scaled to `letterbox.content`: BGR rows of `stride` bytes. The times of the
    /// frames that come of it never go back within an epoch: where `pts_ns` does, or leaps ahead, another one begins.
    pub fn deliver(
        &self,
        incarnation: u64,
        pts_ns: u64,
        letterbox: &Letterbox,
        content: &[u8],
        stride: usize,
        cancelled: &AtomicBool,
    ) {
        let shared = &self.0;
        if !self.is_current(incarnation) || letterbox.input != shared.input {
            return;
        }
        let id = FrameId(shared.n_frames.fetch_add(1, Ordering::Relaxed));
        let now_ns = shared.clock.monotonic_ns();
        if shared.first_of.swap(incarnation, Ordering::Relaxed) != incarnation {
            shared.first_frame_ns.store(now_ns, Ordering::Relaxed);
        }
        shared.last_frame_ns.store(now_ns, Ordering::Relaxed);
        let (epoch, pts_ns, lets_through) = {
            let mut time = shared.time.lock().unwrap_or_else(PoisonError::into_inner);
            let (timeline, pacer) = &mut *time;
            let (epoch, pts_ns) = timeline.next(incarnation, pts_ns, now_ns);
            (epoch, pts_ns, pacer.lets_through(epoch, pts_ns))
        };
        if !lets_through {
            shared.n_surplus.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut pixels = shared.pool.take();
        letterbox_into(pixels.as_mut_slice(), letterbox, content, stride);
        let frame = Frame::new(id, pts_ns, *letterbox, pixels).at(now_ns, shared.clock.unix_ns()).of_epoch(epoch);
        shared.last_put_ns.store(now_ns, Ordering::Relaxed);
        if shared.slot.put(frame, cancelled) {
            shared.waiting_since_ns.store(now_ns, Ordering::Relaxed);
        }
    }

    /// A picture came that does not show what the camera saw.
    pub fn count_corrupt(&self) {
        self.0.last_corrupt_ns.store(self.0.clock.monotonic_ns(), Ordering::Relaxed);
        self.0.n_corrupt.fetch_add(1, Ordering::Relaxed);
    }

    /// Pictures that were damaged, or came before the first key frame.
    pub fn n_corrupt(&self) -> u64 {
        self.0.n_corrupt.load(Ordering::Relaxed)
    }

    /// When the last one of those came.
    pub fn last_corrupt_ns(&self) -> u64 {
        self.0.last_corrupt_ns.load(Ordering::Relaxed)
    }

    /// A decoded frame was lost before it was scaled.
    pub fn count_queue_drop(&self) {
        self.0.n_queue_drops.fetch_add(1, Ordering::Relaxed);
    }

    pub fn n_queue_drops(&self) -> u64 {
        self.0.n_queue_drops.load(Ordering::Relaxed)
    }

    /// Pictures that were left out because there were more than is wanted.
    pub fn n_surplus(&self) -> u64 {
        self.0.n_surplus.load(Ordering::Relaxed)
    }

    /// Now, by the clock that frames are timed with.
    pub fn now_ns(&self) -> u64 {
        self.0.clock.monotonic_ns()
    }

    /// A picture was left out before it was decoded.
    pub fn count_undecoded(&self) {
        self.0.n_undecoded.fetch_add(1, Ordering::Relaxed);
    }

    pub fn n_undecoded(&self) -> u64 {
        self.0.n_undecoded.load(Ordering::Relaxed)
    }

    /// Frames that somebody took.
    pub fn n_taken(&self) -> u64 {
        self.n_frames().saturating_sub(self.n_surplus()).saturating_sub(self.0.slot.n_replaced())
    }

    /// Whether key frames alone are decoded.
    pub fn is_spared(&self) -> bool {
        self.0.is_spared.load(Ordering::Relaxed)
    }

    pub fn set_spared(&self, is_spared: bool) {
        self.0.is_spared.store(is_spared, Ordering::Relaxed);
    }

    /// Whether more comes than the machine can look at.
    pub fn is_behind(&self) -> bool {
        self.0.is_behind.load(Ordering::Relaxed)
    }

    pub fn set_behind(&self, is_behind: bool) {
        self.0.is_behind.store(is_behind, Ordering::Relaxed);
    }

    pub fn n_frames(&self) -> u64 {
        self.0.n_frames.load(Ordering::Relaxed)
    }

    /// When the first frame of this incarnation came.
    pub fn first_frame_ns(&self) -> u64 {
        self.0.first_frame_ns.load(Ordering::Relaxed)
    }

    /// When the newest frame came that is not surplus.
    pub fn last_put_ns(&self) -> u64 {
        self.0.last_put_ns.load(Ordering::Relaxed)
    }

    /// When a frame last came while no other was waiting.
    pub fn waiting_since_ns(&self) -> u64 {
        self.0.waiting_since_ns.load(Ordering::Relaxed)
    }

    /// When the newest frame came, on the pipeline's clock.
    pub fn last_frame_ns(&self) -> u64 {
        self.0.last_frame_ns.load(Ordering::Relaxed)
    }

    pub fn slot(&self) -> &Arc<Slot> {
        &self.0.slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimClock;

    fn deliver(intake: &Intake, epoch: u64, pts_ns: u64) {
        let l = Letterbox::fit(intake.input(), intake.input());
        intake.deliver(epoch, pts_ns, &l, &[7; 8 * 8 * 3], 24, &AtomicBool::new(false));
    }

    fn intake(mode: SlotMode) -> Intake {
        Intake::new(Size::new(8, 8), Arc::new(SimClock::default()), Arc::new(Slot::new(mode)), None)
    }

    #[test]
    fn latest_wins_and_every_loss_is_counted() {
        let intake = intake(SlotMode::Latest);
        let epoch = intake.begin();
        for pts in 0..5 {
            deliver(&intake, epoch, pts);
        }
        let Taken::Frame(frame) = intake.slot().take(Duration::ZERO) else { panic!() };
        assert_eq!((frame.pts_ns, frame.id, intake.slot().n_replaced()), (4, FrameId(4), 4));
        assert!(matches!(intake.slot().take(Duration::ZERO), Taken::Nothing));
    }

    #[test]
    fn a_source_that_was_given_up_is_not_heard() {
        let intake = intake(SlotMode::Latest);
        let (old, new) = (intake.begin(), intake.begin());
        deliver(&intake, old, 1);
        assert!(matches!(intake.slot().take(Duration::ZERO), Taken::Nothing));
        deliver(&intake, new, 2);
        assert!(matches!(intake.slot().take(Duration::ZERO), Taken::Frame(_)));
    }

    #[test]
    fn media_time_never_goes_back_within_an_epoch() {
        const MS: u64 = 1_000_000;
        let mut timeline = Timeline::default();
        let mut next = |pts_ms: u64, now_ms: u64| {
            let (epoch, pts_ns) = timeline.next(1, pts_ms * MS, now_ms * MS);
            (epoch, pts_ns / MS)
        };
        assert_eq!((next(5000, 0), next(5100, 100)), ((1, 5000), (1, 5100)));
        assert_eq!(next(5050, 200), (1, 5100), "a stamp that trembles");
        assert_eq!(next(5300, 300), (1, 5300));
        assert_eq!((next(0, 400), next(100, 500)), ((2, 0), (2, 100)), "a file begins anew");
        assert_eq!(next(37_600_000, 600), (3, 37_600_000), "an hour in a tenth of a second");
        assert_eq!(next(300, 700), (4, 300));
        assert_eq!(next(3_600_300, 3_600_700), (4, 3_600_300), "an hour in an hour");
        let mut rng = fastrand::Rng::with_seed(14);
        let (mut last, mut now) = ((0, 0), 0);
        for _ in 0..10_000 {
            now += rng.u64(0..200);
            let pts = if rng.u8(..20) == 0 {
                rng.u64(..1 << 40)
            } else {
                last.1 + rng.u64(0..3000) - rng.u64(0..1000).min(last.1)
            };
            let found = next(pts, now);
            assert!(found.0 > last.0 || (found.0 == last.0 && found.1 >= last.1), "{last:?} {found:?}");
            last = found;
        }
    }

    #[test]
    fn no_more_than_is_wanted() {
        let times = |fps: f64, pts: &[u64]| {
            let mut pacer = Pacer { interval_ns: (1e9 / fps) as u64, ..Pacer::default() };
            pts.iter().filter(|ms| pacer.lets_through(1, **ms * 1_000_000)).count()
        };
        let at = |interval: u64, n: u64| (0..n).map(|i| 5000 + i * interval + i % 3).collect::<Vec<_>>();
        assert_eq!(times(10.0, &at(40, 250)), 100, "25 frames a second");
        assert_eq!(times(10.0, &at(100, 100)), 100, "just as many as are wanted");
        assert_eq!(times(10.0, &at(150, 100)), 100);
        assert_eq!(times(2.0, &at(33, 300)), 20);
        // After a gap nothing is made up for, and a time that begins anew stops nothing.
        let gap: Vec<u64> = at(40, 25).into_iter().chain(at(40, 25).into_iter().map(|ms| ms + 60_000)).collect();
        assert_eq!(times(10.0, &gap), 20);
        let mut pacer = Pacer { interval_ns: 100_000_000, ..Pacer::default() };
        assert!(pacer.lets_through(1, 60_000_000_000) && pacer.lets_through(2, 0));
    }

    #[test]
    fn where_stamps_stand_still_the_clock_stands_in() {
        const MS: u64 = 1_000_000;
        let mut timeline = Timeline::default();
        let times: Vec<(u64, u64)> = (0..500).map(|i| timeline.next(1, 7000 * MS + i, i * 40 * MS)).collect();
        assert!(times.iter().all(|(epoch, _)| *epoch == 1));
        assert!((18_900..=19_000).contains(&((times[499].1 - times[0].1) / MS)), "{:?}", times[499]);
        let mut pacer = Pacer { interval_ns: 100_000_000, ..Pacer::default() };
        let n = times.iter().filter(|(epoch, pts_ns)| pacer.lets_through(*epoch, *pts_ns)).count();
        assert!((188..=192).contains(&n), "{n}: no camera is left out for ever");
        // They go on: so does media time, from there.
        let mut now = 500 * 40 * MS;
        for i in 1..100 {
            now += 40 * MS;
            let (epoch, pts_ns) = timeline.next(1, 7000 * MS + i * 40 * MS, now);
            assert_eq!((epoch, pts_ns), (1, times[499].1 - 499 + i * 40 * MS));
        }
        // Stamps that come in steps of two seconds: what is lent within a step is paid back by the next.
        let mut timeline = Timeline::default();
        let steps: Vec<u64> = (0..1500).map(|i| timeline.next(1, i / 50 * 2000 * MS, i * 40 * MS).1 / MS).collect();
        assert!(steps.is_sorted() && (58_000..=62_000).contains(&steps[1499]), "{}", steps[1499]);
        // Who works slowly through a file takes no time from the clock.
        let mut timeline = Timeline { is_held_up: true, ..Timeline::default() };
        assert!((0..100).all(|i| timeline.next(1, i * 16 * MS, i * 2000 * MS) == (1, i * 16 * MS)));
    }

    #[test]
    fn blocking_loses_nothing() {
        let intake = intake(SlotMode::Blocking);
        let epoch = intake.begin();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                (0..100).for_each(|pts| deliver(&intake, epoch, pts));
                intake.slot().close();
            });
            for pts in 0..100 {
                let Taken::Frame(frame) = intake.slot().take(Duration::from_secs(5)) else { panic!("frame {pts}") };
                assert_eq!(frame.pts_ns, pts);
            }
            assert!(matches!(intake.slot().take(Duration::from_secs(5)), Taken::Closed));
        });
        assert_eq!(intake.slot().n_replaced(), 0);
    }
}
