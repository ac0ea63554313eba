//! What a loss is made of.

/// The parts of a loss, weighted: their sum is what the gradient is of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LossParts {
    /// 0 for families without one.
    pub objectness: f64,
    pub class: f64,
    pub bbox: f64,
}

impl LossParts {
    pub fn total(&self) -> f64 {
        self.objectness + self.class + self.bbox
    }
}

impl std::ops::AddAssign for LossParts {
    fn add_assign(&mut self, other: Self) {
        self.objectness += other.objectness;
        self.class += other.class;
        self.bbox += other.bbox;
    }
}
