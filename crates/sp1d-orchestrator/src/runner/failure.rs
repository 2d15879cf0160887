//! Why a proof failed.

use sp1d_model::{FailureInfo, ProofFailureKind};
use sp1d_scheduler::{PastAttempt, TaskId, TaskKind, TryFailureCause};
use std::{fmt, time::Duration};

/// Why a proof failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofFailure {
    /// The program or its input is at fault. The proof would fail on any machine.
    #[error("{0}")]
    Program(String),
    /// The program needs more gas than the request allows. The proof would fail on any machine.
    #[error("{}", gas_failure(*.limit, *.gas))]
    GasLimit {
        /// The limit of the request.
        limit: u64,
        /// Gas of the whole run. `None` if the run was stopped before its end.
        gas: Option<u64>,
    },
    /// The request cannot be served as it is.
    #[error("{0}")]
    Request(String),
    /// The machine of the orchestrator is at fault, for example because its disk is full.
    #[error("{0}")]
    Machine(String),
    /// The execution was interrupted from outside. Another execution may succeed.
    #[error("{0}")]
    Interrupted(String),
    /// The finished proof does not verify, although all its parts are there. Its kind is
    /// [`ProofFailureKind::Unverified`].
    #[error("the finished proof does not verify: {0}")]
    WrongProof(String),
    /// A task failed for good.
    #[error("{}", task_failure(*.task, *.kind, .history))]
    Task {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
        /// Its attempts, oldest first.
        history: Vec<FailedAttempt>,
    },
    /// A task that is not a shard ran out of memory, and no connected worker is larger. Its kind is
    /// [`ProofFailureKind::OutOfMemory`].
    #[error("{}\nhint: add a worker with more memory", out_of_memory_text(*.task, *.kind, .history))]
    TaskOutOfMemory {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
        /// Its attempts, oldest first.
        history: Vec<FailedAttempt>,
    },
    /// A shard ran out of memory, or no connected worker has enough memory for it. Its kind is
    /// [`ProofFailureKind::OutOfMemory`].
    #[error("{0}")]
    ShardTooLarge(String),
    /// The workers that are large enough for a shard have left. It was given to none of the others, which are too
    /// small. Its kind is [`ProofFailureKind::OutOfMemory`].
    #[error("{}", no_large_worker(*.task, *.kind))]
    NoLargeWorkerRemains {
        /// The task that proves the shard.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
    },
    /// No connected worker supports a task kind that the proof needs.
    #[error("no connected worker supports {kind} tasks: {}", reasons.join("; "))]
    Unsupported {
        /// The task kind.
        kind: TaskKind,
        /// The reasons: one sentence for each of the first 10 workers, and then the number of the others.
        reasons: Vec<String>,
    },
    /// No worker was connected for longer than the settings allow.
    #[error("no worker was connected for {} s; last disconnected worker: {last}\nhint: start a worker with `sp1d worker`", waited.as_secs())]
    NoWorkers {
        /// How long the proof waited.
        waited: Duration,
        /// Which worker left last, and why.
        last: String,
    },
    /// All workers that could be reached served other orchestrators for longer than the settings allow.
    #[error(
        "no worker was free for {} s: {}\nhint: allow a longer wait with `SP1_DISTRIBUTED_PATIENCE_S` or the setting `patience_s`, or add workers",
        waited.as_secs(),
        workers.join("; ")
    )]
    WorkersTaken {
        /// How long the proof waited without a better place in a queue.
        waited: Duration,
        /// The first 10 workers, each with the orchestrator that it serves, and then the number of the others.
        workers: Vec<String>,
    },
    /// Workers that support a task kind were connected, and none of them could prove for longer than allowed: their
    /// provers were not loaded, or they were draining. Its kind is [`ProofFailureKind::NoWorkers`].
    #[error(
        "no connected worker was ready for {kind} tasks for {} s: {}\nhint: the logs of the workers say why a prover is not loaded; a drained worker continues after `sp1d resume`",
        waited.as_secs(),
        workers.join("; ")
    )]
    WorkersNotReady {
        /// The task kind.
        kind: TaskKind,
        /// How long the proof waited while such a worker was connected.
        waited: Duration,
        /// The first 10 workers, each with what keeps it from proving, and then the number of the others.
        workers: Vec<String>,
    },
    /// The timeout of the request passed.
    #[error("the proof did not end within its timeout of {} s\nhint: allow more time with `--timeout` or the setting `timeout_s`", .0.as_secs_f32())]
    Timeout(Duration),
    /// The timeout of the call passed before the proof could start.
    #[error(
        "the proof did not start within its timeout of {} s; it waited for {awaited}\nhint: check that the workers run (`sp1d doctor`), or allow more time with `--timeout` or the setting `timeout_s`",
        timeout.as_secs_f32()
    )]
    LateStart {
        /// The timeout of the call.
        timeout: Duration,
        /// What the call waited for.
        awaited: String,
    },
    /// The proof was cancelled.
    #[error("the proof was cancelled")]
    Cancelled,
    /// A defect in this software or in SP1.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<&ProofFailure> for FailureInfo {
    fn from(failure: &ProofFailure) -> Self {
        let kind = match failure {
            ProofFailure::Program(_) => ProofFailureKind::Program,
            ProofFailure::GasLimit { .. } => ProofFailureKind::GasLimit,
            ProofFailure::Request(_) => ProofFailureKind::Request,
            ProofFailure::Machine(_) => ProofFailureKind::Machine,
            ProofFailure::Interrupted(_) => ProofFailureKind::Interrupted,
            ProofFailure::WrongProof(_) => ProofFailureKind::Unverified,
            ProofFailure::Task { .. } => ProofFailureKind::Task,
            ProofFailure::Unsupported { .. } => ProofFailureKind::Unsupported,
            ProofFailure::ShardTooLarge(_)
            | ProofFailure::TaskOutOfMemory { .. }
            | ProofFailure::NoLargeWorkerRemains { .. } => ProofFailureKind::OutOfMemory,
            ProofFailure::NoWorkers { .. }
            | ProofFailure::WorkersTaken { .. }
            | ProofFailure::WorkersNotReady { .. } => ProofFailureKind::NoWorkers,
            ProofFailure::Timeout(_) | ProofFailure::LateStart { .. } => ProofFailureKind::Timeout,
            ProofFailure::Cancelled => ProofFailureKind::Cancelled,
            ProofFailure::Internal(_) => ProofFailureKind::Internal,
        };
        Self { kind, text: failure.to_string() }
    }
}

