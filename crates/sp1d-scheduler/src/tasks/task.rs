//! Tasks and tries.

use super::{attempt::Loss, memory_claims::MemoryClaims};
use crate::{
    AttemptEndReason, AttemptId, OriginId, PastAttempt, ShardSize, TaskId, TaskKind, Timestamp, TryId, WorkerId,
    queue::{Exclusions, Rank},
};
use std::collections::{BTreeMap, BTreeSet};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of history entries per task. Failures and losses are few by configuration. This bounds what a
    /// badly chosen configuration can add, or a stream of new workers that each take an attempt from another
    /// worker.
    pub(crate) const MAX_HISTORY: usize = 64; Count by Worker;
    /// Maximum number of lapsed attempts kept per task in case their results arrive. Results that late are rare. Beyond
    /// this bound the oldest attempt is forgotten, and its uploads are discarded.
    pub(crate) const MAX_LAPSED: usize = 16; Count by Worker;
}

/// A try that has not ended.
#[derive(Debug)]
pub(crate) struct ScheduledTry {
    /// Position among all tries ever started.
    pub(crate) order: u64,
    /// True once one of its tasks has failed for good, or could not be given to a worker. None of its tasks is assigned
    /// any more.
    pub(crate) failed: bool,
    /// Workers into which shards of this size do not fit get no shard of the try. `None` if every worker gets some.
    /// The orchestrator has the same size (`RunningTry::excluded_below`), and says there why the two agree.
    pub(crate) shard_size: Option<ShardSize>,
    /// Only trusted workers get the tasks of the try.
    pub(crate) trusted_only: bool,
    pub(crate) tasks: BTreeSet<TaskId>,
    pub(crate) markers: BTreeSet<TaskId>,
}

/// A task that is never given to a worker: an attempt of another task completes it.
#[derive(Debug)]
pub(crate) struct ScheduledMarker {
    pub(crate) try_id: TryId,
    pub(crate) completed: bool,
}

/// A unit of work that can be given to a worker.
#[derive(Debug)]
pub(crate) struct ScheduledTask {
    pub(crate) try_id: TryId,
    pub(crate) kind: TaskKind,
    pub(crate) rank: Rank,
    pub(crate) marker: Option<TaskId>,
    pub(crate) state: TaskState,
    /// The workers that failed at the task, were lost with it or do not support it, and the workers with too little
    /// memory for it.
    pub(crate) excluded: Exclusions,
    /// All attempts of the task that are not forgotten.
    pub(crate) attempts: BTreeSet<AttemptId>,
    /// A second live attempt, beside the one in `state`. It may also be the only one: `state` then says that the task
    /// waits. It is one of these:
    ///
    /// - an attempt that got a speculative attempt beside it, because it is slow, is on a slow worker, or starts late
    /// - an overdue attempt
    /// - an attempt that returned after a reconnect, and is expected to end later than the other one
    pub(crate) second_live: Option<AttemptId>,
    /// The faults recorded for failures or losses of the task, by worker. They are removed if the task fails for good.
    pub(crate) recorded_faults: Vec<(WorkerId, u32)>,
    memory_claims: MemoryClaims,
    failures: WorkerCounts,
    losses: WorkerCounts,
    /// Workers that do not support the task, although they support its kind.
    refusals: WorkerCounts,
    history: Vec<PastAttempt>,
}

/// A worker that is counted, with its origin. The origin of a forgotten worker is unknown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CountedWorker {
    pub(crate) id: WorkerId,
    pub(crate) origin: Option<OriginId>,
}

/// How often each worker failed at a task, was lost with it, or refused it.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounts(BTreeMap<WorkerId, (Option<OriginId>, u32)>);

impl WorkerCounts {
    fn add(&mut self, CountedWorker { id, origin }: CountedWorker) {
        self.0.entry(id).or_insert((origin, 0)).1 += 1;
    }

    fn remove(&mut self, worker: WorkerId) {
        if let Some((_, count)) = self.0.get_mut(&worker) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(&worker);
            }
        }
    }

    /// How many different origins the counted workers have. A machine cannot fail a try by using several names.
    pub(crate) fn distinct(&self) -> usize {
        self.origins().len()
    }

    /// The same, as if `worker` were counted once more.
    pub(crate) fn distinct_with(&self, worker: CountedWorker) -> usize {
        let mut origins = self.origins();
        origins.insert(worker.origin);
        origins.len()
    }

    fn origins(&self) -> BTreeSet<Option<OriginId>> {
        self.0.values().map(|(origin, _)| *origin).collect()
    }

    pub(crate) fn total(&self) -> u32 {
        self.0.values().map(|(_, count)| count).sum()
    }
}

