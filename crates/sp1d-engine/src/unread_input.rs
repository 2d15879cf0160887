//! Values in the input of a program that the program did not read.

use std::fmt;

/// Input values that a program did not read. It still ran to its end: most likely, the caller passed more values than
/// the program expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnreadInput {
    /// Number of values that the program did not read, at least 1.
    pub unread: u64,
    /// Number of values in the input.
    pub values: u64,
}

impl UnreadInput {
    /// Returns what a program did not read of `values` values, after `reads` reads. Returns `None` if it may have read
    /// all: programs also read values that they make for themselves, so `reads` can be higher than `values`.
    #[must_use]
    pub fn after(reads: u64, values: u64) -> Option<Self> {
        let unread = values.saturating_sub(reads);
        (unread > 0).then_some(Self { unread, values })
    }

    /// Logs a warning.
    pub(crate) fn warn(self, proof_id: Option<&str>) {
        let Self { unread, values } = self;
        tracing::warn!(proof_id, unread, values, "{self}");
    }
}

impl fmt::Display for UnreadInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unread, values } = self;
        let noun = if *values == 1 { "value" } else { "values" };
        write!(f, "the program did not read {unread} of {values} input {noun}")
    }
}
