//! A clip whose only labels are its own tracks: what the model follows and what moves, filled in both ways in time.

use super::base::Base;
use super::error::LearnError;
use super::frames::LabelledFrame;
use super::latents::Latents;
use super::sample::{Origin, Sample};
use super::trail::{Followed, SETTLED_NS, Trail};
use crate::detect::heads::loss::PictureLabels;
use crate::eval::followed::FollowedClip;
use crate::frame::Frame;
use crate::geom::Size;
use crate::models::model::Model;
use std::collections::VecDeque;
use std::sync::Arc;

/// How much what was said before weighs where tracks are the only labels ([`FitSettings::keep`]). They name objects and no
/// background: at 1 the scores of all else rise with theirs, at 8 they do not (`benches/learn/tracks.rs`).
///
/// [`FitSettings::keep`]: super::fit::FitSettings::keep
pub const KEEP: f32 = 8.0;

/// Frames that wait at most, of clips that have hundreds a second.
const MOST_WAITING: usize = 256;

/// Every so manieth frame of a clip, with what its tracks show.
pub struct FollowedFrames {
    clip: FollowedClip,
    trail: Trail,
    every: u64,
    /// Frames so far.
    n: u64,
    /// Those that are to come out, until it is known what comes after them.
    waiting: VecDeque<(u64, Frame)>,
    /// The last frame's time; `None` at the end.
    now_ns: Option<u64>,
}

impl FollowedFrames {
    /// `score` is the least that is reported.
    ///
    /// # Errors
    /// The clip cannot be played, or the layer engine does not run the model.
    pub fn open(clip: &str, model: &Arc<Model>, size: Size, score: f32, every: u64) -> Result<Self, LearnError> {
        let clip = FollowedClip::open(clip, model.clone(), size, score).map_err(LearnError::Refused)?;
        let (trail, waiting) = (Trail::default(), VecDeque::new());
        Ok(Self { clip, trail, every: every.max(1), n: 0, waiting, now_ns: Some(0) })
    }

    /// The next frame; `None` at the end. Its labels are not complete: all else is in doubt.
    ///
    /// # Errors
    /// The clip cannot be decoded any further, or the model fails.
    pub fn next_frame(&mut self) -> Result<Option<LabelledFrame>, LearnError> {
        loop {
            let is_settled = |frame: &Frame| self.now_ns.is_none_or(|now| now >= frame.pts_ns + SETTLED_NS);
            let is_full = self.waiting.len() > MOST_WAITING;
            if self.waiting.front().is_some_and(|(_, frame)| is_full || is_settled(frame))
                && let Some((number, frame)) = self.waiting.pop_front()
            {
                let Followed { objects, doubtful } = self.trail.at(&frame).unwrap_or_default();
                let labels = PictureLabels { objects, ignored: doubtful, ..PictureLabels::default() };
                return Ok(Some(LabelledFrame { number, frame, labels: Some(labels) }));
            }
            if self.now_ns.is_none() {
                return Ok(None);
            }
            match self.clip.next_frame().map_err(LearnError::Refused)? {
                None => self.now_ns = None,
                Some((frame, tracks)) => {
                    self.trail.see(&frame, tracks);
                    self.now_ns = Some(frame.pts_ns);
                    if self.n.is_multiple_of(self.every) {
                        self.waiting.push_back((self.n, frame));
                    }
                    self.n += 1;
                }
            }
        }
    }
}

/// Makes samples of such frames.
pub struct FollowedSamples<'a> {
    /// `None`: the model brings anchors.
    base: Option<Base<'a>>,
    score: f32,
    n: u64,
}

impl<'a> FollowedSamples<'a> {
    /// A model without anchors keeps, in every second picture, what it is sure of: `base` says what that is.
    pub fn new(base: Option<Base<'a>>, score: f32) -> Self {
        Self { base, score, n: 0 }
    }

    pub fn sample(&mut self, latents: Latents, labels: PictureLabels, block: u64) -> Sample {
        let mut sample =
            Sample { latents: Latents::default(), labels, origin: Origin::Labelled, n_sure: 0, block, picture: None };
        self.n += 1;
        if let Some(base) = &mut self.base
            && self.n.is_multiple_of(2)
        {
            base.anchor(&latents, self.score, &mut sample, |_| false);
        }
        Sample { latents, ..sample }
    }
}
