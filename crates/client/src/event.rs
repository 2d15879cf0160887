//! What happens to a proof, as it is kept and told.

use crate::record::{FailureInfo, Moment, ProofState};
use orchestrator::{AttemptNews, AttemptStep, Progress};
use scheduler::{AttemptId, TaskId, TaskKind};
use serde::{Deserialize, Serialize};

/// Something that happened to a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ProofEvent {
    /// It was accepted.
    Queued,
    /// It was begun, for the time that `start` says.
    Started {
        /// 1 for the first time.
        start: u32,
    },
    /// A task was found that has to be done.
    Submitted {
        /// What it asks for.
        kind: String,
    },
    /// A task needed not be done: its result is there from an earlier time.
    Remembered {
        /// What it asks for.
        kind: String,
    },
    /// A task was given to a worker, and waits there.
    Assigned(Attempt),
    /// Proving began.
    Proving(Attempt),
    /// A task is done.
    Done(Attempt),
    /// An attempt came to nothing.
    AttemptFailed {
        /// Which one.
        #[serde(flatten)]
        attempt: Attempt,
        /// Why.
        reason: String,
    },
    /// Nobody waits for an attempt any more.
    Dropped(Attempt),
    /// The program has run to its end.
    Executed {
        /// Cycles it took.
        cycles: u64,
    },
    /// A worker is ready for tasks.
    WorkerReady {
        /// Its name.
        worker: String,
    },
    /// How the run is cut into shards was chosen.
    Cut {
        /// As people set it, like `ELEMENT_THRESHOLD=130023424`.
        name: String,
        /// Why.
        reason: String,
    },
    /// A worker is gone; its tasks go to others.
    WorkerLost {
        /// Its name.
        worker: String,
        /// Why.
        reason: String,
    },
    /// It was begun again: tasks so far no longer count.
    Restarted {
        /// Why.
        reason: String,
    },
    /// All parts are there; the whole is being verified.
    Verifying,
    /// It is over.
    Finished {
        /// How it ended.
        state: ProofState,
        /// Why there is no proof, if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<FailureInfo>,
    },
}

/// An attempt at a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Attempt {
    /// Number of the task, within the service's process.
    pub task: u64,
    /// Its own number, used once ever.
    pub attempt: u64,
    /// What the task asks for.
    pub kind: String,
    /// Cycles of the program that the task proves; absent if it proves none, or an unknown number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cycles: u64,
    /// Who has it.
    pub worker: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// An event with its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EventRecord {
    /// From 1, without gaps within a proof.
    pub number: u64,
    /// When it happened.
    #[cfg_attr(feature = "schema", schema(value_type = String, format = DateTime))]
    pub at: Moment,
    /// What happened.
    #[serde(flatten)]
    pub event: ProofEvent,
}

impl ProofEvent {
    /// What `progress` tells; `None` for what another event says too.
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
            // Its attempt is done.
            Progress::Done { .. } => return None,
            Progress::Executed { cycles } => Self::Executed { cycles },
            Progress::Cut { name, reason, .. } => Self::Cut { name, reason },
            Progress::WorkerReady(worker) => Self::WorkerReady { worker },
            Progress::WorkerLost { worker, reason } => Self::WorkerLost { worker, reason },
            Progress::Restarted { reason } => Self::Restarted { reason },
            Progress::Verifying => Self::Verifying,
        })
    }

    /// What a program that proves with an orchestrator of its own would be told. Nothing where only a service has it,
    /// or of a kind of task that this release does not know.
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

    /// What is told of a proof is told the same through a service.
    fn check(progress: Progress) {
        let event = ProofEvent::of(progress.clone()).unwrap();
        let text = serde_json::to_string(&event).unwrap();
        let read: ProofEvent = serde_json::from_str(&text).unwrap();
        assert_eq!(read, event);
        assert_eq!(read.progress().first(), Some(&progress));
    }

    #[test]
    fn progress_is_the_same_through_a_service() {
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
    fn a_kind_of_task_that_is_unknown_is_passed_over() {
        assert_eq!(ProofEvent::Submitted { kind: "dream".to_owned() }.progress(), []);
    }
}
