//! RTP packets on their way to GStreamer's depayloaders, which trust what a camera sends: a fragment that is too short for
//! its kind ends the process (H.265, GStreamer 1.22), and what never becomes a picture is gathered until memory is full.

use super::elements::for_each_element;
use super::rtsp::Tracks;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use tracing_mutex::stdsync::Mutex;

/// Bytes that may come without a picture: a minute between key frames, where they alone are decoded, at 12 Mbit/s.
const MOST_BYTES: u64 = 96 << 20;
/// Largest unit that is gathered of fragments: a key frame of 8K.
const MOST_FRAGMENTS: u64 = 16 << 20;

/// How a codec's packets are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    Other,
}

impl Codec {
    fn of(caps: Option<gst::Caps>) -> Self {
        let name = caps.as_ref().and_then(|c| c.structure(0)?.get::<String>("encoding-name").ok());
        match name.as_deref() {
            Some("H264") => Self::H264,
            Some("H265") => Self::H265,
            _ => Self::Other,
        }
    }
}

/// What a packet is to the depayloader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Stands for itself.
    Whole,
    Fragment {
        is_first: bool,
    },
    /// Cannot be read.
    Broken,
}

/// The payload of an RTP packet (RFC 3550, 5.1), without what pads it.
fn payload(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    let mut from = 12 + 4 * usize::from(first & 15);
    if first & 0x10 != 0 {
        let words = packet.get(from + 2..from + 4)?;
        from += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    let padding = if first & 0x20 != 0 { usize::from(*packet.last()?) } else { 0 };
    packet.get(from..packet.len().checked_sub(padding)?)
}

/// Whether units of two bytes of length each fill this; some cameras leave a byte or two behind them.
fn are_units(mut rest: &[u8], least: usize) -> bool {
    while let [high, low, after @ ..] = rest {
        let n = usize::from(u16::from_be_bytes([*high, *low]));
        if n < least || n > after.len() {
            return false;
        }
        rest = &after[n..];
    }
    true
}

fn kind(codec: Codec, payload: &[u8]) -> Kind {
    let whole = |is_good: bool| if is_good { Kind::Whole } else { Kind::Broken };
    // Fragments say beside where they begin and end of what they are a part.
    let fragment = |head: usize| match payload.get(head) {
        Some(_) => Kind::Fragment { is_first: payload[head - 1] & 0x80 != 0 },
        None => Kind::Broken,
    };
    match (codec, payload) {
        // Keeps a connection open.
        (_, []) | (Codec::Other, _) => Kind::Whole,
        (Codec::H264, [first, rest @ ..]) => match first & 31 {
            // One time for several units.
            24 => whole(!rest.is_empty() && are_units(rest, 1)),
            // Several times, or an order of their own: numbers of two bytes and more before what follows.
            25..28 => whole(rest.len() > 5),
            28 => fragment(2),
            29 if rest.len() <= 4 => Kind::Broken,
            29 => fragment(2),
            _ => Kind::Whole,
        },
        (Codec::H265, [first, _, rest @ ..]) => match first >> 1 & 63 {
            48 => whole(!rest.is_empty() && are_units(rest, 2)),
            49 => fragment(3),
            50 => whole(rest.len() > 2),
            _ => whole(!rest.is_empty()),
        },
        (Codec::H265, _) => Kind::Broken,
    }
}

/// What comes of the packets of one stream.
#[derive(Debug)]
struct Stream {
    codec: Codec,
    /// Bytes of the fragments since the first of them.
    gathered: u64,
}

impl Stream {
    /// Whether a packet goes on.
    fn takes(&mut self, packet: &[u8]) -> bool {
        let Some(payload) = payload(packet) else { return false };
        match kind(self.codec, payload) {
            Kind::Whole => self.gathered = 0,
            Kind::Fragment { is_first: true } => self.gathered = payload.len() as u64,
            Kind::Fragment { is_first: false } => self.gathered = self.gathered.saturating_add(payload.len() as u64),
            Kind::Broken => return false,
        }
        self.gathered <= MOST_FRAGMENTS
    }
}

/// Takes out of what comes by a pad the packets to which `takes` says no; whether anything goes on.
pub fn keep(info: &mut gst::PadProbeInfo<'_>, mut takes: impl FnMut(&[u8]) -> bool) -> bool {
    let mut takes = |buffer: &gst::BufferRef| buffer.map_readable().is_ok_and(|map| takes(&map));
    match &mut info.data {
        Some(gst::PadProbeData::Buffer(buffer)) => takes(buffer),
        Some(gst::PadProbeData::BufferList(list)) => {
            list.make_mut().foreach_mut(|buffer, _| std::ops::ControlFlow::Continue(takes(&buffer).then_some(buffer)));
            true
        }
        _ => true,
    }
}

/// Stands before every depayloader of a pipeline, those that come later too.
pub fn guard(gst_pipeline: &gst::Pipeline, tracks: &Arc<Tracks>) {
    let tracks = tracks.clone();
    for_each_element(gst_pipeline, move |element, class| {
        if class.contains("Depayloader") {
            watch(element, tracks.clone());
        }
    });
}

fn watch(depayloader: &gst::Element, tracks: Arc<Tracks>) {
    let Some(pad) = depayloader.static_pad("sink") else { return };
    let source = depayloader.downgrade();
    let stream = Mutex::new(None::<Stream>);
    pad.add_probe(gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST, move |pad, info| {
        let mut bytes = 0;
        let goes_on = {
            let mut stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
            let stream = stream.get_or_insert_with(|| Stream { codec: Codec::of(pad.current_caps()), gathered: 0 });
            keep(info, |packet| {
                bytes += packet.len() as u64;
                stream.takes(packet)
            })
        };
        let before = tracks.n_bytes.fetch_add(bytes, Ordering::Relaxed);
        let is_too_much = before + bytes > MOST_BYTES;
        if is_too_much
            && before <= MOST_BYTES
            && let Some(source) = source.upgrade()
        {
            gst::element_error!(source, gst::StreamError::Decode, ["{} MiB came, and no picture", MOST_BYTES >> 20]);
        }
        // Ends here: `Drop` would have it let go of twice.
        if goes_on && !is_too_much { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Handled }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_are_too_short_for_their_kind_go_no_further() {
        let h264 = |payload: &[u8]| kind(Codec::H264, payload);
        assert_eq!(h264(&[0x65, 0x88]), Kind::Whole, "a key frame's slice");
        assert_eq!(h264(&[0x0a]), Kind::Whole, "the end of a sequence");
        assert_eq!(h264(&[28, 0x85, 1]), Kind::Fragment { is_first: true });
        assert_eq!(h264(&[28, 0x05, 1]), Kind::Fragment { is_first: false });
        assert_eq!(h264(&[24, 0, 1, 9, 0, 2, 9, 9]), Kind::Whole);
        assert_eq!(
            [h264(&[]), h264(&[24, 0, 1, 9, 0])],
            [Kind::Whole; 2],
            "nothing, and something behind the last unit"
        );
        for broken in [&[28][..], &[28, 0x85], &[29, 0x85, 0, 1], &[24], &[24, 0, 0], &[24, 0, 2, 9]] {
            assert_eq!(h264(broken), Kind::Broken, "{broken:?}");
        }
        let h265 = |payload: &[u8]| kind(Codec::H265, payload);
        assert_eq!(h265(&[0x26, 1, 0xaf]), Kind::Whole);
        assert_eq!(h265(&[0x62, 1, 0x93, 0x12]), Kind::Fragment { is_first: true });
        assert_eq!(h265(&[0x62, 1, 0x13, 0x12]), Kind::Fragment { is_first: false });
        assert_eq!(h265(&[0x60, 1, 0, 2, 0x40, 1, 0, 2, 0x42, 1]), Kind::Whole);
        for broken in [&[0x62][..], &[0x62, 1], &[0x62, 1, 0x93], &[0x26, 1], &[0x60, 1], &[0x60, 1, 0, 1, 1]] {
            assert_eq!(h265(broken), Kind::Broken, "{broken:?}");
        }
        assert_eq!((kind(Codec::Other, &[0]), kind(Codec::Other, &[])), (Kind::Whole, Kind::Whole));
    }

    #[test]
    fn payloads_are_found_behind_all_that_a_header_may_hold() {
        let head = |first: u8| [&[first, 96, 0, 1][..], &[0; 8]].concat();
        assert_eq!(payload(&[&head(0x80)[..], &[7, 8]].concat()), Some(&[7, 8][..]));
        assert_eq!(payload(&[&head(0x82)[..], &[0; 8], &[7]].concat()), Some(&[7][..]), "two sources");
        assert_eq!(payload(&[&head(0x90)[..], &[1, 2, 0, 1, 0, 0, 0, 0, 7]].concat()), Some(&[7][..]), "an extension");
        assert_eq!(payload(&[&head(0xa0)[..], &[7, 0, 2]].concat()), Some(&[7][..]), "two bytes that pad it");
        for broken in [vec![], vec![0x80], head(0x8f), head(0x90), [&head(0xa0)[..], &[200]].concat()] {
            assert_eq!(payload(&broken), None, "{broken:?}");
        }
    }

    #[test]
    fn fragments_without_an_end_are_not_gathered_for_ever() {
        let packet = |first: bool| {
            let mut packet = [&[0x80, 96, 0, 1][..], &[0; 8], &[28, if first { 0x85 } else { 5 }]].concat();
            packet.resize(60_000, 1);
            packet
        };
        let mut stream = Stream { codec: Codec::H264, gathered: 0 };
        assert!(stream.takes(&packet(true)));
        let n = (0..1000).filter(|_| stream.takes(&packet(false))).count();
        assert!((270..290).contains(&n), "{n} of 60 kB");
        assert!(stream.takes(&packet(true)), "another one begins");
    }

    #[test]
    fn any_bytes_are_looked_through() {
        let mut random = fastrand::Rng::with_seed(11);
        for _ in 0..100_000 {
            let packet: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
            for codec in [Codec::H264, Codec::H265, Codec::Other] {
                Stream { codec, gathered: 0 }.takes(&packet);
            }
        }
    }
}
