//! The command line: what each command takes, and its exit status.
//!
//! 0: done. 1: it did not work out. 2: the arguments or the config are wrong.

mod calibrate;
mod demo;
mod detect;
mod doctor;
mod engines;
mod eval;
mod log;
mod models;
mod numbers;
mod run;
mod sim;
mod trial;

use crate::config::DetectorConfig;
use crate::detect::ModelError;
use crate::geom::Size;
use crate::infer::InferError;
use crate::infer::session::Runtime;
use crate::models::model::{Model, ModelFolders};
use crate::pipeline::OrtFactory;
use crate::text::printable_lines;
use clap::{CommandFactory, Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// What `passd --help` and the man page say beside the commands.
const BESIDE: &str = "\
Files:
  /etc/passd/passd.toml  what the service watches
  /var/lib/passd         events, pulled models, what was set at run time
  /var/cache/passd       TensorRT engines

Environment:
  PASSD__SECTION__KEY    in place of a key: PASSD__HTTP__LISTEN
  PASSD_MODELS           a folder in which models are looked for
  ORT_DYLIB_PATH         the libonnxruntime.so to use
  RUST_LOG               what is logged: info, passd=debug

Signals:
  SIGHUP takes the config over anew, SIGTERM and SIGINT end the daemon.

Exit status:
  0 done; 1 it did not work out; 2 the arguments or the config are wrong.";

/// Watches cameras and says what is in the picture, without computing again what has not changed.
#[derive(Parser)]
#[command(name = "passd", version, max_term_width = 100, after_long_help = BESIDE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::RunArgs),
    Check(run::CheckArgs),
    Schema(run::SchemaArgs),
    Demo(demo::Args),
    Detect(detect::Args),
    Eval(eval::Args),
    Calibrate(calibrate::Args),
    Models(models::Args),
    Engines(engines::Args),
    Doctor(doctor::Args),
    Sim(sim::Args),
    /// Try a model in a process of its own; called by passd itself
    #[command(hide = true, name = crate::pipeline::trial::COMMAND)]
    TryModel,
    /// Print a completion script for a shell
    ///
    /// Example: passd completions bash > /etc/bash_completion.d/passd
    Completions {
        shell: clap_complete::Shell,
    },
    /// Write the man pages, one a command
    ///
    /// Example: passd man /usr/local/share/man/man1
    Man {
        /// A folder, which must exist
        folder: PathBuf,
    },
}

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

pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    log::start();
    crate::pipeline::trial::use_this_program();
    let result = match command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => run::check(&args),
        Command::Schema(args) => run::schema(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Detect(args) => detect::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Calibrate(args) => calibrate::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Engines(args) => engines::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::TryModel => trial::run(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "passd", &mut std::io::stdout());
            Ok(())
        }
        Command::Man { folder } => clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), &folder)
            .map_err(|e| Failure::Failed(format!("{}: {e}", folder.display()))),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(text)) => {
            eprintln!("passd: {}", printable_lines(&text));
            ExitCode::FAILURE
        }
        Err(Failure::Usage(text)) => {
            eprintln!("passd: {}", printable_lines(&text));
            ExitCode::from(2)
        }
    }
}

/// Which model, at which size, with which library.
#[derive(clap::Args)]
struct ModelArgs {
    /// Name of a model (`passd models list`) or path of an .onnx file with a sidecar
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// Input size, if the model runs at others than its own
    #[arg(long, value_name = "WxH")]
    size: Option<Size>,
    /// Folder in which models are looked for first
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// The libonnxruntime.so to use; else ORT_DYLIB_PATH, then the usual places
    #[arg(long, value_name = "FILE")]
    library: Option<PathBuf>,
}

impl ModelArgs {
    fn folders(&self) -> ModelFolders {
        ModelFolders::usual(self.models.as_deref())
    }

    /// The model and the size to run it at.
    fn model(&self) -> Result<(Arc<Model>, Size), Failure> {
        let model = Arc::new(Model::load(&self.model, &self.folders())?);
        let size = self.size.unwrap_or(model.size);
        model.check_size(size).map_err(|e| Failure::Usage(e.to_string()))?;
        Ok((model, size))
    }

    /// The same, tried out, with what runs it.
    fn load(&self) -> Result<(&'static Runtime, Arc<Model>, Size), Failure> {
        let (model, size) = self.model()?;
        let runtime = Runtime::get(self.library.as_deref())?;
        let config = DetectorConfig::usual(&self.model, Some(size));
        OrtFactory::new(runtime, self.folders()).try_out(&model, &config, None)?;
        Ok((runtime, model, size))
    }
}

/// `1 camera`, `2 cameras`.
fn counted(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// Whole lines to standard output; a reader that went away is no error.
fn print_line(line: &str) -> Result<(), Failure> {
    use std::io::Write;
    match writeln!(std::io::stdout().lock(), "{}", printable_lines(line)) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}
