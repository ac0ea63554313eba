//! The command line: what each command takes, and its exit status.
//!
//! 0: done. 1: it did not work out. 2: the arguments or the config are wrong.

mod calibrate;
mod common;
mod demo;
mod detect;
mod doctor;
mod engines;
mod eval;
mod learn;
mod log;
mod models;
mod numbers;
mod run;
mod sim;
mod trial;

use crate::text::printable_lines;
use clap::{CommandFactory, Parser, Subcommand};
use common::Failure;
use std::path::PathBuf;
use std::process::ExitCode;

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
    Learn(learn::Args),
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
        Command::Learn(args) => learn::run(&args),
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
