//! What became of each patch of a frame, for pictures and the web page.

use crate::outcome::FrameResult;
use crate::skip::Reason;

/// What became of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchLook {
    Kept,
    Masked,
    /// Computed because it changed or had to.
    Computed,
    /// Computed because it was too old.
    Stale,
    /// Computed for its neighbours' sake.
    Beside,
}

impl PatchLook {
    pub fn of(r: &FrameResult, patch: usize) -> Self {
        match (r.computed.get(patch), r.reasons.get(patch)) {
            (true, Some(Reason::Stale)) => Self::Stale,
            (true, Some(Reason::Changed | Reason::Forced) | None) => Self::Computed,
            (true, _) => Self::Beside,
            (false, Some(Reason::Masked)) => Self::Masked,
            (false, _) => Self::Kept,
        }
    }

    /// One letter each; the page knows them.
    pub fn letter(self) -> char {
        match self {
            Self::Kept => '.',
            Self::Masked => 'm',
            Self::Computed => 'c',
            Self::Stale => 's',
            Self::Beside => 'b',
        }
    }
}
