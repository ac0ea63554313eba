//! `passd try-model`: one model, opened in a process of its own. Called by passd itself.

use super::common::{Failure, print_line};
use crate::pipeline::trial;

pub fn run() -> Result<(), Failure> {
    // The answer goes to standard output: standard error is nobody's.
    match trial::answer(std::io::stdin().lock()) {
        Ok(verdict) => print_line(&verdict),
        Err(why) => {
            print_line(&why)?;
            Err(Failure::Failed(why))
        }
    }
}
