//! Deferred claims: what workers claimed during a proof. They show whose claim was wrong if the proof fails.
//!
//! A core shard's attempt delivers deferred events, which cannot be verified on their own. Well-formed events that do
//! not belong to the shard only show when a precompile shard cannot be proven, or when the finished proof does not
//! verify. However, the events are deterministic, so an attempt at the same shard on another worker shows who is right.

use artifacts::Digest;
use scheduler::PeerId;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Digests of the events that an attempt delivered, sorted.
type Claim = Vec<[u8; 32]>;

/// Claims by record, over all runs of a proof, because the records of a program are the same in every run.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    claims: Mutex<HashMap<Digest, BTreeMap<Claim, BTreeSet<PeerId>>>>,
    /// A precompile shard could not be proven.
    suspect: AtomicBool,
    /// True once claims are compared.
    compares: AtomicBool,
    /// An unverified result turned out to be wrong.
    wrong_part: AtomicBool,
    /// Cached results were used.
    recalled: AtomicBool,
}

/// The verdict on a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// The claim is accepted.
    Taken {
        /// Workers that made a different claim, which is now known to be wrong.
        liars: Vec<PeerId>,
    },
    /// The claim is wrong, because two other workers agree on a different one.
    Wrong,
    /// No other worker has confirmed the claim, so another worker must be asked.
    Open,
}

impl Evidence {
    /// Records that a precompile shard could not be proven, so claims may be wrong.
    pub(crate) fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    /// Returns true if a comparison of claims may explain why the finished proof does not verify, and was not tried
    /// yet.
    pub(crate) fn may_tell_of_the_whole(&self) -> bool {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        // Without events, no claim can be wrong.
        !self.compares() && claims.values().flat_map(BTreeMap::keys).any(|claim| !claim.is_empty())
    }

    /// Returns true if a comparison of claims may explain why a shard cannot be proven, and was not tried yet.
    pub(crate) fn may_tell_of_a_part(&self) -> bool {
        !self.compares() && self.is_suspect()
    }

    /// Records that an unverified result turned out to be wrong.
    pub(crate) fn found_wrong_part(&self) {
        self.wrong_part.store(true, Ordering::Relaxed);
    }

    /// Returns true if an unverified result was wrong, which explains any failure.
    pub(crate) fn has_wrong_part(&self) -> bool {
        self.wrong_part.load(Ordering::Relaxed)
    }

    /// Records that a cached result is used. No worker has made a claim for it in this proof.
    pub(crate) fn recall(&self) {
        self.recalled.store(true, Ordering::Relaxed);
    }

    /// Returns true if cached results were used since the last call of this function, so they may be why there is no
    /// proof.
    pub(crate) fn take_recalled(&self) -> bool {
        self.recalled.swap(false, Ordering::Relaxed)
    }

    /// Returns true if a precompile shard could not be proven.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// Starts the comparison of claims: from now on, a claim only counts if two workers make it.
    pub(crate) fn compare(&self) {
        self.compares.store(true, Ordering::Relaxed);
    }

    pub(crate) fn compares(&self) -> bool {
        self.compares.load(Ordering::Relaxed)
    }

    /// Records that `peer` makes `claim` for the shard with `record`, and returns the verdict. `alone` is true if no
    /// other worker could be asked.
    pub(crate) fn hear(&self, record: Digest, mut claim: Claim, peer: PeerId, alone: bool) -> Judgement {
        claim.sort_unstable();
        let mut claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        let of_record = claims.entry(record).or_default();
        of_record.entry(claim.clone()).or_default().insert(peer);
        if !self.compares() {
            return Judgement::Taken { liars: Vec::new() };
        }
        let confirmed = |peers: &BTreeSet<PeerId>| peers.len() >= 2;
        if confirmed(&of_record[&claim]) {
            let others = of_record.iter().filter(|(other, _)| **other != claim);
            return Judgement::Taken { liars: others.flat_map(|(_, peers)| peers).copied().collect() };
        }
        if of_record.iter().any(|(other, peers)| *other != claim && confirmed(peers)) {
            return Judgement::Wrong;
        }
        if alone && of_record.len() == 1 { Judgement::Taken { liars: Vec::new() } } else { Judgement::Open }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes these claims for one shard, as pairs of a claim and a peer, while claims are compared. Checks the last
    /// verdict.
    fn check(claims: &[(u8, u64)], expected: &Judgement) {
        let evidence = Evidence::default();
        evidence.compare();
        let record = Digest::of(b"record");
        let judged = claims.iter().map(|(claim, peer)| evidence.hear(record, vec![[*claim; 32]], PeerId(*peer), false));
        assert_eq!(judged.last().as_ref(), Some(expected));
    }

    #[test]
    fn a_claim_counts_when_two_workers_make_it() {
        let taken = |liars: &[u64]| Judgement::Taken { liars: liars.iter().copied().map(PeerId).collect() };
        check(&[(1, 1)], &Judgement::Open);
        check(&[(1, 1), (1, 1)], &Judgement::Open);
        check(&[(1, 1), (1, 2)], &taken(&[]));
        check(&[(1, 1), (2, 2)], &Judgement::Open);
        check(&[(1, 1), (2, 2), (1, 3)], &taken(&[2]));
        check(&[(1, 1), (2, 2), (1, 3), (3, 4)], &Judgement::Wrong);
    }

    #[test]
    fn a_lone_worker_is_believed_unless_claims_differ() {
        let evidence = Evidence::default();
        let (record, alone) = (Digest::of(b"record"), true);
        let taken = Judgement::Taken { liars: Vec::new() };
        assert_eq!(evidence.hear(record, vec![[1; 32]], PeerId(1), false), taken, "claims are not compared yet");
        evidence.compare();
        assert_eq!(evidence.hear(record, vec![[1; 32]], PeerId(1), alone), taken);
        assert_eq!(evidence.hear(record, vec![[2; 32]], PeerId(2), alone), Judgement::Open);
    }
}
