//! Events of a proof, as the service stores and sends them.

use crate::record::{FailureInfo, Moment, ProofState};
use orchestrator::{AttemptNews, AttemptStep, Progress};
use scheduler::{AttemptId, TaskId, TaskKind};
use serde::{Deserialize, Serialize};

/// An event of a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ProofEvent {
    /// The request was accepted.
    Queued,
    /// The proof was started.
    Started {
        /// Number of the start: 1 for the first start.
        start: u32,
    },
    /// A task was submitted, and must be run.
    Submitted {
        /// Kind of the task.
        kind: String,
    },
    /// A task was not run, because its result was in the result cache.
    Remembered {
        /// Kind of the task.
        kind: String,
    },
    /// An attempt was assigned to a worker, and waits there.
    Assigned(Attempt),
    /// The worker has started to prove the attempt.
    Proving(Attempt),
    /// The attempt's result was accepted, and its task is done.
    Done(Attempt),
    /// The attempt failed.
    AttemptFailed {
        /// The attempt.
        #[serde(flatten)]
        attempt: Attempt,
        /// Why the attempt failed.
        reason: String,
    },
    /// The attempt was dropped, because its result is no longer needed.
    Dropped(Attempt),
    /// The program has run to its end.
    Executed {
        /// Number of cycles that the program ran.
        cycles: u64,
    },
    /// A worker is ready for tasks.
    WorkerReady {
        /// Name of the worker.
        worker: String,
    },
    /// The orchestrator chose how to cut the execution into shards.
    Cut {
        /// The choice, in the form of a setting: `ELEMENT_THRESHOLD=130023424`.
        name: String,
        /// Why the orchestrator chose this cut.
        reason: String,
    },
    /// A worker was lost. Its tasks go to other workers.
    WorkerLost {
        /// Name of the worker.
        worker: String,
        /// Why the worker was lost.
        reason: String,
    },
    /// The orchestrator restarted the proof. Tasks so far no longer count.
    Restarted {
        /// Why the proof was restarted.
        reason: String,
    },
    /// All parts are finished. The whole proof is being verified.
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

/// One try of one task on one worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// Number of the task. Unique until the service restarts.
    pub task: u64,
    /// Number of the attempt. Never used again, even after a restart of the service.
    pub attempt: u64,
    /// Kind of the task.
    pub kind: String,
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

impl ProofEvent {
    /// Returns the event for `progress`. `None` for `Progress::Done`, because the event of its attempt has the same
    /// information.
    #[must_use]
    pub fn of(progress: Progress) -> Option<Self> {
        Some(match progress {
            Progress::Submitted(kind) => Self::Submitted { kind: kind.to_string() },
            Progress::Remembered(kind) => Self::Remembered { kind: kind.to_string() },
            Progress::Attempt(AttemptNews { task, attempt, kind, cycles, worker, step }) => {
                let attempt = Attempt { task: task.0, attempt: attempt.0, kind: kind.to_string(), cycles, worker };
                match step {
                    AttemptStep::Assigned => Self::Assigned(attempt),
                    AttemptStep::Started => Self::Proving(attempt),
                    AttemptStep::Done => Self::Done(attempt),
                    AttemptStep::Failed(reason) => Self::AttemptFailed { attempt, reason },
                    AttemptStep::Dropped => Self::Dropped(attempt),
                }
            }
            // `Done` of the attempt has the same information.
            Progress::Done { .. } => return None,
            Progress::Executed { cycles } => Self::Executed { cycles },
            Progress::Cut { name, reason, .. } => Self::Cut { name, reason },
            Progress::WorkerReady(worker) => Self::WorkerReady { worker },
            Progress::WorkerLost { worker, reason } => Self::WorkerLost { worker, reason },
            Progress::Restarted { reason } => Self::Restarted { reason },
            Progress::Verifying => Self::Verifying,
        })
    }

