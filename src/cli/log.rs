//! Logs: to standard error; with `<N>` prefixes where journald reads them.
//!
//! How often something is said is often decided by somebody else: a broker, a camera, a client. So each place in the
//! program says no more than [`BURST`] things at once, and [`PER_SECOND`] in the long run; what is left out is counted.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::sync::PoisonError;
use std::time::Instant;
use tracing::callsite::Identifier;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_mutex::stdsync::Mutex;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, filter::FilterExt as _};

const BURST: f64 = 100.0;
const PER_SECOND: f64 = 2.0;
/// Longest line, bytes.
const MAX_LINE: usize = 8 << 10;

/// Starts logging. `RUST_LOG` sets what is shown; `info` by default.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // Set by systemd where standard error goes to the journal: it has its own
    // times, and takes the priority from the prefix.
    let is_journal = std::env::var_os("JOURNAL_STREAM").is_some();
    let filter = filter.and(Rate { is_journal, buckets: Mutex::default() });
    let layer = tracing_subscriber::fmt::layer().with_target(false).with_writer(Lines { is_journal });
    let done = if is_journal {
        let layer = layer.without_time().with_level(false).with_ansi(false);
        tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()
    } else {
        let layer = layer.with_ansi(std::io::stderr().is_terminal());
        tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()
    };
    if let Err(e) = done {
        eprintln!("passd: logging: {e}");
    }
}

/// What one place in the program may still say.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
    n_left_out: u64,
}

impl Bucket {
    fn new(now: Instant) -> Self {
        Self { tokens: BURST, at: now, n_left_out: 0 }
    }

    /// Whether something may be said; then how much was left out before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + PER_SECOND * passed).min(BURST);
        self.at = now;
        if self.tokens < 1.0 {
            self.n_left_out += 1;
            return None;
        }
        self.tokens -= 1.0;
        Some(std::mem::take(&mut self.n_left_out))
    }
}

struct Rate {
    is_journal: bool,
    /// As many as there are places.
    buckets: Mutex<HashMap<Identifier, Bucket>>,
}

impl<S: Subscriber> Filter<S> for Rate {
    fn enabled(&self, _: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        true
    }

    fn event_enabled(&self, event: &Event<'_>, _: &Context<'_, S>) -> bool {
        let meta = event.metadata();
        if *meta.level() > Level::INFO {
            return true;
        }
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = buckets.entry(meta.callsite()).or_insert_with(|| Bucket::new(now)).take(now);
        drop(buckets);
        if let Some(n) = taken.filter(|n| *n > 0) {
            let prefix = if self.is_journal { "<4>" } else { "" };
            let _ = writeln!(std::io::stderr().lock(), "{prefix}passd: {n} lines like the next one were left out");
        }
        taken.is_some()
    }
}

struct Lines {
    is_journal: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Prefixed;

    fn make_writer(&'a self) -> Prefixed {
        Prefixed(if self.is_journal { "<6>" } else { "" })
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Prefixed {
        Prefixed(match *meta.level() {
            _ if !self.is_journal => "",
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        })
    }
}

struct Prefixed(&'static str);

impl Write for Prefixed {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // A message of several lines needs its priority on each.
        let mut out = Vec::with_capacity(line.len().min(MAX_LINE) + 8);
        for part in line[..line.len().min(MAX_LINE)].split_inclusive(|b| *b == b'\n') {
            out.extend_from_slice(self.0.as_bytes());
            out.extend_from_slice(part);
        }
        if line.len() > MAX_LINE {
            out.extend_from_slice(" …\n".as_bytes());
        }
        std::io::stderr().lock().write_all(&out)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_is_a_few_lines_and_a_number() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start);
        let n = (0..100_000).filter(|i| bucket.take(start + Duration::from_micros(200 * i)).is_some()).count();
        assert!((130..145).contains(&n), "{n} lines in twenty seconds");
        let left = bucket.take(start + Duration::from_secs(60)).unwrap();
        assert!(left > 1_000, "{left} are told of");
        assert_eq!(bucket.take(start + Duration::from_secs(60)), Some(0));
    }
}
