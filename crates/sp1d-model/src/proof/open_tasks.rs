//! The open tasks of a running proof: what happens with each of them, and why some wait.

use crate::{ids::TaskId, task::TaskKind};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The open tasks of a running proof, and why some of them wait. An open task was submitted and has no accepted result
/// yet. A proof that is not running has no open tasks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OpenTasks {
    /// Why tasks wait for a worker. The reason of the most tasks comes first.
    pub reasons: Vec<WaitingTasks>,
    /// Number of all open tasks, whether `tasks` contains them or not.
    pub count: u64,
    /// The selected open tasks, in the order of their numbers.
    pub tasks: Vec<OpenTask>,
}

impl OpenTasks {
    /// Returns the number of tasks that wait for a worker.
    #[must_use]
    pub fn waiting_tasks(&self) -> u64 {
        self.reasons.iter().map(|waiting| waiting.tasks).sum()
    }
}

/// Tasks that wait for the same reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WaitingTasks {
    /// Why the tasks wait, for programs.
    pub code: WaitCode,
    /// Why the tasks wait, for people.
    pub reason: String,
    /// Number of tasks that wait for this reason.
    pub tasks: u64,
}

impl fmt::Display for WaitingTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wait = if self.tasks == 1 { "task waits" } else { "tasks wait" };
        write!(f, "{} {wait}: {}", self.tasks, self.reason)
    }
}

/// Why a task waits for a worker. `other` is a reason that this release does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WaitCode {
    /// No connected worker has loaded its prover yet, or no worker is connected.
    NoWorkerReady,
    /// No ready worker supports the kind of the task.
    KindUnsupported,
    /// Every worker that supports the kind is draining, quarantined or starting its prover.
    AllUnavailable,
    /// The proof is only for trusted workers, and no worker that supports the kind of the task is trusted.
    NoTrustedWorker,
    /// No worker that supports the kind is large enough for the task.
    TooLittleMemory,
    /// Every available worker was tried without success, or has too little memory for the task.
    AllAvailableExcluded,
    /// Every worker with a free slot was tried without success, or has too little memory for the task.
    AllFreeExcluded,
    /// Every available worker is full: it has no free slot for the kind of the task.
    AllFull,
    /// The placement policy `pack` leaves workers free.
    OutsidePackPlan,
    /// A reason that this release does not know.
    #[serde(other)]
    Other,
}

/// A task without an accepted result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct OpenTask {
    /// Number of the task. Unique until the service restarts.
    #[cfg_attr(feature = "schema", schema(value_type = u64))]
    pub task: TaskId,
    /// Kind of the task.
    pub kind: TaskKind,
    /// What happens with the task.
    #[serde(flatten)]
    pub state: OpenTaskState,
}

/// What happens with an open task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum OpenTaskState {
    /// The task waits for a worker.
    Waiting {
        /// Seconds since the task started to wait.
        seconds: u64,
        /// Why it waits, for programs.
        code: WaitCode,
        /// Why it waits, for people.
        reason: String,
    },
    /// The task is assigned to a worker, and waits there.
    Assigned {
        /// Name of the worker.
        worker: String,
        /// Seconds since the assignment.
        seconds: u64,
    },
    /// A worker proves the task.
    Proving {
        /// Name of the worker.
        worker: String,
        /// Seconds since the worker started to prove the task.
        seconds: u64,
    },
    /// The task's result is being verified.
    Verifying {
        /// Name of the worker that delivered the result.
        worker: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that a task in this `state` has the form `json`, and is the same when it is read again.
    #[track_caller]
    fn check(state: OpenTaskState, json: &str) {
        let open = OpenTask { task: TaskId(u64::MAX), kind: TaskKind::ProveShard, state };
        let text = serde_json::to_string(&open).unwrap();
        assert_eq!(text, format!(r#"{{"task":18446744073709551615,"kind":"prove_shard",{json}}}"#));
        assert_eq!(serde_json::from_str::<OpenTask>(&text).unwrap(), open);
    }

    #[test]
    fn open_tasks_stay_the_same_when_sent() {
        let worker = || "one".to_owned();
        check(
            OpenTaskState::Waiting { seconds: 7, code: WaitCode::AllFull, reason: "of this".to_owned() },
            r#""state":"waiting","seconds":7,"code":"all_full","reason":"of this""#,
        );
        check(
            OpenTaskState::Assigned { worker: worker(), seconds: 7 },
            r#""state":"assigned","worker":"one","seconds":7"#,
        );
        check(
            OpenTaskState::Proving { worker: worker(), seconds: 7 },
            r#""state":"proving","worker":"one","seconds":7"#,
        );
        check(OpenTaskState::Verifying { worker: worker() }, r#""state":"verifying","worker":"one""#);
    }

    #[test]
    fn an_unknown_reason_is_read_as_other() {
        assert_eq!(serde_json::from_str::<WaitCode>("\"asleep\"").unwrap(), WaitCode::Other);
    }

    #[test]
    fn waiting_tasks_are_counted_in_words() {
        let waiting = |tasks| WaitingTasks { code: WaitCode::AllFull, reason: "all are full".to_owned(), tasks };
        assert_eq!(waiting(1).to_string(), "1 task waits: all are full");
        assert_eq!(waiting(12).to_string(), "12 tasks wait: all are full");
    }
}
