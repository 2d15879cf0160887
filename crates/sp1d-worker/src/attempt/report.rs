//! Reports about an attempt.

use crate::engine::AttemptError;
use sp1d_protocol::{
    MessageLimits,
    wire::{self, from_worker::Message},
};
use sp1d_scheduler::AttemptId;

/// A report about an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum AttemptReport {
    /// The attempt has started.
    Started,
    /// The attempt's marker is complete.
    Marker,
    /// The attempt is done. The number is its proving time in milliseconds.
    Done(u64),
    /// The attempt has failed.
    Failed(AttemptError),
}

impl AttemptReport {
    /// Returns the position of this report in the sending order. A later report with the same position replaces the
    /// earlier report.
    pub(super) const fn position(&self) -> usize {
        match self {
            Self::Started => 0,
            Self::Marker => 1,
            Self::Done(_) | Self::Failed(_) => 2,
        }
    }

    pub(super) fn message(self, attempt: AttemptId) -> Message {
        let attempt = attempt.0;
        match self {
            Self::Started => Message::Started(wire::Started { attempt }),
            Self::Marker => Message::MarkerComplete(wire::MarkerComplete { attempt }),
            Self::Done(proving_ms) => Message::Done(wire::Done { attempt, proving_ms }),
            Self::Failed(AttemptError { kind, mut text }) => {
                text.truncate(text.floor_char_boundary(MessageLimits::FAILURE_BYTES));
                Message::Failed(wire::Failed { attempt, kind: sp1d_protocol::failure_kind_to_wire(kind).into(), text })
            }
        }
    }
}
