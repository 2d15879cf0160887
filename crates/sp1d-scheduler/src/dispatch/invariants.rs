//! Facts that hold between the dispatch state machine's maps and the scheduler after every event.

use super::{
    DispatchState,
    attempt::{DispatchAttempt, ResultReport},
    deferred_events_check::DeferredEventsCheck,
};
use crate::{AttemptId, TaskStatus};

impl DispatchState {
    /// Checks that the dispatch state machine and the scheduler agree. The scheduler has its own
    /// [`check_invariants`](crate::Scheduler::check_invariants). Takes time proportional to everything that both hold,
    /// so it is meant for tests.
    ///
    /// # Panics
    /// Panics with a description if an invariant does not hold.
    pub fn check_invariants(&self) {
        self.check_tasks();
        self.check_attempts();
        self.check_sessions();
    }

    /// The tasks are the open tasks of the scheduler. Claims are kept only for tries that have not ended.
    fn check_tasks(&self) {
        assert_eq!(self.claims.len(), self.scheduler.counts().tries, "the claims do not match the tries");
        assert_eq!(self.tasks.len(), self.scheduler.counts().open_tasks, "the open tasks do not match");
        self.tasks.check_invariants();
        for (task, _) in self.tasks.iter() {
            let status = self.scheduler.task_status(task);
            assert!(
                status.is_some_and(|status| !matches!(status, TaskStatus::Accepted { .. })),
                "{task} is kept as an open task, but is {status:?}"
            );
            if let Some(TaskStatus::Verifying { attempt, .. }) = status {
                assert!(self.attempts.contains_key(&attempt), "{attempt} is being verified, but is unknown");
            }
        }
    }

    /// Every live attempt is known, with its session. The states of an attempt fit together.
    fn check_attempts(&self) {
        let mut live = 0;
        for (attempt, dispatched) in &self.attempts {
            let task = self.tasks.get(dispatched.task);
            assert!(task.is_some(), "{attempt} belongs to {}, which is not open", dispatched.task);
            assert!(
                dispatched.events_check == DeferredEventsCheck::NotStarted || task.is_some_and(|task| task.has_marker),
                "the task of {attempt} has no marker, but the attempt is {dispatched:?}"
            );
            assert!(
                dispatched.report != ResultReport::Ignored || dispatched.events_check == DeferredEventsCheck::Ended,
                "the result of {attempt} does not count, but its deferred events were not rejected: {dispatched:?}"
            );
            // The end of a session would lose a delivered result that the scheduler does not know.
            assert_eq!(
                dispatched.report == ResultReport::Received,
                self.scheduler.has_delivered(*attempt),
                "the scheduler does not agree whether {attempt} has delivered its result: {dispatched:?}"
            );
            if self.is_live(*attempt, *dispatched) {
                live += 1;
                assert_eq!(dispatched.report, ResultReport::Awaited, "{attempt} is live, but is {dispatched:?}");
            }
        }
        assert_eq!(live, self.scheduler.counts().live_attempts, "a live attempt is unknown");
    }

    fn is_live(&self, attempt: AttemptId, dispatched: DispatchAttempt) -> bool {
        self.scheduler.held_attempts(dispatched.session).is_some_and(|held| held.contains(&attempt))
    }

    /// Callers wait only for drains of sessions with a ready worker, and only these can resume attempts.
    fn check_sessions(&self) {
        for session in &self.awaited_drains {
            assert!(self.scheduler.worker_status(*session).is_some(), "a caller waits for the drain of {session}");
        }
        for session in self.resumable.sessions() {
            assert!(
                self.scheduler.worker_status(session).is_some(),
                "{session} has no ready worker, but can resume attempts"
            );
        }
    }
}
