//! One sender a track. `rtspsrc` keeps one pad a track: another sender (SSRC, RFC 3550) puts a second in its place, while
//! some thread still pushes through the first, and the process ends (GStreamer 1.22). Each takes several threads, too.

use super::elements::{factory_name, for_each_element};
use super::packets::keep;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::Arc;
use std::sync::OnceLock;

/// Whether a packet is of RTCP (RFC 5761, 4).
fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|kind| (192..=223).contains(kind))
}

/// Whether a packet is of the first sender whose RTP came, and of it alone; reports of others, and those that come before
/// it, are not.
fn is_of(sender: &OnceLock<u32>, packet: &[u8]) -> bool {
    let number = |at: usize| packet.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
    if !is_rtcp(packet) {
        // The low four bits count others that were mixed in.
        let is_alone = packet.first().is_some_and(|first| first & 15 == 0);
        return is_alone && number(8).is_some_and(|of| *sender.get_or_init(|| of) == of);
    }
    // Several reports, one after another, each with its length.
    let mut rest = packet;
    while let [first, kind, high, low, body @ ..] = rest {
        let n = 4 * usize::from(u16::from_be_bytes([*high, *low]));
        let is_alone = first & 31 <= 1 || !(200..=203).contains(kind);
        let of = body.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        if n > body.len() || !is_alone || of.is_none() || of.as_ref() != sender.get() {
            return false;
        }
        rest = &body[n..];
    }
    rest.is_empty()
}

/// Stands before every RTP session of a pipeline, those that come later too.
pub fn guard(gst_pipeline: &gst::Pipeline) {
    for_each_element(gst_pipeline, |element, _| {
        if factory_name(element).as_deref() == Some("rtpsession") {
            let sender = Arc::<OnceLock<u32>>::default();
            let watch = move |pad: &gst::Pad| {
                let sender = sender.clone();
                if pad.name().starts_with("recv_") && pad.direction() == gst::PadDirection::Sink {
                    pad.add_probe(
                        gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST,
                        move |_, info| match keep(info, |packet| is_of(&sender, packet)) {
                            true => gst::PadProbeReturn::Ok,
                            false => gst::PadProbeReturn::Handled,
                        },
                    );
                }
            };
            element.pads().iter().for_each(&watch);
            element.connect_pad_added(move |_, pad| watch(pad));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_send_packets_is_the_only_one_that_is_heard() {
        let rtp = |of: u32| [&[0x80, 96, 0, 1, 0, 0, 0, 9][..], &of.to_be_bytes(), &[7]].concat();
        let report = |of: u32| [&[0x80, 200, 0, 6][..], &of.to_be_bytes(), &[0; 20]].concat();
        let name = |of: u32| [&[0x81, 202, 0, 2][..], &of.to_be_bytes(), &[1, 1, b'c', 0]].concat();
        let both = |a: u32, b: u32| [report(a), name(b)].concat();
        let mixed = [&[0x81, 96, 0, 1, 0, 0, 0, 9][..], &5u32.to_be_bytes(), &[0, 0, 0, 6, 7]].concat();
        let sender = OnceLock::new();
        let heard = [
            report(5),
            rtp(5),
            rtp(6),
            report(5),
            report(6),
            rtp(5),
            both(5, 5),
            both(5, 6),
            mixed,
            vec![0x80, 96],
            vec![0x80, 200],
            vec![],
        ];
        let heard = heard.map(|packet| is_of(&sender, &packet));
        assert_eq!(heard, [false, true, false, true, false, true, true, false, false, false, false, false]);
    }
}
