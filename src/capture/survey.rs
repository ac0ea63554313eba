//! What this machine's GStreamer can do; and whether a camera shows a picture.

use super::clip::Clip;
use super::gst::init;
use super::source::CaptureError;
use super::spec::SourceSpec;
use crate::geom::Size;
use gstreamer as gst;
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
    init()?;
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
    // Drivers hang: not in here, neither when they open nor when they close.
    let (done, found) = crossbeam_channel::bounded(1);
    let own = spec.clone();
    let looking = move || {
        let mut clip = Clip::open(&own, Size::new(320, 192));
        // Told before it is closed.
        let _ = done.send(match &mut clip {
            Ok(clip) => clip.next_frame(),
            Err(e) => Err(e.clone()),
        });
    };
    std::thread::Builder::new()
        .name("probe".into())
        .spawn(looking)
        .map_err(|e| CaptureError::Transient(format!("no thread: {e}")))?;
    let late = |_| CaptureError::Transient(spec.silence(&format!("no picture within {} s", patience.as_secs())));
    match found.recv_timeout(patience).map_err(late)?? {
        Some(frame) => Ok((frame.letterbox.source, start.elapsed())),
        None => Err(CaptureError::Transient("it ended before its first picture".into())),
    }
}
