//! Tasks and proofs.

use crate::{
    AttemptId, Failure, PastAttempt, PeerId, ProofId, TaskId, TaskKind, Timestamp, WorkerId, lanes::Excluded,
    queue::Rank,
};
use std::collections::BTreeSet;

/// Lines of history kept for each task. Failures and losses are few by configuration; this bounds what a badly chosen configuration or
/// a stream of joining workers, each of which takes an attempt from another, can add.
pub(crate) const MAX_HISTORY: usize = 64;

/// Lapsed attempts of a task that are remembered in case their results arrive. Results that late are rare; beyond this, the oldest is
/// forgotten, and its uploads with it.
pub(crate) const MAX_LAPSED: usize = 16;

/// A proof that hasn't ended.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Position among all proofs ever started.
    pub(crate) order: u64,
    /// One of its tasks has failed for good: nothing of it is assigned any more.
    pub(crate) failed: bool,
    pub(crate) tasks: BTreeSet<TaskId>,
    pub(crate) markers: BTreeSet<TaskId>,
}

/// A task that is never given to a worker.
#[derive(Debug)]
pub(crate) struct Marker {
    pub(crate) proof: ProofId,
    pub(crate) completed: bool,
}

/// A schedulable unit.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) proof: ProofId,
    pub(crate) kind: TaskKind,
    pub(crate) rank: Rank,
    pub(crate) marker: Option<TaskId>,
    pub(crate) place: Place,
    /// Workers it failed on. Sessions that have ended stay in it: `max_failures` bounds it.
    pub(crate) excluded: Excluded,
    /// Its attempts that aren't forgotten.
    pub(crate) attempts: BTreeSet<AttemptId>,
    /// A live attempt beside whatever `place` says: a straggler that has a copy, or one that is overdue.
    pub(crate) spare: Option<AttemptId>,
    /// Who was blamed for its failures, and for how many faults.
    pub(crate) blamed: Vec<(PeerId, u32)>,
    failures: u32,
    losses: u32,
    history: Vec<PastAttempt>,
}

/// Where a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the queue.
    Waiting {
        /// Since when.
        since: Timestamp,
    },
    /// On a worker that it counts on.
    Held(AttemptId),
    /// The attempt that held it has delivered a result, which is being verified. (A lapsed attempt's result is verified beside whatever
    /// else the task does; that isn't shown here.)
    Verifying(AttemptId),
    /// Its proof has failed: it isn't given to anyone.
    Shelved,
    /// The attempt's result is final.
    Accepted(AttemptId),
}

impl Task {
    pub(crate) const fn new(
        proof: ProofId,
        kind: TaskKind,
        rank: Rank,
        marker: Option<TaskId>,
        since: Timestamp,
    ) -> Self {
        Self {
            proof,
            kind,
            rank,
            marker,
            place: Place::Waiting { since },
            excluded: Excluded::new(),
            attempts: BTreeSet::new(),
            spare: None,
            blamed: Vec::new(),
            failures: 0,
            losses: 0,
            history: Vec::new(),
        }
    }

    /// Its past attempts, oldest first.
    pub(crate) fn history(&self) -> &[PastAttempt] {
        &self.history
    }

    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) const fn losses(&self) -> u32 {
        self.losses
    }

    /// An attempt failed on `worker`, which isn't given this task again.
    pub(crate) fn count_failure(&mut self, worker: WorkerId) {
        self.failures += 1;
        self.excluded.insert(worker);
    }

    /// A worker was lost with it.
    pub(crate) const fn count_loss(&mut self) {
        self.losses += 1;
    }

    /// An attempt on `worker` takes for ever, as far as anybody can tell. No failure: it may yet come, and nobody knows whose fault it is.
    pub(crate) fn count_overdue(&mut self, worker: WorkerId) {
        self.losses += 1;
        self.excluded.insert(worker);
    }

    /// `attempt` was not lost after all.
    pub(crate) fn find_again(&mut self, attempt: AttemptId) {
        let lost = |past: &PastAttempt| past.attempt == attempt && past.failure == Failure::WorkerLost;
        if let Some(at) = self.history.iter().position(lost) {
            self.history.remove(at);
            self.losses = self.losses.saturating_sub(1);
        }
    }

    /// Adds a line to its history.
    pub(crate) fn record(&mut self, past: PastAttempt) {
        if self.history.len() == MAX_HISTORY {
            // What was taken back explains least.
            let least = self.history.iter().position(|past| past.failure == Failure::Cancelled).unwrap_or(0);
            self.history.remove(least);
        }
        self.history.push(past);
    }
}
