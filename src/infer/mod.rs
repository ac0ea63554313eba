//! From pictures to detections.
//!
//! ```text
//! Work (frame, changed patches, known boxes)
//!   -> Detector: dense or regions (detector.rs), or layers (layers.rs)
//!        dense, regions -> preprocess -> session (ONNX Runtime) -> heads -> nms
//!        layers         -> preprocess -> engine -> cells (heads where something changed) -> nms
//!                                               -> whole (all of the outputs, through a tail in ONNX Runtime)
//!   -> Inference (detections, and the area they speak for)
//! ```
//!
//! Owns no thread but the layer engine's, where more than one is asked for, and no clock. Only `session.rs` names ONNX Runtime.

pub mod candidates;
pub mod cells;
#[cfg(feature = "daemon")]
pub mod detector;
#[cfg(feature = "daemon")]
pub mod factory;
#[cfg(feature = "daemon")]
pub mod layers;
pub mod plan;
pub mod planes;
pub mod preprocess;
#[cfg(feature = "daemon")]
pub mod session;
pub mod tap;
#[cfg(feature = "daemon")]
pub mod whole;

use crate::detect::Detection;
use crate::frame::{Frame, FrameId};
use crate::geom::{ModelInput, PatchMask, Rect};
use crate::models::ModelError;
use engine::exec::counters::Counters;
use engine::tolerance::ToleranceMap;

/// What a detector is asked to do for one frame.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    pub frame: &'a Frame,
    /// Patches to compute again. All of them: a full frame is wanted.
    pub patches: &'a PatchMask,
    /// Boxes that are known from before.
    pub known: &'a [Detection],
    /// What a detector keeps from earlier frames may be this old.
    pub max_age_ns: u64,
}

impl<'a> Work<'a> {
    /// The whole frame, whatever is known; `everything` holds all patches.
    pub fn whole(frame: &'a Frame, everything: &'a PatchMask) -> Self {
        Self { frame, patches: everything, known: &[], max_age_ns: u64::MAX }
    }
}

/// A frame of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub frame: FrameId,
    pub pts_ns: u64,
}

/// Which part of the picture the fresh detections speak for.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Coverage {
    /// None: nothing was computed.
    #[default]
    Nothing,
    /// All of it.
    Full,
    /// All of it, by the layer engine: each detection says when its cell was last computed.
    Layers,
    /// These rectangles of the model input, in which the model saw nothing
    /// but their own pixels.
    Regions(Vec<Rect<ModelInput>>),
}

impl Coverage {
    /// Patches whose picture is known after what was `asked` for was computed.
    pub fn patches(&self, asked: &PatchMask, out: &mut PatchMask) {
        out.clear();
        match self {
            Self::Nothing => {}
            Self::Full => out.fill(),
            Self::Layers => out.copy_from(asked),
            Self::Regions(regions) => {
                let grid = out.grid();
                for r in regions {
                    // Only patches that lie wholly inside.
                    let p = grid.patch as f32;
                    let (w, h) = (grid.size.width as f32, grid.size.height as f32);
                    let up = |v: f32| (v / p).ceil() * p;
                    let down = |v: f32, end: f32| if v >= end { end } else { (v / p).floor() * p };
                    let inner = Rect::<ModelInput>::new(up(r.x1), up(r.y1), down(r.x2, w), down(r.y2, h));
                    if !inner.is_empty() {
                        out.set_rect(&inner);
                    }
                }
            }
        }
    }
}

/// What came out of one frame's work. Reused from frame to frame.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Inference {
    pub detections: Vec<Detection>,
    /// One a detection: whether a region's border cuts it, so that only a part was seen.
    pub cut: Vec<bool>,
    /// One a detection where [`Coverage::Layers`]: the frame in which its cell was last computed.
    pub seen: Vec<Seen>,
    pub coverage: Coverage,
    /// Pixels that went through the model; against the model input's area.
    pub executed_px: u64,
    /// What the layer engine did; zeros elsewhere.
    pub layers: Counters,
    /// How many times the model ran.
    pub n_runs: u32,
    /// How closely the next frame must be followed.
    pub tolerance: ToleranceMap,
    /// Maps that are handed out ([`layers::LayersSettings::taps`]).
    pub taps: Vec<tap::Tapped>,
}

impl Inference {
    pub fn clear(&mut self) {
        self.detections.clear();
        self.cut.clear();
        self.seen.clear();
        self.layers = Counters::default();
        self.coverage = Coverage::Nothing;
        self.executed_px = 0;
        self.n_runs = 0;
        self.tolerance.clear();
        self.taps.iter_mut().for_each(|tap| tap.frame = None);
    }
}

/// Finds objects. Implementations may keep state for each stream they serve.
pub trait Detector: Send {
    /// Runs the model on what `work` asks for. `fresh` is overwritten.
    ///
    /// # Errors
    /// The model failed or its output is no numbers: the frame is lost,
    /// the next one may be tried.
    fn detect(&mut self, stream: StreamId, work: &Work<'_>, fresh: &mut Inference) -> Result<(), InferError>;

    /// All numbers that the model puts out for a stream's last frame, asked for or not; `None` where they are not kept.
    fn raw_outputs(&mut self, _stream: StreamId) -> Option<Vec<f32>> {
        None
    }

    /// With the next frame a stream's tapped maps are handed out as a whole, for whoever has missed one.
    fn hand_out_whole(&mut self, _stream: StreamId) {}

    /// Whole maps of a stream's last frame ([`layers::LayersSettings::kept_maps`], in their order), which are read and not
    /// computed again; none where they are not kept.
    fn read_maps(&mut self, _stream: StreamId) -> Vec<tap::WholeMap> {
        Vec::new()
    }

    /// Forgets the state of a stream that has ended.
    fn forget(&mut self, _stream: StreamId) {}
}

/// Number of a camera in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId(pub u32);

/// What can go wrong between a model file and its detections.
#[derive(Debug, thiserror::Error)]
pub enum InferError {
    /// ONNX Runtime cannot be used at all.
    #[error("{0}")]
    Runtime(String),
    /// The model or its sidecar is refused.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// One run failed.
    #[error("model {model}: {reason}")]
    Run { model: String, reason: String },
}

impl InferError {
    pub fn model(file: impl Into<String>, reason: impl std::fmt::Display) -> Self {
        Self::Model(ModelError::new(file, reason))
    }
}
