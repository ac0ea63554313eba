//! Stopping pipelines, come what may.

use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tracing_mutex::stdsync::{Condvar, Mutex};

/// Attempts to stop one. After an element that failed to stop, the second attempt stops the rest.
const ATTEMPTS: u32 = 4;

/// So long a source that has failed may need to put away what it had opened.
const PUTTING_AWAY: Duration = Duration::from_secs(3);

static N_LEFT_BEHIND: AtomicU64 = AtomicU64::new(0);

/// Pipelines that could not be stopped, and were left as they are.
pub fn n_left_behind() -> u64 {
    N_LEFT_BEHIND.load(Ordering::Relaxed)
}

/// Stops a pipeline. One that does not stop is left behind and counted: to let go of it half stopped ends the
/// process ("Attempt to unlock mutex that was not locked").
pub fn stop(gst_pipeline: &gst::Pipeline) {
    for attempt in 1..=ATTEMPTS {
        match gst_pipeline.set_state(gst::State::Null) {
            Ok(_) => return,
            Err(e) => tracing::debug!(attempt, "stopping a pipeline: {e}"),
        }
    }
    let n = N_LEFT_BEHIND.fetch_add(1, Ordering::Relaxed) + 1;
    tracing::error!("a pipeline cannot be stopped and is left behind, the {n}. since the start");
    // One reference more than there are owners: it is never finalised.
    std::mem::forget(gst_pipeline.clone());
}

/// What a source says of its own work. `rtspsrc` opens on a thread of its own; a failure is said while that still puts
/// away connections, and to stop it then uses what has just been freed (GStreamer 1.22).
#[derive(Default)]
pub struct SourceProgress {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_at_work: bool,
    has_failed: bool,
}

impl SourceProgress {
    /// Takes in what is said on the bus.
    pub fn hear(&self, message: &gst::MessageView<'_>) {
        use gst::ProgressType::{Canceled, Complete, Error, Start};
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match message {
            // Not by `get`, which leaks two texts (gstreamer-rs 0.25).
            gst::MessageView::Progress(progress) => match progress.structure().and_then(|s| s.get("type").ok()) {
                Some(Start) => state.is_at_work = true,
                Some(Complete | Canceled | Error) => {
                    state.is_at_work = false;
                    self.changed.notify_all();
                }
                _ => {}
            },
            gst::MessageView::Error(_) => state.has_failed = true,
            _ => {}
        }
    }

    /// Waits until what has failed is put away. Nothing is waited for that still tries: it is to be stopped.
    pub fn settle(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let is_putting_away = |state: &mut State| state.has_failed && state.is_at_work;
        let _ = self.changed.wait_timeout_while(state, PUTTING_AWAY, is_putting_away);
    }
}
