//! When nearly everything changes, all of it is computed, from the whole picture.
//!
//! What a frame will take is known only when it has been computed, so the frame before tells: a camera that
//! turns goes on turning. Now and then a frame is looked through all the same, so that the end of it is
//! seen.

/// Of the patches that were asked for then, so many must be now.
const LIKE_BEFORE: f64 = 0.9;
/// Whole frames in a row, before one is looked through.
const AT_MOST: u32 = 7;

/// Decides for one stream.
#[derive(Debug, Clone)]
pub(super) struct BreakEven {
    /// Of a whole frame's work, the share from which the next frame is computed as a whole.
    share: f64,
    /// How many patches were asked for in the last frame that was looked through, if that took so much or more.
    n_asked: Option<u32>,
    /// Since then.
    n_whole: u32,
}

impl BreakEven {
    pub fn new(share: f64) -> Self {
        Self { share, n_asked: None, n_whole: 0 }
    }

    /// Whether a frame of which so many patches are asked for is better computed as a whole.
    pub fn is_passed(&mut self, n_asked: u32) -> bool {
        let is_like = |before: u32| f64::from(n_asked) >= LIKE_BEFORE * f64::from(before);
        let passed = self.n_whole < AT_MOST && self.n_asked.is_some_and(is_like);
        self.n_whole += u32::from(passed);
        passed
    }

    /// A frame was looked through: how many patches were asked for, and the share of a whole frame's work that it took.
    pub fn learn(&mut self, n_asked: u32, share: f64) {
        self.n_asked = (share >= self.share).then_some(n_asked);
        self.n_whole = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a frame; whether it was computed as a whole.
    fn frame(even: &mut BreakEven, n_asked: u32, share: f64) -> bool {
        let whole = even.is_passed(n_asked);
        if !whole {
            even.learn(n_asked, share);
        }
        whole
    }

    #[test]
    fn frames_are_whole_while_nearly_all_of_them_changes() {
        let mut even = BreakEven::new(0.75);
        let run: Vec<bool> = (0..17).map(|_| frame(&mut even, 1000, 0.95)).collect();
        assert_eq!(run.iter().filter(|whole| !**whole).count(), 3, "{run:?}");
        assert!(!run[0] && !run[8] && !run[16], "one of eight is looked through: {run:?}");
        assert!(!frame(&mut even, 500, 0.1), "a quiet frame is not made dear");
        assert!(!frame(&mut even, 1000, 0.5), "nor what follows one");
        assert!(!frame(&mut even, 1000, 0.95));
        assert!(frame(&mut even, 950, 0.95), "as before");
    }
}
