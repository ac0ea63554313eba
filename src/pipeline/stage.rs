//! One camera's thinking, without its threads: what to compute of a frame,
//! and what is known after it was.

use crate::frame::Frame;
use crate::geom::{PatchGrid, PatchMask, Size};
use crate::infer::detector::computed_patches;
use crate::infer::{Detection, Fresh};
use crate::merge::{MergeSettings, Merged, Merger};
use crate::skip::{Decision, SkipMode, SkipSettings, SkipStage};

/// Skip stage and merge of one stream.
pub struct Stage {
    skip: Option<SkipStage>,
    merger: Merger,
    /// What is asked for; all patches in mode `off`.
    asked: PatchMask,
    computed: PatchMask,
}

impl Stage {
    pub fn new(mode: SkipMode, input: Size, skip: &SkipSettings, merge: MergeSettings) -> Self {
        let grid = PatchGrid::new(input, skip.patch);
        let skip = match mode {
            SkipMode::Off => None,
            SkipMode::Regions => Some(SkipStage::new(skip.clone(), input)),
        };
        Self { skip, merger: Merger::new(merge), asked: PatchMask::full(grid), computed: PatchMask::empty(grid) }
    }

    pub fn grid(&self) -> PatchGrid {
        self.asked.grid()
    }

    /// Decides what to compute of the next frame.
    pub fn begin(&mut self, frame: &Frame) -> (&PatchMask, &[Detection]) {
        if let Some(skip) = &mut self.skip {
            self.asked.copy_from(&skip.decide(frame).patches);
        }
        (&self.asked, self.merger.boxes())
    }

    /// Takes in what was computed of that frame.
    pub fn finish(&mut self, frame: &Frame, fresh: &Fresh) -> &[Merged] {
        computed_patches(&fresh.coverage, &mut self.computed);
        if let Some(skip) = &mut self.skip {
            skip.accept(frame, &self.computed);
        }
        self.merger.merge(frame, fresh, &self.asked)
    }

    /// The skip stage's last decision; `None` in mode `off`.
    pub fn decision(&self) -> Option<&Decision> {
        self.skip.as_ref().map(SkipStage::decision)
    }

    /// Patches whose picture was computed in the last frame.
    pub fn computed(&self) -> &PatchMask {
        &self.computed
    }

    /// What is known of the last finished frame.
    pub fn detections(&self) -> &[Merged] {
        self.merger.detections()
    }

    /// The stream was interrupted: nothing that is known holds any more.
    pub fn reset(&mut self) {
        if let Some(skip) = &mut self.skip {
            skip.reset();
        }
        self.merger.reset();
    }

    /// The next frame is computed as a whole.
    pub fn request_full(&mut self) {
        if let Some(skip) = &mut self.skip {
            skip.request_full();
        }
    }
}
