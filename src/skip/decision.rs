//! What to compute of a frame, and why.

use crate::geom::PatchMask;

/// Why a patch is computed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// As before: not computed.
    Kept,
    /// Masked by the user, or padding: its changes are ignored. What the user masks still grows stale.
    Masked,
    /// Differs from its last accepted picture, or has just come to rest.
    Changed,
    /// Its last accepted picture is too old.
    Stale,
    /// The whole picture is computed: first frame, global change, or on request.
    Forced,
    /// Changed, as the way of an object explains; computed when that is looked at next.
    Predicted,
}

/// Why a whole picture was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlobalChange {
    /// First frame, or another size or letterbox.
    Start,
    /// Somebody asked for it.
    Requested,
    /// The light changed by more than compensation is trusted with.
    Light,
    /// Most of the picture differs: a cut, a switched lamp, a moved camera.
    Scene,
    /// Nearly all of the work would be done all the same: a camera that turns.
    Motion,
}

/// Patches by reason, of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub kept: u32,
    pub masked: u32,
    pub changed: u32,
    pub stale: u32,
    pub forced: u32,
    pub predicted: u32,
}

impl Counts {
    /// Patches that are not as they were, put off or not, or grew stale.
    pub(super) fn asked(&self) -> u32 {
        self.changed + self.stale + self.predicted
    }
}

/// What to compute of a frame, and why. Reused from frame to frame.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Patches to compute again.
    pub patches: PatchMask,
    /// One a patch.
    pub reasons: Vec<Reason>,
    pub counts: Counts,
    pub global: Option<GlobalChange>,
    /// Light of this frame against the reference; 1.0 is unchanged.
    pub gain: f32,
}

impl Decision {
    /// Everything is computed, masked or not: a whole picture has no holes.
    pub(super) fn all(&mut self, why: GlobalChange) {
        self.patches.fill();
        self.reasons.fill(Reason::Forced);
        self.counts = Counts { forced: self.reasons.len() as u32, ..Counts::default() };
        self.global = Some(why);
    }
}
