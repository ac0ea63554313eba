//! A model: an ONNX file and the sidecar that says how to feed and read it.
//!
//! `models/<name>.toml` names the file, its origin, licence and checksum, how
//! pixels become numbers, which head decodes the output, and the labels. The
//! project's own sidecars, and `street-nano` itself, are inside the binary.

use super::error::ModelError;
use super::onnx;
use crate::detect::heads::Head;
use crate::detect::{Colour, Normalise};
use crate::files::{read_at_most, read_text};
use crate::geom::Size;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A sidecar as written.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    /// Name of the ONNX file, beside the sidecar or in a model folder.
    pub file: String,
    pub description: String,
    /// Where the file comes from.
    pub source: String,
    /// SPDX expression.
    pub licence: String,
    /// Of the ONNX file, 64 hexadecimal digits.
    pub sha256: String,
    pub input: InputTable,
    pub head: Head,
    pub labels: Labels,
    /// Trained on simulated pictures (`sim://`): of real ones it knows nothing.
    #[serde(default)]
    pub simulated: bool,
    /// Clips of what the model knows (`sim://…`): what learns further from it may not forget them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anchors: Vec<String>,
    /// What it was learned from, if it was learned on a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Learned>,
    /// Measured accuracy, free-form: shown by `models info`, never interpreted.
    #[serde(default)]
    pub measured: toml::Table,
}

/// Where a model comes from that was learned on a device.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Learned {
    /// Name and SHA-256 of the model with which learning began.
    pub base: String,
    pub base_sha256: String,
    /// What it was learned from, in words.
    pub from: Vec<String>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct InputTable {
    /// The exported size, `640x384`.
    pub size: String,
    /// Other sizes work if both sides are multiples of this; absent: only the exported one.
    pub multiple_of: Option<u32>,
    pub colour: Colour,
    /// `(byte - mean) * scale`, in the model's order of colours.
    #[serde(default = "zeros")]
    pub mean: [f32; 3],
    #[serde(default = "ones")]
    pub scale: [f32; 3],
}

fn zeros() -> [f32; 3] {
    [0.0; 3]
}

