//! Before new weights are used they look along for a while: what is followed, moves, and is seen by the weights in use, must
//! be seen by the new ones.

use super::latents::Latents;
use super::net::LearnNet;
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::detect::heads::loss::LabelledBox;
use engine::kernels::Kernels;
use std::sync::Arc;
use train::float::FloatTrainer;
use train::params::Params;

/// Frames that are looked at.
const LOOKS: u32 = 20;
/// Objects that may be lost: one, and this share.
const MAY_BE_LOST: f32 = 0.05;

/// New weights beside those in use.
pub struct Shadow {
    net: Arc<LearnNet>,
    trainer: FloatTrainer,
    now: Params,
    next: Params,
    score: f32,
    n_looks: u32,
    n_seen: u32,
    n_lost: u32,
}

impl Shadow {
    pub fn new(net: &Arc<LearnNet>, now: Params, next: Params, score: f32) -> Self {
        let trainer = FloatTrainer::new(net.plan(), 1, Kernels::best());
        Self { net: net.clone(), trainer, now, next, score, n_looks: 0, n_seen: 0, n_lost: 0 }
    }

    /// Looks at a frame in which some objects moved.
    pub fn look(&mut self, latents: &Latents, moved: &[LabelledBox]) {
        self.net.feed(&mut self.trainer, &[latents]);
        let t = Thresholds { score: self.score, iou: 0.5 };
        let now = self.net.shown(&mut self.trainer, &self.now, t);
        let next = self.net.shown(&mut self.trainer, &self.next, t);
        let sees =
            |all: &[Detection], o: &LabelledBox| all.iter().any(|d| d.class == o.class && d.bbox.iou(&o.bbox) >= 0.5);
        for object in moved.iter().filter(|o| sees(&now, o)) {
            self.n_seen += 1;
            self.n_lost += u32::from(!sees(&next, object));
        }
        self.n_looks += 1;
    }

    /// Whether enough was seen, and then why the new weights are not taken.
    pub fn verdict(&self) -> Option<Result<(), String>> {
        let lost = self.n_lost > 1 + (MAY_BE_LOST * self.n_seen as f32) as u32;
        if lost {
            return Some(Err(format!(
                "looking along it lost {} of {} objects that were followed",
                self.n_lost, self.n_seen
            )));
        }
        (self.n_looks >= LOOKS).then_some(Ok(()))
    }
}
