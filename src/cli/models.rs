//! `passd models`: which models there are, and what is known of them.

use super::{Failure, print_line};
use crate::engine::plan::Step;
use crate::geom::Size;
use crate::infer::layers::plan_of;
use crate::infer::model::{Model, ModelFolders};
use std::collections::BTreeMap;
use std::path::PathBuf;

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
    /// Everything that the sidecar says, and whether the file is what it should be
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
        Command::Info { model, size, layers } => {
            let model = Model::load(model, &folders)?;
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
            print_plan(&model, size.unwrap_or(model.size), *layers, &folders)
        }
    }
}

/// What the layer engine makes of a model.
fn print_plan(model: &Model, size: Size, layers: bool, folders: &ModelFolders) -> Result<(), Failure> {
    let (plan, tail) = match plan_of(model, size) {
        Ok(planned) => planned,
        Err(e) => return print_line(&format!("layers       the layer engine does not run it: {e}")),
    };
    print_line(&format!(
        "layers       {} steps, {:.1} MMAC a picture at {size}, {:.1} MiB of memory a stream",
        plan.steps.len(),
        plan.macs() as f64 / 1e6,
        plan.state_bytes() as f64 / (1 << 20) as f64
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
    for done in plan.done.iter().filter(|d| d.n_rewrites > 0) {
        print_line(&format!("passes       {}: {}", done.pass, done.n_rewrites))?;
    }
    match crate::infer::gates::find(model, folders, None)? {
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
                "{i:>5} {:<15} {:>14} -> {:<14} {:>8.2} MMAC  {}{}",
                step.name(),
                from.shape.to_string(),
                to.shape.to_string(),
                macs(step) as f64 / 1e6,
                to.name,
                if step.is_gated { ", gated" } else { "" }
            ))?;
        }
    }
    Ok(())
}
