//! Turns at a detector, for threads: [`crate::schedule`] decides, here it is waited for.

use crate::process::cpu_ns;
use crate::schedule::allowance::{Allowance, Budget};
use crate::schedule::fair::{FairQueue, Seat};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tracing_mutex::stdsync::{Condvar, Mutex, MutexGuard};

/// Longest wait before it is seen whether there is still something to wait for.
const TURN_WAIT: Duration = Duration::from_millis(200);

/// What all cameras together keep to.
pub struct SharedAllowance {
    start: Instant,
    allowance: Mutex<Allowance>,
}

impl Default for SharedAllowance {
    fn default() -> Self {
        Self { start: Instant::now(), allowance: Mutex::new(Allowance::new(Budget::default(), 1)) }
    }
}

impl SharedAllowance {
    /// From now on this is kept.
    pub fn set(&self, budget: Budget) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        *self.lock() = Allowance::new(budget, cores);
    }

    /// Counts a result.
    pub fn observe(&self, latency_ns: u64) {
        self.lock().observe(latency_ns);
    }

    /// Share of the machine that may be used now.
    pub fn share(&self) -> f64 {
        self.lock().share()
    }

    fn ask(&self) -> Result<(), Duration> {
        let mut allowance = self.lock();
        match allowance.is_bound() {
            true => allowance.ask(self.start.elapsed().as_nanos() as u64, cpu_ns()),
            false => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Allowance> {
        self.allowance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The turns at one detector.
pub struct Turns {
    allowance: Arc<SharedAllowance>,
    state: Mutex<State>,
}

struct State {
    queue: FairQueue,
    taken: bool,
    /// When a turn last began or ended.
    moved: Instant,
    /// One a seat: only who is next is woken.
    bells: BTreeMap<Seat, Arc<Condvar>>,
}

impl State {
    fn wake_next(&self) {
        if let Some(bell) = self.queue.first().and_then(|seat| self.bells.get(&seat)) {
            bell.notify_one();
        }
    }
}

impl Turns {
    pub fn new(allowance: Arc<SharedAllowance>) -> Arc<Self> {
        let state = State { queue: FairQueue::default(), taken: false, moved: Instant::now(), bells: BTreeMap::new() };
        Arc::new(Self { allowance, state: Mutex::new(state) })
    }

    /// How long no turn has begun or ended.
    pub fn rested(&self) -> Duration {
        self.lock().moved.elapsed()
    }

    /// A place in the queue, which ends when dropped. `at_turn` is true from when a turn is asked for until it ends.
    pub fn join(self: &Arc<Self>, weight: f64, at_turn: Arc<AtomicBool>) -> TurnPlace {
        let bell = Arc::new(Condvar::new());
        let mut state = self.lock();
        let seat = state.queue.join(weight);
        state.bells.insert(seat, bell.clone());
        TurnPlace { seat, bell, at_turn, turns: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A camera's place in the queue.
pub struct TurnPlace {
    turns: Arc<Turns>,
    seat: Seat,
    bell: Arc<Condvar>,
    at_turn: Arc<AtomicBool>,
}

/// The detector is its holder's until this is dropped. The time until then is charged.
pub struct Turn {
    place: Arc<TurnPlace>,
    began: Instant,
}

impl TurnPlace {
    /// Waits for a turn, and calls `meanwhile` now and then; `None`: told to stop.
    pub fn wait(self: &Arc<Self>, stopping: &AtomicBool, mut meanwhile: impl FnMut()) -> Option<Turn> {
        self.at_turn.store(true, Ordering::Release);
        let mut state = self.turns.lock();
        state.queue.want(self.seat);
        loop {
            let mut patience = TURN_WAIT;
            if !state.taken && state.queue.first() == Some(self.seat) {
                match self.turns.allowance.ask() {
                    Ok(()) => {
                        state.queue.let_in();
                        state.taken = true;
                        state.moved = Instant::now();
                        return Some(Turn { place: self.clone(), began: Instant::now() });
                    }
                    Err(wait) => patience = wait,
                }
            }
            if stopping.load(Ordering::Acquire) {
                self.at_turn.store(false, Ordering::Release);
                return None;
            }
            let (guard, waited) = self.bell.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner);
            state = guard;
            if waited.timed_out() {
                drop(state);
                meanwhile();
                state = self.turns.lock();
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let cost = self.began.elapsed().as_nanos() as u64;
        self.place.at_turn.store(false, Ordering::Release);
        let mut state = self.place.turns.lock();
        state.queue.charge(self.place.seat, cost);
        state.taken = false;
        state.moved = Instant::now();
        state.wake_next();
    }
}

impl Drop for TurnPlace {
    fn drop(&mut self) {
        let mut state = self.turns.lock();
        state.queue.leave(self.seat);
        state.bells.remove(&self.seat);
        state.wake_next();
    }
}
