//! Sources that GStreamer plays: RTSP, files, V4L2, CSI, free pipelines.
//!
//! The picture is scaled by the pipeline to the size at which it fits the
//! model's input; whenever the stream's own size changes, so does that one.
//! Pictures are delivered on GStreamer's streaming thread.

mod connections;
mod description;
mod elements;
mod packets;
mod pictures;
mod rtsp;
mod secrets;
mod senders;
mod sparing;
mod stop;

pub use stop::{n_left_behind, stop};

use super::intake::Intake;
use super::source::{CaptureError, Pace, Source, SourceEvent};
use super::spec::SourceSpec;
use super::template;
use crate::process::{give_way, share_heaps};
use crate::text::printable;
use connections::Connections;
use crossbeam_channel::Sender;
use elements::set;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use pictures::Delivery;
use rtsp::Tracks;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use stop::SourceProgress;

/// Prepares GStreamer; once a process is enough.
///
/// # Errors
/// GStreamer cannot be used at all.
pub fn init() -> Result<(), CaptureError> {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        share_heaps();
        // A camera may provoke as many as it likes: the log has a rate.
        gst::glib::log_set_default_handler(|domain, level, message| {
            use gst::glib::LogLevel::{Critical, Error, Warning};
            let (domain, message) = (domain.unwrap_or("GLib"), printable(message, 400));
            match level {
                Error | Critical | Warning => tracing::warn!("{domain}: {message}"),
                _ => tracing::debug!("{domain}: {message}"),
            }
        });
    });
    gst::init().map_err(|e| CaptureError::Setup(format!("GStreamer does not start: {e}")))
}

/// Builds and starts the pipeline of `spec`.
///
/// May block for as long as GStreamer does: call it where that is bearable.
///
/// # Errors
/// A missing element or a pipeline that cannot be built or started.
pub fn open_gst(spec: &SourceSpec, pace: Pace, intake: &Intake, incarnation: u64) -> Result<Source, CaptureError> {
    let launch = template::choose(spec, |element| gst::ElementFactory::find(element).is_some())?;
    let gst_pipeline = gst::parse::launch(&launch.text)
        .map_err(|e| CaptureError::Setup(format!("pipeline {}: {e}", launch.name)))?
        .downcast::<gst::Pipeline>()
        .map_err(|_| CaptureError::Setup(format!("pipeline {} is a single element", launch.name)))?;
    let connections = Connections::of(&gst_pipeline);
    let guard = Guard { gst_pipeline, cancelled: Arc::default(), progress: Arc::default(), connections };
    let named = |name: &str| {
        let missing = || CaptureError::Setup(format!("pipeline {} has no element named '{name}'", launch.name));
        guard.gst_pipeline.by_name(name).ok_or_else(missing)
    };
    let tracks = Arc::new(Tracks::default());
    if let Some(src) = guard.gst_pipeline.by_name("src") {
        configure_source(&src, spec, &tracks)?;
    }
    if let SourceSpec::Pipeline(own) = spec {
        secrets::fill_in(&guard.gst_pipeline, own)?;
    }
    let queue = named("queue")?;
    if pace == Pace::Live && queue.find_property("leaky").is_some() {
        queue.set_property_from_str("leaky", "downstream");
        let intake = intake.clone();
        queue.connect("overrun", false, move |_| {
            intake.count_queue_drop();
            None
        });
    }
    let source_size = pictures::follow_size(&queue, &named("size")?, intake.input())?;
    let whole = pictures::watch_decoders(&guard.gst_pipeline, intake, pace);
    packets::guard(&guard.gst_pipeline, &tracks);
    senders::guard(&guard.gst_pipeline);
    let sink = named("sink")?
        .downcast::<gst_app::AppSink>()
        .map_err(|_| CaptureError::Setup(format!("pipeline {}: 'sink' is no appsink", launch.name)))?;
    // Time is kept where pictures are delivered: a gap in a file would be waited for here.
    sink.set_sync(false);
    let delivery =
        Delivery::new(intake.clone(), incarnation, pace, source_size, whole, tracks.clone(), guard.cancelled.clone());
    delivery.begin(&sink);

    let (events, receiver) = crossbeam_channel::bounded(4);
    // GStreamer speaks of "this file".
    let name = match spec {
        SourceSpec::File { path } => format!("{}: ", path.display()),
        _ => String::new(),
    };
    watch_bus(&guard, events, tracks, name)?;
    guard.gst_pipeline.set_state(gst::State::Playing).map_err(|e| {
        // The bus knows more than the return value.
        let said = receiver.try_iter().find_map(|event| match event {
            SourceEvent::Failed(e) => Some(e),
            SourceEvent::Ended => None,
        });
        said.unwrap_or_else(|| CaptureError::Transient(format!("the pipeline does not start: {e}")))
    })?;
    Ok(Source { events: receiver, guard: Box::new(guard) })
}

