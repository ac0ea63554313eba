//! Time, so that tests can own it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tracing_mutex::stdsync::Mutex;

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

/// The time of the world as one stream sees it: it keeps step with the monotonic clock for as long as anything lasts
/// whose end is to be told, whatever happens to the machine's clock meanwhile.
#[derive(Debug, Clone, Copy, Default)]
pub struct SteadyTime {
    /// A moment by both clocks.
    anchor: Option<(u64, u64)>,
    /// Since when the clocks have not agreed.
    off_since_ns: Option<u64>,
}

/// After so long the machine's clock is right, and what it said before was wrong.
const SETTLED_NS: u64 = 60_000_000_000;

/// Smaller differences are left as they are.
const TREMBLE_NS: u64 = 500_000_000;

impl SteadyTime {
    /// Whether the machine's clock has been another one for a while: what lasts must end, for times to be right again.
    pub fn has_moved(&mut self, monotonic_ns: u64, unix_ns: u64) -> bool {
        let Some((mono, unix)) = self.anchor else { return false };
        let steady_ns = unix.saturating_add(monotonic_ns.saturating_sub(mono));
        if steady_ns.abs_diff(unix_ns) <= TREMBLE_NS {
            self.off_since_ns = None;
            return false;
        }
        let since_ns = *self.off_since_ns.get_or_insert(monotonic_ns);
        monotonic_ns.saturating_sub(since_ns) >= SETTLED_NS
    }

    /// Nanoseconds since 1970 of a moment, given by both clocks. `is_free`: nothing lasts just now, so that the machine's
    /// clock is taken over.
    pub fn at(&mut self, monotonic_ns: u64, unix_ns: u64, is_free: bool) -> u64 {
        let steady = |(mono, unix): (u64, u64)| unix.saturating_add(monotonic_ns.saturating_sub(mono));
        match self.anchor.map(steady) {
            Some(steady_ns) if !is_free || steady_ns.abs_diff(unix_ns) <= TREMBLE_NS => steady_ns,
            _ => {
                (self.anchor, self.off_since_ns) = (Some((monotonic_ns, unix_ns)), None);
                unix_ns
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_before_it_began() {
        const S: u64 = 1_000_000_000;
        let mut time = SteadyTime::default();
        assert_eq!(time.at(S, 1000 * S, true), 1000 * S);
        // The clock is set back, and far ahead, while somebody is there.
        assert_eq!((time.at(2 * S, 500 * S, false), time.at(3 * S, 9999 * S, false)), (1001 * S, 1002 * S));
        assert_eq!(time.at(4 * S, 9999 * S, true), 9999 * S, "nobody is there");
        assert_eq!(time.at(5 * S, 10_000 * S + 7, true), 10_000 * S, "a difference that is none");
        // At boot it was 1970, and a car is parked there all the time.
        assert!(!time.has_moved(6 * S, 1_790_000_000 * S) && !time.has_moved(65 * S, 1_790_000_059 * S));
        assert!(time.has_moved(66 * S, 1_790_000_060 * S));
    }
}
