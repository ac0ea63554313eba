//! What `rtspsrc` is told, and asks: which of a camera's tracks it takes, and how often it may ask before pictures come.

use super::elements::set;
use crate::capture::address::RtspAddress;
use crate::capture::source::CaptureError;
use crate::text::printable;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use tracing_mutex::stdsync::Mutex;

/// Requests before the first picture: a camera that sends us elsewhere for ever is given up. An ordinary start takes six.
const MOST_REQUESTS: u32 = 32;
/// Microseconds without an answer before a connection counts as dead.
const ANSWER_US: u64 = 5_000_000;

/// What cameras send. GStreamer would take old and odd ones too, down to raw pictures of any size.
const ENCODINGS: [&str; 8] = ["H264", "H265", "AV1", "VP8", "VP9", "JPEG", "MP4V-ES", "MP2T"];
/// Tracks that are named.
const MOST_TRACKS: usize = 8;

/// What a camera offers, and what was taken of it.
#[derive(Debug, Default)]
pub struct Tracks {
    state: Mutex<State>,
    n_requests: AtomicU32,
    /// A picture has come: from now on requests keep the session alive.
    pub has_picture: AtomicBool,
    /// Bytes that have come since the last picture.
    pub n_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    taken: Option<u32>,
    /// Kind and encoding of the others.
    left: Vec<String>,
}

impl Tracks {
    /// Whether track `number` is taken: the first video that can be decoded here. A camera names its tracks anew
    /// whenever it is asked.
    fn select(&self, number: u32, caps: &gst::CapsRef) -> bool {
        let text = |name: &str| caps.structure(0).and_then(|s| s.get::<String>(name).ok()).unwrap_or_default();
        let (media, encoding) = (text("media"), text("encoding-name"));
        let can_be = media == "video" && ENCODINGS.contains(&encoding.as_str()) && has_depayloader(caps);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.taken.is_some_and(|taken| number <= taken) || number == 0 {
            *state = State::default();
        }
        let is_taken = state.taken.is_none() && can_be;
        if is_taken {
            state.taken = Some(number);
        } else if state.taken.is_some() && media == "video" {
            tracing::info!("the camera has another video track, {encoding}: the first that can be decoded is taken");
        } else if state.left.len() < MOST_TRACKS {
            state.left.push(printable(format!("{media} {encoding}").trim(), 40));
        }
        is_taken
    }

    /// What is wrong with what the camera offers; `None`: nothing that is known.
    pub fn complaint(&self) -> Option<String> {
        if self.n_requests.load(Ordering::Relaxed) > MOST_REQUESTS && !self.has_picture.load(Ordering::Relaxed) {
            return Some(format!(
                "after {MOST_REQUESTS} requests there is no picture: the camera redirects for ever, or refuses again and again"
            ));
        }
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.taken.is_some() || state.left.is_empty() {
            return None;
        }
        let left = state.left.join(", ");
        Some(match state.left.iter().any(|track| track.starts_with("video")) {
            true => format!("the camera sends no video that can be decoded here, only {left}"),
            false => format!("the camera sends no video, only {left}"),
        })
    }
}

/// Whether something here reads these RTP packets.
fn has_depayloader(caps: &gst::CapsRef) -> bool {
    let kind = gst::ElementFactoryType::DEPAYLOADER;
    // Before it is set up, a stream is called unknown.
    let mut caps = caps.to_owned();
    if let Some(s) = caps.make_mut().structure_mut(0) {
        s.set_name("application/x-rtp");
    }
    gst::ElementFactory::factories_with_type(kind, gst::Rank::MARGINAL)
        .iter()
        .any(|factory| factory.can_sink_any_caps(&caps))
}

/// Sets the source up for an address.
///
/// # Errors
/// The source has not the properties that are needed.
pub fn configure(src: &gst::Element, address: &RtspAddress, tracks: &Arc<Tracks>) -> Result<(), CaptureError> {
    set(src, "location", &address.location)?;
    if let Some(login) = &address.login {
        set(src, "user-id", &login.user.0)?;
        set(src, "user-pw", &login.password.0)?;
    }
    set(src, "tcp-timeout", ANSWER_US)?;
    set(src, "timeout", ANSWER_US)?;
    super::description::guard(src);
    let selecting = tracks.clone();
    src.connect("select-stream", false, move |values| {
        let number = values.get(1).and_then(|v| v.get::<u32>().ok()).unwrap_or_default();
        let caps = values.get(2).and_then(|v| v.get::<gst::Caps>().ok());
        Some(caps.is_some_and(|caps| selecting.select(number, &caps)).to_value())
    });
    let asking = tracks.clone();
    src.connect("before-send", false, move |_| {
        let n = asking.n_requests.fetch_add(1, Ordering::Relaxed) + 1;
        Some((n <= MOST_REQUESTS || asking.has_picture.load(Ordering::Relaxed)).to_value())
    });
    Ok(())
}