fn ones() -> [f32; 3] {
    [1.0; 3]
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Labels {
    /// `"coco"`: the 80 classes of COCO.
    Known(String),
    Listed(Vec<String>),
}

/// The 80 classes of COCO 2017, in the usual order.
const COCO: &str = include_str!("../../models/coco.labels");

/// Sidecars (and files) that are part of the binary: name, sidecar, ONNX file.
const EMBEDDED: [(&str, &str, Option<&[u8]>); 5] = [
    (
        "street-nano",
        include_str!("../../models/street-nano.toml"),
        Some(include_bytes!("../../models/street-nano.onnx")),
    ),
    ("yolox_nano", include_str!("../../models/yolox_nano.toml"), None),
    ("yunet_2023mar", include_str!("../../models/yunet_2023mar.toml"), None),
    ("ultraface_rfb_320", include_str!("../../models/ultraface_rfb_320.toml"), None),
    ("fastestdet", include_str!("../../models/fastestdet.toml"), None),
];

/// Stands for the file of an embedded model.
const BUILT_IN: &str = "(built in)";

/// A checked model, ready to be loaded into sessions.
#[derive(Debug, Clone)]
pub struct Model {
    pub name: String,
    /// Where the ONNX file was found; "(built in)" for the embedded one.
    pub file: String,
    /// As it is run: weights that lay beside it are in it.
    pub onnx: Arc<[u8]>,
    /// Of [`Model::onnx`], SHA-256 in hexadecimal.
    pub sha256: String,
    pub sidecar: Sidecar,
    pub labels: Arc<[String]>,
    pub normalise: Normalise,
    /// The exported size.
    pub size: Size,
}

/// Folders in which models are looked for, first hit wins.
#[derive(Debug, Clone, Default)]
pub struct ModelFolders(pub Vec<PathBuf>);

impl ModelFolders {
    /// `extra`, then `PASSD_MODELS`, `./models` and the installed folders.
    pub fn usual(extra: Option<&Path>) -> Self {
        let mut folders: Vec<PathBuf> = extra.map(Path::to_path_buf).into_iter().collect();
        folders.extend(std::env::var_os("PASSD_MODELS").map(PathBuf::from));
        folders.extend(["models", "/var/lib/passd/models", "/usr/share/passd/models"].map(PathBuf::from));
        Self(folders)
    }

    pub(super) fn find(&self, file: &str) -> Option<PathBuf> {
        self.0.iter().map(|folder| folder.join(file)).find(|path| path.is_file())
    }
}

impl Model {
    /// Loads by name (`yolox_nano`) or by path (`some/model.onnx`, its sidecar beside it or a
    /// known one with the same checksum).
    ///
    /// # Errors
    /// Names the file and what is wrong with it or where it was looked for.
    pub fn load(name_or_path: &str, folders: &ModelFolders) -> Result<Self, ModelError> {
        if name_or_path.ends_with(".onnx") {
            return Self::load_file(Path::new(name_or_path), folders);
        }
        if name_or_path.ends_with(".toml") {
            return Self::load_sidecar(Path::new(name_or_path), folders);
        }
        if let Some(path) = folders.find(&format!("{name_or_path}.toml")) {
            return Self::load_sidecar(&path, folders);
        }
        if let Some((name, text, onnx)) = EMBEDDED.iter().find(|e| e.0 == name_or_path) {
            let sidecar = parse(&format!("(built in) {name}.toml"), text)?;
            return match onnx {
                Some(bytes) => Self::checked(name, BUILT_IN, (*bytes).into(), sidecar),
                None => Self::with_sidecar(name, sidecar, None, folders),
            };
        }
        let known = EMBEDDED.map(|e| e.0).join(", ");
        Err(ModelError::new(
            name_or_path,
            format!(
                "no such model; known ones are {known}, or give the path of an .onnx file with a sidecar. Looked in {}",
                list(&folders.0)
            ),
        ))
    }

    fn load_sidecar(path: &Path, folders: &ModelFolders) -> Result<Self, ModelError> {
        let shown = path.display().to_string();
        let text = read_sidecar(path).map_err(|e| ModelError::new(&shown, e))?;
        let sidecar = parse(&shown, &text)?;
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        Self::with_sidecar(&name, sidecar, path.parent(), folders)
    }

    fn with_sidecar(
        name: &str,
        sidecar: Sidecar,
        beside: Option<&Path>,
        folders: &ModelFolders,
    ) -> Result<Self, ModelError> {
        let near = beside.map(|folder| folder.join(&sidecar.file)).filter(|path| path.is_file());
        let path = near.or_else(|| folders.find(&sidecar.file)).ok_or_else(|| {
            ModelError::new(
                &sidecar.file,
                format!(
                    "the file of model '{name}' is missing. `passd models pull {name}` fetches it, if it is in the registry; or get it \
                     from {}, name it {} and put it into one of {}",
                    sidecar.source,
                    sidecar.file,
                    list(&folders.0)
                ),
            )
        })?;
        Self::checked(name, &path.display().to_string(), read(&path)?, sidecar)
    }

    fn load_file(path: &Path, folders: &ModelFolders) -> Result<Self, ModelError> {
        let shown = path.display().to_string();
        let bytes = read(path)?;
        let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        let beside = path.with_extension("toml");
        if beside.is_file() {
            let text = read_sidecar(&beside).map_err(|e| ModelError::new(beside.display().to_string(), e))?;
            return Self::checked(&name, &shown, bytes, parse(&beside.display().to_string(), &text)?);
        }
        let sum = hex(&bytes);
        for (known, text) in sidecars(folders) {
            if let Ok(sidecar) = parse(&known, &text)
                && sidecar.sha256 == sum
            {
                return Self::checked(&name, &shown, bytes, sidecar);
            }
        }
        Err(ModelError::new(
            &shown,
            format!(
                "there is no sidecar {} beside it, and no known model has its checksum, {sum}. A sidecar says how the model is \
                 fed and read: docs/models.md has one to start from",
                beside.display()
            ),
        ))
    }

    /// `file` says where `onnx` was found.
    fn checked(name: &str, file: &str, onnx: Arc<[u8]>, sidecar: Sidecar) -> Result<Self, ModelError> {
        let err = |reason: String| ModelError::new(file, reason);
        let sum = hex(&onnx);
        if sum != sidecar.sha256 {
            return Err(err(format!(
                "sha256 is {sum}, but the sidecar of '{name}' says {}: the file is another version, cut short or changed",
                sidecar.sha256
            )));
        }
        let said = |e: onnx::OnnxError| err(e.to_string());
        let folder = Path::new(file).parent().filter(|_| file != BUILT_IN);
        let (onnx, sha256) = match onnx::inlined(&onnx, folder).map_err(said)? {
            Some(whole) => (whole.as_slice().into(), hex(&whole)),
            None => (onnx, sum),
        };
        onnx::vet(&onnx).map_err(said)?;
        sidecar.head.check().map_err(|e| err(format!("sidecar of '{name}': {e}")))?;
        let declared = onnx::input(&onnx).map_err(said)?;
        let size: Size =
            sidecar.input.size.parse().map_err(|e| err(format!("sidecar of '{name}', input.size: {e}")))?;
        let fits = |dim: Option<i64>, want: u32| dim.is_none_or(|d| d == i64::from(want));
        if !fits(declared.dims[3], size.width) || !fits(declared.dims[2], size.height) {
            let [_, _, h, w] = declared.dims.map(|d| d.map_or_else(|| "?".to_owned(), |d| d.to_string()));
            return Err(err(format!("the model takes pictures of {w}x{h}, but the sidecar of '{name}' says {size}")));
        }
        if sidecar
            .input
            .multiple_of
            .is_some_and(|m| m == 0 || !size.width.is_multiple_of(m) || !size.height.is_multiple_of(m))
        {
            return Err(err(format!("sidecar of '{name}': input.size {size} is no multiple of input.multiple_of")));
        }
        let numbers = sidecar.input.mean.iter().chain(&sidecar.input.scale);
        if !numbers.clone().all(|v| v.is_finite()) || sidecar.input.scale.contains(&0.0) {
            return Err(err(format!(
                "sidecar of '{name}': input.mean and input.scale must be finite, and scale not 0"
            )));
        }
        let labels: Arc<[String]> = match &sidecar.labels {
            Labels::Known(set) if set == "coco" => COCO.lines().map(str::to_owned).collect(),
            Labels::Known(set) => {
                return Err(err(format!(
                    "sidecar of '{name}': labels = \"{set}\" is unknown; \"coco\" or a list of names"
                )));
            }
            Labels::Listed(names) => names.clone().into(),
        };
        if labels.is_empty() || labels.len() > 4096 {
            return Err(err(format!("sidecar of '{name}': {} labels, expected 1 to 4096", labels.len())));
        }
        let input = &sidecar.input;
        let normalise = Normalise { colour: input.colour, mean: input.mean, scale: input.scale };
        Ok(Self { name: name.into(), file: file.into(), onnx, sha256, labels, normalise, size, sidecar })
    }

    /// Whether it came with the program.
    pub fn is_built_in(&self) -> bool {
        self.file == BUILT_IN
    }

    /// Whether the model runs at `size`.
    ///
    /// # Errors
    /// Says which sizes it runs at.
    pub fn check_size(&self, size: Size) -> Result<(), ModelError> {
        if size.area() > MOST_PIXELS {
            return Err(ModelError::new(
                &self.file,
                format!("size {size}: a model's input has at most {MOST_PIXELS} pixels, such as 3840x2176"),
            ));
        }
        match self.sidecar.input.multiple_of {
            _ if size == self.size => Ok(()),
            Some(m) if size.width.is_multiple_of(m) && size.height.is_multiple_of(m) => Ok(()),
            Some(m) => Err(ModelError::new(&self.file, format!("size {size}: both sides must be multiples of {m}"))),
            None => Err(ModelError::new(&self.file, format!("size {size}: this model runs at {} only", self.size))),
        }
    }

    pub fn label(&self, class: u16) -> &str {
        self.labels.get(class as usize).map_or("?", String::as_str)
    }

    /// The names of all models that can be named, with their sidecars.
    pub fn known(folders: &ModelFolders) -> Vec<(String, Result<Sidecar, ModelError>)> {
        sidecars(folders).into_iter().map(|(name, text)| (name.clone(), parse(&name, &text))).collect()
    }
}

/// Name and text of every sidecar: those in the folders, then the built-in ones.
fn sidecars(folders: &ModelFolders) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = Vec::new();
    for folder in &folders.0 {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut paths: Vec<_> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        paths.sort();
        for path in paths.iter().filter(|p| p.extension().is_some_and(|e| e == "toml")) {
            let name = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
            // `name.gates.toml` and the registry are something else.
            if !name.contains('.')
                && name != "registry"
                && !all.iter().any(|a| a.0 == name)
                && let Ok(text) = read_sidecar(path)
            {
                all.push((name, text));
            }
        }
    }
    for (name, text, _) in EMBEDDED {
        if !all.iter().any(|a| a.0 == name) {
            all.push((name.into(), text.into()));
        }
    }
    all
}

fn parse(file: &str, text: &str) -> Result<Sidecar, ModelError> {
    toml::from_str(text).map_err(|e| ModelError::new(file, e.to_string().trim_end()))
}

/// Largest model file that is read: beyond it is a mistake or an attack.
const MAX_BYTES: u64 = 2 << 30;
/// Most pixels of a model's input: beyond, one camera would take gigabytes.
const MOST_PIXELS: usize = 3840 * 2176;
/// Largest sidecar that is read.
const MAX_SIDECAR: u64 = 1 << 20;

fn read_sidecar(path: &Path) -> std::io::Result<String> {
    read_text(path, MAX_SIDECAR, "a sidecar")
}

fn read(path: &Path) -> Result<Arc<[u8]>, ModelError> {
    let shown = path.display().to_string();
    read_at_most(path, MAX_BYTES, "a model").map(Into::into).map_err(|e| ModelError::new(&shown, e))
}

/// Checksum of a file, SHA-256 in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn list(folders: &[PathBuf]) -> String {
    folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ")
}
