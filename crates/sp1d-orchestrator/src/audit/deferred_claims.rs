//! Deferred claims: what workers claimed during a proof. They show whose claim was wrong if the proof fails.
//!
//! A core shard's attempt uploads deferred events, which cannot be verified on their own. Well-formed events that do
//! not belong to the shard only show when a precompile shard cannot be proven, or when the finished proof does not
//! verify. However, the events are deterministic, so an attempt at the same shard on another worker shows who is right.

use crate::lock::lock;
use sp1d_artifacts::Digest;
use sp1d_scheduler::{ClaimsVerdict, OriginId, WorkerId};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

/// Digests of the deferred events that an attempt uploaded, sorted.
type Claim = Vec<[u8; 32]>;

/// The workers that made a claim, with their origins.
type Claimants = BTreeMap<WorkerId, OriginId>;

/// Returns true if workers of at least two origins made a claim. Two names of one origin may be the same machine.
fn is_confirmed(claimants: &Claimants) -> bool {
    claimants.values().collect::<BTreeSet<_>>().len() >= 2
}

/// Claims by record, over all tries of a proof, because the records of a program are the same in every try.
#[derive(Debug, Default)]
pub(crate) struct DeferredClaims {
    claims: Mutex<HashMap<Digest, BTreeMap<Claim, Claimants>>>,
    /// A shard without a marker could not be proven.
    suspect: AtomicBool,
    /// True once a worker of another origin must confirm claims.
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

    /// Starts the comparison of claims. From now on, a claim is accepted only if two origins make it, or if no worker
    /// of another origin is available and none has made another claim.
    pub(crate) fn start_comparing(&self) {
        self.compares.store(true, Ordering::Relaxed);
    }

    pub(crate) fn compares(&self) -> bool {
        self.compares.load(Ordering::Relaxed)
    }

    /// Records that `worker`, with its origin, makes `claim` for the shard with `record`, and returns the verdict.
    /// [`ClaimsVerdict`] has the rule. `is_alone` is true if no worker of another origin is available. The caller
    /// checks whether the names of the artifacts are taken.
    pub(crate) fn judge(
        &self,
        record: Digest,
        mut claim: Claim,
        (worker, origin): (WorkerId, OriginId),
        is_alone: bool,
    ) -> ClaimsVerdict {
        claim.sort_unstable();
        let mut claims = lock(&self.claims);
        let of_record = claims.entry(record).or_default();
        of_record.entry(claim.clone()).or_default().insert(worker, origin);
        if !self.compares() {
            return ClaimsVerdict::Accepted { refuted: Vec::new() };
        }
        if is_confirmed(&of_record[&claim]) {
            let others = of_record.iter().filter(|(other, _)| **other != claim);
            return ClaimsVerdict::Accepted {
                refuted: others.flat_map(|(_, workers)| workers.keys()).copied().collect(),
            };
        }
        if of_record.iter().any(|(other, workers)| *other != claim && is_confirmed(workers)) {
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

    /// Returns the worker with this number. The workers below 10 have their own origins, and the other workers have the
    /// same origin.
    fn worker(number: u64) -> (WorkerId, OriginId) {
        (WorkerId(number), OriginId(u128::from(number).min(10)))
    }

    /// Makes these claims for one shard, as pairs of a claim and a worker, while claims are compared. Checks the last
    /// verdict.
    fn check(claims: &[(u8, u64)], expected: &ClaimsVerdict) {
        let deferred = DeferredClaims::default();
        deferred.start_comparing();
        let record = Digest::of(b"record");
        let verdicts =
            claims.iter().map(|(claim, number)| deferred.judge(record, vec![[*claim; 32]], worker(*number), false));
        assert_eq!(verdicts.last().as_ref(), Some(expected));
    }

    #[test]
    fn a_claim_counts_when_workers_of_two_origins_make_it() {
        let accepted =
            |refuted: &[u64]| ClaimsVerdict::Accepted { refuted: refuted.iter().copied().map(WorkerId).collect() };
        check(&[(1, 1)], &ClaimsVerdict::Unconfirmed);
        check(&[(1, 1), (1, 1)], &ClaimsVerdict::Unconfirmed);
        check(&[(1, 1), (1, 2)], &accepted(&[]));
        check(&[(1, 1), (2, 2)], &ClaimsVerdict::Unconfirmed);
        check(&[(1, 1), (2, 2), (1, 3)], &accepted(&[2]));
        check(&[(1, 1), (2, 2), (1, 3), (3, 4)], &ClaimsVerdict::Contradicted);
        check(&[(1, 10), (1, 11)], &ClaimsVerdict::Unconfirmed);
        check(&[(1, 10), (1, 11), (2, 1)], &ClaimsVerdict::Unconfirmed);
        check(&[(1, 10), (1, 11), (2, 1), (2, 2)], &accepted(&[10, 11]));
        check(&[(1, 10), (1, 1)], &accepted(&[]));
    }

    #[test]
    fn a_lone_claim_is_accepted_unless_claims_differ() {
        let deferred = DeferredClaims::default();
        let (record, alone) = (Digest::of(b"record"), true);
        let accepted = ClaimsVerdict::Accepted { refuted: Vec::new() };
        assert_eq!(deferred.judge(record, vec![[1; 32]], worker(1), false), accepted, "claims are not compared yet");
        deferred.start_comparing();
        assert_eq!(deferred.judge(record, vec![[1; 32]], worker(1), alone), accepted);
        assert_eq!(deferred.judge(record, vec![[2; 32]], worker(2), alone), ClaimsVerdict::Unconfirmed);
    }
}
