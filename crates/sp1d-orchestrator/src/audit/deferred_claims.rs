//! Deferred claims: what workers claimed during a proof. They show whose claim was wrong if the proof fails.
//!
//! A core shard's attempt uploads deferred events, which cannot be verified on their own. Well-formed events that do
//! not belong to the shard only show when a precompile shard cannot be proven, or when the finished proof does not
//! verify. However, the events are deterministic, so an attempt at the same shard on another worker shows who is right.

use crate::lock::lock;
use sp1d_artifacts::Digest;
use sp1d_scheduler::{ClaimsVerdict, WorkerId};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// Digests of the deferred events that an attempt uploaded, sorted.
type Claim = Vec<[u8; 32]>;

/// Claims by record, over all tries of a proof, because the records of a program are the same in every try.
#[derive(Debug, Default)]
pub(crate) struct DeferredClaims {
    claims: Mutex<HashMap<Digest, BTreeMap<Claim, BTreeSet<WorkerId>>>>,
    /// A shard without a marker could not be proven.
    suspect: AtomicBool,
    /// True once a second worker must confirm claims.
    compares: AtomicBool,
    /// An unverified result turned out to be wrong.
    wrong_result: AtomicBool,
    /// Cached results were used.
    cached_use: AtomicBool,
}

impl DeferredClaims {
    /// Records that a shard without a marker could not be proven. Claims may be wrong, because it may be a precompile
    /// shard, which is made from claims.
    pub(crate) fn mark_suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    /// Returns true if a worker claimed at least one deferred event.
    pub(crate) fn has_claimed_events(&self) -> bool {
        lock(&self.claims).values().flat_map(BTreeMap::keys).any(|claim| !claim.is_empty())
    }

    /// Records that an unverified result turned out to be wrong.
    pub(crate) fn mark_wrong_result(&self) {
        self.wrong_result.store(true, Ordering::Relaxed);
    }

    /// Returns true if an unverified result was wrong, which explains any failure.
    pub(crate) fn has_wrong_result(&self) -> bool {
        self.wrong_result.load(Ordering::Relaxed)
    }

    /// Records that a cached result is used. No worker has made a claim for it in this proof.
    pub(crate) fn mark_cached_use(&self) {
        self.cached_use.store(true, Ordering::Relaxed);
    }

    /// Returns true if cached results were used since the last call of [`Self::clear_cached_use`], so they may be why
    /// there is no proof.
    pub(crate) fn has_cached_use(&self) -> bool {
        self.cached_use.load(Ordering::Relaxed)
    }

    /// Records that the next try starts without the cached results that were used.
    pub(crate) fn clear_cached_use(&self) {
        self.cached_use.store(false, Ordering::Relaxed);
    }

    /// Returns true if a shard without a marker could not be proven.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Starts the comparison of claims. From now on, a claim is accepted only if two workers make it, or if no other
    /// worker is available and none has made another claim.
    pub(crate) fn start_comparing(&self) {
        self.compares.store(true, Ordering::Relaxed);
    }

    pub(crate) fn compares(&self) -> bool {
        self.compares.load(Ordering::Relaxed)
    }

    /// Records that `worker` makes `claim` for the shard with `record`, and returns the verdict. The claim is accepted
    /// at once, unless the proof restarted to compare claims. Then a second worker must make the same claim, unless no
    /// other worker is available (`is_alone`) and none has made another claim. The caller checks whether the names of
    /// the artifacts are taken.
    pub(crate) fn judge(&self, record: Digest, mut claim: Claim, worker: WorkerId, is_alone: bool) -> ClaimsVerdict {
        claim.sort_unstable();
        let mut claims = lock(&self.claims);
        let of_record = claims.entry(record).or_default();
        of_record.entry(claim.clone()).or_default().insert(worker);
        if !self.compares() {
            return ClaimsVerdict::Accepted { refuted: Vec::new() };
        }
        let confirmed = |workers: &BTreeSet<WorkerId>| workers.len() >= 2;
        if confirmed(&of_record[&claim]) {
            let others = of_record.iter().filter(|(other, _)| **other != claim);
            return ClaimsVerdict::Accepted { refuted: others.flat_map(|(_, workers)| workers).copied().collect() };
        }
        if of_record.iter().any(|(other, workers)| *other != claim && confirmed(workers)) {
            return ClaimsVerdict::Contradicted;
        }
        if is_alone && of_record.len() == 1 {
            ClaimsVerdict::Accepted { refuted: Vec::new() }
        } else {
            ClaimsVerdict::Unconfirmed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes these claims for one shard, as pairs of a claim and a worker, while claims are compared. Checks the last
    /// verdict.
    fn check(claims: &[(u8, u64)], expected: &ClaimsVerdict) {
        let deferred = DeferredClaims::default();
        deferred.start_comparing();
        let record = Digest::of(b"record");
        let verdicts =
            claims.iter().map(|(claim, worker)| deferred.judge(record, vec![[*claim; 32]], WorkerId(*worker), false));
        assert_eq!(verdicts.last().as_ref(), Some(expected));
    }

    #[test]
    fn a_claim_counts_when_two_workers_make_it() {
        let accepted =
            |refuted: &[u64]| ClaimsVerdict::Accepted { refuted: refuted.iter().copied().map(WorkerId).collect() };
        check(&[(1, 1)], &ClaimsVerdict::Unconfirmed);
        check(&[(1, 1), (1, 1)], &ClaimsVerdict::Unconfirmed);
        check(&[(1, 1), (1, 2)], &accepted(&[]));
        check(&[(1, 1), (2, 2)], &ClaimsVerdict::Unconfirmed);
        check(&[(1, 1), (2, 2), (1, 3)], &accepted(&[2]));
        check(&[(1, 1), (2, 2), (1, 3), (3, 4)], &ClaimsVerdict::Contradicted);
    }

    #[test]
    fn a_lone_claim_is_accepted_unless_claims_differ() {
        let deferred = DeferredClaims::default();
        let (record, alone) = (Digest::of(b"record"), true);
        let accepted = ClaimsVerdict::Accepted { refuted: Vec::new() };
        assert_eq!(deferred.judge(record, vec![[1; 32]], WorkerId(1), false), accepted, "claims are not compared yet");
        deferred.start_comparing();
        assert_eq!(deferred.judge(record, vec![[1; 32]], WorkerId(1), alone), accepted);
        assert_eq!(deferred.judge(record, vec![[2; 32]], WorkerId(2), alone), ClaimsVerdict::Unconfirmed);
    }
}