/// An attempt of a task that failed for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedAttempt {
    /// The attempt.
    pub past: PastAttempt,
    /// The name of its worker. `None` if the worker has disconnected and its name is forgotten.
    pub worker: Option<String>,
}

/// The failure of a proof that the panic of the dispatcher ends.
pub(crate) fn dispatcher_panicked() -> ProofFailure {
    ProofFailure::Internal("the dispatcher panicked".to_owned())
}

/// The failure of a try that fails with a task, for the cause that the dispatch state machine names.
pub(crate) fn failure_of_try(
    cause: TryFailureCause,
    task: TaskId,
    kind: TaskKind,
    history: Vec<FailedAttempt>,
) -> ProofFailure {
    match cause {
        TryFailureCause::TaskFailed => ProofFailure::Task { task, kind, history },
        TryFailureCause::TaskOutOfMemory => ProofFailure::TaskOutOfMemory { task, kind, history },
        TryFailureCause::ShardOutOfMemory => ProofFailure::ShardTooLarge(out_of_memory_text(task, kind, &history)),
        TryFailureCause::NoLargeWorkerRemains => ProofFailure::NoLargeWorkerRemains { task, kind },
    }
}

/// Describes a program that needs more gas than its request allows.
fn gas_failure(limit: u64, gas: Option<u64>) -> String {
    let what = match gas {
        Some(gas) => format!("the program needs {gas} gas, which is more than its limit of {limit}"),
        None => format!("the program exceeded its limit of {limit} gas and was stopped"),
    };
    format!("{what}\nhint: raise the gas limit (`--gas-limit`); `sp1d execute` prints the gas of a run")
}