/// Stops the pipeline when dropped.
struct Guard {
    gst_pipeline: gst::Pipeline,
    cancelled: Arc<AtomicBool>,
    progress: Arc<SourceProgress>,
    connections: Arc<Connections>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // First let go of a streaming thread that waits for room.
        self.cancelled.store(true, Ordering::Release);
        self.progress.settle();
        self.connections.stop();
        stop(&self.gst_pipeline);
        if let Some(bus) = self.gst_pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

fn configure_source(src: &gst::Element, spec: &SourceSpec, tracks: &Arc<Tracks>) -> Result<(), CaptureError> {
    match spec {
        SourceSpec::Rtsp(address) => rtsp::configure(src, address, tracks),
        SourceSpec::File { path } => {
            check_file(path)?;
            set(src, "location", path.display().to_string())
        }
        SourceSpec::V4l2 { device } => set(src, "device", device),
        SourceSpec::Csi { sensor } => set(src, "sensor-id", *sensor as i32),
        SourceSpec::Pipeline(_) | SourceSpec::Sim(_) => Ok(()),
    }
}

fn check_file(path: &Path) -> Result<(), CaptureError> {
    let shown = path.display();
    let err = |text: String| Err(CaptureError::Setup(text));
    match std::fs::metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => err(format!("there is no file {shown}")),
        Err(e) => err(format!("{shown}: {e}")),
        Ok(m) if m.is_dir() => err(format!("{shown} is a folder; expected a video file")),
        Ok(m) if m.is_file() && m.len() == 0 => err(format!("{shown} is empty")),
        Ok(_) => Ok(()),
    }
}

/// Turns the bus's errors and end of stream into events.
fn watch_bus(
    guard: &Guard,
    events: Sender<SourceEvent>,
    tracks: Arc<Tracks>,
    name: String,
) -> Result<(), CaptureError> {
    let (progress, connections) = (guard.progress.clone(), guard.connections.clone());
    let bus = guard.gst_pipeline.bus().ok_or_else(|| CaptureError::Setup("the pipeline has no bus".into()))?;
    bus.set_sync_handler(move |_, message| {
        progress.hear(&message.view());
        connections.hear(message);
        let event = match message.view() {
            gst::MessageView::Eos(_) => Some(SourceEvent::Ended),
            gst::MessageView::StreamStatus(status) => {
                // Said by the thread that begins, and its decoder's threads come of it.
                if status.get().0 == gst::StreamStatusType::Enter {
                    give_way();
                }
                None
            }
            gst::MessageView::Error(error) => {
                let said = tracks.complaint().unwrap_or_else(|| explain(error));
                Some(SourceEvent::Failed(CaptureError::Transient(format!("{name}{said}"))))
            }
            _ => None,
        };
        if let Some(event) = event {
            // Full: there is already more than enough to end this source.
            let _ = events.try_send(event);
        }
        gst::BusSyncReply::Drop
    });
    Ok(())
}

/// One line: what GStreamer says, and the most telling line of its details.
fn explain(error: &gst::message::Error) -> String {
    let text = error.error().to_string();
    let debug = error.debug().map(|d| d.to_string()).unwrap_or_default();
    // The first line is a place in GStreamer's source; the last one the cause.
    let cause = debug.lines().skip(1).last().unwrap_or_default().trim();
    let cause = cause.trim_end_matches('.');
    if cause.contains("not-linked") {
        // Nothing took what it holds: sound alone, say.
        "there is no video in it that can be decoded here".into()
    } else if cause.is_empty() || text.contains(cause) {
        text
    } else {
        format!("{} ({cause})", text.trim_end_matches('.'))
    }
}
