//! A model as it is trained: which maps training begins with, where the losses' numbers stand, and what it sees with given
//! weights.

use super::error::LearnError;
use super::latents::Latents;
use crate::detect::Detection;
use crate::detect::heads::levels::Layout;
use crate::detect::heads::loss::{LossGrid, LossInput, PictureLabels};
use crate::detect::heads::{Head, HeadLayout, Thresholds};
use crate::geom::Size;
use crate::infer::planes::map_levels;
use crate::models::model::Model;
use engine::graph::{Graph, MapShape, Op, ValueId};
use engine::import::import_with_tail;
use engine::passes::simplify;
use std::sync::Arc;
use train::cut::Cut;
use train::ends::Ends;
use train::params::Params;
use train::plan::TrainPlan;
use train::trainer::Trainer;

/// How much of a model is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// What lies behind the smallest maps: the backbone stays as it is.
    #[default]
    Head,
    /// Everything.
    All,
}

/// A model that can be trained, at one size of its input.
#[derive(Debug)]
pub struct LearnNet {
    head: Head,
    n_classes: usize,
    input: Size,
    plan: Arc<TrainPlan>,
    levels: Vec<NetLevel>,
}

/// A grid of the head, and the plan's outputs that hold its numbers.
#[derive(Debug)]
struct NetLevel {
    cols: usize,
    rows: usize,
    stride: u32,
    width: usize,
    /// Index of an output of the plan, and its channels.
    pieces: Vec<(usize, usize)>,
}

impl LearnNet {
    /// # Errors
    /// The engine cannot read the model or train what would be trained, or its family has no loss.
    pub fn open(model: &Model, size: Size, depth: Depth) -> Result<Self, LearnError> {
        let err = |e: &dyn std::fmt::Display| LearnError::model(&model.file, e);
        let (head, n_classes) = (model.sidecar.head.clone(), model.labels.len());
        let width = head.loss_width(n_classes).ok_or_else(|| err(&"models of this family cannot be trained"))?;
        let (mut graph, _) =
            import_with_tail(&model.onnx, size.height as usize, size.width as usize).map_err(|e| err(&e))?;
        simplify(&mut graph).map_err(|e| err(&e))?;
        let maps = level_maps(&head, &graph, size, n_classes).map_err(|e| err(&e))?;
        let ends = Ends::of(graph, &maps.iter().map(|(map, _)| *map).collect::<Vec<_>>());
        let outputs = ends.outputs();
        let sources = match depth {
            Depth::All => vec![ends.graph.input],
            Depth::Head => {
                Cut::smallest(&ends.graph, &outputs).ok_or_else(|| err(&"it has no place to cut it in two"))?.sources
            }
        };
        let mut levels = Vec::new();
        for ((_, stride), pieces) in maps.iter().zip(&ends.pieces) {
            let shape = |v: &ValueId| ends.graph.shape(*v);
            let first = pieces.first().map(shape).unwrap_or(MapShape::new(0, 0, 0));
            let output = |v: &ValueId| outputs.iter().position(|o| o == v).map(|at| (at, shape(v).c));
            let level = NetLevel {
                cols: first.w,
                rows: first.h,
                stride: *stride,
                width,
                pieces: pieces.iter().filter_map(output).collect(),
            };
            if level.pieces.iter().map(|(_, c)| c).sum::<usize>() != width {
                return Err(err(&format!("its outputs do not have the {width} numbers a cell of its family")));
            }
            levels.push(level);
        }
        let plan = TrainPlan::new(ends.graph, &sources, &outputs, |_| true).map_err(|e| err(&e))?;
        Ok(Self { head, n_classes, input: size, plan: Arc::new(plan), levels })
    }

