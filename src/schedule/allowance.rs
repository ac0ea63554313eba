//! How much of the machine the daemon may use, and how late its results may be.

use std::time::Duration;

/// What the daemon as a whole has to keep to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Budget {
    /// Share of all cores' time, above 0 up to 1.
    pub cpu: Option<f64>,
    /// From the decoder to the output.
    pub latency: Option<Duration>,
}

/// Nothing is computed ahead of the budget for longer than this.
const BURST_S: f64 = 0.1;
/// A debt that is greater is forgotten: one slow run must not still a camera.
const DEBT_S: f64 = 0.5;
/// Over which lateness is judged.
const WINDOW_NS: u64 = 1_000_000_000;
/// Share of results that may be late.
const LATE: f64 = 0.05;
/// One turn may begin in such a time, whatever was used: what is not ours to spare (decoding, viewers) stills nobody.
const ALWAYS_NS: u64 = 200_000_000;
/// The latency target never asks for less of the machine than this share.
const LEAST: f64 = 0.05;

/// A bucket of processor time: fills at the rate that is allowed, empties with what the process uses, all of its
/// threads. Turns begin while it is not empty.
///
/// The latency target moves the rate: down by a fifth of what is used in a second in which more than 5 % were
/// late, up by 3 % of the machine in any other.
#[derive(Debug)]
pub struct Allowance {
    budget: Budget,
    cores: f64,
    /// Share of the machine that the latency target leaves.
    share: f64,
    balance_s: f64,
    now_ns: u64,
    cpu_ns: u64,
    /// When a turn last began.
    begun_ns: u64,
    window: Window,
}

#[derive(Debug, Default)]
struct Window {
    start_ns: u64,
    start_cpu_ns: u64,
    n: u64,
    n_late: u64,
}

impl Allowance {
    pub fn new(budget: Budget, cores: usize) -> Self {
        Self {
            budget,
            cores: cores.max(1) as f64,
            share: 1.0,
            balance_s: 0.0,
            now_ns: 0,
            cpu_ns: 0,
            begun_ns: 0,
            window: Window::default(),
        }
    }

    /// Whether there is anything to keep to.
    pub fn is_bound(&self) -> bool {
        self.budget != Budget::default()
    }

    /// Share of the machine that may be used now.
    pub fn share(&self) -> f64 {
        self.share.min(self.budget.cpu.unwrap_or(1.0))
    }

    /// Counts a result.
    pub fn observe(&mut self, latency_ns: u64) {
        self.window.n += 1;
        self.window.n_late +=
            u64::from(self.budget.latency.is_some_and(|most| u128::from(latency_ns) > most.as_nanos()));
    }

    /// Whether a turn may begin; else how long to wait before asking again. `cpu_ns` is what the process has used.
    pub fn ask(&mut self, now_ns: u64, cpu_ns: u64) -> Result<(), Duration> {
        if !self.is_bound() {
            return Ok(());
        }
        self.pass(now_ns, cpu_ns);
        if self.balance_s >= 0.0 || now_ns.saturating_sub(self.begun_ns) >= ALWAYS_NS {
            self.begun_ns = now_ns;
            return Ok(());
        }
        let wait_s = -self.balance_s / (self.share() * self.cores);
        Err(Duration::from_secs_f64(wait_s.clamp(0.001, 0.1)))
    }

    fn pass(&mut self, now_ns: u64, cpu_ns: u64) {
        if self.now_ns == 0 {
            (self.now_ns, self.cpu_ns) = (now_ns, cpu_ns);
            (self.window.start_ns, self.window.start_cpu_ns) = (now_ns, cpu_ns);
        }
        let passed_s = now_ns.saturating_sub(self.now_ns) as f64 / 1e9;
        let used_s = cpu_ns.saturating_sub(self.cpu_ns) as f64 / 1e9;
        (self.now_ns, self.cpu_ns) = (now_ns.max(self.now_ns), cpu_ns.max(self.cpu_ns));
        let rate = self.share() * self.cores;
        self.balance_s = (self.balance_s + passed_s * rate - used_s).clamp(-DEBT_S * rate, BURST_S * rate);
        let open_ns = now_ns.saturating_sub(self.window.start_ns);
        if open_ns >= WINDOW_NS {
            let used = cpu_ns.saturating_sub(self.window.start_cpu_ns) as f64 / open_ns as f64 / self.cores;
            self.share = match self.window.n_late as f64 > LATE * self.window.n as f64 {
                true => (0.8 * used.min(self.share)).max(LEAST),
                false => (self.share + 0.03).min(1.0),
            };
            self.window = Window { start_ns: now_ns, start_cpu_ns: cpu_ns, n: 0, n_late: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Works whenever it may, 7 ms at a time on one of two cores, beside `other` cores' worth of decoding. The share of
    /// the machine that is used, and the one that is allowed at the end.
    fn work(budget: Budget, other: f64, latency: impl Fn(f64) -> u64) -> (f64, f64) {
        let mut allowance = Allowance::new(budget, 2);
        let (mut now, mut worked) = (1u64, 0u64);
        let cpu = |now: u64, worked: u64| worked + (now as f64 * other) as u64;
        for _ in 0..20_000 {
            match allowance.ask(now, cpu(now, worked)) {
                Ok(()) => {
                    worked += 7 * MS;
                    now += 7 * MS;
                }
                Err(wait) => now += wait.as_nanos() as u64,
            }
            allowance.observe(latency(allowance.share()));
        }
        (cpu(now, worked) as f64 / now as f64 / 2.0, allowance.share())
    }

    #[test]
    fn the_process_keeps_to_its_share() {
        let quick = |_: f64| MS;
        let used = work(Budget { cpu: Some(0.25), latency: None }, 0.2, quick).0;
        assert!((used - 0.25).abs() < 0.01, "{used}");
        let used = work(Budget { cpu: Some(0.4), latency: None }, 0.0, quick).0;
        assert!((used - 0.4).abs() < 0.01, "{used}");
        assert!((work(Budget::default(), 0.0, quick).0 - 0.5).abs() < 0.01, "one thread is half of two cores");
    }

    #[test]
    fn a_latency_is_kept_by_using_less() {
        let budget = Budget { cpu: None, latency: Some(Duration::from_millis(50)) };
        // Above three tenths of the machine everything is late.
        let share = work(budget, 0.0, |share| if share > 0.3 { 90 * MS } else { 20 * MS }).1;
        assert!((0.2..0.4).contains(&share), "{share}");
        assert!(work(budget, 0.0, |_| MS).1 > 0.99);
        assert!(work(budget, 0.0, |_| 90 * MS).1 >= LEAST, "a target out of reach stills nobody");
    }

    #[test]
    fn what_others_use_stills_nobody() {
        // Decoding alone takes more than the budget: a turn of 7 ms begins all the same, now and then.
        let used = work(Budget { cpu: Some(0.2), latency: None }, 0.8, |_| MS).0;
        assert!((0.4 + 0.015..0.4 + 0.02).contains(&used), "{used}");
    }

    #[test]
    fn a_machine_that_slept_starts_with_one_burst() {
        let mut allowance = Allowance::new(Budget { cpu: Some(0.1), latency: None }, 1);
        allowance.ask(MS, 0).unwrap();
        assert!(allowance.ask(2 * MS, 300 * MS).is_err());
        allowance.ask(3_600_000 * MS, 300 * MS).unwrap();
        assert!(allowance.balance_s <= 0.0101, "{}", allowance.balance_s);
    }
}
