//! The workers that a task is kept away from.

use crate::PeerId;
use std::collections::BTreeSet;

/// The workers that do not get a task again while another worker could take it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Exclusions {
    /// Workers that failed at the task or were lost with it. `max_failures` and `max_losses` bound their number.
    peers: BTreeSet<PeerId>,
    /// The task ran out of memory on a worker with this many bytes. Unlike `peers`, this applies even if no other
    /// worker is left.
    too_small_bytes: Option<u64>,
}

impl Exclusions {
    pub(crate) const NONE: Self = Self { peers: BTreeSet::new(), too_small_bytes: None };

    pub(crate) fn add(&mut self, peer: PeerId) {
        self.peers.insert(peer);
    }

    pub(crate) fn remove(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
    }

    /// Excludes every worker with at most `bytes` of memory, plus a tolerance of 1/16: free memory differs slightly
    /// between equal machines.
    pub(crate) fn add_memory(&mut self, bytes: u64) {
        self.too_small_bytes = self.too_small_bytes.max(Some(bytes));
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::NONE
    }

    pub(crate) fn contains(&self, peer: PeerId, memory_bytes: u64) -> bool {
        self.is_too_small(memory_bytes) || self.peers.contains(&peer)
    }

    /// Returns true if the task ran out of memory on a worker with at least `memory_bytes`, less the tolerance of
    /// `add_memory`.
    pub(crate) fn is_too_small(&self, memory_bytes: u64) -> bool {
        self.too_small_bytes.is_some_and(|bytes| memory_bytes <= bytes.saturating_add(bytes / 16))
    }

    pub(crate) const fn peers(&self) -> &BTreeSet<PeerId> {
        &self.peers
    }

    pub(crate) const fn by_memory(&self) -> Option<u64> {
        self.too_small_bytes
    }

    /// Returns the exclusions that apply even if no other worker is left.
    pub(crate) const fn lasting(&self) -> Self {
        Self { peers: BTreeSet::new(), too_small_bytes: self.too_small_bytes }
    }
}