    pub fn plan(&self) -> &Arc<TrainPlan> {
        &self.plan
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    pub fn input(&self) -> Size {
        self.input
    }

    /// Names of the maps that training begins with.
    pub fn source_names(&self) -> Vec<String> {
        self.plan.sources().iter().map(|v| self.plan.graph().name(*v).to_owned()).collect()
    }

    /// Shapes of the same.
    pub fn source_shapes(&self) -> Vec<MapShape> {
        self.plan.sources().iter().map(|v| self.plan.graph().shape(*v)).collect()
    }

    /// Whether training begins with the picture itself, or reads it too.
    pub fn reads_picture(&self) -> bool {
        self.plan.sources().contains(&self.plan.graph().input)
    }

    /// Whether latents are of this net's sources.
    pub fn fits(&self, latents: &Latents) -> bool {
        latents.0.len() == self.plan.sources().len()
            && latents.0.iter().zip(self.source_shapes()).all(|(map, shape)| map.shape == shape)
    }

    /// Feeds the pictures of a batch; `latents` has one each.
    ///
    /// # Panics
    /// They are of another net, or not as many as the batch has pictures.
    pub fn feed(&self, trainer: &mut dyn Trainer, latents: &[&Latents]) {
        let mut numbers = Vec::new();
        for (i, source) in self.plan.sources().iter().enumerate() {
            numbers.clear();
            latents.iter().for_each(|l| l.decode(i, &mut numbers));
            trainer.fill_source(*source, &numbers);
        }
    }

    /// The numbers of a picture's levels, after a run forwards.
    pub fn numbers(&self, trainer: &dyn Trainer, picture: usize) -> Vec<Vec<f32>> {
        let of = |level: &NetLevel| {
            let mut numbers = vec![0.0; level.rows * level.cols * level.width];
            let mut first = 0;
            for &(output, channels) in &level.pieces {
                let map = trainer.output(self.plan.outputs()[output]);
                for y in 0..level.rows {
                    let row = map.row(picture, y).chunks_exact(channels);
                    let cells = numbers[y * level.cols * level.width..].chunks_exact_mut(level.width);
                    for (cell, from) in cells.zip(row) {
                        cell[first..first + channels].copy_from_slice(from);
                    }
                }
                first += channels;
            }
            numbers
        };
        self.levels.iter().map(of).collect()
    }

    /// What losses read of a picture's numbers.
    pub fn grids<'a>(&self, numbers: &'a [Vec<f32>]) -> Vec<LossGrid<'a>> {
        let of = |(level, numbers): (&NetLevel, &'a Vec<f32>)| LossGrid {
            cols: level.cols,
            rows: level.rows,
            stride: level.stride,
            width: level.width,
            numbers,
        };
        self.levels.iter().zip(numbers).map(of).collect()
    }

    /// A picture's numbers, and what is known of it.
    pub fn case<'a>(&self, grids: &'a [LossGrid<'a>], labels: &'a PictureLabels) -> LossInput<'a> {
        LossInput { grids, labels, n_classes: self.n_classes, input: self.input }
    }

    /// Gradients of no picture yet, an output of the plan.
    pub fn no_grads(&self, n: usize) -> Vec<Vec<f32>> {
        let of = |v: &ValueId| vec![0.0; n * self.plan.graph().shape(*v).n_values()];
        self.plan.outputs().iter().map(of).collect()
    }

    /// Puts the gradients of a picture's levels where the plan's outputs have them.
    pub fn put_grads(&self, levels: &[Vec<f32>], picture: usize, outputs: &mut [Vec<f32>]) {
        for (level, grads) in self.levels.iter().zip(levels) {
            let n = level.rows * level.cols;
            let mut first = 0;
            for &(output, channels) in &level.pieces {
                let to = outputs[output][picture * n * channels..].chunks_exact_mut(channels);
                for (to, cell) in to.zip(grads.chunks_exact(level.width)) {
                    to.copy_from_slice(&cell[first..first + channels]);
                }
                first += channels;
            }
        }
    }

    /// What the first picture that was fed shows with some weights.
    pub fn shown(&self, trainer: &mut dyn Trainer, params: &Params, t: Thresholds) -> Vec<Detection> {
        trainer.forward(params);
        self.detections(&self.numbers(trainer, 0), t)
    }

    /// What a picture with these numbers shows.
    fn detections(&self, numbers: &[Vec<f32>], t: Thresholds) -> Vec<Detection> {
        let mut found = Vec::new();
        self.head.decode_logits(&self.grids(numbers), self.input, self.n_classes, t, &mut found);
        found
    }

    /// The same weights, for the maps and the loss of a picture.
    pub fn params(&self) -> Params {
        Params::of(&self.plan)
    }
}

/// The map of each level, and its stride.
fn level_maps(head: &Head, graph: &Graph, input: Size, n_classes: usize) -> Result<Vec<(ValueId, u32)>, String> {
    let map = |i: usize| (graph.values[i].shape, &*graph.values[i].name);
    if head.layout() == HeadLayout::Cells {
        let levels = map_levels(head, &graph.outputs, map, input, n_classes)?;
        let of = |l: &crate::infer::planes::MapLevel| match (&l.maps[..], l.level.planes.first()) {
            ([map], Some(plane)) if plane.layout != Layout::AllLevels || l.level.n_boxes() == 1 => {
                Ok((ValueId(*map as u32), l.level.stride))
            }
            _ => Err("its levels are made of several maps".to_owned()),
        };
        return levels.iter().map(of).collect();
    }
    // Boxes that the model decodes itself: each level joins the distances' bins and the classes.
    let mut found: Vec<(ValueId, u32)> = Vec::new();
    for node in graph.nodes.iter().filter(|n| n.op == Op::Concat && n.inputs.len() == 2) {
        let [boxes, classes] = [node.inputs[0], node.inputs[1]].map(|v| graph.shape(v));
        let stride = input.width / boxes.w.max(1) as u32;
        if classes.c == n_classes && boxes.c != n_classes && boxes.c.is_multiple_of(4) && boxes.c >= 8 {
            found.push((node.output, stride));
        }
    }
    found.sort_by_key(|(_, stride)| *stride);
    match found.is_empty() {
        true => Err("it has no maps of distances and classes".into()),
        false => Ok(found),
    }
}
