//! `passd run`, `passd check`, `passd schema`.

use super::common::{Failure, counted, print_line};
use crate::capture::{SourceSpec, probe};
use crate::config;
use crate::daemon::{self, DaemonError};
use crate::infer::session::Runtime;
use crate::models::model::ModelFolders;
use crate::pipeline::OrtFactory;
use std::path::PathBuf;

/// Run the daemon
///
/// SIGTERM and SIGINT stop it. The config is reloaded on SIGHUP and when its file changes.
/// A bad one leaves everything as it is. Every single value of the config (no lists)
/// can be set by the environment: PASSD__SKIP__PATCH=32. Logs go to standard error; RUST_LOG=debug shows more.
///
/// Example: passd run --config /etc/passd/passd.toml
#[derive(clap::Args)]
pub struct RunArgs {
    /// Config file
    #[arg(long, short, default_value = "/etc/passd/passd.toml", value_name = "FILE")]
    config: PathBuf,
    /// Reload on SIGHUP only, not when the file changes
    #[arg(long)]
    no_watch: bool,
}

/// Check a config without running it
///
/// Exit status 0: it is good. 1: a model or a video file that it names is missing or wrong. 2: the config is
/// wrong; each complaint has file, line and key. Cameras are not connected to: `passd doctor` does that.
///
/// Example: passd check --config passd.toml
#[derive(clap::Args)]
pub struct CheckArgs {
    /// Config file
    #[arg(long, short, default_value = "/etc/passd/passd.toml", value_name = "FILE")]
    config: PathBuf,
}

/// Print the JSON schema of the config, or of the output
///
/// Example: passd schema > passd.schema.json
#[derive(clap::Args)]
pub struct SchemaArgs {
    /// Of the JSON lines instead
    #[arg(long)]
    output: bool,
    /// Of messages about events instead
    #[arg(long, conflicts_with = "output")]
    events: bool,
    /// The config's as a page in Markdown
    #[arg(long, conflicts_with_all = ["output", "events"])]
    reference: bool,
}

pub fn run(args: &RunArgs) -> Result<(), Failure> {
    daemon::run(&args.config, !args.no_watch).map_err(|e| match e {
        DaemonError::Config(_) => Failure::Usage(e.to_string()),
        _ => Failure::Failed(e.to_string()),
    })
}

pub fn check(args: &CheckArgs) -> Result<(), Failure> {
    let config = config::load(&args.config).map_err(|e| Failure::Usage(e.to_string()))?;
    let folders = ModelFolders::usual(config.models.as_deref());
    let factory = OrtFactory::new(Runtime::get(config.library.as_deref())?, folders);
    for camera in &config.cameras {
        let with_camera = |what: String| Failure::Failed(format!("camera {}: {what}", camera.id));
        let (model, verdict) =
            factory.examine(&camera.detector, camera.skip_mode).map_err(|e| with_camera(e.to_string()))?;
        camera.check_model(&model.name, model.sidecar.simulated).map_err(with_camera)?;
        camera.check_labels(&model.name, &model.labels).map_err(with_camera)?;
        for label in camera.needless_filters(&model.labels) {
            eprintln!(
                "passd: camera {}: the filter for '{label}' is for nothing: the model has no such label",
                camera.id
            );
        }
        if let SourceSpec::File { .. } = &camera.source.spec {
            probe(&camera.source.spec, camera.capture.connect)
                .map_err(|e| with_camera(camera.source.secrets.hide(&e.to_string())))?;
        }
        print_line(&format!(
            "{}: {}, model {}, mode {} ({})",
            camera.id, camera.source.shown, camera.detector.model, verdict.mode, verdict.why
        ))?;
    }
    if config.cameras.is_empty() {
        eprintln!("passd: no camera is enabled");
    }
    print_line(&format!("{}: good, {}", args.config.display(), counted(config.cameras.len(), "camera")))
}

pub fn schema(args: &SchemaArgs) -> Result<(), Failure> {
    if args.reference {
        return print_line(config::reference().trim_end());
    }
    let schema = match (args.output, args.events) {
        (true, _) => schemars::schema_for!(crate::wire::frame::FrameJson),
        (_, true) => schemars::schema_for!(crate::wire::event::MessageJson),
        _ => config::schema(),
    };
    print_line(&serde_json::to_string_pretty(&schema).map_err(|e| Failure::Failed(e.to_string()))?)
}
