//! `passd engines`: TensorRT's engines, which take minutes to build, built ahead.

use super::common::{Failure, print_line};
use crate::config::{self, DetectorConfig};
use crate::infer::session::{Provider, Runtime};
use crate::models::model::ModelFolders;
use crate::pipeline::{DetectorFactory, OrtFactory};
use crate::skip::SkipMode;
use std::path::PathBuf;
use std::time::Instant;

/// Build TensorRT's engines
///
/// Example: sudo passd engines build --config /etc/passd/passd.toml --cache /var/cache/passd
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Build the engines of every detector in a config, so that the daemon starts at once
    ///
    /// Engines are kept by model, checksum, size, precision and GPU; one that is there is used. Exit status 1:
    /// TensorRT does not work here, and why.
    Build {
        /// Config file
        #[arg(long, short, default_value = "/etc/passd/passd.toml", value_name = "FILE")]
        config: PathBuf,
        /// Folder for the engines; else inference.cache, then CACHE_DIRECTORY
        #[arg(long, value_name = "DIR")]
        cache: Option<PathBuf>,
    },
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let Command::Build { config, cache } = &args.command;
    let config = config::load(config).map_err(|e| Failure::Usage(e.to_string()))?;
    let runtime = Runtime::get(config.library.as_deref())?;
    let factory = OrtFactory::new(runtime, ModelFolders::usual(config.models.as_deref()));
    let mut built: Vec<(DetectorConfig, Option<SkipMode>)> = Vec::new();
    for camera in &config.cameras {
        // The layer engine is for the CPU, and others may not be meant to use TensorRT: nothing to build.
        if camera.skip_mode == Some(SkipMode::Layers) || !camera.detector.providers.contains(&Provider::Tensorrt) {
            continue;
        }
        let Some(cache) = cache.clone().or_else(|| camera.detector.cache.clone()) else {
            let words = "there is no folder for engines: give --cache, or set inference.cache";
            return Err(Failure::Usage(words.into()));
        };
        std::fs::create_dir_all(&cache).map_err(|e| Failure::Failed(format!("{}: {e}", cache.display())))?;
        let detector = DetectorConfig {
            providers: vec![Provider::Tensorrt],
            cache: Some(cache.clone()),
            ..camera.detector.clone()
        };
        let mode = camera.skip_mode;
        if built.iter().any(|done| *done == (detector.clone(), mode)) {
            continue;
        }
        print_line(&format!("{}: building into {} …", detector.model, cache.display()))?;
        let start = Instant::now();
        let (_, info) = factory
            .make(&detector, mode)
            .map_err(|e| Failure::Failed(format!("camera {}: {e}\npassd doctor says more", camera.id)))?;
        print_line(&format!(
            "{}: {}, mode {}, ready after {:.0} s",
            info.model,
            info.size,
            info.mode.name(),
            start.elapsed().as_secs_f64()
        ))?;
        built.push((detector, mode));
    }
    match built.len() {
        0 => print_line("no camera uses TensorRT: there is nothing to build"),
        _ => Ok(()),
    }
}
