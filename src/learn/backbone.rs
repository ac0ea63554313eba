//! From pictures to latents, where no stream has computed them: marked pictures, clips, anchors.

use super::error::LearnError;
use super::latents::{LatentMap, Latents};
use super::net::LearnNet;
use crate::detect::Normalise;
use crate::geom::Size;
use crate::infer::layers::plan_of;
use crate::infer::preprocess::{Crop, fill_map};
use crate::infer::tap::Tap;
use crate::models::model::Model;
use engine::exec::executor::{Executor, StreamMaps};
use engine::exec::runner::Runner;
use engine::exec::stream::Stream;
use engine::gating::gate::Gates;
use engine::gating::policy::Policy;
use engine::graph::MapShape;
use engine::kernels::Kernels;

/// Computes the maps that a net's training begins with, of whole pictures.
pub struct Backbone {
    runner: Runner,
    stream: Stream,
    size: Size,
    normalise: Normalise,
    /// Map of the plan (`None`: the picture itself) and its shape, a source.
    sources: Vec<(Option<Tap>, MapShape)>,
}

impl Backbone {
    /// # Errors
    /// The engine cannot run the model.
    pub fn open(model: &Model, net: &LearnNet) -> Result<Self, LearnError> {
        let err = |e: &dyn std::fmt::Display| LearnError::model(&model.file, e);
        let size = net.input();
        let is_picture = |v: &engine::graph::ValueId| *v == net.plan().graph().input;
        let picture: Vec<bool> = net.plan().sources().iter().map(is_picture).collect();
        let names = net.source_names();
        let kept: Vec<String> =
            names.iter().zip(&picture).filter(|(_, is)| !**is).map(|(name, _)| name.clone()).collect();
        let (plan, _) = plan_of(model, size, &kept).map_err(|e| err(&e))?;
        let plan = std::sync::Arc::new(plan);
        let mut sources = Vec::new();
        for ((name, is_picture), shape) in names.iter().zip(picture).zip(net.source_shapes()) {
            if !is_picture && !plan.maps.iter().any(|m| m.name == *name) {
                return Err(err(&format!("the engine does not keep its map '{name}'")));
            }
            sources.push(((!is_picture).then(|| Tap::of(&plan, name)), shape));
        }
        let runner = Runner::new(&plan, Kernels::best());
        let gates = Gates::rising(&plan, &Policy::default());
        let stream = runner.open(plan, gates);
        Ok(Self { runner, stream, size, normalise: model.normalise, sources })
    }

    /// Of a BGR picture of the model's size.
    pub fn latents(&mut self, bgr: &[u8]) -> Latents {
        self.stream.forget();
        let picture = self.stream.picture();
        picture.changed.clear();
        fill_map(bgr, self.size, Crop::whole(self.size), &self.normalise, picture.numbers);
        let of_picture = self.sources.iter().any(|(map, _)| map.is_none());
        let numbers = if of_picture { picture.numbers.to_vec() } else { Vec::new() };
        if self.sources.iter().any(|(map, _)| map.is_some()) {
            self.runner.run(&mut self.stream, 0.0);
        }
        let mut maps = Vec::new();
        for (map, shape) in &self.sources {
            let shape = *shape;
            maps.push(match map {
                None => LatentMap::of(shape, &numbers),
                Some(map) => LatentMap::of(shape, &map.read(&self.stream).numbers),
            });
        }
        Latents(maps)
    }
}
