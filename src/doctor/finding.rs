//! What was looked at, and how it stands with it.

use serde::Serialize;

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
    pub(super) fn new(verdict: Verdict, what: impl Into<String>, says: impl Into<String>) -> Self {
        Self { verdict, what: what.into(), says: says.into(), remedy: None }
    }

    pub fn good(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Verdict::Good, what, says)
    }

    pub fn note(what: impl Into<String>, says: impl Into<String>) -> Self {
        Self::new(Verdict::Note, what, says)
    }

    pub(super) fn warning(what: impl Into<String>, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(Verdict::Warning, what, says) }
    }

    pub fn bad(what: impl Into<String>, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..Self::new(Verdict::Bad, what, says) }
    }
}
