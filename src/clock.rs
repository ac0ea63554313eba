//! Time, so that tests can own it.

use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Where the pipeline takes the time from.
pub trait Clock: Send + Sync {
    /// Nanoseconds since an arbitrary start; never goes back.
    fn monotonic_ns(&self) -> u64;
    /// Nanoseconds since 1970-01-01 UTC; may jump.
    fn unix_ns(&self) -> u64;
    /// Returns after `duration` of this clock.
    fn sleep(&self, duration: Duration);
    /// For how long to wait in the machine's time until `duration` of this clock has passed.
    fn timeout(&self, duration: Duration) -> Duration;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    #[allow(clippy::new_without_default)] // a start time is no neutral default
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock for SystemClock {
    fn monotonic_ns(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    fn unix_ns(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn timeout(&self, duration: Duration) -> Duration {
        duration
    }
}

/// A clock that moves only when told to; whoever waits for it moves it, and waits no longer.
#[derive(Debug, Default)]
pub struct SimClock {
    now_ns: Mutex<u64>,
}

impl SimClock {
    pub fn advance(&self, duration: Duration) {
        *self.now_ns.lock().expect("no code panics while it holds the time") += duration.as_nanos() as u64;
    }
}

impl Clock for SimClock {
    fn monotonic_ns(&self) -> u64 {
        *self.now_ns.lock().expect("no code panics while it holds the time")
    }

    /// Starts at 2001-09-09T01:46:40Z.
    fn unix_ns(&self) -> u64 {
        1_000_000_000_000_000_000 + self.monotonic_ns()
    }

    fn sleep(&self, duration: Duration) {
        self.advance(duration);
    }

    fn timeout(&self, duration: Duration) -> Duration {
        self.advance(duration);
        Duration::ZERO
    }
}
