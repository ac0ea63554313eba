//! JSON lines to standard output or to a file that is rotated by size.
//!
//! A thread of its own writes; the pipeline only queues a finished line. A full
//! disk is counted and tried again; what does not fit into the queue meanwhile
//! is dropped and counted. The end of the daemon waits for the queue to empty.

use super::metrics::Metrics;
use super::{Sink, hand_over};
use crate::outcome::FrameResult;
use crate::wire::frame::FrameJson;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// Lines that may wait: some seconds of a busy day.
const QUEUE: usize = 1024;
/// Between two attempts to write after a failure.
const RETRY: Duration = Duration::from_millis(500);
/// Attempts to write the rest once the daemon is ending.
const LAST_ATTEMPTS: u32 = 3;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Stdout,
    File { path: PathBuf, rotate_bytes: u64, keep: u32 },
}

pub struct JsonlSink {
    lines: Option<Sender<String>>,
    writer: Option<JoinHandle<()>>,
    ending: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    empty_frames: bool,
}

impl JsonlSink {
    /// Starts the writer.
    ///
    /// # Errors
    /// The file cannot be opened: better now than after a day.
    pub fn start(target: Target, empty_frames: bool, metrics: Arc<Metrics>) -> io::Result<Self> {
        let (lines, queue) = bounded(QUEUE);
        let mut out = Output::open(target)?;
        let ending = Arc::new(AtomicBool::new(false));
        let (counted, told) = (metrics.clone(), ending.clone());
        let writer = std::thread::Builder::new()
            .name("jsonl".into())
            .spawn(move || write_all(&mut out, &queue, &told, &counted))?;
        Ok(Self { lines: Some(lines), writer: Some(writer), ending, metrics, empty_frames })
    }
}

impl Sink for JsonlSink {
    fn publish(&self, result: &Arc<FrameResult>) {
        if result.detections.is_empty() && !self.empty_frames {
            return;
        }
        let (Some(lines), Ok(mut line)) = (&self.lines, serde_json::to_string(&FrameJson::new(result))) else { return };
        line.push('\n');
        if !hand_over(lines, line, result.lossless) {
            self.metrics.output_dropped("jsonl");
        }
    }
}

impl Drop for JsonlSink {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        self.lines = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write_all(out: &mut Output, queue: &Receiver<String>, ending: &AtomicBool, metrics: &Metrics) {
    let mut attempts_left = LAST_ATTEMPTS;
    for line in queue {
        let mut failing = false;
        loop {
            match out.write(line.as_bytes()) {
                Ok(()) => break,
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {
                    metrics.output_error("jsonl");
                    tracing::warn!("JSON lines: nobody reads standard output any more");
                    (0..=queue.len()).for_each(|_| metrics.output_dropped("jsonl"));
                    return;
                }
                Err(e) => {
                    metrics.output_error("jsonl");
                    if !failing {
                        tracing::error!(target = %out.name(), "JSON lines cannot be written, trying again: {e}");
                        failing = true;
                    }
                    // The daemon is ending: it does not wait for ever for room.
                    if ending.load(Ordering::Acquire) {
                        if attempts_left == 0 {
                            tracing::error!(target = %out.name(), "{} JSON lines are lost", queue.len() + 1);
                            return;
                        }
                        attempts_left -= 1;
                    }
                    std::thread::sleep(RETRY);
                }
            }
        }
        if failing {
            tracing::info!(target = %out.name(), "JSON lines are written again");
        }
        if queue.is_empty() {
            let _ = out.flush();
        }
    }
    let _ = out.flush();
}

/// A file with its rotation, or standard output.
struct Output {
    target: Target,
    file: Option<File>,
    written: u64,
}

impl Output {
    fn open(target: Target) -> io::Result<Self> {
        if let Target::File { path, .. } = &target
            && let Some(folder) = path.parent()
        {
            std::fs::create_dir_all(folder)?;
        }
        let mut output = Self { target, file: None, written: 0 };
        output.reopen()?;
        Ok(output)
    }

