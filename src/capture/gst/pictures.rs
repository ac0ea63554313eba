//! Decoded pictures on their way to the intake: scaled, in time, and only good ones.

use super::elements::for_each_element;
use super::rtsp::Tracks;
use super::sparing::{Sighting, Sparing};
use crate::capture::intake::Intake;
use crate::capture::source::{CaptureError, Pace};
use crate::geom::{Letterbox, Size};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;
use gstreamer_video::prelude::*;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tracing_mutex::stdsync::{Mutex, MutexGuard};

/// Longest side of a source, pixels.
pub const MOST_SIDE: u32 = 16_384;
/// Longer pauses between two pictures of a file are jumped over.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// So long a damaged picture is dropped while no good one comes; then it is better than none.
const DAMAGED_FOR: Duration = Duration::from_secs(5);
/// So long pictures are dropped while no key frame has come. There are streams without any.
const NO_KEY_FRAME_FOR: Duration = Duration::from_secs(120);

/// The size of the stream's own pictures, as of the newest caps.
type SharedSize = Arc<Mutex<Option<Size>>>;

/// Keeps the capsfilter at the size that fits `input`.
pub fn follow_size(queue: &gst::Element, filter: &gst::Element, input: Size) -> Result<SharedSize, CaptureError> {
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
            let side = |pixels: u64| pixels.clamp(1, u64::from(MOST_SIDE)) as u32;
            let source = Size::new(side(width), side(video.height().into()));
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

/// Which pictures of a stream lack something that was sent before them, by what went into the decoder: those before the
/// first key frame, and those from a lost packet to the next key frame. Decoders mark only some of them.
#[derive(Debug, Default)]
pub struct Wholeness {
    state: Mutex<Gaps>,
}

/// Media times, as in the stream.
#[derive(Debug)]
struct Gaps {
    /// Raw pictures lack nothing.
    is_decoded: bool,
    has_begun: bool,
    /// When what is lacking was lost, and when it had come again; the last of them is perhaps still open.
    gaps: VecDeque<(u64, u64)>,
}

impl Default for Gaps {
    fn default() -> Self {
        Self { is_decoded: false, has_begun: false, gaps: VecDeque::from([(0, u64::MAX)]) }
    }
}

/// Gaps that are remembered: pictures come out of a decoder a few frames later.
const MOST_GAPS: usize = 16;

impl Gaps {
    /// Takes in what goes into the decoder.
    fn feed(&mut self, pts_ns: u64, is_key: bool, is_after_loss: bool) {
        if is_key {
            match self.gaps.back_mut() {
                // Shown before what was lost, by its time: that time began anew.
                Some((from, until)) if *until == u64::MAX => (*from, *until) = ((*from).min(pts_ns), pts_ns),
                _ => {}
            }
        } else if is_after_loss && self.has_begun && self.gaps.back().is_none_or(|(_, until)| *until != u64::MAX) {
            if self.gaps.len() == MOST_GAPS {
                self.gaps.pop_front();
            }
            self.gaps.push_back((pts_ns, u64::MAX));
        }
        self.has_begun |= is_key;
    }

    fn is_in_gap(&self, pts_ns: u64) -> bool {
        self.is_decoded && self.gaps.iter().any(|(from, until)| (*from..*until).contains(&pts_ns))
    }
}

/// What a picture lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lack {
    Nothing,
    /// It, or what it is made from, was damaged.
    Damaged,
    /// Nothing has come from which it could be made.
    NoKeyFrame,
}

