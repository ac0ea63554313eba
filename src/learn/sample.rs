//! What is learned from: a picture's latents, and what is known of it.

use super::latents::Latents;
use crate::detect::heads::loss::PictureLabels;

/// Where a sample comes from: what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Somebody said something of it.
    Marked,
    /// Its labels come from tracks, a teacher, a file.
    Labelled,
    /// Of what the model is to keep knowing.
    Anchor,
}

/// One picture.
#[derive(Debug, Clone)]
pub struct Sample {
    pub latents: Latents,
    pub labels: PictureLabels,
    pub origin: Origin,
    /// So many of the first objects are people's marks.
    pub n_sure: usize,
    /// Of what time or place it is: whole blocks are held out.
    pub block: u64,
    /// The kept picture that it is of, by name; `None`: a clip's.
    pub picture: Option<String>,
}
