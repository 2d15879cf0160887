//! A proof fails only if one of its tasks reaches the configured limit of failures or losses, or runs out of memory.
//! Each entry of the history in its `FailTry` command is true.

use super::{
    live_attempts::LiveAttempts,
    property::{Invariant, ensure},
    step::SimStep,
};
use sp1d_scheduler::{
    AttemptEndReason, AttemptFailure, AttemptId, Command, Event, FailureKind, KindSet, PastAttempt, SessionId, TaskId,
    TaskKind, WorkerId,
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct AProofFailsOnlyForRealFailures {
    live_attempts: LiveAttempts,
    failed: BTreeSet<AttemptId>,
    /// Attempts whose results were rejected, or passed their check without their marker.
    judged: BTreeSet<AttemptId>,
    cancelled: BTreeSet<AttemptId>,
    /// Attempts whose check was delayed.
    delayed: BTreeSet<AttemptId>,
    ended_sessions: BTreeSet<SessionId>,
    connected: BTreeMap<SessionId, WorkerId>,
    able: BTreeMap<WorkerId, KindSet>,
    /// The connected workers that are trusted.
    trusted: BTreeSet<WorkerId>,
    /// Drained workers. They get no tasks, so a task may fail for good although they have not tried it.
    draining: BTreeSet<SessionId>,
}

impl AProofFailsOnlyForRealFailures {
    fn note_event(&mut self, step: &SimStep<'_>) {
        self.live_attempts.on_event(step.event, step.now);
        match step.event {
            Event::AttemptFailed { attempt, .. } => {
                self.failed.insert(*attempt);
            }
            Event::ResultRejected { attempt, .. } | Event::ResultPassed { attempt } => {
                self.judged.insert(*attempt);
            }
            Event::CheckDelayed { attempt, .. } => {
                self.delayed.insert(*attempt);
            }
            Event::SessionEnded { session } => {
                self.ended_sessions.insert(*session);
                self.connected.remove(session);
            }
            Event::WorkerReady { session, ready, draining, .. } => {
                self.connected.insert(*session, ready.worker);
                if *draining {
                    self.draining.insert(*session);
                }
                self.able.insert(ready.worker, ready.supported_kinds);
                if ready.trusted {
                    self.trusted.insert(ready.worker);
                } else {
                    self.trusted.remove(&ready.worker);
                }
            }
            Event::DrainRequested { session } => {
                self.draining.insert(*session);
            }
            Event::DrainCancelled { session } => {
                self.draining.remove(session);
            }
            _ => {}
        }
    }

    fn note_command(&mut self, command: &Command) {
        self.live_attempts.on_command(command);
        match command {
            Command::Cancel { attempt, .. } => {
                self.cancelled.insert(*attempt);
            }
            Command::EndSession { session } => {
                self.ended_sessions.insert(*session);
                self.connected.remove(session);
            }
            _ => {}
        }
    }

    fn check_line(&self, task: TaskId, past: &PastAttempt, step: &SimStep<'_>) -> Result<(), String> {
        let attempt = past.attempt;
        let of = self.live_attempts.task_of(attempt);
        ensure(of == Some(task), || format!("the history of {task} contains {attempt}, which belongs to {of:?}"))?;
        let happened = match past.reason {
            AttemptEndReason::Failed(
                AttemptFailure::Worker { .. } | AttemptFailure::Unconfirmed | AttemptFailure::NameConflict,
            ) => self.failed.contains(&attempt),
            // Rejected deferred events fail their attempt.
            AttemptEndReason::Failed(AttemptFailure::Rejected(_)) => {
                self.judged.contains(&attempt) || self.failed.contains(&attempt)
            }
            AttemptEndReason::WorkerLost => self.ended_sessions.contains(&past.session),
            AttemptEndReason::NeverStarted => {
                self.cancelled.contains(&attempt) && self.live_attempts.started_at(attempt).is_none()
            }
            AttemptEndReason::TakenBack => self.cancelled.contains(&attempt),
            AttemptEndReason::CheckDelayed => self.delayed.contains(&attempt),
            AttemptEndReason::Overdue => {
                let earliest = step.config.pace.map(|rules| rules.overdue_floor.min(rules.overdue_cap));
                let ran = self.live_attempts.started_at(attempt).map(|started| step.now.saturating_since(started));
                ran.zip(earliest).is_some_and(|(ran, earliest)| ran >= earliest)
            }
        };
        ensure(happened, || format!("the history of {task} contains an entry that never happened: {past:?}"))
    }

    fn check_history(
        &self,
        task: TaskId,
        kind: TaskKind,
        history: &[PastAttempt],
        lacks_large_worker: bool,
        step: &SimStep<'_>,
    ) -> Result<(), String> {
        let (mut failures, mut losses, mut refusals) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        let mut out_of_memory = false;
        // Workers whose attempts count neither as failures nor as losses.
        let mut tried_by = BTreeSet::new();
        let mut culprits = [BTreeSet::new(), BTreeSet::new()];
        for past in history {
            self.check_line(task, past, step)?;
            match past.reason {
                AttemptEndReason::Failed(AttemptFailure::Worker { kind: FailureKind::Unsupported, .. }) => {
                    refusals.insert(past.attempt);
                    tried_by.insert(past.worker);
                }
                AttemptEndReason::CheckDelayed => _ = tried_by.insert(past.worker),
                AttemptEndReason::Failed(AttemptFailure::Worker { kind: FailureKind::OutOfMemory, .. }) => {
                    out_of_memory = true;
                }
                AttemptEndReason::Failed(_) => {
                    failures.insert(past.attempt);
                    culprits[0].insert(past.worker);
                }
                AttemptEndReason::WorkerLost | AttemptEndReason::Overdue | AttemptEndReason::NeverStarted => {
                    losses.insert(past.attempt);
                    culprits[1].insert(past.worker);
                }
                AttemptEndReason::TakenBack => {}
            }
        }
        let reached = |count: usize, limit: u32| count >= usize::try_from(limit).unwrap_or(usize::MAX);
        let [failed_on, lost_with] = culprits;
        let (max_failures, max_losses) = (step.config.max_failures, step.config.max_losses);
        let distinct = reached(failed_on.len(), max_failures) || reached(lost_with.len(), max_losses);
        let often = reached(failures.len(), max_failures)
            || reached(losses.len(), max_losses)
            || reached(refusals.len(), max_failures);
        // Failures or losses on fewer distinct workers are enough if no other capable worker is connected.
        let of_try = step.plan.tasks.get(&task).and_then(|task| step.plan.tries.get(&task.try_id));
        let trusted_only = of_try.is_some_and(|entry| entry.trusted_only);
        let untried = |(session, worker): &(&SessionId, &WorkerId)| {
            let able = self.able.get(worker).is_some_and(|kinds| kinds.contains(kind));
            let tried = failed_on.contains(worker) || lost_with.contains(worker) || tried_by.contains(worker);
            let may_get_it = !trusted_only || self.trusted.contains(*worker);
            able && may_get_it && !tried && !self.draining.contains(session)
        };
        let left = self.connected.iter().find(untried);
        if let (Some((_, worker)), false) = (left, distinct || out_of_memory) {
            return Err(format!("{task} failed for good, but {worker} has not tried it"));
        }
        ensure(out_of_memory || !lacks_large_worker, || format!("{task} lacks memory, but never ran out of it"))?;
        ensure(often || lacks_large_worker, || {
            let limits = (step.config.max_failures, step.config.max_losses);
            format!(
                "{task} failed for good after failures {failures:?}, losses {losses:?} and refusals {refusals:?}, \
                 below the limits {limits:?}"
            )
        })
    }
}

impl Invariant for AProofFailsOnlyForRealFailures {
    fn name(&self) -> &'static str {
        "a proof fails only for failures that happened and reached a limit"
    }

    fn check(&mut self, step: &SimStep<'_>) -> Result<(), String> {
        self.note_event(step);
        // Record all commands first. The command that ends a session comes after the commands that follow from that
        // end. The same is true if a newer session of the same worker replaces it.
        step.commands.iter().for_each(|command| self.note_command(command));
        for command in step.commands {
            if let Command::FailTry { task, history, try_id, kind, lacks_large_worker } = command {
                let of = step.plan.tasks.get(task).map(|task| task.try_id);
                ensure(of == Some(*try_id), || format!("{try_id} failed because of {task}, which belongs to {of:?}"))?;
                self.check_history(*task, *kind, history, *lacks_large_worker, step)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariant::example::*;
    use sp1d_scheduler::TryId;
    use std::time::Duration;

    fn fail(try_id: u64, reasons: &[(u64, AttemptEndReason)]) -> Command {
        let past = |(attempt, reason): &(u64, AttemptEndReason)| PastAttempt {
            attempt: AttemptId(*attempt),
            session: SessionId(1),
            worker: WorkerId(1),
            duration: Duration::ZERO,
            reason: reason.clone(),
        };
        Command::FailTry {
            try_id: TryId(try_id),
            task: TaskId(1),
            kind: TaskKind::ProveShard,
            history: reasons.iter().map(past).collect(),
            lacks_large_worker: false,
        }
    }

    fn failure() -> AttemptFailure {
        AttemptFailure::Worker { kind: FailureKind::Engine, text: "broken".to_owned() }
    }

    fn broken() -> AttemptEndReason {
        failure().into()
    }

    /// Three attempts of task 1, of which the first `times` have failed.
    fn failed(times: u64) -> (Example, AProofFailsOnlyForRealFailures) {
        let (example, mut invariant) = (Example::new(), AProofFailsOnlyForRealFailures::default());
        for attempt in 1..=3 {
            example.show(&mut invariant, &Event::Tick, &[assign(1, attempt, 1, 1)]).unwrap();
            if attempt <= times {
                let event =
                    Event::AttemptFailed { session: SessionId(1), attempt: AttemptId(attempt), failure: failure() };
                example.show(&mut invariant, &event, &[]).unwrap();
            }
        }
        (example, invariant)
    }

    #[test]
    fn failing_a_proof_below_the_limits_is_detected() {
        let (example, mut invariant) = failed(3);
        let history = [(1, broken()), (2, broken())];
        assert_broken(example.show(&mut invariant, &Event::Tick, &[fail(1, &history)]), "failed for good after");
        // Several entries of one attempt count as one failure.
        let history = [(1, broken()), (2, broken()), (2, broken())];
        assert_broken(example.show(&mut invariant, &Event::Tick, &[fail(1, &history)]), "failed for good after");
        let history = [(1, broken()), (2, broken()), (3, broken())];
        example.show(&mut invariant, &Event::Tick, &[fail(1, &history)]).unwrap();
    }

    #[test]
    fn a_false_lack_of_memory_is_detected() {
        let (example, mut invariant) = failed(3);
        let mut command = fail(1, &[(1, broken()), (2, broken()), (3, broken())]);
        let Command::FailTry { lacks_large_worker, .. } = &mut command else { unreachable!("`fail` fails a proof") };
        *lacks_large_worker = true;
        assert_broken(example.show(&mut invariant, &Event::Tick, &[command]), "never ran out of it");
    }

    #[test]
    fn a_false_history_is_detected() {
        let (example, mut invariant) = failed(2);
        for third in [
            broken(),
            AttemptEndReason::WorkerLost,
            AttemptEndReason::Overdue,
            AttemptFailure::Rejected("wrong".to_owned()).into(),
        ] {
            let history = [(1, broken()), (2, broken()), (3, third)];
            assert_broken(
                example.show(&mut invariant, &Event::Tick, &[fail(1, &history)]),
                "an entry that never happened",
            );
        }
    }

    #[test]
    fn failing_before_every_capable_worker_tried_is_detected() {
        let (example, mut invariant) = failed(3);
        example.show(&mut invariant, &ready(2, 2, 1, KindSet::all()), &[]).unwrap();
        let history = [(1, broken()), (2, broken()), (3, broken())];
        assert_broken(example.show(&mut invariant, &Event::Tick, &[fail(1, &history)]), "has not tried it");
    }

    #[test]
    fn failing_the_wrong_proof_is_detected() {
        let (example, mut invariant) = failed(3);
        assert_broken(example.show(&mut invariant, &Event::Tick, &[fail(2, &[])]), "which belongs to");
    }
}