/// Describes a task that ran out of memory.
fn out_of_memory_text(task: TaskId, kind: TaskKind, history: &[FailedAttempt]) -> String {
    format!("a {kind} task ran out of memory: {}", task_failure(task, kind, history))
}

/// Describes a shard that is too large for the connected workers, although it was given to none of them.
fn no_large_worker(task: TaskId, kind: TaskKind) -> String {
    format!("the workers that are large enough for task {} ({kind}) have left, and the others are too small", task.0)
}

/// Describes a task that failed for good, with all its attempts.
fn task_failure(task: TaskId, kind: TaskKind, history: &[FailedAttempt]) -> String {
    use fmt::Write;
    let mut text = format!("task {} ({kind}) failed permanently:", task.0);
    for FailedAttempt { past: PastAttempt { attempt, duration, reason, .. }, worker } in history {
        let worker = worker.as_ref().map(|name| format!(" on worker {name}")).unwrap_or_default();
        let (attempt, seconds) = (attempt.0, duration.as_secs_f32());
        write!(text, " [attempt {attempt}{worker} after {seconds:.1} s: {reason}]")
            .expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_scheduler::{AttemptEndReason, AttemptId, SessionId, WorkerId};

    #[track_caller]
    fn check_cause(cause: TryFailureCause, kind: ProofFailureKind, text: &str) {
        let failure = failure_of_try(cause, TaskId(7), TaskKind::ProveShard, Vec::new());
        let info = FailureInfo::from(&failure);
        assert_eq!(info.kind, kind, "{failure:?}");
        assert!(info.text.contains(text), "{}", info.text);
    }

    #[test]
    fn each_cause_has_its_kind_and_its_text() {
        check_cause(TryFailureCause::TaskFailed, ProofFailureKind::Task, "task 7");
        check_cause(TryFailureCause::ShardOutOfMemory, ProofFailureKind::OutOfMemory, "ran out of memory");
        check_cause(TryFailureCause::TaskOutOfMemory, ProofFailureKind::OutOfMemory, "hint: add a worker");
        check_cause(TryFailureCause::NoLargeWorkerRemains, ProofFailureKind::OutOfMemory, "the others are too small");
    }

    #[test]
    fn a_failed_task_names_its_attempts_and_their_workers() {
        let failed = |attempt: u64, worker: Option<&str>, reason| {
            let (attempt, session, id) = (AttemptId(attempt), SessionId(3), WorkerId(4));
            let past = PastAttempt { attempt, session, worker: id, duration: Duration::from_millis(1500), reason };
            FailedAttempt { past, worker: worker.map(str::to_owned) }
        };
        let history = [
            failed(1, Some("prover-7"), AttemptEndReason::WorkerLost),
            failed(2, None, AttemptEndReason::NeverStarted),
        ];
        let text = task_failure(TaskId(5), TaskKind::ProveShard, &history);
        let attempts = "[attempt 1 on worker prover-7 after 1.5 s: the worker was lost] \
                        [attempt 2 after 1.5 s: the worker never started it]";
        assert!(text.starts_with("task 5 (") && text.ends_with(attempts), "{text}");
    }

    /// Checks the kind and the start of the text of an exceeded gas limit.
    #[track_caller]
    fn check(gas: Option<u64>, text: &str) {
        let info = FailureInfo::from(&ProofFailure::GasLimit { limit: 1000, gas });
        assert_eq!(info.kind, ProofFailureKind::GasLimit);
        assert!(info.text.starts_with(text), "{}", info.text);
        assert_eq!(info.text.matches("\nhint: ").count(), 1, "{}", info.text);
    }

    #[test]
    fn exceeded_gas_limit_names_the_limit_and_the_gas() {
        check(Some(1001), "the program needs 1001 gas, which is more than its limit of 1000\n");
        check(None, "the program exceeded its limit of 1000 gas and was stopped\n");
    }
}
