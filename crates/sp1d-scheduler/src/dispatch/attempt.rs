//! What the dispatch machine knows about an open task and about an attempt.

use super::ResultKey;
use crate::{ProofId, SessionId, TaskId, TaskKind};

/// A task without an accepted result.
#[derive(Debug, Clone, Copy)]
pub(super) struct DispatchTask {
    pub(super) proof: ProofId,
    pub(super) kind: TaskKind,
    /// True if an attempt of the task must complete a marker before a result is accepted.
    pub(super) has_marker: bool,
    /// Key of its result. `None` if its results are not cached.
    pub(super) key: Option<ResultKey>,
}

/// An attempt that the scheduler has neither discarded nor accepted.
#[derive(Debug, Clone, Copy)]
pub(super) struct DispatchAttempt {
    pub(super) task: TaskId,
    pub(super) session: SessionId,
    pub(super) report: ResultReport,
    pub(super) marker: MarkerCheck,
    /// True once a step was published that ends the attempt.
    pub(super) is_end_published: bool,
}

/// Whether an attempt has reported its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultReport {
    /// The result was not reported. Reports of the marker and of the result count.
    Awaited,
    /// The result was reported. Further reports of the marker and of the result are ignored.
    Received,
    /// The result does not count, because the marker was rejected. Reports of the marker and of the result are ignored.
    Unwanted,
}

/// State of the check of an attempt's marker uploads. They are checked at most once per session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MarkerCheck {
    /// The marker was not reported, or not all of its uploads had arrived.
    Unreported,
    /// The driver checks the uploaded deferred events.
    Checking,
    /// The driver judges the claims.
    Judging,
    /// The check has ended.
    Ended,
}

impl DispatchAttempt {
    pub(super) const fn new(task: TaskId, session: SessionId) -> Self {
        Self { task, session, report: ResultReport::Awaited, marker: MarkerCheck::Unreported, is_end_published: false }
    }

    /// Returns true if a report of the marker or of the result counts, if it comes from `session`.
    pub(super) fn awaits_report_of(&self, session: SessionId) -> bool {
        self.session == session && self.report == ResultReport::Awaited
    }

    /// Returns true while the deferred events are checked or the claims are judged.
    pub(super) const fn is_marker_check_running(&self) -> bool {
        matches!(self.marker, MarkerCheck::Checking | MarkerCheck::Judging)
    }

    /// Continues the attempt in `session`, which repeats all its reports. A running check of the marker uploads
    /// continues. The scheduler ignored the marker if its check ended while the worker counted as lost. So the uploads
    /// are checked again.
    pub(super) fn continue_in(&mut self, session: SessionId) {
        self.session = session;
        self.report = ResultReport::Awaited;
        if self.marker == MarkerCheck::Ended {
            self.marker = MarkerCheck::Unreported;
        }
    }
}
