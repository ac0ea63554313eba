//! The ways to run a detector (engine.md, section 1).

/// How much of a frame is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
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
