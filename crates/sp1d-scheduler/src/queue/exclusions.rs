//! The workers that a task is kept away from.

use crate::{ShardRoom, ShardSize, WorkerId};
use std::collections::BTreeSet;

/// The workers that do not get a task again while another worker could take it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Exclusions {
    /// Workers that failed at the task, were lost with it or do not support it.
    workers: BTreeSet<WorkerId>,
    /// The task ran out of memory on a worker with this many bytes. Unlike `workers`, this applies even if no other
    /// worker is left.
    too_small_bytes: Option<u64>,
    /// Workers on which the task ran out of memory, and others of their origins. Like `too_small_bytes`, this applies
    /// even if no other worker is left.
    claimants: BTreeSet<WorkerId>,
    /// The task is a shard of this size, and its try excludes the workers into which it does not fit. Like
    /// `too_small_bytes`, this applies even if no other worker is left.
    shard_size: Option<ShardSize>,
    /// The try of the task is only for trusted workers. This applies even if no other worker is left, too.
    trusted_only: bool,
}

impl Exclusions {
    pub(crate) const NONE: Self = Self {
        workers: BTreeSet::new(),
        too_small_bytes: None,
        claimants: BTreeSet::new(),
        shard_size: None,
        trusted_only: false,
    };

    pub(crate) fn add(&mut self, worker: WorkerId) {
        self.workers.insert(worker);
    }

    pub(crate) fn remove(&mut self, worker: WorkerId) {
        self.workers.remove(&worker);
    }

    /// Excludes every worker with at most `bytes` of memory, plus a tolerance of 1/16: free memory differs slightly
    /// between equal machines.
    pub(crate) fn add_memory(&mut self, bytes: u64) {
        self.too_small_bytes = self.too_small_bytes.max(Some(bytes));
    }

    /// Excludes the workers that are too small according to workers of two origins: those with at most `bytes` of
    /// memory, plus a tolerance of 1/16. `None` excludes no worker by its size.
    pub(crate) const fn set_memory(&mut self, bytes: Option<u64>) {
        self.too_small_bytes = bytes;
    }

    /// Sets whether `worker` is excluded because the task ran out of memory on it, or on a worker of its origin with as
    /// much memory.
    pub(crate) fn set_claimant(&mut self, worker: WorkerId, is_claimant: bool) {
        if is_claimant {
            self.claimants.insert(worker);
        } else {
            self.claimants.remove(&worker);
        }
    }

    /// Excludes every worker into which a shard of `size` does not fit.
    pub(crate) fn set_shard_size(&mut self, size: ShardSize) {
        self.shard_size = Some(size);
    }

    /// Excludes every worker that is not trusted.
    pub(crate) fn set_trusted_only(&mut self) {
        self.trusted_only = true;
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    /// Returns true if the task is kept away from `worker`. `trusted` says whether the worker is trusted.
    pub(crate) fn contains(
        &self,
        worker: WorkerId,
        trusted: bool,
        comparable_bytes: u64,
        shard_room: ShardRoom,
    ) -> bool {
        self.excludes_trust(trusted)
            || self.excludes_size(comparable_bytes, shard_room)
            || self.claimants.contains(&worker)
            || self.workers.contains(&worker)
    }

    /// Returns true if the trust rule keeps the task away from a worker. `trusted` says whether the worker is trusted.
    pub(crate) const fn excludes_trust(&self, trusted: bool) -> bool {
        self.trusted_only && !trusted
    }

    /// Returns true if a worker with `comparable_bytes` of memory and this `shard_room` is too small. Either it has at
    /// most 1/16 more memory than the largest worker on which the task ran out of memory, or the shard does not fit
    /// into it.
    pub(crate) fn excludes_size(&self, comparable_bytes: u64, shard_room: ShardRoom) -> bool {
        self.too_small_bytes.is_some_and(|bytes| comparable_bytes <= with_tolerance(bytes))
            || self.shard_size.is_some_and(|size| !shard_room.fits(size))
    }

    pub(crate) const fn workers(&self) -> &BTreeSet<WorkerId> {
        &self.workers
    }

    /// Returns true if the task excludes workers that are too small.
    pub(crate) fn excludes_by_memory(&self) -> bool {
        self.too_small_bytes.is_some() || self.shard_size.is_some() || !self.claimants.is_empty()
    }

    /// Returns true if the task excludes workers by their memory or their trust, whatever their number is.
    pub(crate) fn excludes_by_rule(&self) -> bool {
        self.excludes_by_memory() || self.trusted_only
    }

    /// Returns true if only trusted workers get the task.
    pub(crate) const fn is_trusted_only(&self) -> bool {
        self.trusted_only
    }

    /// Returns the exclusions that apply even if no other worker is left.
    pub(crate) fn lasting(&self) -> Self {
        Self { workers: BTreeSet::new(), ..self.clone() }
    }

    /// Returns only the exclusion of workers that are not trusted.
    pub(crate) fn by_trust(&self) -> Self {
        Self { trusted_only: self.trusted_only, ..Self::NONE }
    }
}

/// Returns the most memory that counts as `bytes`: free memory differs slightly between equal machines.
pub(crate) const fn with_tolerance(bytes: u64) -> u64 {
    bytes.saturating_add(bytes / 16)
}
