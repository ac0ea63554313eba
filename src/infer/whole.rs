//! Heads that are read as a whole: from outputs that no cell owns, or that ONNX Runtime makes of
//! what the layer engine computes (a model's tail).

use super::candidates::{CANDIDATE_SCORE, Candidate, Candidates, MOST_CANDIDATES};
use super::session::TailSession;
use super::{InferError, Seen};
use crate::detect::Detection;
use crate::detect::heads::{Head, HeadLayout, Tensor, Thresholds};
use crate::geom::{ModelInput, Rect, Size};
use crate::models::model::Model;
use engine::exec::executor::StreamMaps;
use engine::exec::outputs::Outputs;
use engine::graph::MapShape;
use engine::plan::Plan;
use engine::plan::lazy::Condition;
use engine::plan::step::{Kind, Step};

/// Boxes that overlap by this much, a frame apart, show one thing.
const SAME_THING: f32 = 0.5;

/// Reads a model's outputs, once anything of them changed.
pub struct WholeHead {
    head: Head,
    input: Size,
    n_classes: usize,
    outputs: Outputs,
    /// Name and shape of what the engine puts out.
    named: Vec<(String, Vec<i64>)>,
    values: Vec<Vec<f32>>,
    /// Maps that the outputs are made of.
    maps: Vec<(usize, MapShape)>,
    tail: Option<TailSession>,
    found: Vec<Detection>,
    /// The model's name.
    model: String,
}

impl WholeHead {
    /// Of a model whose input has so many pixels.
    ///
    /// # Errors
    /// The outputs are not what this family with as many classes as the model has labels puts out.
    pub fn open(model: &Model, plan: &Plan, input: Size, tail: Option<TailSession>) -> Result<Self, InferError> {
        let dims = |dims: &[usize]| dims.iter().map(|d| *d as i64).collect();
        let mut maps: Vec<usize> =
            plan.outputs.iter().flat_map(|o| &o.parts).map(|part| part.base.0 as usize).collect();
        maps.sort_unstable();
        maps.dedup();
        let mut head = Self {
            head: model.sidecar.head.clone(),
            input,
            n_classes: model.labels.len(),
            outputs: Outputs::new(plan),
            named: plan.outputs.iter().map(|o| (o.name.clone(), dims(&o.dims))).collect(),
            values: plan.outputs.iter().map(|o| vec![0.0; o.dims.iter().product()]).collect(),
            maps: maps.into_iter().map(|map| (map, plan.maps[map].shape)).collect(),
            tail,
            found: Vec::new(),
            model: model.name.clone(),
        };
        // What has the right shape can be read, whatever the numbers are.
        match head.decode(Thresholds { score: 1.0, iou: 1.0 }) {
            Ok(()) => Ok(head),
            Err(InferError::Run { reason, .. }) => Err(InferError::model(&model.file, reason)),
            Err(e) => Err(e),
        }
    }

    /// Which numbers count only where others reach [`WholeHead::bar`]: YOLOv8's boxes, where some class does. Each level is a
    /// map of both, of the boxes' distances first; laid out otherwise, everything counts.
    pub fn conditions(head: &Head, plan: &Plan, n_classes: usize) -> Vec<Condition> {
        if head.layout() != HeadLayout::Boxes {
            return Vec::new();
        }
        let given = |step: &Step| {
            let [boxes, classes] = step.inputs[..] else { return None };
            let [n_boxes, n] = [boxes, classes].map(|map| plan.maps[map].shape.c);
            let fits = matches!(step.kind, Kind::Join) && n == n_classes && n_boxes != n && n_boxes.is_multiple_of(4);
            let is_put_out = plan.outputs.iter().flat_map(|o| &o.parts).any(|part| part.base.0 as usize == step.output);
            let deciding = (step.output, (n_boxes..n_boxes + n).collect());
            (fits && is_put_out).then(|| Condition { deciding, counting: vec![step.output] })
        };
        plan.steps.iter().filter_map(given).collect()
    }

    /// The least number of a class, before its sigmoid, of a cell that becomes a candidate, for [`StreamMaps::require`].
    pub fn bar(&self, t: Thresholds) -> Option<f32> {
        let score = t.score.min(CANDIDATE_SCORE);
        (self.head.layout() == HeadLayout::Boxes).then(|| (score / (1.0 - score)).ln())
    }

    /// Brings the candidates to the stream's last frame, and `out` to the detections of all of them.
    ///
    /// # Errors
    /// The tail failed, or the outputs are not what this family puts out.
    pub fn update(
        &mut self,
        stream: &impl StreamMaps,
        now: Seen,
        t: Thresholds,
        candidates: &mut Candidates,
        out: &mut Vec<Detection>,
        seen: &mut Vec<Seen>,
    ) -> Result<(), InferError> {
        if self.maps.iter().any(|(map, _)| !stream.changes(*map).is_empty()) {
            stream.read_outputs(&self.outputs, &mut self.values);
            self.decode(t)?;
            std::mem::swap(&mut candidates.merged, &mut candidates.kept);
            candidates.is_sure = self.found.len() <= MOST_CANDIDATES;
            candidates.merged.clear();
            let before = &candidates.kept;
            candidates.merged.extend(self.found.iter().map(|d| {
                let same = |c: &&Candidate| c.detection.class == d.class && c.detection.bbox.iou(&d.bbox) >= SAME_THING;
                let seen = before.iter().find(same).map_or(now, |c| c.seen);
                Candidate { cell: 0, anchor: 0, detection: *d, seen }
            }));
        }
        // Looked at again: as good as new.
        for c in &mut candidates.merged {
            if self.maps.iter().any(|map| self.is_computed(stream, *map, &c.detection.bbox)) {
                c.seen = now;
            }
        }
        candidates.report(t, out, seen);
        Ok(())
    }

    /// Detections of what the engine put out, faint ones too, into `found`.
    fn decode(&mut self, t: Thresholds) -> Result<(), InferError> {
        let Self { head, input, n_classes, named, values, tail, found, model, .. } = self;
        let t = Thresholds { score: t.score.min(CANDIDATE_SCORE), ..t };
        let ours: Vec<Tensor<'_>> =
            named.iter().zip(values.iter()).map(|((name, shape), data)| Tensor { name, shape, data }).collect();
        let mut read =
            |tensors: &[Tensor<'_>]| head.decode(tensors, *input, *n_classes, t, found).map_err(|e| e.to_string());
        match tail {
            Some(tail) => tail.run(&ours, read),
            None => read(&ours).map_err(|reason| InferError::Run { model: model.clone(), reason }),
        }
    }

    /// Whether anything of a map was computed where a box lies.
    fn is_computed(&self, stream: &impl StreamMaps, (map, s): (usize, MapShape), bbox: &Rect<ModelInput>) -> bool {
        let set = stream.computed(map);
        let span = |from: f32, to: f32, size: u32, n: usize| {
            let cells = |at: f32| at.max(0.0) * n as f32 / size as f32;
            (cells(from) as usize).min(n - 1)..(cells(to).ceil() as usize).clamp(1, n)
        };
        let columns = span(bbox.x1, bbox.x2, self.input.width, s.w);
        !set.is_empty()
            && span(bbox.y1, bbox.y2, self.input.height, s.h).any(|y| columns.clone().any(|x| set.get(y, x)))
    }
}
