//! Turns at a detector, for threads: [`crate::schedule`] decides, here it is waited for.

use crate::process::cpu_ns;
use crate::schedule::allowance::{Allowance, Budget};
use crate::schedule::fair::{FairQueue, Seat};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

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
    changed: Condvar,
}

#[derive(Default)]
struct State {
    queue: FairQueue,
    taken: bool,
}

impl Turns {
    pub fn new(allowance: Arc<SharedAllowance>) -> Arc<Self> {
        Arc::new(Self { allowance, state: Mutex::default(), changed: Condvar::new() })
    }

    /// A place in the queue, which ends when dropped.
    pub fn join(self: &Arc<Self>, weight: f64) -> Place {
        Place { seat: self.lock().queue.join(weight), turns: self.clone() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A camera's place in the queue.
pub struct Place {
    turns: Arc<Turns>,
    seat: Seat,
}

/// The detector is its holder's until this is dropped. The time until then is charged.
pub struct Turn {
    place: Arc<Place>,
    began: Instant,
}

impl Place {
    /// Waits for a turn.
    pub fn wait(self: &Arc<Self>) -> Turn {
        let mut state = self.turns.lock();
        state.queue.want(self.seat);
        loop {
            let mut patience = Duration::from_secs(1);
            if !state.taken && state.queue.first() == Some(self.seat) {
                match self.turns.allowance.ask() {
                    Ok(()) => {
                        state.queue.let_in();
                        state.taken = true;
                        return Turn { place: self.clone(), began: Instant::now() };
                    }
                    Err(wait) => patience = wait,
                }
            }
            state = self.turns.changed.wait_timeout(state, patience).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let cost = self.began.elapsed().as_nanos() as u64;
        let turns = &self.place.turns;
        let mut state = turns.lock();
        state.queue.charge(self.place.seat, cost);
        state.taken = false;
        drop(state);
        turns.changed.notify_all();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.turns.lock().queue.leave(self.seat);
        self.turns.changed.notify_all();
    }
}
