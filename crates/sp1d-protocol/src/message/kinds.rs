//! Conversion of kinds of tasks and failures to and from the wire.

use crate::wire;
use sp1d_model::{FailureKind, KindSet, TaskKind, clean_line};
use std::collections::BTreeMap;

/// Converts a kind of failure to its wire value.
#[must_use]
pub fn failure_kind_to_wire(kind: FailureKind) -> wire::FailureKind {
    match kind {
        FailureKind::Engine => wire::FailureKind::Engine,
        FailureKind::Panic => wire::FailureKind::Panic,
        FailureKind::Input => wire::FailureKind::Input,
        FailureKind::Output => wire::FailureKind::Output,
        FailureKind::Unsupported => wire::FailureKind::Unsupported,
        FailureKind::Killed => wire::FailureKind::Killed,
        FailureKind::OutOfMemory => wire::FailureKind::OutOfMemory,
    }
}

/// Converts a wire value to a kind of failure. A kind that this version does not know arrives as unspecified and is
/// treated as an engine error.
#[must_use]
pub fn failure_kind_from_wire(kind: wire::FailureKind) -> FailureKind {
    match kind {
        wire::FailureKind::Unspecified | wire::FailureKind::Engine => FailureKind::Engine,
        wire::FailureKind::Panic => FailureKind::Panic,
        wire::FailureKind::Input => FailureKind::Input,
        wire::FailureKind::Output => FailureKind::Output,
        wire::FailureKind::Unsupported => FailureKind::Unsupported,
        wire::FailureKind::Killed => FailureKind::Killed,
        wire::FailureKind::OutOfMemory => FailureKind::OutOfMemory,
    }
}

/// Converts a task kind to its wire value.
#[must_use]
pub fn kind_to_wire(kind: TaskKind) -> wire::TaskKind {
    match kind {
        TaskKind::ProveShard => wire::TaskKind::ProveShard,
        TaskKind::NormalizeShard => wire::TaskKind::NormalizeShard,
        TaskKind::RecursionReduce => wire::TaskKind::RecursionReduce,
        TaskKind::RecursionDeferred => wire::TaskKind::RecursionDeferred,
        TaskKind::ShrinkWrap => wire::TaskKind::ShrinkWrap,
        TaskKind::PlonkWrap => wire::TaskKind::PlonkWrap,
        TaskKind::Groth16Wrap => wire::TaskKind::Groth16Wrap,
    }
}

/// Converts a wire value to a task kind. Returns `None` for a kind that this version does not know.
#[must_use]
pub fn kind_from_wire(kind: wire::TaskKind) -> Option<TaskKind> {
    match kind {
        wire::TaskKind::Unspecified => None,
        wire::TaskKind::ProveShard => Some(TaskKind::ProveShard),
        wire::TaskKind::NormalizeShard => Some(TaskKind::NormalizeShard),
        wire::TaskKind::RecursionReduce => Some(TaskKind::RecursionReduce),
        wire::TaskKind::RecursionDeferred => Some(TaskKind::RecursionDeferred),
        wire::TaskKind::ShrinkWrap => Some(TaskKind::ShrinkWrap),
        wire::TaskKind::PlonkWrap => Some(TaskKind::PlonkWrap),
        wire::TaskKind::Groth16Wrap => Some(TaskKind::Groth16Wrap),
    }
}

impl wire::HelloRequest {
    /// Returns the task kinds that the worker supports, without kinds that this version does not know.
    #[must_use]
    pub fn kind_set(&self) -> KindSet {
        self.kinds().filter_map(kind_from_wire).collect()
    }

    /// Returns why the worker does not support other kinds. Each reason is cut to 400 characters.
    #[must_use]
    pub fn missing_capability_texts(&self) -> BTreeMap<TaskKind, String> {
        let missing = self.missing_capabilities.iter().take(TaskKind::ALL.len());
        let text = |reason: &str| clean_line(reason, 400);
        missing.filter_map(|missing| Some((kind_from_wire(missing.kind())?, text(&missing.reason)))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_round_trip_through_the_wire() {
        for kind in TaskKind::ALL {
            assert_eq!(kind_from_wire(kind_to_wire(kind)), Some(kind));
        }
        for kind in FailureKind::ALL {
            assert_eq!(failure_kind_from_wire(failure_kind_to_wire(kind)), kind);
        }
    }
}
