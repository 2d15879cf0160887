//! Tasks and proofs.

use crate::{
    AttemptId, Failure, PastAttempt, PeerId, ProofId, TaskId, TaskKind, Timestamp, attempt::Loss,
    exclusions::Exclusions, queue::Rank,
};
use std::collections::{BTreeMap, BTreeSet};

/// Maximum number of history entries per task. Failures and losses are few by configuration. This bounds what a badly
/// chosen configuration can add, or a stream of joining workers that each take an attempt from another worker.
pub(crate) const MAX_HISTORY: usize = 64;

/// Maximum number of lapsed attempts kept per task in case their results arrive. Results that late are rare. Beyond
/// this bound the oldest attempt is forgotten, and its uploads are discarded.
pub(crate) const MAX_LAPSED: usize = 16;

/// A proof that has not ended.
#[derive(Debug)]
pub(crate) struct Proof {
    /// Position among all proofs ever started.
    pub(crate) order: u64,
    /// True once one of its tasks has failed for good. None of its tasks is assigned any more.
    pub(crate) failed: bool,
    pub(crate) tasks: BTreeSet<TaskId>,
    pub(crate) markers: BTreeSet<TaskId>,
}

/// A task that is never given to a worker: an attempt of another task completes it.
#[derive(Debug)]
pub(crate) struct Marker {
    pub(crate) proof: ProofId,
    pub(crate) completed: bool,
}

/// A unit of work that can be given to a worker.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) proof: ProofId,
    pub(crate) kind: TaskKind,
    pub(crate) rank: Rank,
    pub(crate) marker: Option<TaskId>,
    pub(crate) place: Place,
    /// The workers that failed at the task or were lost with it, and the workers with too little memory for it.
    pub(crate) excluded: Exclusions,
    /// All attempts of the task that are not forgotten.
    pub(crate) attempts: BTreeSet<AttemptId>,
    /// A second live attempt beside the one in `place`: a slow attempt that got a speculative attempt beside it, or an
    /// overdue attempt.
    pub(crate) spare: Option<AttemptId>,
    /// The workers blamed for failures or losses of the task, with the number of faults each was given.
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

/// What currently happens with a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The task is in the queue.
    Waiting {
        /// When the task entered the queue.
        since: Timestamp,
    },
    /// A worker holds this live attempt, and the task relies on it.
    Held(AttemptId),
    /// This attempt delivered a result, which is being verified. A lapsed attempt's result is verified independently of
    /// this state.
    Verifying(AttemptId),
    /// The proof has failed: the task is not assigned any more.
    Shelved,
    /// The result of this attempt is final.
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

    /// Returns the past attempts of the task, oldest first.
    pub(crate) fn history(&self) -> &[PastAttempt] {
        &self.history
    }

    pub(crate) const fn failures(&self) -> &Counts {
        &self.failures
    }

    pub(crate) const fn losses(&self) -> &Counts {
        &self.losses
    }

    /// Counts a failure on `peer`. The task goes to `peer` again only if no other worker can take it.
    pub(crate) fn count_failure(&mut self, peer: PeerId) {
        self.failures.add(peer);
        self.excluded.add(peer);
    }

    /// Counts a loss: `peer` was lost with the task, ran it for too long, or never started it. A loss is kept apart
    /// from failures because the attempt may still deliver and the cause is unknown.
    pub(crate) fn count_loss(&mut self, peer: PeerId) {
        self.losses.add(peer);
        self.excluded.add(peer);
    }

    /// Removes the recorded loss of `attempt`: `peer` returned with it.
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

    /// Adds an entry to the history.
    pub(crate) fn record(&mut self, past: PastAttempt) {
        if self.history.len() == MAX_HISTORY {
            // A cancelled attempt explains least, so it is dropped first.
            let least = self.history.iter().position(|past| past.failure == Failure::Cancelled).unwrap_or(0);
            self.history.remove(least);
        }
        self.history.push(past);
    }
}
