//! What this machine's GStreamer can do; and whether a camera shows a picture.

use super::gst::{Pace, open_gst};
use super::intake::{Intake, Slot, SlotMode, Taken};
use super::{CaptureError, Source, SourceEvent, SourceSpec};
use crate::clock::SystemClock;
use crate::geom::Size;
use gstreamer as gst;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Something that is needed, and what does it here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    pub what: &'static str,
    /// The element that is taken; `None`: there is none.
    pub by: Option<&'static str>,
    /// Package of Debian that brings one.
    pub package: &'static str,
}

/// Any of the elements does; hardware first.
const ABILITIES: [(&str, &[&str], &str); 7] = [
    ("RTSP", &["rtspsrc"], "gstreamer1.0-plugins-good"),
    (
        "H.264",
        &["nvv4l2decoder", "nvh264dec", "vah264dec", "v4l2slh264dec", "v4l2h264dec", "avdec_h264", "openh264dec"],
        "gstreamer1.0-libav",
    ),
    (
        "H.265",
        &["nvv4l2decoder", "nvh265dec", "vah265dec", "v4l2slh265dec", "v4l2h265dec", "avdec_h265", "libde265dec"],
        "gstreamer1.0-libav",
    ),
    ("H.264 streams", &["h264parse"], "gstreamer1.0-plugins-bad"),
    ("MP4 files", &["qtdemux"], "gstreamer1.0-plugins-good"),
    ("V4L2 cameras", &["v4l2src"], "gstreamer1.0-plugins-good"),
    ("scaling", &["nvvidconv", "videoscale"], "gstreamer1.0-plugins-base"),
];

/// Version of GStreamer, and what it can do.
///
/// # Errors
/// It does not start.
pub fn survey() -> Result<(String, Vec<Ability>), CaptureError> {
    super::init()?;
    let found = |names: &[&'static str]| names.iter().copied().find(|name| gst::ElementFactory::find(name).is_some());
    let abilities = ABILITIES.iter().map(|(what, names, package)| Ability { what, by: found(names), package });
    Ok((gst::version_string().to_string(), abilities.collect()))
}

/// Opens a source and waits for its first picture: its size, and how long it took.
///
/// # Errors
/// There is no picture within `patience`, or the source says why there is none.
pub fn probe(spec: &SourceSpec, patience: Duration) -> Result<(Size, Duration), CaptureError> {
    let start = Instant::now();
    if let SourceSpec::Sim(settings) = spec {
        return Ok((settings.size, Duration::ZERO));
    }
    super::init()?;
    let slot = Arc::new(Slot::new(SlotMode::Latest));
    let intake = Intake::new(Size::new(320, 192), Arc::new(SystemClock::new()), slot.clone(), None);
    let epoch = intake.begin();
    let (done, opened) = crossbeam_channel::bounded(1);
    let spec = spec.clone();
    // Drivers hang: not in here.
    let opening = move || {
        let _ = done.send(open_gst(&spec, Pace::Live, &intake, epoch));
    };
    std::thread::Builder::new()
        .name("probe".into())
        .spawn(opening)
        .map_err(|e| CaptureError::Transient(format!("no thread: {e}")))?;
    let late = || CaptureError::Transient(format!("no picture within {} s", patience.as_secs()));
    let source = opened.recv_timeout(patience).map_err(|_| late())??;
    let found = first_picture(&slot, &source, start, patience, &late);
    let _ = std::thread::Builder::new().name("probe".into()).spawn(move || drop(source));
    found
}

fn first_picture(
    slot: &Slot,
    source: &Source,
    start: Instant,
    patience: Duration,
    late: &dyn Fn() -> CaptureError,
) -> Result<(Size, Duration), CaptureError> {
    loop {
        match slot.take(Duration::from_millis(50)) {
            Taken::Frame(frame) => return Ok((frame.letterbox.source, start.elapsed())),
            Taken::Closed => return Err(late()),
            Taken::Nothing => match source.events.try_recv() {
                Ok(SourceEvent::Failed(e)) => return Err(e),
                Ok(SourceEvent::Ended) => {
                    return Err(CaptureError::Transient("it ended before its first picture".into()));
                }
                Err(_) if start.elapsed() > patience => return Err(late()),
                Err(_) => {}
            },
        }
    }
}