/// The life cycle of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskState {
    /// The task is in the queue.
    Waiting {
        /// When the task entered the queue.
        since: Timestamp,
    },
    /// A worker holds this live attempt, and the task relies on it.
    Held(AttemptId),
    /// This attempt delivered a result, which is being verified, or waits for the check of the attempt's deferred
    /// events. A lapsed attempt's result is verified independently of this state.
    Verifying(AttemptId),
    /// The try has failed: the task is not assigned any more.
    TryFailed,
    /// The result of this attempt is final.
    Accepted(AttemptId),
}

impl ScheduledTask {
    pub(crate) const fn new(
        try_id: TryId,
        kind: TaskKind,
        rank: Rank,
        marker: Option<TaskId>,
        since: Timestamp,
    ) -> Self {
        Self {
            try_id,
            kind,
            rank,
            marker,
            state: TaskState::Waiting { since },
            excluded: Exclusions::NONE,
            attempts: BTreeSet::new(),
            second_live: None,
            recorded_faults: Vec::new(),
            memory_claims: MemoryClaims::NONE,
            failures: WorkerCounts(BTreeMap::new()),
            losses: WorkerCounts(BTreeMap::new()),
            refusals: WorkerCounts(BTreeMap::new()),
            history: Vec::new(),
        }
    }

    /// Returns the past attempts of the task, oldest first.
    pub(crate) fn history(&self) -> &[PastAttempt] {
        &self.history
    }

    pub(crate) const fn failures(&self) -> &WorkerCounts {
        &self.failures
    }

    pub(crate) const fn losses(&self) -> &WorkerCounts {
        &self.losses
    }

    pub(crate) const fn refusals(&self) -> &WorkerCounts {
        &self.refusals
    }

    pub(crate) const fn memory_claims(&self) -> &MemoryClaims {
        &self.memory_claims
    }

    /// Counts that `worker` ran out of memory at the task, with `bytes` of memory. The task goes only to workers with
    /// more.
    pub(crate) fn count_memory_claim(&mut self, worker: CountedWorker, bytes: u64) {
        self.memory_claims.add(worker.id, worker.origin, bytes);
        self.excluded.add_memory(bytes);
        self.excluded.set_claimant(worker.id, true);
    }

    /// Counts a failure on `worker`. The task goes to `worker` again only if no other worker can take it.
    pub(crate) fn count_failure(&mut self, worker: CountedWorker) {
        self.failures.add(worker);
        self.excluded.add(worker.id);
    }

    /// Counts a loss: `worker` was lost with the task, ran it for too long, or never started it. A loss is kept apart
    /// from failures because the attempt may still deliver and the cause is unknown.
    pub(crate) fn count_loss(&mut self, worker: CountedWorker) {
        self.losses.add(worker);
        self.excluded.add(worker.id);
    }

    /// Counts a refusal: `worker` does not support the task. Refusals are kept apart from failures because the attempt
    /// was never tried, so they must not use up the failures of a task that another worker supports.
    pub(crate) fn count_refusal(&mut self, worker: CountedWorker) {
        self.refusals.add(worker);
        self.excluded.add(worker.id);
    }

    /// Removes the recorded loss of `attempt`: `worker` returned with it.
    pub(crate) fn undo_loss(&mut self, attempt: AttemptId, worker: WorkerId, loss: Loss) {
        let lost = |past: &PastAttempt| past.attempt == attempt && past.reason == AttemptEndReason::WorkerLost;
        if let Some(at) = self.history.iter().position(lost) {
            self.history.remove(at);
        }
        if loss == Loss::Counted {
            self.losses.remove(worker);
            let counts = [&self.losses, &self.failures, &self.refusals];
            if counts.into_iter().all(|counts| !counts.0.contains_key(&worker)) {
                self.excluded.remove(worker);
            }
        }
    }

    /// Removes a recorded fault of `worker` for its loss: `worker` returned.
    pub(crate) fn remove_loss_fault(&mut self, worker: WorkerId) {
        if let Some(at) = self.recorded_faults.iter().rposition(|fault| *fault == (worker, 1)) {
            self.recorded_faults.remove(at);
        }
    }

    /// Adds an attempt to the history. Drops another one if the history is full.
    pub(crate) fn add_to_history(&mut self, past: PastAttempt) {
        if self.history.len() == MAX_HISTORY {
            // An attempt that was taken back explains least, so it is dropped first.
            let least = self.history.iter().position(|past| past.reason == AttemptEndReason::TakenBack).unwrap_or(0);
            self.history.remove(least);
        }
        self.history.push(past);
    }
}
