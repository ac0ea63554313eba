//! The ways to run a detector (engine.md, section 1).

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
