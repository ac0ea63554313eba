//! A clip with who is followed in it: every frame through detector, merge and tracks, as in the daemon, in mode `layers`.

use crate::capture::{Clip, SourceSpec};
use crate::detect::heads::Thresholds;
use crate::frame::Frame;
use crate::geom::Size;
use crate::infer::layers::{LayersDetector, LayersSettings, Plans};
use crate::infer::{Detector, Inference, StreamId, Work};
use crate::merge::MergeSettings;
use crate::models::model::Model;
use crate::skip::{SkipMode, SkipSettings};
use crate::stage::Stage;
use crate::track::{Track, TrackSettings};
use std::sync::Arc;

/// A clip under way.
pub struct FollowedClip {
    name: String,
    clip: Clip,
    stage: Stage,
    detector: LayersDetector,
    fresh: Inference,
    score: f32,
    max_age_ns: u64,
}

impl FollowedClip {
    /// `score` is the least that is reported, and begins tracks.
    ///
    /// # Errors
    /// The clip cannot be played, or the layer engine does not run the model; in words.
    pub fn open(name: &str, model: Arc<Model>, size: Size, score: f32) -> Result<Self, String> {
        let of_clip = |e: &dyn std::fmt::Display| format!("{name}: {e}");
        let spec = SourceSpec::parse(name).map_err(|e| of_clip(&e))?;
        let clip = Clip::open(&spec, size).map_err(|e| of_clip(&e))?;
        let layers = LayersSettings { reported: Some(score), ..LayersSettings::default() };
        let faint = Thresholds { score, iou: 0.5 }.faint();
        let detector = LayersDetector::open(model, size, faint, layers, 1, None, &Plans::default());
        let detector = detector.map_err(|e| e.to_string())?;
        // Nobody is guessed to be anywhere.
        let skip = SkipSettings { predict_ns: Some(0), ..SkipSettings::default() };
        let max_age_ns = skip.max_age_in(SkipMode::Layers);
        let merge = MergeSettings { min_score: score, max_age_ns, ..MergeSettings::default() };
        let stage = Stage::new(SkipMode::Layers, size, &skip, merge, TrackSettings::default());
        let stage = stage.judging_by(detector.policy());
        Ok(Self { name: name.into(), clip, stage, detector, fresh: Inference::default(), score, max_age_ns })
    }

    /// The next frame, and the tracks as of it; `None` at the end.
    ///
    /// # Errors
    /// The clip cannot be decoded any further, or the model fails; in words.
    pub fn next_frame(&mut self) -> Result<Option<(Frame, &[Track])>, String> {
        let Some(frame) = self.clip.next_frame().map_err(|e| format!("{}: {e}", self.name))? else { return Ok(None) };
        let (patches, known) = self.stage.begin(&frame);
        if patches.is_empty() {
            self.fresh.clear();
        } else {
            let work = Work { frame: &frame, patches, known, max_age_ns: self.max_age_ns };
            self.detector.detect(StreamId(0), &work, &mut self.fresh).map_err(|e| format!("{}: {e}", self.name))?;
        }
        self.stage.finish(&frame, &self.fresh, |_| true);
        let score = self.score;
        let tracks = self.stage.track(&frame, |d| d.score >= score);
        Ok(Some((frame, tracks)))
    }
}
