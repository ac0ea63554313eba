//! One sender a track. `rtspsrc` keeps one pad a track: another sender (SSRC, RFC 3550) puts a second in its place, while
//! some thread still pushes through the first, and the process ends (GStreamer 1.22). Each takes several threads, too.

use super::for_each_element;
use super::packets::keep;
use gstreamer as gst;
use gstreamer::prelude::*;
use std::sync::Arc;
use std::sync::OnceLock;

/// Whether a packet is of RTCP (RFC 5761, 4).
fn is_rtcp(packet: &[u8]) -> bool {
    packet.get(1).is_some_and(|kind| (192..=223).contains(kind))
}

/// Whether a packet is of the first sender whose RTP came; reports of others, and those that come before it, are not.
fn is_of(sender: &OnceLock<u32>, packet: &[u8]) -> bool {
    let number = |at: usize| packet.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
    if is_rtcp(packet) {
        return number(4).is_some_and(|of| sender.get() == Some(&of));
    }
    number(8).is_some_and(|of| *sender.get_or_init(|| of) == of)
}

/// Stands before every RTP session of a pipeline, those that come later too.
pub fn guard(gst_pipeline: &gst::Pipeline) {
    for_each_element(gst_pipeline, |element, _| {
        if element.factory().is_some_and(|f| f.name() == "rtpsession") {
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
        let sender = OnceLock::new();
        let heard = [report(5), rtp(5), rtp(6), report(5), report(6), rtp(5), vec![0x80, 96], vec![0x80, 200], vec![]];
        let heard = heard.map(|packet| is_of(&sender, &packet));
        assert_eq!(heard, [false, true, false, true, false, true, false, false, false]);
    }
}
