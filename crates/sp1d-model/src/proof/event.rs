//! Events of a proof.

use super::{failure::FailureInfo, state::ProofState};
use crate::{
    ids::{AttemptId, TaskId},
    moment::Moment,
    task::TaskKind,
};
use serde::{Deserialize, Serialize};

/// An event of a proof. Only a service has the events `queued`, `started` and `finished`. The events `assigned`,
/// `proving`, `interrupted`, `taken_back`, `continued`, `done`, `attempt_failed` and `dropped` are about an attempt. An
/// attempt has at most one of the last three, and no other event afterwards. One exception: if a worker reports that an
/// attempt failed and delivers its result nevertheless, `done` follows `attempt_failed`. Usually no event follows
/// `interrupted` or `taken_back`. If the worker comes back with the attempt, `continued` follows. `done` or
/// `attempt_failed` follows if it arrives nevertheless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum ProofEvent {
    /// The request was accepted.
    Queued,
    /// The proof was started.
    Started {
        /// Number of the start: 1 for the first start.
        start: u32,
    },
    /// A task was submitted. `cached_result` follows if the result cache has its result.
    Submitted {
        /// Kind of the task.
        kind: TaskKind,
    },
    /// A submitted task is not run, because its result was in the result cache.
    CachedResult {
        /// Kind of the task.
        kind: TaskKind,
    },
    /// An attempt was assigned to a worker, and waits there.
    Assigned(AttemptInfo),
    /// The worker has started to prove the attempt.
    Proving(AttemptInfo),
    /// The worker was lost while it had the attempt. The task waits, or goes to another worker.
    Interrupted(AttemptInfo),
    /// The orchestrator took the attempt back from its worker. The task waits, or goes to another worker.
    TakenBack(AttemptInfo),
    /// The worker has the attempt again after `interrupted` or `taken_back`. `proving` follows if the worker proves it.
    Continued(AttemptInfo),
    /// The attempt's result was accepted: its task is done.
    Done(AttemptInfo),
    /// The attempt failed, or what it delivered was rejected.
    AttemptFailed {
        /// The attempt.
        #[serde(flatten)]
        attempt: AttemptInfo,
        /// Why the attempt failed.
        reason: String,
    },
    /// The attempt's result is no longer needed: another attempt did its task, or the proof ended.
    Dropped(AttemptInfo),
    /// The program has run to its end. The only shards that follow are those of its memory and its precompiles.
    Executed {
        /// Number of cycles that the program ran.
        cycles: u64,
        /// Number of values in the input that the program did not read. Absent if it read all.
        #[serde(default, skip_serializing_if = "is_zero")]
        unread_values: u64,
    },
    /// A worker is ready for tasks.
    WorkerReady {
        /// Name of the worker.
        worker: String,
    },
    /// A worker is draining: it finishes the attempts that it has started, and gets no others.
    WorkerDraining {
        /// Name of the worker.
        worker: String,
    },
    /// The orchestrator chose how to cut the run into shards.
    Cut {
        /// The setting with the chosen value: `ELEMENT_THRESHOLD=130023424`.
        #[serde(rename = "name")]
        setting: String,
        /// Why the orchestrator chose this cut.
        reason: String,
        /// The options of the request with this choice, for use in another request. They stay where the proof runs:
        /// the JSON does not contain them.
        #[serde(skip)]
        options: String,
    },
    /// A worker disconnected. Its tasks go to other workers.
    WorkerLost {
        /// Name of the worker.
        worker: String,
        /// Why the worker disconnected.
        reason: String,
    },
    /// The orchestrator restarted the proof. Tasks so far no longer count.
    Restarted {
        /// Why the proof was restarted.
        reason: String,
    },
    /// All tasks are done. The whole proof is being verified.
    Verifying,
    /// The proof has ended.
    Finished {
        /// The final state.
        state: ProofState,
        /// Why the proof failed or was cancelled.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureInfo>,
    },
}

