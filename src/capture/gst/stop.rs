//! Stopping pipelines, come what may.

use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::atomic::{AtomicU64, Ordering};

/// Attempts to stop one. After an element that failed to stop, the second attempt stops the rest.
const ATTEMPTS: u32 = 4;

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
