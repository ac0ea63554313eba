//! `passd doctor`: what works here, what does not, and what mends it.

use super::common::{Failure, counted, print_line};
use crate::config;
use crate::doctor::{Finding, Verdict, examine};
use std::io::ErrorKind;
use std::path::PathBuf;

/// The config of the service.
const USUAL: &str = "/etc/passd/passd.toml";

/// Look whether everything is here that a config needs
///
/// Each provider is proved by an inference, each camera by a picture, the broker by a connection, folders by writing
/// to them. Exit status 0: all is well. 1: something does not work; each finding comes with its remedy.
///
/// Example: sudo -u passd passd doctor --config /etc/passd/passd.toml
#[derive(clap::Args)]
pub struct Args {
    /// Config file; else the service's, if there is one
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Findings as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let mut findings = Vec::new();
    let mut broken_pipe = Ok(());
    let mut tell = |finding: Finding| {
        if !args.json && broken_pipe.is_ok() {
            broken_pipe = show(&finding);
        }
        findings.push(finding);
    };
    let usual = Some(PathBuf::from(USUAL)).filter(|path| path.exists());
    let path = args.config.clone().or(usual);
    let config = match path.as_deref().map(|path| (path, config::load(path))) {
        None => {
            let says = format!("none was given, and there is no {USUAL}: the machine alone is looked at");
            tell(Finding::note("config", says));
            None
        }
        Some((path, Ok(config))) => {
            tell(Finding::good("config", format!("{}, {}", path.display(), counted(config.cameras.len(), "camera"))));
            Some(config)
        }
        Some((path, Err(e))) => {
            let remedy = match std::fs::File::open(path).map_err(|e| e.kind()) {
                Ok(_) => "correct the lines above; docs/config.md has every key",
                Err(ErrorKind::PermissionDenied) => "look as the service's user: sudo -u passd passd doctor",
                Err(_) => "name a config that is there: --config FILE; configs/ has examples",
            };
            tell(Finding::bad("config", e.to_string(), remedy));
            None
        }
    };
    examine(config.as_ref(), &mut tell);
    broken_pipe?;
    if args.json {
        print_line(&serde_json::to_string_pretty(&findings).map_err(|e| Failure::Failed(e.to_string()))?)?;
    }
    let n = |verdict| findings.iter().filter(|f| f.verdict == verdict).count();
    match (n(Verdict::Bad), n(Verdict::Warning)) {
        (0, _) if args.json => Ok(()),
        (0, 0) => print_line("all is well"),
        (0, warnings) => print_line(&format!("all works, with {}", counted(warnings, "warning"))),
        (bad, _) => Err(Failure::Failed(format!("{} found", counted(bad, "problem")))),
    }
}

fn show(f: &Finding) -> Result<(), Failure> {
    let word = match f.verdict {
        Verdict::Good => "ok",
        Verdict::Note => "-",
        Verdict::Warning => "warn",
        Verdict::Bad => "BAD",
    };
    // What is said on several lines stays together.
    print_line(&format!("{word:<5} {:<16} {}", f.what, f.says.trim_end().replace('\n', "\n      ")))?;
    match &f.remedy {
        Some(remedy) => print_line(&format!("      remedy: {remedy}")),
        None => Ok(()),
    }
}
