//! A clip as a plain sequence of frames, every one of them: for `eval` and tests.

use super::gst::{init, open_gst};
use super::intake::{Intake, Slot, SlotMode, Taken};
use super::sim::open_sim;
use super::source::{CaptureError, Pace, Source, SourceEvent};
use super::spec::SourceSpec;
use crate::clock::SystemClock;
use crate::frame::Frame;
use crate::geom::Size;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longest wait for one frame.
const CLIP_FRAME_TIMEOUT: Duration = Duration::from_secs(30);

pub struct Clip {
    spec: SourceSpec,
    slot: Arc<Slot>,
    source: Source,
}

impl Clip {
    /// Opens a file or a simulated camera; frames come letterboxed to `input`.
    ///
    /// # Errors
    /// The clip cannot be played.
    pub fn open(spec: &SourceSpec, input: Size) -> Result<Self, CaptureError> {
        let slot = Arc::new(Slot::new(SlotMode::Blocking));
        let clock = Arc::new(SystemClock::new());
        let intake = Intake::new(input, clock.clone(), slot.clone(), None);
        let epoch = intake.begin();
        let source = match spec {
            SourceSpec::Sim(settings) => open_sim(settings, Pace::Fast, &intake, epoch, clock),
            _ => {
                init()?;
                open_gst(spec, Pace::Fast, &intake, epoch)?
            }
        };
        Ok(Self { spec: spec.clone(), slot, source })
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// The clip cannot be decoded any further.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, CaptureError> {
        let started = Instant::now();
        loop {
            match self.slot.take(Duration::from_millis(200)) {
                Taken::Frame(frame) => return Ok(Some(frame)),
                Taken::Closed => return Ok(None),
                Taken::Nothing => match self.source.events.try_recv() {
                    // The end is announced when the last frame has been delivered.
                    Ok(SourceEvent::Ended) => self.slot.close(),
                    Ok(SourceEvent::Failed(e)) => return Err(e),
                    Err(_) if started.elapsed() > CLIP_FRAME_TIMEOUT => {
                        let said = format!("no frame for {} s", CLIP_FRAME_TIMEOUT.as_secs());
                        return Err(CaptureError::Transient(self.spec.silence(&said)));
                    }
                    Err(_) => {}
                },
            }
        }
    }
}
