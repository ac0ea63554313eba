//! When nearly everything changes, it is quicker to compute all of it.
//!
//! Looking, cell by cell, for what changed costs a tenth of a whole frame and more (`cargo bench --bench dense`:
//! every pixel changed, against a whole frame). What a frame will take is known only when it has been
//! computed, so the frame before tells: a camera that moves goes on moving. Now and then a frame is
//! looked through all the same, so that the end of it is seen.

/// Of a whole frame's work, the share from which a whole frame is quicker. Measured: cell by cell, everything takes 1.11
/// (Zen 5) to 1.16 times (Zen 4) a whole frame, 1.12 with AVX2 on a Zen 3.
pub const SHARE: f64 = 0.88;
/// Of the picture's cells that had changed then, so many must have changed now.
const LIKE_BEFORE: f64 = 0.9;
/// Whole frames in a row, before one is looked through.
const AT_MOST: u32 = 7;

/// Decides for one stream. None is computed as a whole before [`BreakEven::set_share`].
#[derive(Debug, Clone)]
pub(super) struct BreakEven {
    share: f64,
    /// How many cells of the picture had changed in the last frame that was looked through, if that one took
    /// more than a whole frame would have.
    n_changed: Option<usize>,
    /// Since then.
    n_whole: u32,
}

impl BreakEven {
    pub fn never() -> Self {
        Self { share: f64::INFINITY, n_changed: None, n_whole: 0 }
    }

    /// From which share (0..=1) of a whole frame's work on the next frame like it is computed as a whole.
    pub fn set_share(&mut self, share: f64) {
        *self = Self { share, ..Self::never() };
    }

    /// Whether a frame in which so many of the picture's cells changed is better computed as a whole.
    pub fn is_passed(&mut self, n_changed: impl FnOnce() -> usize) -> bool {
        let Some(before) = self.n_changed else { return false };
        let passed = self.n_whole < AT_MOST && n_changed() as f64 >= LIKE_BEFORE * before as f64;
        self.n_whole += u32::from(passed);
        passed
    }

    /// A frame was looked through, and took this share of a whole frame's work.
    pub fn learn(&mut self, share: f64, n_changed: impl FnOnce() -> usize) {
        self.n_changed = (share >= self.share).then(n_changed);
        self.n_whole = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a frame; whether it was computed as a whole.
    fn frame(even: &mut BreakEven, share: f64, n_changed: usize) -> bool {
        let whole = even.is_passed(|| n_changed);
        if !whole {
            even.learn(share, || n_changed);
        }
        whole
    }

    #[test]
    fn frames_are_whole_while_nearly_all_of_them_changes() {
        let mut even = BreakEven::never();
        assert!((0..20).all(|_| !frame(&mut even, 1.0, 1000)), "unless asked, never");
        even.set_share(0.9);
        let run: Vec<bool> = (0..17).map(|_| frame(&mut even, 0.95, 1000)).collect();
        assert_eq!(run.iter().filter(|whole| !**whole).count(), 3, "{run:?}");
        assert!(!run[0] && !run[8] && !run[16], "one of eight is looked through: {run:?}");
        assert!(!frame(&mut even, 0.1, 500), "a quiet frame is not made dear");
        assert!(!frame(&mut even, 0.5, 1000), "nor what follows one");
        assert!(!frame(&mut even, 0.95, 1000));
        assert!(frame(&mut even, 0.95, 950), "as before");
    }
}
