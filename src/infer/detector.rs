//! The two detectors on ONNX Runtime: the whole picture, or changed regions.

use super::plan::{PlanSettings, RegionPlan, crop_rect, plan};
use super::preprocess::Crop;
use super::session::{Provider, Runtime, Session, SessionSettings};
use super::{Coverage, Detector, InferError, Inference, StreamId, Work};
use crate::detect::Detection;
use crate::detect::heads::Thresholds;
use crate::frame::Frame;
use crate::geom::{ModelInput, Rect, Size};
use crate::models::model::Model;
use std::collections::HashMap;
use std::sync::Arc;

/// Runs the model on the whole picture whenever anything changed (`skip.mode = "off"`
/// asks for all patches of every frame).
pub struct DenseDetector {
    model: Arc<Model>,
    session: Session,
    thresholds: Thresholds,
}

impl DenseDetector {
    /// Opens the model at `size` and proves it with one run.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn open(
        runtime: &Runtime,
        model: Arc<Model>,
        size: Size,
        thresholds: Thresholds,
        s: &SessionSettings,
    ) -> Result<Self, InferError> {
        let session = Session::open(runtime, &model, size, 1, s)?;
        Ok(Self { model, session, thresholds })
    }

    pub fn provider(&self) -> Provider {
        self.session.provider
    }

    fn run(&mut self, frame: &Frame, fresh: &mut Inference) -> Result<(), InferError> {
        let size = self.session.size;
        self.session.fill(0, &self.model, frame.data(), frame.size(), Crop::whole(size));
        let head = &self.model.sidecar.head;
        let (n_classes, thresholds) = (self.model.labels.len(), self.thresholds);
        self.session.run(|_, tensors| {
            head.decode(tensors, size, n_classes, thresholds, &mut fresh.detections).map_err(|e| e.to_string())
        })?;
        fresh.cut.resize(fresh.detections.len(), false);
        fresh.coverage = Coverage::Full;
        fresh.executed_px += size.area() as u64;
        fresh.n_runs += 1;
        Ok(())
    }
}

impl Detector for DenseDetector {
    fn detect(&mut self, _stream: StreamId, work: &Work<'_>, fresh: &mut Inference) -> Result<(), InferError> {
        fresh.clear();
        if work.patches.is_empty() { Ok(()) } else { self.run(work.frame, fresh) }
    }
}

/// Runs the model on the few rectangles that changed, on the whole picture
/// where that is cheaper.
pub struct RegionsDetector {
    dense: DenseDetector,
    settings: PlanSettings,
    /// One session a shape and batch.
    sessions: HashMap<(Size, usize), Session>,
    batches: Vec<usize>,
    scratch: Vec<Detection>,
}

impl RegionsDetector {
    /// Opens the model at `size` and at every region shape.
    ///
    /// `batches` are the numbers of equal regions that run at once, largest
    /// first; 1 is always there. More than 1 pays on accelerators only.
    ///
    /// # Errors
    /// As [`Session::open`]; a model that runs at one size only is refused.
    pub fn open(
        runtime: &Runtime,
        model: Arc<Model>,
        size: Size,
        thresholds: Thresholds,
        mut settings: PlanSettings,
        batches: &[usize],
        s: &SessionSettings,
    ) -> Result<Self, InferError> {
        if model.sidecar.input.multiple_of.is_none() {
            let reason = "regions need a model that runs at several sizes, and this one runs at its own only; mode \"off\" works";
            return Err(InferError::model(&model.file, reason));
        }
        let dense = DenseDetector::open(runtime, model.clone(), size, thresholds, s)?;
        // One provider for all: the others were tried and did not work.
        let s = &SessionSettings { providers: vec![dense.provider()], ..s.clone() };
        settings.shapes.retain(|shape| shape.width <= size.width && shape.height <= size.height);
        let mut sessions = HashMap::new();
        let mut usable = vec![1];
        for shape in &settings.shapes {
            sessions.insert((*shape, 1), Session::open(runtime, &model, *shape, 1, s)?);
        }
        for &batch in batches.iter().filter(|b| **b > 1) {
            let opened: Result<Vec<_>, _> =
                settings.shapes.iter().map(|shape| Session::open(runtime, &model, *shape, batch, s)).collect();
            match opened {
                Ok(opened) => {
                    usable.push(batch);
                    sessions.extend(opened.into_iter().map(|session| ((session.size, batch), session)));
                }
                Err(e) => tracing::info!(model = model.name, batch, "regions run one by one: {e}"),
            }
        }
        usable.sort_unstable_by(|a, b| b.cmp(a));
        Ok(Self { dense, settings, sessions, batches: usable, scratch: Vec::new() })
    }

