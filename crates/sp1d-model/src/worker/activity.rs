//! The states of a worker.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a worker does, or why it does nothing. A draining worker finishes the attempts that it has started, and gets no
/// others. A quarantined worker gets no tasks of some or all kinds for a while, because it had too many faults or was
/// proven wrong. A disconnected worker should be connected, but is not. `other` is a state that this release does not
/// know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkerActivity {
    /// The worker starts its prover.
    Starting,
    /// The worker has no attempts.
    Idle,
    /// The worker has attempts.
    Busy,
    /// The worker finishes the attempts that it has started, and gets no others.
    Draining,
    /// The worker has no attempts and gets no tasks.
    Drained,
    /// The worker gets no tasks of some or all kinds for a while, because it had too many faults or was proven wrong.
    Quarantined,
    /// The worker should be connected, but is not.
    Disconnected,
    /// A state that this release does not know.
    #[default]
    #[serde(other)]
    Other,
}

impl WorkerActivity {
    /// Returns the stable name of the state, as in JSON and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Quarantined => "quarantined",
            Self::Disconnected => "disconnected",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for WorkerActivity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_same_name_in_json() {
        use WorkerActivity::{Busy, Disconnected, Drained, Draining, Idle, Other, Quarantined, Starting};
        for state in [Starting, Idle, Busy, Draining, Drained, Quarantined, Disconnected, Other] {
            let json = format!("\"{state}\"");
            assert_eq!(serde_json::to_string(&state).unwrap(), json);
            assert_eq!(serde_json::from_str::<WorkerActivity>(&json).unwrap(), state);
        }
    }

    #[test]
    fn an_unknown_state_is_read_as_other() {
        assert_eq!(serde_json::from_str::<WorkerActivity>("\"asleep\"").unwrap(), WorkerActivity::Other);
    }
}
