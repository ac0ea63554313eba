//! What numbers the codes of a map stand for. Ranges come from the steps before: no pass over memory looks for them, but in
//! the first step.

/// A map's numbers: `scale * (code - zero)`, codes of 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coding {
    pub scale: f32,
    pub zero: u8,
}

impl Coding {
    /// For numbers of `low` to `high`, 0 among them, which has a code of its own.
    pub fn of(low: f32, high: f32) -> Self {
        let (low, high) = (low.min(0.0), high.max(0.0));
        let scale = ((high - low) / 255.0).max(f32::MIN_POSITIVE);
        Self { scale, zero: (-low / scale).round_ties_even().clamp(0.0, 255.0) as u8 }
    }
}

/// The least and the greatest number of a map, as the steps so far have shown them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    pub low: f32,
    pub high: f32,
}

/// What of an old range stays at least after a step that does not fill it.
const KEEP: f32 = 0.95;

impl Range {
    /// Of nothing yet.
    pub const NONE: Self = Self { low: f32::INFINITY, high: f32::NEG_INFINITY };

    /// With what another part has shown.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { low: self.low.min(other.low), high: self.high.max(other.high) }
    }

    pub fn is_none(self) -> bool {
        self.low > self.high
    }

    /// After a step: it grows at once, and shrinks slowly.
    #[must_use]
    pub fn after(self, seen: Self) -> Self {
        if self.is_none() {
            return seen;
        }
        Self { low: seen.low.min(self.low * KEEP), high: seen.high.max(self.high * KEEP) }
    }

    pub fn coding(self) -> Coding {
        if self.is_none() { Coding::of(0.0, 0.0) } else { Coding::of(self.low, self.high) }
    }
}

/// How far beyond the range of the steps before a gradient may reach, and be cut off there: a few pictures that are hard make
/// gradients many times those of the others, and are lost if they are cut.
const REACH: f32 = 1.5;

/// The greatest size of a gradient in each channel, as the steps so far have shown it. Whether the range before
/// held: else codes are made again, by the new one.
pub fn after(range: &mut [f32], seen: &[f32]) -> bool {
    let holds = range.iter().zip(seen).all(|(range, seen)| *seen <= range * REACH);
    range.iter_mut().zip(seen).for_each(|(range, seen)| *range = seen.max(*range * KEEP));
    holds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_has_a_code_and_the_ends_are_reached() {
        for (low, high) in [(0.0, 6.0), (-1.0, 1.0), (-0.28, 5.0), (2.0, 4.0), (0.0, 0.0)] {
            let c = Coding::of(low, high);
            let number = |code: u8| c.scale * (f32::from(code) - f32::from(c.zero));
            assert_eq!(number(c.zero), 0.0);
            assert!(number(255) >= high - c.scale && number(0) <= low.min(0.0) + c.scale, "{c:?}");
        }
    }

    #[test]
    fn ranges_grow_at_once_and_shrink_slowly() {
        let range = Range::NONE.after(Range { low: -1.0, high: 2.0 });
        assert_eq!(range, Range { low: -1.0, high: 2.0 });
        assert_eq!(range.after(Range { low: -3.0, high: 0.5 }), Range { low: -3.0, high: 1.9 });
    }

    #[test]
    fn a_gradient_that_reaches_far_beyond_its_range_is_told() {
        let mut range = vec![0.0; 2];
        assert!(!after(&mut range, &[2.0, 1.0]), "nothing was known");
        assert!(after(&mut range, &[2.8, 0.5]));
        assert_eq!(range, [2.8, 0.95]);
        assert!(!after(&mut range, &[2.8, 1.5]));
        assert!(after(&mut [0.0], &[0.0]), "nothing is no more than nothing");
    }
}
