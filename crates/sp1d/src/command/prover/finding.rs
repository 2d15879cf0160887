//! What a check of `sp1d doctor` found.

use serde::Serialize;
use sp1d_model::hint;
use std::fmt::Display;

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct CheckFinding {
    pub(super) what: String,
    pub(super) outcome: CheckOutcome,
    /// What the check found.
    pub(super) found: String,
    /// What to do about it. Empty if there is nothing to do, or if `found` already says it.
    pub(super) remedy: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckOutcome {
    Passed,
    /// It works, but slower than it could, or not for all purposes.
    Warning,
    Failed,
    /// The thing to check does not exist, or the system does not describe it.
    NotChecked,
}

impl CheckOutcome {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warning => "warning",
            Self::Failed => "failed",
            Self::NotChecked => "not checked",
        }
    }
}

pub(super) fn finding(
    what: impl Into<String>,
    outcome: CheckOutcome,
    found: impl Into<String>,
    remedy: impl Into<String>,
) -> CheckFinding {
    CheckFinding { what: what.into(), outcome, found: found.into(), remedy: remedy.into() }
}

/// Returns the finding for an error. The hints of the error are the remedy; `remedy` is used if it has none.
pub(super) fn failed(what: impl Into<String>, error: impl Display, remedy: &str) -> CheckFinding {
    let (found, hints) = hint::separate([error.to_string()]);
    let remedy = if hints.is_empty() { remedy.to_owned() } else { hints.join("; ") };
    finding(what, CheckOutcome::Failed, found, remedy)
}
