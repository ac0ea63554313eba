//! `passd doctor`: is everything here that the config needs? Each finding is proved by doing it, and comes with its
//! remedy.

mod checks;

use crate::config::Config;
use crate::files::try_to_write;
use serde::Serialize;
use std::path::Path;

/// How it stands with something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    /// Nothing that is needed.
    Note,
    /// Works, but not well.
    Warning,
    /// Does not work.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub verdict: Verdict,
    pub what: String,
    pub says: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn new(verdict: Verdict, what: impl Into<String>, says: impl Into<String>) -> Self {
        Self { verdict, what: what.into(), says: says.into(), remedy: None }
    }

    pub fn good(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Verdict::Good, what, says)
    }

    pub fn note(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Verdict::Note, what, says)
    }

    fn warning(what: impl Into<String>, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(Verdict::Warning, what, says) }
    }

    pub fn bad(what: impl Into<String>, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(Verdict::Bad, what, says) }
    }
}

/// Looks at this machine, and at everything that `config` names. `tell` gets each finding as soon as it is known.
pub fn examine(config: Option<&Config>, tell: &mut dyn FnMut(Finding)) {
    checks::machine(tell);
    checks::playing(config, tell);
    checks::inference(config, tell);
    let Some(config) = config else { return };
    checks::models(config, tell);
    checks::cameras(config, tell);
    checks::folders(config, tell);
    checks::network(config, tell);
}

/// Whether a folder, or the one in which it would be made, can be written.
fn can_write(folder: &Path) -> std::io::Result<()> {
    // Only looked at: nothing that is made for it stays.
    let missing: Vec<&Path> = folder.ancestors().take_while(|f| !f.as_os_str().is_empty() && !f.exists()).collect();
    std::fs::create_dir_all(folder)?;
    let done = try_to_write(folder);
    for made in missing {
        let _ = std::fs::remove_dir(made);
    }
    done
}