/// One assignment of a task to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct AttemptInfo {
    /// Number of the task. Unique until the service restarts.
    #[cfg_attr(feature = "schema", schema(value_type = u64))]
    pub task: TaskId,
    /// Number of the attempt. Never used again, even after a restart of the service.
    #[cfg_attr(feature = "schema", schema(value_type = u64))]
    pub attempt: AttemptId,
    /// Kind of the task.
    pub kind: TaskKind,
    /// Number of program cycles that the task proves. Absent if the task proves no cycles, or if their number is
    /// unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cycles: u64,
    /// Name of the worker.
    pub worker: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An event with its number and time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EventRecord {
    /// Number of the event within the proof, from 1 and without gaps.
    pub number: u64,
    /// When the event happened.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    /// The event itself.
    #[serde(flatten)]
    pub event: ProofEvent,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(cycles: u64) -> AttemptInfo {
        let (task, attempt) = (TaskId(1), AttemptId(u64::MAX));
        AttemptInfo { task, attempt, kind: TaskKind::ProveShard, cycles, worker: "one".to_owned() }
    }

    /// Checks that `event` has the form `json`, and is the same when it is read again.
    #[track_caller]
    fn check(event: ProofEvent, json: &str) {
        let record = EventRecord { number: 7, at: Moment(0), event };
        let text = serde_json::to_string(&record).unwrap();
        assert_eq!(text, format!(r#"{{"number":7,"at":"1970-01-01T00:00:00.000Z",{json}}}"#));
        assert_eq!(serde_json::from_str::<EventRecord>(&text).unwrap(), record);
    }

    #[test]
    fn events_stay_the_same_when_sent() {
        const ATTEMPT: &str = r#""task":1,"attempt":18446744073709551615,"kind":"prove_shard""#;
        let reason = || "of this".to_owned();
        check(ProofEvent::Queued, r#""event":"queued""#);
        check(ProofEvent::Started { start: 2 }, r#""event":"started","start":2"#);
        for kind in TaskKind::ALL {
            check(ProofEvent::Submitted { kind }, &format!(r#""event":"submitted","kind":"{kind}""#));
            check(ProofEvent::CachedResult { kind }, &format!(r#""event":"cached_result","kind":"{kind}""#));
        }
        for (event, name) in [
            (ProofEvent::Assigned(attempt(0)), "assigned"),
            (ProofEvent::Proving(attempt(0)), "proving"),
            (ProofEvent::Interrupted(attempt(0)), "interrupted"),
            (ProofEvent::TakenBack(attempt(0)), "taken_back"),
            (ProofEvent::Continued(attempt(0)), "continued"),
            (ProofEvent::Done(attempt(0)), "done"),
            (ProofEvent::Dropped(attempt(0)), "dropped"),
        ] {
            check(event, &format!(r#""event":"{name}",{ATTEMPT},"worker":"one""#));
        }
        check(ProofEvent::Done(attempt(9)), &format!(r#""event":"done",{ATTEMPT},"cycles":9,"worker":"one""#));
        check(
            ProofEvent::AttemptFailed { attempt: attempt(0), reason: reason() },
            &format!(r#""event":"attempt_failed",{ATTEMPT},"worker":"one","reason":"of this""#),
        );
        check(ProofEvent::Executed { cycles: 7, unread_values: 0 }, r#""event":"executed","cycles":7"#);
        let unread = ProofEvent::Executed { cycles: 7, unread_values: 2 };
        check(unread, r#""event":"executed","cycles":7,"unread_values":2"#);
        check(ProofEvent::WorkerReady { worker: "one".to_owned() }, r#""event":"worker_ready","worker":"one""#);
        let draining = ProofEvent::WorkerDraining { worker: "one".to_owned() };
        check(draining, r#""event":"worker_draining","worker":"one""#);
        check(
            ProofEvent::Cut { setting: "ELEMENT_THRESHOLD=1".to_owned(), reason: reason(), options: String::new() },
            r#""event":"cut","name":"ELEMENT_THRESHOLD=1","reason":"of this""#,
        );
        check(
            ProofEvent::WorkerLost { worker: "one".to_owned(), reason: reason() },
            r#""event":"worker_lost","worker":"one","reason":"of this""#,
        );
        check(ProofEvent::Restarted { reason: reason() }, r#""event":"restarted","reason":"of this""#);
        check(ProofEvent::Verifying, r#""event":"verifying""#);
        check(ProofEvent::Finished { state: ProofState::Done, failure: None }, r#""event":"finished","state":"done""#);
    }

    #[test]
    fn the_options_of_a_cut_are_not_sent() {
        let event = ProofEvent::Cut { setting: String::new(), reason: String::new(), options: "secret".to_owned() };
        assert_eq!(serde_json::to_string(&event).unwrap(), r#"{"event":"cut","name":"","reason":""}"#);
    }
}
