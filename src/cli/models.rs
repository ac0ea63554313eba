//! `passd models`: which models there are, and what is known of them.

use super::common::{Failure, print_line};
use crate::config::DetectorConfig;
use crate::files::try_to_write;
use crate::geom::Size;
use crate::infer::layers::plan_of;
use crate::infer::session::Runtime;
use crate::models::model::{Model, ModelFolders};
use crate::models::pull::{self, PullSettings};
use crate::pipeline::OrtFactory;
use engine::exec::stream::Stream;
use engine::plan::step::Step;
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// List models, or show one
///
/// Example: passd models info street-nano
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
    /// Folder in which models are looked for first
    #[arg(long, value_name = "DIR", global = true)]
    models: Option<PathBuf>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Every model that can be named, and whether its file is here
    List,
    /// Fetch the files of models
    ///
    /// Size and checksum are checked; a download that was cut off goes on where it ended.
    ///
    /// Example: passd models pull yolox_nano
    Pull {
        /// Names of models
        #[arg(required = true)]
        names: Vec<String>,
        /// Folder to put them into; else --models, PASSD_MODELS, /var/lib/passd/models if it can be had, ./models
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
        /// Another registry than the built-in one
        #[arg(long, value_name = "FILE")]
        registry: Option<PathBuf>,
    },
    /// Everything that the sidecar says, whether the file is what it should be, and whether and how it runs
    ///
    /// Exit status 1: it does not run, and why.
    Info {
        /// Name, or path of an .onnx file
        model: String,
        /// Input size at which the layer engine's plan is shown
        #[arg(long, value_name = "WxH")]
        size: Option<Size>,
        /// Show every layer of the plan
        #[arg(long)]
        layers: bool,
    },
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let folders = ModelFolders::usual(args.models.as_deref());
    match &args.command {
        Command::List => {
            for (name, sidecar) in Model::known(&folders) {
                let line = match (sidecar, Model::load(&name, &folders)) {
                    (Ok(s), Ok(_)) => format!("{name:<20} {:<9} {:<14} {}", s.input.size, s.licence, s.description),
                    (Ok(s), Err(_)) => format!(
                        "{name:<20} {:<9} {:<14} {} (file missing or wrong: passd models info {name})",
                        s.input.size, s.licence, s.description
                    ),
                    (Err(e), _) => format!("{name:<20} {e}"),
                };
                print_line(&line)?;
            }
            Ok(())
        }
        Command::Pull { names, to, registry } => {
            match to.clone().or_else(|| args.models.clone()) {
                Some(to) => pull_all(names, &to, registry.as_deref()),
                None => {
                    // Wherever it is looked for, it need not be fetched again.
                    let mut missing = names.clone();
                    for name in names {
                        if let Ok(model) = Model::load(name, &folders) {
                            print_line(&format!("{name:<20} is here: {}", model.file))?;
                            missing.retain(|n| n != name);
                        }
                    }
                    match missing.is_empty() {
                        true => Ok(()),
                        false => pull_all(&missing, &usual_folder(), registry.as_deref()),
                    }
                }
            }
        }
        Command::Info { model: name, size, layers } => {
            let model = Model::load(name, &folders)?;
            let s = &model.sidecar;
            let sizes = s.input.multiple_of.map_or("this size only".to_owned(), |m| format!("or any multiple of {m}"));
            print_line(&format!("name         {}", model.name))?;
            print_line(&format!("description  {}", s.description))?;
            print_line(&format!("file         {} ({} bytes, checksum right)", model.file, model.onnx.len()))?;
            print_line(&format!("source       {}", s.source))?;
            print_line(&format!("licence      {}", s.licence))?;
            print_line(&format!("sha256       {}", s.sha256))?;
            print_line(&format!(
                "input        {} {sizes}, {:?}, mean {:?}, scale {:?}",
                s.input.size, s.input.colour, s.input.mean, s.input.scale
            ))?;
            print_line(&format!("head         {:?}", s.head))?;
            print_line(&format!("labels       {}", model.labels.join(", ")))?;
            for (key, value) in &s.measured {
                print_line(&format!("measured     {key} = {value}"))?;
            }
            let factory = OrtFactory::new(Runtime::get(None)?, folders.clone());
            let (_, verdict) = factory.examine(&DetectorConfig::usual(name, *size), None)?;
            print_line(&format!("runs         in mode {}: {}", verdict.mode, verdict.why))?;
            print_plan(&model, size.unwrap_or(model.size), *layers, &folders)
        }
    }
}

/// The first folder that models are looked for in and that can be written.
fn usual_folder() -> PathBuf {
    if let Some(folder) = std::env::var_os("PASSD_MODELS") {
        return folder.into();
    }
    let service = PathBuf::from("/var/lib/passd/models");
    let is_ours = std::fs::create_dir_all(&service).is_ok() && try_to_write(&service).is_ok();
    if is_ours { service } else { "models".into() }
}

