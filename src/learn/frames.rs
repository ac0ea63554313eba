//! Every so manieth frame of a clip, with what is known of it.

use super::coco::Truths;
use super::error::LearnError;
use crate::capture::{Clip, SourceSpec};
use crate::detect::heads::loss::{LabelledBox, PictureLabels};
use crate::eval::truth::TruthOf;
use crate::frame::Frame;
use crate::geom::{Letterbox, Size};
use crate::sim::{SimCamera, SimSettings};

/// Frames of a simulated clip whose address does not say.
const SIM_FRAMES: u64 = 1000;

/// A clip, read from its beginning to its end.
pub struct Frames {
    clip: String,
    every: u64,
    n: u64,
    source: FrameSource,
}

enum FrameSource {
    /// Drawn where it is wanted.
    Sim {
        camera: Box<SimCamera>,
        truth: Box<TruthOf>,
        letterbox: Letterbox,
        n_frames: u64,
        bgr: Vec<u8>,
    },
    Clip {
        clip: Clip,
        truths: Option<Truths>,
    },
}

/// A frame, and what is known of it.
pub struct LabelledFrame {
    pub number: u64,
    pub frame: Frame,
    pub labels: Option<PictureLabels>,
}

impl Frames {
    /// # Errors
    /// The clip cannot be played.
    pub fn open(clip: &str, size: Size, every: u64, truths: Option<Truths>) -> Result<Self, LearnError> {
        let spec = SourceSpec::parse(clip).map_err(|e| LearnError::clip(clip, &e))?;
        let source = match spec {
            SourceSpec::Sim(sim) if truths.is_none() => {
                let letterbox = Letterbox::fit(sim.size, size);
                let drawn = SimSettings { size: letterbox.content, ..sim.clone() };
                let bgr = vec![0; letterbox.content.area() * 3];
                let n_frames = sim.n_frames.unwrap_or(SIM_FRAMES);
                let camera = Box::new(SimCamera::new(drawn));
                FrameSource::Sim { camera, truth: Box::new(TruthOf::new(&sim, size)), letterbox, n_frames, bgr }
            }
            spec => {
                let spec = match spec {
                    SourceSpec::Sim(sim) => {
                        SourceSpec::Sim(SimSettings { n_frames: sim.n_frames.or(Some(SIM_FRAMES)), ..sim })
                    }
                    other => other,
                };
                let clip = Clip::open(&spec, size).map_err(|e| LearnError::clip(clip, &e))?;
                FrameSource::Clip { clip, truths }
            }
        };
        Ok(Self { clip: clip.into(), every: every.max(1), n: 0, source })
    }

    /// The next frame; `None` at the end.
    ///
    /// # Errors
    /// The clip cannot be decoded any further.
    pub fn next_frame(&mut self) -> Result<Option<LabelledFrame>, LearnError> {
        match &mut self.source {
            FrameSource::Sim { camera, truth, letterbox, n_frames, bgr } => {
                let number = self.n;
                if number >= *n_frames {
                    return Ok(None);
                }
                self.n += self.every;
                camera.render(number, bgr);
                let frame = Frame::letterboxed(number, *letterbox, bgr);
                let mut labels = PictureLabels { is_complete: true, ..PictureLabels::default() };
                for w in truth.of_frame(number) {
                    match w.counts {
                        true => labels.objects.push(LabelledBox { class: w.class, bbox: w.bbox }),
                        false => labels.ignored.push(w.bbox),
                    }
                }
                Ok(Some(LabelledFrame { number, frame, labels: Some(labels) }))
            }
            FrameSource::Clip { clip, truths } => loop {
                let Some(frame) = clip.next_frame().map_err(|e| LearnError::clip(&self.clip, &e))? else {
                    return Ok(None);
                };
                let number = self.n;
                self.n += 1;
                if number.is_multiple_of(self.every) {
                    let labels = truths.as_ref().and_then(|t| t.of_frame(number, &frame.letterbox));
                    return Ok(Some(LabelledFrame { number, frame, labels }));
                }
            },
        }
    }
}