    pub fn provider(&self) -> Provider {
        self.dense.provider()
    }

    fn run_regions(&mut self, frame: &Frame, mut crops: Vec<Crop>, fresh: &mut Inference) -> Result<(), InferError> {
        let model = self.dense.model.clone();
        let thresholds = self.dense.thresholds;
        crops.sort_by_key(|c| (c.size.width, c.size.height));
        let mut rest = crops.as_slice();
        while let Some(first) = rest.first() {
            let n_same = rest.iter().take_while(|c| c.size == first.size).count();
            let batch = self.batches.iter().copied().find(|b| *b <= n_same).unwrap_or(1);
            let (now, later) = rest.split_at(batch);
            rest = later;
            let Some(session) = self.sessions.get_mut(&(first.size, batch)) else {
                return Err(InferError::Run {
                    model: model.name.clone(),
                    reason: format!("no session for {}", first.size),
                });
            };
            for (i, crop) in now.iter().enumerate() {
                session.fill(i, &model, frame.data(), frame.size(), *crop);
            }
            let scratch = &mut self.scratch;
            let (detections, cut) = (&mut fresh.detections, &mut fresh.cut);
            session.run(|i, tensors| {
                let crop = &now[i];
                model
                    .sidecar
                    .head
                    .decode(tensors, crop.size, model.labels.len(), thresholds, scratch)
                    .map_err(|e| e.to_string())?;
                let region = crop_rect(crop);
                for d in scratch.iter() {
                    let d = shifted(d, crop.x as f32, crop.y as f32);
                    cut.push(is_cut(&d.bbox, &region, frame.size()));
                    detections.push(d);
                }
                Ok(())
            })?;
            fresh.executed_px += (first.size.area() * batch) as u64;
            fresh.n_runs += 1;
        }
        fresh.coverage = Coverage::Regions(crops.iter().map(crop_rect).collect());
        Ok(())
    }
}

fn shifted(d: &Detection, dx: f32, dy: f32) -> Detection {
    Detection { bbox: d.bbox.shifted(dx, dy), points: d.points.map(|[x, y]| [x + dx, y + dy]), ..*d }
}

/// A box this near (pixels) to a region's border is cut by it.
const CUT: f32 = 4.0;

/// Whether the border of its region cuts a box; the picture's own border cuts nothing.
fn is_cut(bbox: &Rect<ModelInput>, region: &Rect<ModelInput>, picture: Size) -> bool {
    let whole = picture.rect::<ModelInput>();
    (bbox.x1 < region.x1 + CUT && region.x1 > whole.x1)
        || (bbox.y1 < region.y1 + CUT && region.y1 > whole.y1)
        || (bbox.x2 > region.x2 - CUT && region.x2 < whole.x2)
        || (bbox.y2 > region.y2 - CUT && region.y2 < whole.y2)
}

impl Detector for RegionsDetector {
    fn detect(&mut self, _stream: StreamId, work: &Work<'_>, fresh: &mut Inference) -> Result<(), InferError> {
        fresh.clear();
        match plan(work.patches, work.known, &self.settings) {
            RegionPlan::Nothing => Ok(()),
            RegionPlan::Full => self.dense.run(work.frame, fresh),
            RegionPlan::Regions(crops) => self.run_regions(work.frame, crops, fresh),
        }
    }
}
