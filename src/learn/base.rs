//! The model as it came: what it sees, and what of that it is to keep seeing where it brings no anchors.

use super::latents::Latents;
use super::net::LearnNet;
use super::sample::{Origin, Sample};
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::detect::heads::loss::LabelledBox;
use crate::geom::{ModelInput, Rect};
use engine::kernels::Kernels;
use train::float::FloatTrainer;
use train::params::Params;

/// How much surer than what is reported a model without anchors is of what it must keep.
const SURER: f32 = 0.1;

/// A net with some weights, the base model's if no others are given.
pub struct Base<'a> {
    net: &'a LearnNet,
    trainer: FloatTrainer,
    first: Params,
}

impl<'a> Base<'a> {
    pub fn new(net: &'a LearnNet) -> Self {
        Self::with(net, net.params())
    }

    pub fn with(net: &'a LearnNet, first: Params) -> Self {
        Self { net, trainer: FloatTrainer::new(net.plan(), 1, Kernels::best()), first }
    }

    /// What it detects from `score` on.
    pub fn found(&mut self, latents: &Latents, score: f32) -> Vec<Detection> {
        self.net.feed(&mut self.trainer, &[latents]);
        self.net.shown(&mut self.trainer, &self.first, Thresholds { score, iou: 0.5 })
    }

    /// Makes a sample an anchor: what the model is sure of is right, but where something like it was marked as none.
    /// `score` is the least that is reported.
    pub fn anchor(
        &mut self,
        latents: &Latents,
        score: f32,
        known: &mut Sample,
        is_none: impl Fn(&Rect<ModelInput>) -> bool,
    ) {
        for d in self.found(latents, (score + SURER).min(0.9)) {
            if is_none(&d.bbox) {
                known.labels.ignored.push(d.bbox);
            } else if !known.labels.objects.iter().any(|o| o.bbox.iou(&d.bbox) >= 0.5) {
                known.labels.objects.push(LabelledBox { class: d.class, bbox: d.bbox });
            }
        }
        known.origin = Origin::Anchor;
    }
}
