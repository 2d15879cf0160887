//! What the dispatch state machine knows about an attempt.

use super::{AttemptStep, deferred_events_check::DeferredEventsCheck};
use crate::{SessionId, TaskId};

/// An attempt that the scheduler has neither discarded nor accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct DispatchAttempt {
    pub(super) task: TaskId,
    /// The session that holds it, or held it last.
    pub(super) session: SessionId,
    pub(super) report: ResultReport,
    pub(super) events_check: DeferredEventsCheck,
    /// True once the running check of the deferred events is delayed. Not used while no check runs.
    pub(super) is_check_delayed: bool,
    pub(super) published: PublishedState,
}

/// What the watchers of an attempt know about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublishedState {
    /// It waits on its worker.
    Assigned,
    /// Its worker proves it.
    Started,
    /// Its worker was lost while it held the attempt, or the attempt was taken back. The attempt may still continue or
    /// end.
    Interrupted,
    /// It has ended.
    Ended,
}

impl PublishedState {
    /// Returns the state after `step`. `None` if the watchers must not see `step` now, for example because a worker
    /// repeats a report, or because an interrupted attempt is dropped, which says nothing new. `Done` is published even
    /// after another end, because the watchers must see which attempt did the task.
    pub(super) const fn after(self, step: &AttemptStep) -> Option<Self> {
        match (self, step) {
            (_, AttemptStep::Done) => Some(Self::Ended),
            (Self::Assigned | Self::Started | Self::Interrupted, AttemptStep::Failed(_))
            | (Self::Assigned | Self::Started, AttemptStep::Dropped) => Some(Self::Ended),
            (Self::Assigned, AttemptStep::Assigned) | (Self::Interrupted, AttemptStep::Continued) => {
                Some(Self::Assigned)
            }
            (Self::Assigned, AttemptStep::Started) => Some(Self::Started),
            (Self::Assigned | Self::Started, AttemptStep::Interrupted | AttemptStep::TakenBack) => {
                Some(Self::Interrupted)
            }
            (Self::Assigned, AttemptStep::Continued)
            | (Self::Started, AttemptStep::Assigned | AttemptStep::Started | AttemptStep::Continued)
            | (
                Self::Interrupted,
                AttemptStep::Assigned
                | AttemptStep::Started
                | AttemptStep::Interrupted
                | AttemptStep::TakenBack
                | AttemptStep::Dropped,
            )
            | (
                Self::Ended,
                AttemptStep::Assigned
                | AttemptStep::Started
                | AttemptStep::Interrupted
                | AttemptStep::TakenBack
                | AttemptStep::Continued
                | AttemptStep::Failed(_)
                | AttemptStep::Dropped,
            ) => None,
        }
    }
}

/// Whether an attempt has reported its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultReport {
    /// The result was not reported. Reports of deferred events and of the result count.
    Awaited,
    /// The result was reported. Further reports of deferred events and of the result are ignored.
    Received,
    /// The result does not count, because the deferred events or the claim were rejected. Further reports of deferred
    /// events and of the result are ignored.
    Ignored,
}

impl DispatchAttempt {
    pub(super) const fn new(task: TaskId, session: SessionId) -> Self {
        Self {
            task,
            session,
            report: ResultReport::Awaited,
            events_check: DeferredEventsCheck::NotStarted,
            is_check_delayed: false,
            published: PublishedState::Assigned,
        }
    }

    /// Returns true if a report from `session` about the deferred events or the result counts.
    pub(super) fn awaits_report_of(&self, session: SessionId) -> bool {
        self.session == session && self.report == ResultReport::Awaited
    }

    /// Returns true while the deferred events are checked.
    pub(super) fn is_check_running(&self) -> bool {
        self.events_check == DeferredEventsCheck::Running
    }

    /// Continues the attempt in `session`, which repeats all its reports. A running check of the deferred events
    /// continues. If the check has ended, the events are checked again: it may have ended while the worker counted as
    /// lost, and then the scheduler ignored its outcome.
    pub(super) fn continue_in(&mut self, session: SessionId) {
        self.session = session;
        self.report = ResultReport::Awaited;
        if self.events_check == DeferredEventsCheck::Ended {
            self.events_check = DeferredEventsCheck::NotStarted;
        }
    }
}
