//! Gate profiles as files: `<model>.gates.toml` beside the model's sidecar.

use super::error::ModelError;
use super::model::{Model, ModelFolders};
use crate::files::{read_text, write_whole};
use engine::gating::profile::Profile;
use std::path::Path;

/// Largest profile that is read.
const MAX_BYTES: u64 = 16 << 20;

/// The built-in model's, found by `passd calibrate`; what it says of itself is in its head.
const BUILT_IN: (&str, &str) =
    ("(built in) street-nano.gates.toml", include_str!("../../models/street-nano.gates.toml"));

/// The profile of a model: the given file, else `<name>.gates.toml` in a model folder, else the built-in one if it is
/// this model's; `None` if there is none. What was learned from a model has its profile: the maps are the same, and their
/// numbers alike.
///
/// # Errors
/// The file is no profile, or one of another model.
pub fn find(model: &Model, folders: &ModelFolders, file: Option<&Path>) -> Result<Option<Profile>, ModelError> {
    if let Some(file) = file {
        return read(file, model).map(Some);
    }
    let name = model.sidecar.learned.as_ref().map_or(&model.name, |learned| &learned.base);
    if let Some(path) = folders.find(&format!("{name}.gates.toml")) {
        return read(&path, model).map(Some);
    }
    let (name, text) = BUILT_IN;
    let ours = text.contains(origin(model));
    ours.then(|| parse(name, text, model)).transpose()
}

/// The checksum of the model that it is, or was learned from.
fn origin(model: &Model) -> &str {
    model.sidecar.learned.as_ref().map_or(&model.sidecar.sha256, |learned| &learned.base_sha256)
}

fn read(path: &Path, model: &Model) -> Result<Profile, ModelError> {
    let shown = path.display().to_string();
    let err = |e: &dyn std::fmt::Display| ModelError::new(&shown, e);
    let text = read_text(path, MAX_BYTES, "a gate profile").map_err(|e| err(&e))?;
    parse(&shown, &text, model)
}

fn parse(file: &str, text: &str, model: &Model) -> Result<Profile, ModelError> {
    let profile: Profile = toml::from_str(text).map_err(|e| ModelError::new(file, e.to_string().trim_end()))?;
    if profile.sha256 != model.sidecar.sha256 && profile.sha256 != origin(model) {
        return Err(ModelError::new(
            file,
            format!(
                "it was made for a model with sha256 {}, and that of '{}' is {}: calibrate again",
                profile.sha256, model.name, model.sidecar.sha256
            ),
        ));
    }
    Ok(profile)
}

/// Writes a profile, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub fn write(profile: &Profile, path: &Path) -> Result<(), ModelError> {
    let err = |e: &dyn std::fmt::Display| ModelError::new(path.display().to_string(), e);
    let text = toml::to_string(profile).map_err(|e| err(&e))?;
    write_whole(path, text.as_bytes()).map_err(|e| err(&e))
}
