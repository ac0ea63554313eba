//! Events: what becomes of the messages that cameras send about objects.
//!
//! Sinks get every message ([`super::Sink::event`]). One of them is here: it keeps events
//! and their pictures on disk ([`store`]), on a thread of its own, so that a slow disk
//! holds up nobody.

pub mod store;

use super::draw;
use super::metrics::Metrics;
use super::{Sink, hand_over};
use crate::geom::{ModelInput, Rect};
use crate::outcome::FrameResult;
use crate::scene::event::Phase;
use crate::wire::event::{EventJson, EventMessage};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use store::{EventPicture, Index, Limits, Now, Query, Store};
use tracing_mutex::stdsync::{Mutex, MutexGuard};

/// Messages that may wait.
const QUEUE: usize = 1024;
/// With more waiting, they go without pictures: each holds a frame.
const PICTURES: usize = 32;
/// After a failure, writing is tried again so much later.
const RETRY: Duration = Duration::from_secs(10);
/// Between two looks at the age of events.
const TRIM: Duration = Duration::from_secs(60);
/// Part of the object's sides that is shown around it.
const AROUND: f32 = 0.15;
const QUALITY: u8 = 85;

/// The events on disk, for those who ask.
#[derive(Clone)]
pub struct Archive {
    index: Arc<Mutex<Index>>,
    /// Why nothing is written; empty: it is.
    trouble: Arc<Mutex<String>>,
}

impl Archive {
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Newest first.
    pub fn find(&self, q: &Query) -> Vec<EventJson> {
        self.lock().find(q)
    }

    pub fn get(&self, id: &str) -> Option<EventJson> {
        self.lock().get(id).cloned()
    }

    /// Where a picture is.
    pub fn picture(&self, id: &str, picture: EventPicture) -> Option<PathBuf> {
        self.lock().picture(id, picture)
    }

    /// How many there are, and their bytes.
    pub fn size(&self) -> (usize, u64) {
        let index = self.lock();
        (index.len(), index.n_bytes())
    }

    /// Why events are not written just now.
    pub fn trouble(&self) -> Option<String> {
        Some(self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()).filter(|t| !t.is_empty())
    }

    fn set_trouble(&self, text: String) -> bool {
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = trouble.is_empty() != text.is_empty();
        *trouble = text;
        is_new
    }
}

/// Keeps events on disk.
pub struct EventSink {
    messages: Option<Sender<Arc<EventMessage>>>,
    writer: Option<JoinHandle<()>>,
    ending: Arc<AtomicBool>,
    metrics: Arc<Metrics>,
    pub archive: Archive,
}

impl EventSink {
    /// Opens the folder and starts the writer.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn start(folder: &Path, limits: Limits, metrics: Arc<Metrics>) -> std::io::Result<Self> {
        let store = Store::open(folder, limits, now())?;
        let archive = Archive { index: store.index(), trouble: Arc::default() };
        let (messages, queue) = bounded(QUEUE);
        let ending = Arc::new(AtomicBool::new(false));
        let (told, counted, kept) = (ending.clone(), metrics.clone(), archive.clone());
        let writer = std::thread::Builder::new()
            .name("events".into())
            .spawn(move || write_all(&queue, store, &kept, &told, &counted))?;
        Ok(Self { messages: Some(messages), writer: Some(writer), ending, metrics, archive })
    }
}

impl Sink for EventSink {
    fn event(&self, message: &Arc<EventMessage>) {
        let Some(messages) = &self.messages else { return };
        let is_heavy = !message.lossless && message.best.is_some() && messages.len() >= PICTURES;
        let message =
            if is_heavy { Arc::new(EventMessage { best: None, ..(**message).clone() }) } else { message.clone() };
        let lossless = message.lossless;
        if !hand_over(messages, message, lossless) {
            self.metrics.output_dropped("events");
        }
    }
}

