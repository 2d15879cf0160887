//! Starts the check of an attempt's deferred events, and judges its claim.

use super::{
    AttemptStep, DeferredClaim, DispatchCommand, DispatchState,
    attempt::{DispatchAttempt, ResultReport},
    claim_history::ClaimVerdict,
    deferred_events_check::DeferredEventsCheck,
    open_tasks::DispatchTask,
    state_machine::EventContext,
};
use crate::{AttemptFailure, AttemptId, Event, SessionId, WorkerId};

/// The reason for the quarantine of a worker whose claim was refuted by later claims.
const CLAIM_REFUTED: &str = "workers of two origins refuted the deferred events that it claimed for a shard";

/// The reason for rejecting a claim that workers of two origins contradict.
const CONTRADICTED: &str = "workers of two origins claimed other deferred events for the same shard";

impl DispatchState {
    /// Starts the check of the deferred events that `attempt` uploaded for its marker, unless it has run in this
    /// session or the task has no marker. SP1 makes precompile shards from the events without checking them.
    pub(super) fn on_deferred_events_uploaded(
        &mut self,
        session: SessionId,
        attempt: AttemptId,
        context: &mut EventContext<'_>,
    ) {
        let Some(dispatched) =
            self.attempts.get_mut(&attempt).filter(|dispatched| dispatched.awaits_report_of(session))
        else {
            return;
        };
        let task = dispatched.task;
        if dispatched.events_check == DeferredEventsCheck::NotStarted
            && self.tasks.get(task).is_some_and(|known| known.has_marker)
        {
            dispatched.events_check = DeferredEventsCheck::Running;
            dispatched.is_check_delayed = false;
            context.commands.push(DispatchCommand::CheckDeferredEvents { attempt, task });
        }
    }

    pub(super) fn on_deferred_events_checked(
        &mut self,
        attempt: AttemptId,
        outcome: Result<DeferredClaim, String>,
        context: &mut EventContext<'_>,
    ) {
        // The attempt may have been discarded while its uploads were checked.
        let Some(dispatched) = self
            .attempts
            .get(&attempt)
            .filter(|dispatched| dispatched.events_check == DeferredEventsCheck::Running)
            .copied()
        else {
            return;
        };
        let verdict = outcome.map(|claim| self.judge_claim(attempt, dispatched, &claim));
        let failure = match verdict {
            Ok(ClaimVerdict::Accepted { refuted }) => {
                return self.accept_deferred_events(attempt, refuted, context);
            }
            Ok(ClaimVerdict::Contradicted) => AttemptFailure::Rejected(CONTRADICTED.to_owned()),
            Ok(ClaimVerdict::Unconfirmed) => AttemptFailure::Unconfirmed,
            Ok(ClaimVerdict::NameConflict) => AttemptFailure::NameConflict,
            Err(reason) => AttemptFailure::Rejected(reason),
        };
        self.reject_deferred_events(attempt, failure, context);
    }

    /// Records `claim`, which `attempt` makes, and returns the verdict on it. `dispatched` is what is known about
    /// `attempt`.
    fn judge_claim(&mut self, attempt: AttemptId, dispatched: DispatchAttempt, claim: &DeferredClaim) -> ClaimVerdict {
        let DispatchTask { try_id, .. } = *self.tasks.get(dispatched.task).expect("the task of an attempt is open");
        let has_independent_worker = self.scheduler.has_independent_worker_for(attempt);
        match (self.claims.get_mut(&try_id), self.scheduler.worker_of(attempt)) {
            (Some(claims), Some((worker, origin))) => claims.judge(claim, worker, origin, has_independent_worker),
            // The scheduler has forgotten the disconnected worker, so the claim cannot be compared with others.
            _ => ClaimVerdict::Unconfirmed,
        }
    }

    /// Tells the scheduler that the deferred events of `attempt` are accepted, and that `refuted` made wrong
    /// claims. Lets the result be checked if it waits.
    fn accept_deferred_events(&mut self, attempt: AttemptId, refuted: Vec<WorkerId>, context: &mut EventContext<'_>) {
        let dispatched = self.attempt_mut(attempt);
        dispatched.events_check = DeferredEventsCheck::Ended;
        let DispatchAttempt { session, report, .. } = *dispatched;
        for worker in refuted {
            context.commands.push(DispatchCommand::LogRefutedClaim { worker });
            self.pass_to_scheduler(Event::ProvenWrong { worker, reason: CLAIM_REFUTED.to_owned() }, context);
        }
        self.pass_to_scheduler(Event::DeferredEventsAccepted { session, attempt }, context);
        if report == ResultReport::Received {
            self.check_result(attempt, context);
        }
    }

    /// Fails `attempt`, because its deferred events or its claim were rejected.
    fn reject_deferred_events(&mut self, attempt: AttemptId, failure: AttemptFailure, context: &mut EventContext<'_>) {
        let dispatched = self.attempt_mut(attempt);
        let session = dispatched.session;
        let is_proving = dispatched.report == ResultReport::Awaited;
        (dispatched.events_check, dispatched.report) = (DeferredEventsCheck::Ended, ResultReport::Ignored);
        if is_proving {
            // Cancel first, so that the cancellation arrives before the task that replaces the attempt.
            context.commands.push(DispatchCommand::Cancel { session, attempt });
        }
        self.publish_step(attempt, AttemptStep::Failed(failure.to_string()), context);
        self.pass_to_scheduler(Event::AttemptFailed { session, attempt, failure }, context);
    }
}
