//! What a camera describes of its streams (SDP), before `rtspsrc` makes anything of it. It copies each attribute for each
//! format of each stream, so that 218 KB grew to gigabytes, and remembers each attribute's name for ever (GStreamer 1.22).

use gstreamer as gst;
use gstreamer::glib;
use gstreamer::glib::translate::ToGlibPtr as _;
use gstreamer::prelude::*;
use gstreamer_sdp::{SDPMessageRef, ffi};

/// Streams, their formats together, and attributes of all of them: ten times as many as a camera with all ONVIF offers.
const MOST_STREAMS: u32 = 64;
const MOST_FORMATS: u32 = 256;
const MOST_ATTRIBUTES: u32 = 1024;

/// Attributes that something reads: rtspsrc, depayloaders, decryption. Others are left out.
const KNOWN: [&str; 25] = [
    "cliprect",
    "control",
    "crypto",
    "etag",
    "extmap",
    "fmtp",
    "framerate",
    "framesize",
    "inactive",
    "key-mgmt",
    "mediaclk",
    "ptime",
    "range",
    "recvonly",
    "rtcp",
    "rtcp-fb",
    "rtcp-mux",
    "rtcp-rsize",
    "rtpmap",
    "sendonly",
    "sendrecv",
    "source-filter",
    "ts-refclk",
    "x-dimensions",
    "x-framerate",
];

/// Whether a description is of a camera's size.
fn is_usual(sdp: &SDPMessageRef) -> bool {
    let formats: u32 = sdp.medias().map(|m| m.formats_len()).fold(0, u32::saturating_add);
    let attributes = sdp.medias().map(|m| m.attributes_len()).fold(sdp.attributes_len(), u32::saturating_add);
    sdp.medias_len() <= MOST_STREAMS && formats <= MOST_FORMATS && attributes <= MOST_ATTRIBUTES
}

/// Leaves out the attributes that nobody reads.
fn keep_known(sdp: &mut SDPMessageRef) {
    let is_known = |name: &str| KNOWN.binary_search(&name).is_ok();
    for i in (0..sdp.attributes_len()).rev() {
        if sdp.attribute(i).is_some_and(|a| !is_known(a.key())) {
            let _ = sdp.remove_attribute(i);
        }
    }
    for k in 0..sdp.medias_len() {
        let Some(media) = sdp.media_mut(k) else { continue };
        for i in (0..media.attributes_len()).rev() {
            if media.attribute(i).is_some_and(|a| !is_known(a.key())) {
                let _ = media.remove_attribute(i);
            }
        }
    }
}

/// Looks at what an `rtspsrc` is told before it reads it.
pub fn guard(src: &gst::Element) {
    src.connect("on-sdp", false, |values| {
        let [source, message] = values else { return None };
        // Safety: the signal's second value holds a message, or nothing. It is the source's own ("static scope"), which waits
        // for us and has lent it to nobody else.
        let sdp: &mut SDPMessageRef = unsafe {
            let message = glib::gobject_ffi::g_value_get_boxed(message.to_glib_none().0);
            message.cast::<SDPMessageRef>().as_mut()
        }?;
        if is_usual(sdp) {
            keep_known(sdp);
            return None;
        }
        if let Ok(source) = source.get::<gst::Element>() {
            let (streams, attributes) = (sdp.medias_len(), sdp.attributes_len());
            gst::element_error!(
                source,
                gst::StreamError::Format,
                ["the camera describes {streams} streams, with {attributes} attributes beside theirs: more than can be meant"]
            );
        }
        // Safety: a message in order, which is emptied.
        unsafe { ffi::gst_sdp_message_init(std::ptr::from_mut(sdp).cast()) };
        None
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use gstreamer_sdp::SDPMessage;

    const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=cam\r\nt=0 0\r\n";

    fn read(rest: &str) -> SDPMessage {
        gst::init().unwrap();
        SDPMessage::parse_buffer(format!("{HEAD}{rest}").as_bytes()).unwrap()
    }

    #[test]
    fn what_nobody_reads_is_left_out() {
        assert!(KNOWN.is_sorted());
        let mut sdp = read(
            "a=tool:x\r\na=range:npt=0-\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=odd-1:2\r\na=control:v\r\n",
        );
        assert!(is_usual(&sdp));
        keep_known(&mut sdp);
        assert_eq!(sdp.attributes().map(|a| a.key()).collect::<Vec<_>>(), ["range"]);
        let media = sdp.media(0).unwrap();
        assert_eq!(media.attributes().map(|a| a.key()).collect::<Vec<_>>(), ["rtpmap", "control"]);
    }

    #[test]
    fn descriptions_out_of_all_proportion_are_told() {
        let many = |line: &str, n: usize| line.repeat(n);
        assert!(!is_usual(&read(&many("a=1000:1\r\n", 2000))));
        assert!(!is_usual(&read(&format!("m=video 0 RTP/AVP 96{}\r\n", many(" 0", 300)))));
        assert!(!is_usual(&read(&many("m=video 0 RTP/AVP 96\r\n", 65))));
        assert!(is_usual(&read(&many("m=video 0 RTP/AVP 96\r\na=control:v\r\n", 20))));
    }
}
