//! Maps that leave the detector: with each frame what changed of one, and the numbers there; or whole ones when they are asked for.
//!
//! Whoever opens a layers detector names the maps. The daemon names none of the first kind (`LayersSettings::taps`) yet, and of the second
//! (`LayersSettings::kept_maps`) those that learning begins with. `Inference::taps` is
//! written anew with each frame: who needs it for longer copies it, or encodes it on the detector's thread. What is handed
//! out is a delta, and numbered: who misses one asks for a whole map ([`Detector::hand_out_whole`](super::Detector), on the
//! detector's thread), which is read and not computed again. Of a map inside a lazy branch, the numbers hold where they were computed only.

use crate::frame::FrameId;
use engine::changes::ChangeSet;
use engine::exec::executor::StreamMaps;
use engine::graph::MapShape;
use engine::plan::Plan;
use std::sync::Arc;

/// Which map is handed out.
#[derive(Debug, Clone, PartialEq)]
pub struct Tap {
    name: String,
    map: usize,
    shape: MapShape,
}

/// Maps that a detector is to keep for somebody.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct KeptMaps {
    /// Whose they are, in that one's words: maps of one model mean nothing to those who wait for another's.
    pub of: Arc<str>,
    /// Their names in the model.
    pub names: Vec<String>,
}

/// The same, of a frame.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameMaps {
    /// As in [`KeptMaps`].
    pub of: Arc<str>,
    /// One a name.
    pub maps: Vec<WholeMap>,
}

/// A whole map of a stream, as the detector knows it after its last frame: of patches that were not asked for it is older.
#[derive(Debug, Clone, PartialEq)]
pub struct WholeMap {
    pub shape: MapShape,
    /// `[row][column][channel]`.
    pub numbers: Vec<f32>,
}

/// What a frame changed of a map. Reused from frame to frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Tapped {
    /// The map's name in the model.
    pub map: String,
    /// `None`: this frame computed nothing.
    pub frame: Option<FrameId>,
    /// Which memory of the stream it is of: another one has begun anew.
    pub incarnation: u64,
    /// How many of this incarnation were handed out before: the first is a whole map.
    pub number: u64,
    /// Of the map, which covers the model's input.
    pub shape: Option<MapShape>,
    pub changed: Option<ChangeSet>,
    /// The changed cells' numbers, row by row, `shape.c` each.
    pub numbers: Vec<f32>,
}

impl Tap {
    /// Of a map that the plan kept.
    ///
    /// # Panics
    /// The plan has no map of this name.
    pub fn of(plan: &Plan, name: &str) -> Self {
        let map = plan.maps.iter().position(|m| m.name == name).expect("a plan keeps what is tapped");
        Self { name: name.into(), map, shape: plan.maps[map].shape }
    }

    /// Reads the whole map.
    pub fn read(&self, stream: &impl StreamMaps) -> WholeMap {
        let (mut all, mut numbers) = (ChangeSet::of(self.shape), Vec::new());
        all.fill();
        stream.read(self.map, &all, &mut numbers);
        WholeMap { shape: self.shape, numbers }
    }

    /// Whether it lies in a lazy branch, whose numbers hold where they were computed only.
    pub fn is_lazy(&self, plan: &Plan) -> bool {
        plan.maker(self.map).is_some_and(|step| plan.lazy.holds(step))
    }

    /// Takes what the stream's last frame, `frame`, changed, or the `whole` map.
    pub fn take(&self, stream: &impl StreamMaps, frame: FrameId, whole: bool, into: &mut Tapped) {
        let changes = stream.changes(self.map);
        if into.shape != Some(self.shape) || into.map != self.name {
            (into.map, into.shape) = (self.name.clone(), Some(self.shape));
            into.changed = Some(ChangeSet::of(self.shape));
            // Room for a whole frame at once.
            into.numbers = Vec::with_capacity(self.shape.n_values());
        }
        into.frame = Some(frame);
        if let Some(changed) = &mut into.changed {
            match whole {
                true => changed.fill(),
                false => changed.copy_from(changes),
            }
            stream.read(self.map, changed, &mut into.numbers);
        }
    }
}
