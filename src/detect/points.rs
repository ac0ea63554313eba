//! Points of an object, as some heads find them: a face's landmarks, a body's keypoints.

/// Most points of an object: a body's, as COCO names them.
pub const MOST_POINTS: usize = 17;

/// Points of one object in the order of its head, model-input pixels. They lie in place: a detection is copied without
/// an allocation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Points {
    n: u8,
    /// Zeros behind the `n` first.
    at: [[f32; 2]; MOST_POINTS],
}

impl Points {
    /// Most heads find none.
    pub const NONE: Self = Self { n: 0, at: [[0.0; 2]; MOST_POINTS] };

    /// The first `n` of them; those beyond [`MOST_POINTS`] are left out.
    pub fn from_fn(n: usize, mut point: impl FnMut(usize) -> [f32; 2]) -> Self {
        let n = n.min(MOST_POINTS);
        let mut points = Self { n: n as u8, ..Self::NONE };
        points.at[..n].iter_mut().enumerate().for_each(|(i, p)| *p = point(i));
        points
    }

    /// The same points elsewhere.
    #[must_use]
    pub fn map(&self, mut to: impl FnMut([f32; 2]) -> [f32; 2]) -> Self {
        Self::from_fn(self.len(), |i| to(self.at[i]))
    }

    pub fn are_finite(&self) -> bool {
        self.as_slice().as_flattened().iter().all(|v| v.is_finite())
    }

    /// In the order of the head.
    pub fn as_slice(&self) -> &[[f32; 2]] {
        &self.at[..self.len()]
    }

    pub fn len(&self) -> usize {
        usize::from(self.n)
    }

    pub fn is_empty(&self) -> bool {
        self.n == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_a_head_finds_and_no_more_than_there_is_room_for() {
        let points = Points::from_fn(5, |i| [i as f32, 1.0]);
        let moved = points.map(|[x, y]| [x + 10.0, y]);
        assert_eq!(moved.as_slice(), [[10., 1.], [11., 1.], [12., 1.], [13., 1.], [14., 1.]]);
        assert_eq!(moved, Points::from_fn(5, |i| [10.0 + i as f32, 1.0]));
        assert_eq!(Points::from_fn(40, |i| [i as f32, 0.0]).len(), MOST_POINTS);
        assert!(Points::NONE.is_empty());
    }
}
