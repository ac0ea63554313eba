//! Logs: to standard error; with `<N>` prefixes where journald reads them.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// Starts logging. `RUST_LOG` sets what is shown; `info` by default.
pub fn start() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_target(false);
    // Set by systemd where standard error goes to the journal: it has its own
    // times, and takes the priority from the prefix.
    let done = if std::env::var_os("JOURNAL_STREAM").is_some() {
        builder.without_time().with_level(false).with_ansi(false).with_writer(Journal).try_init()
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).with_writer(std::io::stderr).try_init()
    };
    if let Err(e) = done {
        eprintln!("passd: logging: {e}");
    }
}

struct Journal;

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Prefixed;

    fn make_writer(&'a self) -> Prefixed {
        Prefixed("<6>")
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Prefixed {
        use tracing::Level;
        Prefixed(match *meta.level() {
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        })
    }
}

struct Prefixed(&'static str);

impl std::io::Write for Prefixed {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        // A message of several lines needs its priority on each.
        let mut out = Vec::with_capacity(line.len() + 4);
        for part in line.split_inclusive(|b| *b == b'\n') {
            out.extend_from_slice(self.0.as_bytes());
            out.extend_from_slice(part);
        }
        std::io::stderr().lock().write_all(&out)?;
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        std::io::stderr().lock().flush()
    }
}