impl Drop for EventSink {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Release);
        self.messages = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn now() -> Now {
    let unix_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let steady = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Now { unix_ms, steady_ms: steady.tv_sec as u64 * 1000 + steady.tv_nsec as u64 / 1_000_000 }
}

fn write_all(
    queue: &Receiver<Arc<EventMessage>>,
    mut store: Store,
    archive: &Archive,
    ending: &AtomicBool,
    metrics: &Metrics,
) {
    let mut failed_at: Option<std::time::Instant> = None;
    loop {
        let message = match queue.recv_timeout(TRIM) {
            Ok(message) => message,
            Err(e) if e.is_timeout() => {
                store.trim(now());
                continue;
            }
            Err(_) => return,
        };
        // While the disk refuses, most messages are not worth a try.
        let waits = failed_at.is_some_and(|at| at.elapsed() < RETRY) && !ending.load(Ordering::Acquire);
        if waits && message.phase != Phase::End {
            metrics.output_dropped("events");
            continue;
        }
        let text = || format!("{} #{} {:.2}", message.event.label, message.event.track, message.event.score);
        let pictures = message.best.as_ref().and_then(|(frame, bbox)| pictures(frame, bbox, &text()));
        let written = store.put(message.event.clone(), pictures, now());
        match written {
            Ok(()) => {
                failed_at = None;
                if archive.set_trouble(String::new()) {
                    tracing::info!("events are written again");
                }
            }
            Err(e) => {
                failed_at = Some(std::time::Instant::now());
                metrics.output_error("events");
                metrics.output_dropped("events");
                if archive.set_trouble(e.to_string()) {
                    tracing::error!(event = message.event.id, "events cannot be written, trying again: {e}");
                }
            }
        }
    }
}

/// The frame with the object marked, and the object alone.
fn pictures(frame: &FrameResult, bbox: &Rect<ModelInput>, text: &str) -> Option<[Vec<u8>; 2]> {
    let margin = AROUND * bbox.width().max(bbox.height());
    let crop = draw::picture(frame).crop(&bbox.grown(margin))?.jpeg(QUALITY).ok()?;
    let whole = draw::mark(frame, bbox, text).jpeg(QUALITY).ok()?;
    Some([whole, crop])
}

#[cfg(test)]
mod tests {
    use super::store::event;
    use super::*;

    fn message(n: u64) -> Arc<EventMessage> {
        let event = EventJson { end: Some(n as f64), ..event(n, "front", "person") };
        Arc::new(EventMessage { phase: Phase::End, event, best: None, lossless: false })
    }

    fn dropped(metrics: &Metrics) -> u64 {
        let text = metrics.render();
        let line = text.lines().find(|l| l.starts_with("passd_output_dropped_total{sink=\"events\"}"));
        line.and_then(|l| l.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    }

    #[test]
    fn a_storm_before_a_disk_that_hangs_is_bounded_and_counted() {
        const STORM: u64 = 20_000;
        let folder = tempfile::tempdir().unwrap();
        let metrics = Arc::new(Metrics::default());
        let limits = Limits { bytes: 1 << 20, age_ms: u64::MAX, n: 50 };
        let sink = EventSink::start(folder.path(), limits, metrics.clone()).unwrap();
        let archive = sink.archive.clone();
        let hangs = archive.lock();
        std::thread::scope(|scope| {
            for camera in 0..4 {
                let sink = &sink;
                scope.spawn(move || (0..STORM).skip(camera).step_by(4).for_each(|n| sink.event(&message(n))));
            }
        });
        // Nobody waited: what did not fit is counted. One message is in the writer's hands.
        let lost = dropped(&metrics);
        assert!((STORM - QUEUE as u64 - 1..=STORM - QUEUE as u64).contains(&lost), "{lost}");
        drop(hangs);
        drop(sink);
        assert_eq!(dropped(&metrics), lost, "everything that fitted is written");
        assert_eq!(archive.size().0, 50, "the oldest went");
        assert!(std::fs::read_dir(folder.path().join("front")).unwrap().count() <= 50);
    }
}
