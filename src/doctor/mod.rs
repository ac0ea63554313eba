//! `passd doctor`: is everything here that the config needs? Each finding is proved by doing it, and comes with its
//! remedy.

mod checks;
mod finding;

pub use finding::{Finding, Verdict};

use crate::config::Config;

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