    fn name(&self) -> String {
        match &self.target {
            Target::Stdout => "standard output".into(),
            Target::File { path, .. } => path.display().to_string(),
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Target::File { path, .. } = &self.target {
            let pipe = || {
                io::Error::other("is a pipe, which would be waited for; expected a file, or `-` for standard output")
            };
            // One that nobody reads cannot be opened like this; else it would be waited for.
            let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
            let opened = OpenOptions::new().create(true).append(true).custom_flags(flags).open(path);
            let file = opened.map_err(|e| match rustix::io::Errno::from_io_error(&e) {
                Some(rustix::io::Errno::NXIO) => pipe(),
                _ => e,
            })?;
            let about = file.metadata()?;
            if about.file_type().is_fifo() {
                return Err(pipe());
            }
            rustix::fs::fcntl_setfl(&file, rustix::fs::OFlags::APPEND)?;
            self.written = about.len();
            self.file = Some(file);
        }
        Ok(())
    }

    /// Writes a whole line, or nothing that stays.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let Target::File { path, rotate_bytes, keep } = &self.target else {
            return io::stdout().lock().write_all(line);
        };
        if self.written > 0 && self.written + line.len() as u64 > *rotate_bytes {
            rotate(path, *keep)?;
            self.file = None;
        }
        // Somebody took the file away, or moved it to where old ones are kept.
        if self.file.is_none() || !is_at(self.file.as_ref(), path) {
            self.reopen()?;
        }
        let Some(file) = &mut self.file else { return Err(io::Error::other("no file")) };
        if let Err(e) = file.write_all(line) {
            // Half a line is no JSON: back to the end of the last whole one.
            let _ = file.set_len(self.written);
            return Err(e);
        }
        self.written += line.len() as u64;
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.flush(),
            None => io::stdout().lock().flush(),
        }
    }
}

/// Whether the file is the one at a path.
fn is_at(file: Option<&File>, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let id = |m: std::fs::Metadata| (m.dev(), m.ino());
    let (Some(file), Ok(at)) = (file, std::fs::metadata(path)) else { return false };
    file.metadata().is_ok_and(|open| id(open) == id(at))
}

/// `a.jsonl` becomes `a.jsonl.1`, that one `a.jsonl.2`, and so on; the oldest goes.
fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let old = |n: u32| path.with_added_extension(n.to_string());
    let ignore_missing = |r: io::Result<()>| match r {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    if keep == 0 {
        return ignore_missing(std::fs::remove_file(path));
    }
    for n in (1..keep).rev() {
        ignore_missing(std::fs::rename(old(n), old(n + 1)))?;
    }
    ignore_missing(std::fs::rename(path, old(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotates_and_keeps_only_so_many() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut out = Output::open(Target::File { path: path.clone(), rotate_bytes: 20, keep: 2 }).unwrap();
        for i in 0..8 {
            out.write(format!("line {i:04}\n").as_bytes()).unwrap(); // 10 bytes: two a file
        }
        let read = |p: &Path| std::fs::read_to_string(p).unwrap();
        assert_eq!(read(&path), "line 0006\nline 0007\n");
        assert_eq!(read(&path.with_added_extension("1")), "line 0004\nline 0005\n");
        assert_eq!(read(&path.with_added_extension("2")), "line 0002\nline 0003\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
        drop(out);
        let again = Output::open(Target::File { path, rotate_bytes: 20, keep: 2 }).unwrap();
        assert_eq!(again.written, 20, "goes on where it was");
    }

    /// As logrotate and people do.
    #[test]
    fn a_file_that_is_gone_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let mut out = Output::open(Target::File { path: path.clone(), rotate_bytes: 1 << 20, keep: 1 }).unwrap();
        out.write(b"one\n").unwrap();
        std::fs::rename(&path, folder.path().join("old")).unwrap();
        out.write(b"two\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        out.write(b"three\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
        assert_eq!(std::fs::read(folder.path().join("old")).unwrap(), b"one\n");
        assert_eq!(out.written, 6);
    }

    /// Nobody reads it: to open it would wait for ever.
    #[test]
    fn a_pipe_is_refused_and_one_that_takes_the_files_place_is_got_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        let pipe = || {
            let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
            assert!(made.success());
        };
        let open = || Output::open(Target::File { path: path.clone(), rotate_bytes: 1 << 20, keep: 1 });
        pipe();
        assert!(open().is_err_and(|e| e.to_string().contains("is a pipe")));
        std::fs::remove_file(&path).unwrap();
        let mut out = open().unwrap();
        out.write(b"one\n").unwrap();
        std::fs::remove_file(&path).unwrap();
        pipe();
        assert!(out.write(b"two\n").is_err());
        // With somebody at its other end, too.
        let reader = OpenOptions::new().read(true).custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32).open(&path);
        assert!(out.write(b"two\n").unwrap_err().to_string().contains("pipe"));
        drop(reader);
        std::fs::remove_file(&path).unwrap();
        out.write(b"three\n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"three\n");
    }

    /// `/dev/full` is a disk that is always full.
    #[test]
    fn a_full_disk_is_an_error_and_no_crash() {
        let target = Target::File { path: "/dev/full".into(), rotate_bytes: u64::MAX, keep: 1 };
        let mut out = Output::open(target).unwrap();
        assert!(out.write(b"line\n").is_err());
        assert_eq!(out.written, 0);
    }
}
