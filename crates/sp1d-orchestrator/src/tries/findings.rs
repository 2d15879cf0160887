//! What the tries of a proof request have found out.

use std::sync::atomic::{AtomicBool, Ordering};

/// What the tries of a proof request have found out. `restart_after` reads it as `RestartFacts`.
#[derive(Debug, Default)]
pub(crate) struct ProofFindings {
    /// True if cached results were used since the last `Restart::WithoutCachedResults`.
    has_used_cached_results: AtomicBool,
    /// True if an unverified result turned out to be wrong.
    has_wrong_result: AtomicBool,
    /// True if a shard without a marker could not be proven.
    are_claims_suspect: AtomicBool,
}

impl ProofFindings {
    /// Records that a cached result is used. Its deferred events are not claims, so a comparison of claims cannot find
    /// them wrong.
    pub(crate) fn mark_cached_results_used(&self) {
        self.has_used_cached_results.store(true, Ordering::Relaxed);
    }

    /// Records that the next try starts without the cached results that were used.
    pub(crate) fn clear_cached_results_used(&self) {
        self.has_used_cached_results.store(false, Ordering::Relaxed);
    }

    /// Returns true if cached results were used since the last call of [`Self::clear_cached_results_used`], so they may
    /// be why the proof failed.
    pub(crate) fn has_used_cached_results(&self) -> bool {
        self.has_used_cached_results.load(Ordering::Relaxed)
    }

    /// Records that an unverified result turned out to be wrong.
    pub(crate) fn mark_wrong_result(&self) {
        self.has_wrong_result.store(true, Ordering::Relaxed);
    }

    /// Returns true if an unverified result was wrong, which explains any failure.
    pub(crate) fn has_wrong_result(&self) -> bool {
        self.has_wrong_result.load(Ordering::Relaxed)
    }

    /// Records that a shard without a marker could not be proven. Claims may be wrong, because it may be a precompile
    /// shard, which is made from claims.
    pub(crate) fn mark_claims_suspect(&self) {
        self.are_claims_suspect.store(true, Ordering::Relaxed);
    }

    /// Returns true if a shard without a marker could not be proven.
    pub(crate) fn are_claims_suspect(&self) -> bool {
        self.are_claims_suspect.load(Ordering::Relaxed)
    }
}
