//! The kinds of failures that workers report.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of failure that a worker reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The engine returned an error.
    Engine,
    /// The engine panicked.
    Panic,
    /// An input could not be fetched, or differs from what was announced.
    Input,
    /// An output could not be delivered.
    Output,
    /// The worker does not take this task: it does not support it, or it already has the attempt or too many attempts.
    /// It has not tried the task, and is not at fault.
    Unsupported,
    /// The prover process ended while it ran the attempt.
    Killed,
    /// The kernel killed the prover process because memory ran out.
    OutOfMemory,
}

impl FailureKind {
    /// Every kind, in order of declaration.
    pub const ALL: [Self; 7] =
        [Self::Engine, Self::Panic, Self::Input, Self::Output, Self::Unsupported, Self::Killed, Self::OutOfMemory];

    /// Returns the stable name that logs and error messages show.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine error",
            Self::Panic => "engine panic",
            Self::Input => "input not fetched",
            Self::Output => "output not delivered",
            Self::Unsupported => "unsupported task",
            Self::Killed => "prover killed",
            Self::OutOfMemory => "out of memory",
        }
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
