//! `passd models`: which models there are, and what is known of them.

use super::{Failure, print_line};
use crate::infer::model::{Model, ModelFolders};
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
        Command::Info { model } => {
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
            Ok(())
        }
    }
}