fn pull_all(names: &[String], to: &Path, path: Option<&Path>) -> Result<(), Failure> {
    let registry = pull::registry(path).map_err(Failure::Usage)?;
    let unknown = |name: &String| {
        if let Ok(model) = Model::load(name, &ModelFolders::usual(Some(to))) {
            return Failure::Usage(format!("'{name}' need not be fetched: it is here, {}", model.file));
        }
        let known: Vec<&str> = registry.keys().map(String::as_str).collect();
        Failure::Usage(format!("'{name}' is not in the registry; it has {}", known.join(", ")))
    };
    // All names first: nothing is fetched for a command that is wrong.
    let entries = names.iter().map(|name| Ok((name, registry.get(name).ok_or_else(|| unknown(name))?)));
    let entries = entries.collect::<Result<Vec<_>, Failure>>()?;
    std::fs::create_dir_all(to).map_err(|e| Failure::Failed(format!("{}: {e}", to.display())))?;
    for (name, entry) in entries {
        let path = to.join(format!("{name}.onnx"));
        let style = ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec}");
        let bar = ProgressBar::new(entry.size).with_message(name.clone());
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let done = pull::pull(entry, &path, &PullSettings::default(), &mut |have| bar.set_position(have));
        bar.finish_and_clear();
        done.map_err(|e| Failure::Failed(format!("{name}: {e}")))?;
        print_line(&format!(
            "{name:<20} {} ({} bytes, {}, checksum right)",
            path.display(),
            entry.size,
            entry.licence
        ))?;
    }
    Ok(())
}

/// What the layer engine makes of a model.
fn print_plan(model: &Model, size: Size, layers: bool, folders: &ModelFolders) -> Result<(), Failure> {
    let (plan, tail) = match plan_of(model, size, &[]) {
        Ok(planned) => planned,
        Err(e) => return print_line(&format!("layers       the layer engine does not run it: {e}")),
    };
    print_line(&format!(
        "layers       {} steps, {:.1} MMAC a picture at {size}, {:.1} MiB of memory a stream",
        plan.steps.len(),
        plan.macs() as f64 / 1e6,
        Stream::bytes_of(&plan) as f64 / (1 << 20) as f64
    ))?;
    match tail {
        None => print_line("             nothing is left to ONNX Runtime")?,
        Some(tail) => print_line(&format!(
            "tail         {} operations at the end are left to ONNX Runtime, from '{}' on; first {}",
            tail.n_nodes,
            tail.inputs.join("', '"),
            tail.why
        ))?,
    }
    let macs = |s: &Step| s.macs_per_cell * plan.maps[s.output].shape.n_cells() as u64;
    let mut kinds: BTreeMap<&str, (usize, u64)> = BTreeMap::new();
    for step in &plan.steps {
        let kind = kinds.entry(step.name()).or_default();
        kind.0 += 1;
        kind.1 += macs(step);
    }
    for (kind, (n, macs)) in kinds {
        print_line(&format!("             {n:>4} {kind:<15} {:>8.1} MMAC", macs as f64 / 1e6))?;
    }
    let of_some = |(i, _): &(usize, &Step)| plan.lazy.is_member(*i);
    let some: Vec<u64> = plan.steps.iter().enumerate().filter(of_some).map(|(_, s)| macs(s)).collect();
    if !some.is_empty() {
        let (n, macs) = (some.len(), some.iter().sum::<u64>() as f64 / 1e6);
        print_line(&format!(
            "             {n:>4} {:<15} {macs:>8.1} MMAC, only where there may be an object",
            "of all these"
        ))?;
    }
    for done in plan.done.iter().filter(|d| d.n_rewrites > 0) {
        print_line(&format!("passes       {}: {}", done.pass, done.n_rewrites))?;
    }
    match crate::models::profiles::find(model, folders, None)? {
        Some(profile) => {
            print_line(&format!("gates        {} from a profile", profile.gates.len()))?;
            for line in &profile.found {
                print_line(&format!("             {line}"))?;
            }
        }
        None => print_line("gates        safe defaults (passd calibrate finds better ones)")?,
    }
    if layers {
        for (i, step) in plan.steps.iter().enumerate() {
            let (from, to) = (&plan.maps[step.inputs[0]], &plan.maps[step.output]);
            print_line(&format!(
                "{i:>5} {:<15} {:>14} -> {:<14} {:>8.2} MMAC  {}{}{}",
                step.name(),
                from.shape.to_string(),
                to.shape.to_string(),
                macs(step) as f64 / 1e6,
                to.name,
                if step.is_gated { ", gated" } else { "" },
                if plan.lazy.is_member(i) { ", where there may be an object" } else { "" }
            ))?;
        }
    }
    Ok(())
}
