//! What several commands need.

use crate::config::DetectorConfig;
use crate::geom::Size;
use crate::infer::InferError;
use crate::infer::session::Runtime;
use crate::models::ModelError;
use crate::models::model::{Model, ModelFolders};
use crate::pipeline::OrtFactory;
use crate::text::printable_lines;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::sync::Arc;

/// Why a command did not succeed.
pub enum Failure {
    /// Exit status 1.
    Failed(String),
    /// Exit status 2.
    Usage(String),
}

impl From<ModelError> for Failure {
    fn from(e: ModelError) -> Self {
        Self::Failed(e.to_string())
    }
}

impl From<InferError> for Failure {
    fn from(e: InferError) -> Self {
        Self::Failed(e.to_string())
    }
}

impl From<std::io::Error> for Failure {
    fn from(e: std::io::Error) -> Self {
        Self::Failed(e.to_string())
    }
}

/// Which model, at which size, with which library.
#[derive(clap::Args)]
pub struct ModelArgs {
    /// Name of a model (`passd models list`) or path of an .onnx file with a sidecar
    #[arg(long, value_name = "MODEL")]
    pub model: String,
    /// Input size, if the model runs at others than its own
    #[arg(long, value_name = "WxH")]
    pub size: Option<Size>,
    /// Folder in which models are looked for first
    #[arg(long, value_name = "DIR")]
    pub models: Option<PathBuf>,
    /// The libonnxruntime.so to use; else ORT_DYLIB_PATH, then the usual places
    #[arg(long, value_name = "FILE")]
    pub library: Option<PathBuf>,
}

impl ModelArgs {
    pub fn folders(&self) -> ModelFolders {
        ModelFolders::usual(self.models.as_deref())
    }

    /// The model and the size to run it at.
    pub fn model(&self) -> Result<(Arc<Model>, Size), Failure> {
        let model = Arc::new(Model::load(&self.model, &self.folders())?);
        let size = self.size.unwrap_or(model.size);
        model.check_size(size).map_err(|e| Failure::Usage(e.to_string()))?;
        Ok((model, size))
    }

    /// The same, tried out, with what runs it.
    pub fn load(&self) -> Result<(&'static Runtime, Arc<Model>, Size), Failure> {
        let (model, size) = self.model()?;
        let runtime = Runtime::get(self.library.as_deref())?;
        let config = DetectorConfig::usual(&self.model, Some(size));
        OrtFactory::new(runtime, self.folders()).try_out(&model, &config, None)?;
        Ok((runtime, model, size))
    }
}

/// `1 camera`, `2 cameras`.
pub fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// A bar over a thousand parts, for work that says how far it is.
pub fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent}% {msg}, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(1000).with_style(style)
}

/// Whole lines to standard output; a reader that went away is no error.
pub fn print_line(line: &str) -> Result<(), Failure> {
    use std::io::Write;
    match writeln!(std::io::stdout().lock(), "{}", printable_lines(line)) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}
