//! Sources that GStreamer plays: RTSP, files, V4L2, CSI, free pipelines.
//!
//! The picture is scaled by the pipeline to the size at which it fits the
//! model's input; whenever the stream's own size changes, so does that one.
//! Pictures are delivered on GStreamer's streaming thread.

use super::custom::CustomPipeline;
use super::intake::Intake;
use super::{CaptureError, Source, SourceEvent, SourceSpec, template};
use crate::geom::{Letterbox, Size};
use crate::secret::percent_encoded;
use crossbeam_channel::Sender;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How fast pictures come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// As the camera sends them; decoded ones may be dropped.
    Live,
    /// A file at its own rate.
    Realtime,
    /// A file as fast as the pipeline takes it; nothing is dropped.
    Fast,
}

/// Prepares GStreamer; once a process is enough.
///
/// # Errors
/// GStreamer cannot be used at all.
pub fn init() -> Result<(), CaptureError> {
    gst::init().map_err(|e| CaptureError::Setup(format!("GStreamer does not start: {e}")))
}

/// Builds and starts the pipeline of `spec`.
///
/// May block for as long as GStreamer does: call it where that is bearable.
///
/// # Errors
/// A missing element or a pipeline that cannot be built or started.
pub fn open_gst(spec: &SourceSpec, pace: Pace, intake: &Intake, epoch: u64) -> Result<Source, CaptureError> {
    let launch = template::choose(spec, |element| gst::ElementFactory::find(element).is_some())?;
    let gst_pipeline = gst::parse::launch(&launch.text)
        .map_err(|e| CaptureError::Setup(format!("pipeline {}: {e}", launch.name)))?
        .downcast::<gst::Pipeline>()
        .map_err(|_| CaptureError::Setup(format!("pipeline {} is a single element", launch.name)))?;
    let guard = Guard { gst_pipeline, cancelled: Arc::default() };
    let named = |name: &str| {
        let missing = || CaptureError::Setup(format!("pipeline {} has no element named '{name}'", launch.name));
        guard.gst_pipeline.by_name(name).ok_or_else(missing)
    };
    if let Some(src) = guard.gst_pipeline.by_name("src") {
        configure_source(&src, spec)?;
    }
    if let SourceSpec::Pipeline(own) = spec {
        fill_in_secrets(&guard.gst_pipeline, own)?;
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
    let source_size = follow_size(&queue, &named("size")?, intake.input())?;
    let sink = named("sink")?
        .downcast::<gst_app::AppSink>()
        .map_err(|_| CaptureError::Setup(format!("pipeline {}: 'sink' is no appsink", launch.name)))?;
    sink.set_sync(pace == Pace::Realtime);
    deliver_samples(&sink, intake, epoch, source_size, guard.cancelled.clone());

    let (events, receiver) = crossbeam_channel::bounded(4);
    watch_bus(&guard.gst_pipeline, events)?;
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
}

impl Drop for Guard {
    fn drop(&mut self) {
        // First let go of a streaming thread that waits for room.
        self.cancelled.store(true, Ordering::Release);
        if let Err(e) = self.gst_pipeline.set_state(gst::State::Null) {
            tracing::debug!("stopping a pipeline: {e}");
        }
        if let Some(bus) = self.gst_pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

fn configure_source(src: &gst::Element, spec: &SourceSpec) -> Result<(), CaptureError> {
    match spec {
        SourceSpec::Rtsp(address) => {
            set(src, "location", &address.location)?;
            if let Some(login) = &address.login {
                set(src, "user-id", &login.user.0)?;
                set(src, "user-pw", &login.password.0)?;
            }
            // Microseconds without an answer before the connection counts as dead.
            set(src, "tcp-timeout", 5_000_000u64)?;
            set(src, "timeout", 5_000_000u64)?;
            // Audio is not even asked for.
            src.connect("select-stream", false, |values| {
                let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
                let media = caps.as_ref().and_then(|c| c.structure(0)).and_then(|s| s.get::<String>("media").ok());
                Some(media.is_none_or(|m| m == "video").to_value())
            });
        }
        SourceSpec::File { path } => {
            if !path.is_file() {
                return Err(CaptureError::Transient(format!("there is no file {}", path.display())));
            }
            set(src, "location", path.display().to_string())?;
        }
        SourceSpec::V4l2 { device } => set(src, "device", device)?,
        SourceSpec::Csi { sensor } => set(src, "sensor-id", *sensor as i32)?,
        SourceSpec::Pipeline(_) | SourceSpec::Sim(_) => {}
    }
    Ok(())
}

/// Puts secrets in the place of their words, in whatever property those stand.
fn fill_in_secrets(gst_pipeline: &gst::Pipeline, own: &CustomPipeline) -> Result<(), CaptureError> {
    let mut missing: Vec<_> = own.secrets.iter().collect();
    for element in gst_pipeline.iterate_recurse().into_iter().flatten() {
        for property in element.list_properties().iter().filter(|p| p.value_type() == gst::glib::Type::STRING) {
            let flags = property.flags();
            if !flags.contains(gst::glib::ParamFlags::READWRITE)
                || flags.contains(gst::glib::ParamFlags::CONSTRUCT_ONLY)
            {
                continue;
            }
            let Some(mut text) = element.property::<Option<String>>(property.name()) else { continue };
            let is_address = text.contains("://");
            let before = missing.len();
            for (word, secret) in own.secrets.iter().filter(|(word, _)| text.contains(word)).collect::<Vec<_>>() {
                text = text.replace(word, &if is_address { percent_encoded(&secret.0) } else { secret.0.clone() });
                missing.retain(|(other, _)| other != word);
            }
            if missing.len() < before {
                element.set_property(property.name(), text);
            }
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(CaptureError::Setup(
            "a secret of the pipeline stands where none can be: ${NAME} may be in the text of an element's property"
                .into(),
        )),
    }
}

/// Sets a property that a template's element may not have.
fn set(element: &gst::Element, name: &str, value: impl Into<gst::glib::Value>) -> Result<(), CaptureError> {
    if element.find_property(name).is_none() {
        return Err(CaptureError::Setup(format!(
            "element '{}' of the pipeline has no property '{name}'",
            element.name()
        )));
    }
    element.set_property_from_value(name, &value.into());
    Ok(())
}

/// The size of the stream's own pictures, as of the newest caps.
type SharedSize = Arc<Mutex<Option<Size>>>;

/// Keeps the capsfilter at the size that fits `input`.
fn follow_size(queue: &gst::Element, filter: &gst::Element, input: Size) -> Result<SharedSize, CaptureError> {
    let current = SharedSize::default();
    let shared = current.clone();
    let filter = filter.downgrade();
    let pad = queue.static_pad("src").ok_or_else(|| CaptureError::Setup("'queue' has no source pad".into()))?;
    // Behind the queue: in order with the pictures.
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        if let Some(gst::PadProbeData::Event(event)) = &info.data
            && let gst::EventView::Caps(caps) = event.view()
            && let (Some(filter), Ok(video)) = (filter.upgrade(), gst_video::VideoInfo::from_caps(caps.caps()))
        {
            // Pixels that are not square: the picture as it is meant to be seen.
            let par = video.par();
            let width = u64::from(video.width()) * par.numer().max(1) as u64 / par.denom().max(1) as u64;
            let source = Size::new((width as u32).max(1), video.height().max(1));
            let content = Letterbox::fit(source, input).content;
            let caps = gst::Caps::builder("video/x-raw")
                .field("format", "BGR")
                .field("width", content.width as i32)
                .field("height", content.height as i32)
                .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
                .build();
            filter.set_property("caps", caps);
            *shared.lock().unwrap_or_else(PoisonError::into_inner) = Some(source);
        }
        gst::PadProbeReturn::Ok
    });
    Ok(current)
}

fn deliver_samples(
    sink: &gst_app::AppSink,
    intake: &Intake,
    epoch: u64,
    source: SharedSize,
    cancelled: Arc<AtomicBool>,
) {
    let intake = intake.clone();
    let opened = std::time::Instant::now();
    let on_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        if cancelled.load(Ordering::Acquire) || !intake.is_current(epoch) {
            return Err(gst::FlowError::Flushing);
        }
        let (Some(buffer), Some(caps)) = (sample.buffer(), sample.caps()) else { return Ok(gst::FlowSuccess::Ok) };
        let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| gst::FlowError::NotNegotiated)?;
        let frame =
            gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).map_err(|_| gst::FlowError::Error)?;
        let content = Size::new(frame.width(), frame.height());
        let source = source.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(content);
        let letterbox = Letterbox { source, content, input: intake.input() };
        let data = frame.plane_data(0).map_err(|_| gst::FlowError::Error)?;
        // A source without time stamps: the time since it was opened.
        let pts_ns = buffer.pts().map_or_else(|| opened.elapsed().as_nanos() as u64, gst::ClockTime::nseconds);
        let stride = usize::try_from(frame.plane_stride()[0]).map_err(|_| gst::FlowError::Error)?;
        if content.width <= letterbox.input.width && content.height <= letterbox.input.height {
            intake.deliver(epoch, pts_ns, &letterbox, data, stride, &cancelled);
        }
        Ok(gst::FlowSuccess::Ok)
    };
    sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(on_sample).build());
}

/// Turns the bus's errors and end of stream into events.
fn watch_bus(gst_pipeline: &gst::Pipeline, events: Sender<SourceEvent>) -> Result<(), CaptureError> {
    let bus = gst_pipeline.bus().ok_or_else(|| CaptureError::Setup("the pipeline has no bus".into()))?;
    bus.set_sync_handler(move |_, message| {
        let event = match message.view() {
            gst::MessageView::Eos(_) => Some(SourceEvent::Ended),
            gst::MessageView::Error(error) => Some(SourceEvent::Failed(CaptureError::Transient(explain(error)))),
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
    if cause.is_empty() || text.contains(cause) { text } else { format!("{} ({cause})", text.trim_end_matches('.')) }
}
