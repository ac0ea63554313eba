//! Why a cell was not computed: what a stream knows of one cell after a frame. It costs nothing until somebody asks.

use crate::exec::stream::Stream;
use crate::plan::step::Kind;

/// How a cell stands after a frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing {
    /// It holds what its inputs make of it: nothing that it reads has changed since it was computed.
    UpToDate,
    /// What it reads has changed since it was computed, and when a change reached it last was estimated to move it by no more
    /// than its gate's threshold. Both are squares, in the units of the gate; the tolerance of this part of the picture is in
    /// the threshold.
    Held { pending: f32, threshold: f32 },
    /// The same, by so much that it is computed within `deferred.frames` frames.
    Deferred { pending: f32, threshold: f32 },
    /// It is of a lazy branch, and the number that decides reaches no threshold: it holds what it held when it was computed
    /// last, if it ever was.
    NotRequired,
}

impl Stream {
    /// How a cell of a map stands after the last frame; `None`: there was none since the stream began or was told to forget,
    /// or no step computes the map by itself, as it is the picture, a join of others, or some channels of another.
    ///
    /// # Panics
    /// There is no such map, or no such cell in it.
    pub fn standing(&self, map: usize, y: usize, x: usize) -> Option<Standing> {
        let s = self.plan.maps[map].shape;
        assert!(y < s.h && x < s.w, "a cell of {s}");
        if !self.is_filled {
            return None;
        }
        let step = self.plan.maker(map).filter(|i| !matches!(self.plan.steps[*i].kind, Kind::Join))?;
        if !self.required.has(&self.plan, step, y, x) {
            return Some(Standing::NotRequired);
        }
        let (pending, threshold) = self.estimator.pending(step, map, y, x);
        Some(match self.deferred[map].get(y, x) {
            _ if pending == 0.0 => Standing::UpToDate,
            true => Standing::Deferred { pending, threshold },
            false => Standing::Held { pending, threshold },
        })
    }
}
