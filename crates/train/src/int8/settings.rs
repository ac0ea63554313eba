//! How it is trained in eight bits: what each part brings can be told by leaving it out.

/// The parts, each of which can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Gradients are rounded by chance, so that their mean is right; else to the nearest.
    pub is_random: bool,
    /// Weights and gradients have a scale a channel; else one a tensor.
    pub is_per_channel: bool,
    /// A gain a channel is learned, which folds away: what makes up for the loss of coarse products (after Octo's
    /// loss-aware compensation).
    pub has_gain: bool,
    /// Gradients are clipped where that keeps their direction best (after Octo's parameterised range clipping).
    pub is_clipped: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { is_random: true, is_per_channel: true, has_gain: true, is_clipped: true }
    }
}

impl Settings {
    /// None of the parts: what training in eight bits is without them.
    pub const UNIFORM: Self = Self { is_random: false, is_per_channel: false, has_gain: false, is_clipped: false };
}
