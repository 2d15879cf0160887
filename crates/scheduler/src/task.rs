//! Tasks and proofs.

use crate::{
    AttemptId, Failure, PastAttempt, PeerId, ProofId, TaskId, TaskKind, Timestamp, attempt::Loss,
    exclusions::Exclusions, queue::Rank,
};
use std::collections::{BTreeMap, BTreeSet};

/// Lines of history kept for each task. Failures and losses are few by configuration; this bounds what a badly chosen
/// configuration or a stream of joining workers, each of which takes an attempt from another, can add.
pub(crate) const MAX_HISTORY: usize = 64;

/// Lapsed attempts of a task that are remembered in case their results arrive. Results that late are rare; beyond this,
/// the oldest is forgotten, and its uploads with it.
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
    /// The workers that it failed on or that were lost with it, and those with too little memory.
    pub(crate) excluded: Exclusions,
    /// Its attempts that aren't forgotten.
    pub(crate) attempts: BTreeSet<AttemptId>,
    /// A live attempt beside whatever `place` says: a straggler that has a copy, or one that is overdue.
    pub(crate) spare: Option<AttemptId>,
    /// Who was blamed for its failures, and for how many faults.
    pub(crate) blamed: Vec<(PeerId, u32)>,
    failures: Counts,
    losses: Counts,
    history: Vec<PastAttempt>,
}

/// How often each worker failed at a task, or was lost with it.
#[derive(Debug, Default)]
pub(crate) struct Counts(BTreeMap<PeerId, u32>);

impl Counts {
    fn add(&mut self, peer: PeerId) {
        *self.0.entry(peer).or_default() += 1;
    }

    fn remove(&mut self, peer: PeerId) {
        if let Some(count) = self.0.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&peer);
            }
        }
    }

    /// How many different workers were counted.
    pub(crate) fn distinct(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn total(&self) -> u32 {
        self.0.values().sum()
    }
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
    /// The attempt that held it has delivered a result, which is being verified. (A lapsed attempt's result is verified
    /// beside whatever else the task does; that isn't shown here.)
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
            excluded: Exclusions::NONE,
            attempts: BTreeSet::new(),
            spare: None,
            blamed: Vec::new(),
            failures: Counts(BTreeMap::new()),
            losses: Counts(BTreeMap::new()),
            history: Vec::new(),
        }
    }

    /// Its past attempts, oldest first.
    pub(crate) fn history(&self) -> &[PastAttempt] {
        &self.history
    }

    pub(crate) const fn failures(&self) -> &Counts {
        &self.failures
    }

    pub(crate) const fn losses(&self) -> &Counts {
        &self.losses
    }

    /// An attempt failed on `peer`, which is not given this task again if another worker can do it.
    pub(crate) fn count_failure(&mut self, peer: PeerId) {
        self.failures.add(peer);
        self.excluded.add(peer);
    }

    /// `peer` was lost while it proved the task, or never ended it. This is no failure: the attempt may still deliver,
    /// and the cause is unknown.
    pub(crate) fn count_loss(&mut self, peer: PeerId) {
        self.losses.add(peer);
        self.excluded.add(peer);
    }

    /// `peer` came back with `attempt`: the task was not lost.
    pub(crate) fn find_again(&mut self, attempt: AttemptId, peer: PeerId, loss: Loss) {
        let lost = |past: &PastAttempt| past.attempt == attempt && past.failure == Failure::WorkerLost;
        if let Some(at) = self.history.iter().position(lost) {
            self.history.remove(at);
        }
        if loss == Loss::Counted {
            self.losses.remove(peer);
            if !self.losses.0.contains_key(&peer) && !self.failures.0.contains_key(&peer) {
                self.excluded.remove(peer);
            }
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
