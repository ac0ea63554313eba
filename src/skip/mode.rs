//! The ways to run a detector.

/// How much of a frame is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SkipMode {
    /// Everything, always.
    Off,
    /// Rectangles around what changed.
    Regions,
    /// Every layer of the network where its input changed.
    Layers,
}

impl SkipMode {
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Regions => "regions",
            Self::Layers => "layers",
        }
    }
}

/// What a patch costs beside itself. All that the skip stage does otherwise in one mode than in another follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PatchCost {
    /// A region with its context. What differs by the light alone is compensated, patches grow stale together, and none is
    /// looked at without need.
    Region,
    /// Nothing: the engine's gates hold back what does not matter. Patches are compared with what was computed, whatever the
    /// light; each grows stale by itself; what came to rest is looked at once more; and a change of most patches is one of
    /// the scene only if it is strong, as most may change a little.
    Itself,
}

/// What suits a mode, where the user sets nothing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ModePolicy {
    /// Side of a patch, pixels. With the engine's gates behind them patches can be small and sensitive.
    pub patch: u32,
    /// Least change of a cell, levels of 255.
    pub threshold: f32,
    /// Age that nothing exceeds. The layer engine computes within 20 frames what its gates defer, so that its sweep is for what
    /// nobody noticed.
    pub max_age_ns: u64,
    /// How long objects whose way is known go without a look: at ten frames a second, every second frame.
    pub predict_ns: u64,
    pub cost: PatchCost,
}

impl SkipMode {
    pub const fn policy(self) -> ModePolicy {
        let seconds = 1_000_000_000;
        match self {
            Self::Off | Self::Regions => ModePolicy {
                patch: 16,
                threshold: 7.0,
                max_age_ns: 10 * seconds,
                predict_ns: 0,
                cost: PatchCost::Region,
            },
            Self::Layers => ModePolicy {
                patch: 8,
                threshold: 1.0,
                max_age_ns: 30 * seconds,
                predict_ns: 150_000_000,
                cost: PatchCost::Itself,
            },
        }
    }
}

/// What the user asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModeChoice {
    /// The best one that works with the model on this machine.
    #[default]
    Auto,
    /// Everything, always.
    Off,
    /// Rectangles around what changed.
    Regions,
    /// Every layer of the network where its input changed.
    Layers,
}

impl From<Option<SkipMode>> for ModeChoice {
    /// `None`: auto.
    fn from(mode: Option<SkipMode>) -> Self {
        match mode {
            None => Self::Auto,
            Some(SkipMode::Off) => Self::Off,
            Some(SkipMode::Regions) => Self::Regions,
            Some(SkipMode::Layers) => Self::Layers,
        }
    }
}

impl ModeChoice {
    /// The mode that must be used; `None`: any.
    pub fn fixed(self) -> Option<SkipMode> {
        match self {
            Self::Auto => None,
            Self::Off => Some(SkipMode::Off),
            Self::Regions => Some(SkipMode::Regions),
            Self::Layers => Some(SkipMode::Layers),
        }
    }
}