    /// Returns the progress that a program with its own orchestrator would get for this event. Empty for events that
    /// only a service has, and for task kinds that this release does not know.
    #[must_use]
    pub fn progress(&self) -> Vec<Progress> {
        let news = |attempt: &Attempt, step: AttemptStep| {
            let kind = kind(&attempt.kind)?;
            let (task, number) = (TaskId(attempt.task), AttemptId(attempt.attempt));
            let (cycles, worker) = (attempt.cycles, attempt.worker.clone());
            Some(Progress::Attempt(AttemptNews { task, attempt: number, kind, cycles, worker, step }))
        };
        let progress = match self {
            Self::Queued | Self::Started { .. } | Self::Finished { .. } => None,
            Self::Submitted { kind: name } => kind(name).map(Progress::Submitted),
            Self::Remembered { kind: name } => kind(name).map(Progress::Remembered),
            Self::Assigned(attempt) => news(attempt, AttemptStep::Assigned),
            Self::Proving(attempt) => news(attempt, AttemptStep::Started),
            Self::Done(attempt) => {
                let done = kind(&attempt.kind).map(|kind| Progress::Done { kind, worker: attempt.worker.clone() });
                return news(attempt, AttemptStep::Done).into_iter().chain(done).collect();
            }
            Self::AttemptFailed { attempt, reason } => news(attempt, AttemptStep::Failed(reason.clone())),
            Self::Dropped(attempt) => news(attempt, AttemptStep::Dropped),
            Self::Executed { cycles } => Some(Progress::Executed { cycles: *cycles }),
            Self::Cut { name, reason } => {
                let (name, reason, options) = (name.clone(), reason.clone(), String::new());
                Some(Progress::Cut { name, reason, options })
            }
            Self::WorkerReady { worker } => Some(Progress::WorkerReady(worker.clone())),
            Self::WorkerLost { worker, reason } => {
                Some(Progress::WorkerLost { worker: worker.clone(), reason: reason.clone() })
            }
            Self::Restarted { reason } => Some(Progress::Restarted { reason: reason.clone() }),
            Self::Verifying => Some(Progress::Verifying),
        };
        progress.into_iter().collect()
    }
}

fn kind(name: &str) -> Option<TaskKind> {
    TaskKind::ALL.into_iter().find(|kind| kind.to_string() == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that `progress` stays the same when it is sent as an event.
    fn check(progress: Progress) {
        let event = ProofEvent::of(progress.clone()).unwrap();
        let text = serde_json::to_string(&event).unwrap();
        let read: ProofEvent = serde_json::from_str(&text).unwrap();
        assert_eq!(read, event);
        assert_eq!(read.progress().first(), Some(&progress));
    }

    #[test]
    fn progress_stays_the_same_when_sent_as_events() {
        let steps = [
            AttemptStep::Assigned,
            AttemptStep::Started,
            AttemptStep::Done,
            AttemptStep::Failed("of this".to_owned()),
            AttemptStep::Dropped,
        ];
        for step in steps {
            let (task, attempt, cycles) = (TaskId(1), AttemptId(u64::MAX), 7);
            let worker = "worker".to_owned();
            check(Progress::Attempt(AttemptNews { task, attempt, kind: TaskKind::ProveShard, cycles, worker, step }));
        }
        for kind in TaskKind::ALL {
            check(Progress::Submitted(kind));
            check(Progress::Remembered(kind));
        }
        check(Progress::Executed { cycles: 7 });
        let (name, reason) = ("ELEMENT_THRESHOLD=1".to_owned(), "of this".to_owned());
        check(Progress::Cut { name, reason, options: String::new() });
        check(Progress::WorkerReady("worker".to_owned()));
        check(Progress::WorkerLost { worker: "worker".to_owned(), reason: "of this".to_owned() });
        check(Progress::Restarted { reason: "of this".to_owned() });
        check(Progress::Verifying);
    }

    #[test]
    fn unknown_task_kinds_are_ignored() {
        assert_eq!(ProofEvent::Submitted { kind: "dream".to_owned() }.progress(), []);
    }
}
