//! Counts which situations occur. A test fails if no seed leads to one of them.

use crate::{
    driver::Outcome,
    invariant::{Step, books::Books},
};
use scheduler::{AttemptId, Command, Event, Failure, PastAttempt, PeerId, TaskId, Timestamp, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// Situations that must occur in a few hundred seeds.
pub const MARKS: &[&str] = &[
    "adoption refused",
    "attempt adopted",
    "attempt adopted in place of another",
    "attempt never started",
    "attempt overdue",
    "clock paused",
    "late report accepted",
    "marker completed",
    "marker missing",
    "no result delivered",
    "no worker connected",
    "original attempt won",
    "probation passed",
    "proof cancelled while attempts run",
    "proof failed after failures",
    "proof failed after losses",
    "proof failed for its poison task",
    "proof failed for lack of memory",
    "prover restarted",
    "report of a forgotten attempt",
    "result of an ended session accepted",
    "result rejected",
    "session expired",
    "session replaced by a newer one",
    "speculative attempt started",
    "speculative attempt won",
    "started task assigned to its worker",
    "started task taken back for its worker",
    "task assigned again to a worker that failed it",
    "task assigned to a larger worker",
    "task given back before it started",
    "task requeued",
    "task retried",
    "task stolen",
    "worker drained",
    "worker found disconnected",
    "worker on probation",
    "worker quarantined",
    "worker quarantined again on probation",
    "worker resumed",
    "wrong result delivered",
];

/// Counts situations by name.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    counts: BTreeMap<&'static str, u64>,
    books: Books,
    last: Option<Timestamp>,
    peers: BTreeMap<WorkerId, PeerId>,
    probation: BTreeSet<PeerId>,
    draining: BTreeSet<WorkerId>,
    ended_sessions: BTreeSet<WorkerId>,
    /// Attempts that have reported: whether the attempt was no longer live, and the session that reported.
    reported: BTreeMap<AttemptId, (bool, WorkerId)>,
    /// By task: the slow attempt and its speculative attempt.
    copies: BTreeMap<TaskId, (AttemptId, AttemptId)>,
}

