//! How long to wait before the next attempt.

use std::time::Duration;

/// Doubles from `first` up to `cap`, each wait shortened by up to half at random,
/// so that cameras behind one switch do not come back all at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
    rng: fastrand::Rng,
}

impl Backoff {
    pub fn new(first: Duration, cap: Duration, seed: u64) -> Self {
        Self { first, cap, next: first, rng: fastrand::Rng::with_seed(seed) }
    }

    /// The wait before the next attempt.
    pub fn wait(&mut self) -> Duration {
        let full = self.next.min(self.cap);
        self.next = full * 2;
        full.mul_f64(0.5 + 0.5 * self.rng.f64())
    }

    /// After success: begin anew.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_the_cap_with_jitter() {
        let s = Duration::from_secs;
        let mut backoff = Backoff::new(s(1), s(30), 7);
        let waits: Vec<f64> = (0..10).map(|_| backoff.wait().as_secs_f64()).collect();
        for (wait, full) in waits.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0, 30.0, 30.0]) {
            assert!(*wait >= full / 2.0 && *wait <= full, "{waits:?}");
        }
        assert!(waits[6] != waits[7], "jitter");
        backoff.reset();
        assert!(backoff.wait() <= s(1));
        let mut other = Backoff::new(s(1), s(30), 8);
        assert!(other.wait().as_secs_f64() != waits[0], "cameras differ");
    }
}