impl Wholeness {
    fn lock(&self) -> MutexGuard<'_, Gaps> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn of(&self, buffer: &gst::BufferRef) -> Lack {
        let gaps = self.lock();
        let pts_ns = buffer.pts().map_or(0, gst::ClockTime::nseconds);
        match gaps.is_in_gap(pts_ns) {
            true if gaps.gaps.len() == 1 => Lack::NoKeyFrame,
            true => Lack::Damaged,
            false if buffer.flags().contains(gst::BufferFlags::CORRUPTED) => Lack::Damaged,
            false => Lack::Nothing,
        }
    }

    fn watch(
        self: &Arc<Self>,
        decoder: &gst::Element,
        class: &str,
        sparing: &Arc<Mutex<Sparing>>,
        intake: &Intake,
        pace: Pace,
    ) {
        let is_video = class.contains("Decoder") && class.contains("Video");
        let Some(pad) = decoder.static_pad("sink").filter(|_| is_video && !decoder.is::<gst::Bin>()) else { return };
        self.lock().is_decoded = true;
        let (whole, sparing, intake) = (self.clone(), sparing.clone(), intake.clone());
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(gst::PadProbeData::Buffer(buffer)) = &info.data {
                let has = |flag| buffer.flags().contains(flag);
                let is_key = !has(gst::BufferFlags::DELTA_UNIT);
                if pace != Pace::Fast && !is_decoded(&sparing, &intake, is_key) {
                    intake.count_undecoded();
                    // Ends here: `Drop` would have the buffer let go of twice.
                    return gst::PadProbeReturn::Handled;
                }
                let pts_ns = buffer.pts().map_or(0, gst::ClockTime::nseconds);
                whole.lock().feed(pts_ns, is_key, has(gst::BufferFlags::DISCONT));
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// Whether the next picture goes into the decoder.
fn is_decoded(sparing: &Mutex<Sparing>, intake: &Intake, is_key: bool) -> bool {
    let mut sparing = sparing.lock().unwrap_or_else(PoisonError::into_inner);
    if is_key {
        sparing.choose(Sighting {
            now_ns: intake.now_ns(),
            n_decoded: intake.n_frames(),
            n_looked: intake.n_taken(),
            is_behind: intake.is_behind(),
        });
        intake.set_spared(sparing.is_on());
    }
    is_key || !sparing.is_on()
}

/// Watches what goes into every decoder of a pipeline, those that come later too, and leaves out what nobody would look
/// at.
pub fn watch_decoders(gst_pipeline: &gst::Pipeline, intake: &Intake, pace: Pace) -> Arc<Wholeness> {
    let (whole, sparing) = (Arc::new(Wholeness::default()), Arc::new(Mutex::new(Sparing::default())));
    intake.set_spared(false);
    let (watching, intake) = (whole.clone(), intake.clone());
    for_each_element(gst_pipeline, move |element, class| watching.watch(element, class, &sparing, &intake, pace));
    whole
}

/// Where pictures go, and which.
pub struct Delivery {
    intake: Intake,
    incarnation: u64,
    pace: Pace,
    source: SharedSize,
    whole: Arc<Wholeness>,
    tracks: Arc<Tracks>,
    cancelled: Arc<AtomicBool>,
    opened: Instant,
    /// When the last good picture came; before it: when the source was opened.
    good_at: Instant,
    /// Moment and media time that belong together, for files at their own rate.
    anchor: Option<(Instant, u64)>,
}

impl Delivery {
    pub fn new(
        intake: Intake,
        incarnation: u64,
        pace: Pace,
        source: SharedSize,
        whole: Arc<Wholeness>,
        tracks: Arc<Tracks>,
        cancelled: Arc<AtomicBool>,
    ) -> Self {
        let opened = Instant::now();
        Self { intake, incarnation, pace, source, whole, tracks, cancelled, opened, good_at: opened, anchor: None }
    }

    /// From now on the sink's pictures are delivered.
    pub fn begin(mut self, sink: &gst_app::AppSink) {
        let on_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            self.deliver(&sample)
        };
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().new_sample(on_sample).build());
    }

    fn is_over(&self) -> bool {
        self.cancelled.load(Ordering::Acquire) || !self.intake.is_current(self.incarnation)
    }

    fn deliver(&mut self, sample: &gst::Sample) -> Result<gst::FlowSuccess, gst::FlowError> {
        if self.is_over() {
            return Err(gst::FlowError::Flushing);
        }
        let (Some(buffer), Some(caps)) = (sample.buffer(), sample.caps()) else { return Ok(gst::FlowSuccess::Ok) };
        self.tracks.has_picture.store(true, Ordering::Relaxed);
        self.tracks.n_bytes.store(0, Ordering::Relaxed);
        if !self.is_good(buffer) {
            self.intake.count_corrupt();
            return Ok(gst::FlowSuccess::Ok);
        }
        // A source without time stamps: the time since it was opened.
        let segment = sample.segment().and_then(|s| s.downcast_ref::<gst::ClockTime>());
        let pts = buffer.pts().map(|pts| segment.and_then(|s| s.to_running_time(pts)).unwrap_or(pts));
        let pts_ns = pts.map_or_else(|| self.opened.elapsed().as_nanos() as u64, gst::ClockTime::nseconds);
        if self.pace == Pace::Realtime && !self.wait_for(pts_ns) {
            return Err(gst::FlowError::Flushing);
        }
        let info = gst_video::VideoInfo::from_caps(caps).map_err(|_| gst::FlowError::NotNegotiated)?;
        let frame =
            gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).map_err(|_| gst::FlowError::Error)?;
        let content = Size::new(frame.width(), frame.height());
        let source = self.source.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(content);
        let letterbox = Letterbox { source, content, input: self.intake.input() };
        let data = frame.plane_data(0).map_err(|_| gst::FlowError::Error)?;
        let stride = usize::try_from(frame.plane_stride()[0]).map_err(|_| gst::FlowError::Error)?;
        if content.width <= letterbox.input.width && content.height <= letterbox.input.height {
            self.intake.deliver(self.incarnation, pts_ns, &letterbox, data, stride, &self.cancelled);
        }
        Ok(gst::FlowSuccess::Ok)
    }

    /// Whether a picture shows what the camera saw; after a while without one that does, any will do.
    fn is_good(&mut self, buffer: &gst::BufferRef) -> bool {
        let waited = self.good_at.elapsed();
        match self.whole.of(buffer) {
            Lack::Nothing => {
                self.good_at = Instant::now();
                true
            }
            Lack::Damaged => waited >= DAMAGED_FOR,
            Lack::NoKeyFrame => waited >= NO_KEY_FRAME_FOR,
        }
    }

    /// Waits until a file's picture is due; false: the source is over.
    fn wait_for(&mut self, pts_ns: u64) -> bool {
        let now = Instant::now();
        let (since, from_ns) = *self.anchor.get_or_insert((now, pts_ns));
        let due = pts_ns.checked_sub(from_ns).map(|ns| since + Duration::from_nanos(ns));
        match due {
            Some(due) if due.saturating_duration_since(now) <= LONGEST_PAUSE => {
                while !self.is_over() {
                    let left = due.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return true;
                    }
                    std::thread::sleep(left.min(Duration::from_millis(50)));
                }
                false
            }
            // Time went back, or on by more than anybody waits for.
            _ => {
                self.anchor = Some((now, pts_ns));
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_whole_from_key_frame_to_lost_packet() {
        let mut gaps = Gaps { is_decoded: true, ..Gaps::default() };
        for (pts, is_key, is_after_loss) in [
            // Joined in the middle of a group; the key frame is shown at 30.
            (10, false, true),
            (20, false, false),
            (30, true, false),
            (40, false, false),
            (50, false, true),
            (60, false, true),
            (70, true, true),
            (80, false, false),
            (90, false, true),
        ] {
            gaps.feed(pts, is_key, is_after_loss);
        }
        let lacking: Vec<u64> = (0..12).map(|i| i * 10).filter(|pts| gaps.is_in_gap(*pts)).collect();
        assert_eq!(lacking, [0, 10, 20, 50, 60, 90, 100, 110]);
        for n in 0..1000 {
            gaps.feed(200 + n, n % 2 == 0, true);
        }
        assert!(gaps.gaps.len() <= MOST_GAPS);
        // What is not decoded lacks nothing.
        assert!(!Gaps::default().is_in_gap(5));
    }
}