impl Coverage {
    pub(crate) fn marks(&self) -> BTreeMap<&'static str, u64> {
        self.counts.clone()
    }

    pub(crate) fn mark(&mut self, name: &'static str) {
        *self.counts.entry(name).or_default() += 1;
    }

    pub(crate) fn observe(&mut self, step: &Step<'_>) {
        let passed = self.last.map(|last| step.now.saturating_since(last));
        self.last = Some(step.now);
        let counts = step.scheduler.counts();
        if counts.workers > 0 && passed.is_some_and(|passed| passed > step.config.max_clock_step) {
            self.mark("clock paused");
        }
        if step.is_quiet() {
            return;
        }
        if counts.workers == 0 && counts.open_tasks > 0 {
            self.mark("no worker connected");
        }
        self.on_event(step);
        self.on_begun(step);
        for (at, command) in step.commands.iter().enumerate() {
            self.on_command(command, &step.commands[..at], step);
            self.books.on_command(command);
        }
    }

    fn on_event(&mut self, step: &Step<'_>) {
        match *step.event {
            Event::AttemptReported { worker, attempt } if self.books.task_of(attempt).is_some() => {
                let late = self.books.holder(attempt) != Some(worker);
                self.reported.entry(attempt).or_insert((late, worker));
                if step.commands.contains(&Command::Discard { attempt }) {
                    self.mark("report of a forgotten attempt");
                }
            }
            Event::ResultVerified { attempt } if step.commands.contains(&Command::Discard { attempt }) => {
                self.mark("marker missing");
            }
            Event::ResultRejected { attempt, .. } if step.commands.contains(&Command::Discard { attempt }) => {
                self.mark("result rejected");
            }
            Event::WorkerJoined { worker, peer, ref holds, .. } => {
                self.peers.insert(worker, peer);
                let refused =
                    |attempt: &AttemptId| step.commands.contains(&Command::Cancel { worker, attempt: *attempt });
                if holds.iter().any(refused) {
                    self.mark("adoption refused");
                }
            }
            Event::WorkerLost { worker } => {
                self.ended_sessions.insert(worker);
                self.draining.remove(&worker);
            }
            Event::WorkerDraining { worker } => {
                self.draining.insert(worker);
            }
            Event::WorkerReady { .. } => self.mark("prover restarted"),
            Event::WorkerResumed { worker } if self.draining.remove(&worker) => self.mark("worker resumed"),
            Event::ProofEnded { proof } => {
                let at_work = step.commands.iter().any(|command| matches!(command, Command::Cancel { .. }));
                if at_work && step.outcomes.get(&proof) == Some(&Outcome::Cancelled) {
                    self.mark("proof cancelled while attempts run");
                }
            }
            _ => {}
        }
        self.books.on_event(step.event, step.now);
    }

    /// Marks tasks that a worker started for an earlier orchestrator.
    fn on_begun(&mut self, step: &Step<'_>) {
        let (worker, begun) = match step.event {
            Event::TaskSubmitted { task, begun_on: Some(worker), .. } => (worker, std::slice::from_ref(task)),
            Event::WorkerJoined { worker, begun, .. } => (worker, &**begun),
            _ => return,
        };
        for (at, command) in step.commands.iter().enumerate() {
            let Command::Assign { worker: by, task, .. } = command else { continue };
            if by == worker && begun.contains(task) {
                let of_task = |command: &Command| matches!(command, Command::Cancel { attempt, worker: other } if other != by && self.books.task_of(*attempt) == Some(*task));
                let taken = step.commands[..at].iter().any(of_task);
                self.mark(if taken {
                    "started task taken back for its worker"
                } else {
                    "started task assigned to its worker"
                });
            }
        }
    }

    /// `before` are the earlier commands of the same step.
    fn on_command(&mut self, command: &Command, before: &[Command], step: &Step<'_>) {
        match *command {
            Command::Assign { worker, attempt, task, .. } => self.on_assign(worker, attempt, task, before, step),
            Command::Adopt { worker, attempt } => self.on_adopt(worker, attempt, before),
            Command::AcceptResult { task, attempt, worker, .. } => self.on_accept(task, attempt, worker, step),
            Command::CompleteMarker { .. } => self.mark("marker completed"),
            Command::FailProof { proof, task, ref history, .. } => {
                if matches!(history.last(), Some(PastAttempt { failure: Failure::OutOfMemory(_), .. })) {
                    return self.mark("proof failed for lack of memory");
                }
                let losses = history.iter().filter(|past| past.failure == Failure::WorkerLost).count();
                let lost = losses >= usize::try_from(step.config.max_losses).unwrap_or(usize::MAX);
                self.mark(if lost { "proof failed after losses" } else { "proof failed after failures" });
                let of_plan = step.plan.tasks.get(&task).filter(|task| task.proof == proof);
                if !lost && of_plan.is_some_and(|task| task.poison) {
                    self.mark("proof failed for its poison task");
                }
            }
            Command::Quarantine { worker, .. } => {
                let again = self.peers.get(&worker).is_some_and(|peer| self.probation.remove(peer));
                self.mark(if again { "worker quarantined again on probation" } else { "worker quarantined" });
            }
            Command::Probation { worker } => {
                self.probation.extend(self.peers.get(&worker));
                self.mark("worker on probation");
            }
            Command::WorkerDrained { .. } => self.mark("worker drained"),
            Command::ExpireWorker { worker } => {
                self.ended_sessions.insert(worker);
                self.draining.remove(&worker);
                let peer = self.peers.get(&worker).copied();
                let replaced = matches!(*step.event, Event::WorkerJoined { peer: joined, .. } if peer == Some(joined));
                self.mark(if replaced { "session replaced by a newer one" } else { "session expired" });
            }
            Command::Cancel { .. } | Command::Discard { .. } => {}
        }
    }

    fn on_assign(&mut self, worker: WorkerId, attempt: AttemptId, task: TaskId, before: &[Command], step: &Step<'_>) {
        let history = step.scheduler.task_history(task);
        let overdue =
            |attempt: AttemptId| history.iter().any(|past| past.attempt == attempt && past.failure == Failure::Overdue);
        let other = self.books.live_of(task).find(|other| !overdue(*other));
        if let Some(other) = other {
            self.copies.insert(task, (other, attempt));
            self.mark("speculative attempt started");
            return;
        }
        let failed =
            |past: &PastAttempt| matches!(past.failure, Failure::Worker(_) | Failure::Rejected(_) | Failure::Overdue);
        if history.iter().any(|past| failed(past) && past.worker == worker) {
            self.mark("task assigned again to a worker that failed it");
        }
        match history.last().map(|past| &past.failure) {
            Some(Failure::WorkerLost) => self.mark("task requeued"),
            Some(Failure::Worker(_) | Failure::Rejected(_) | Failure::Disputed) => self.mark("task retried"),
            Some(Failure::Overdue) => self.mark("attempt overdue"),
            Some(Failure::NeverStarted) => self.mark("attempt never started"),
            Some(Failure::OutOfMemory(_)) => self.mark("task assigned to a larger worker"),
            Some(Failure::Cancelled) => {
                let taken_back = |command: &Command| matches!(*command, Command::Cancel { attempt, .. } if self.books.task_of(attempt) == Some(task));
                // A `Discard` of an older attempt may be between the `Cancel` and this `Assign`.
                let stolen = before.iter().rev().take(2).any(taken_back)
                    && !matches!(step.event, Event::WorkerDraining { .. })
                    && !before.iter().any(|command| matches!(command, Command::Quarantine { .. }));
                self.mark(if stolen { "task stolen" } else { "task given back before it started" });
            }
            None => {}
        }
    }

    fn on_adopt(&mut self, worker: WorkerId, attempt: AttemptId, before: &[Command]) {
        self.mark("attempt adopted");
        let task = self.books.task_of(attempt);
        let of_task = |command: &Command| {
            matches!(*command, Command::Cancel { attempt: other, worker: by }
                if by != worker && other != attempt && self.books.task_of(other) == task)
        };
        let in_place = before.iter().any(of_task);
        let beside = task.is_some_and(|task| self.books.live_of(task).next().is_some());
        if in_place {
            self.mark("attempt adopted in place of another");
        } else if beside {
            self.mark("attempt adopted beside another");
        }
    }

    fn on_accept(&mut self, task: TaskId, attempt: AttemptId, worker: WorkerId, step: &Step<'_>) {
        if self.peers.get(&worker).is_some_and(|peer| self.probation.remove(peer)) {
            self.mark("probation passed");
        }
        match self.copies.get(&task) {
            Some((original, _)) if *original == attempt => self.mark("original attempt won"),
            Some((_, copy)) if *copy == attempt => self.mark("speculative attempt won"),
            _ => {}
        }
        let overdue = |past: &PastAttempt| past.attempt == attempt && past.failure == Failure::Overdue;
        if step.scheduler.task_history(task).iter().any(overdue) {
            self.mark("overdue attempt accepted");
        }
        if let Some((late, session)) = self.reported.get(&attempt).copied()
            && late
        {
            self.mark("late report accepted");
            if self.ended_sessions.contains(&session) {
                self.mark("result of an ended session accepted");
            }
        }
    }
}
