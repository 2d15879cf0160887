//! What workers claimed on the way of a proof, for finding out whose claim was wrong when the whole does not come out.
//!
//! The deferred events that a core shard's attempt delivers cannot be verified by themselves: events that are well
//! formed and not the shard's show only when a precompile shard cannot be proven, or when the whole does not verify.
//! They are deterministic, though, so another worker's attempt at the same shard tells.

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

/// Claims by record: over all runs of a proof, as the records of a program are the same each time.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    claims: Mutex<HashMap<Digest, BTreeMap<Claim, BTreeSet<PeerId>>>>,
    /// A precompile shard could not be proven.
    suspect: AtomicBool,
    /// Claims are compared from now on.
    compares: AtomicBool,
    /// A part that was believed unverified is wrong.
    wrong_part: AtomicBool,
    /// Results of earlier times were used.
    recalled: AtomicBool,
}

/// What becomes of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judgement {
    /// It is taken.
    Taken {
        /// Those who claimed something else, which is now known to be wrong.
        liars: Vec<PeerId>,
    },
    /// It is wrong: two others agree on something else.
    Wrong,
    /// Nobody else has confirmed it: somebody else has to be asked.
    Open,
}

impl Evidence {
    /// A precompile shard could not be proven: claims may be wrong.
    pub(crate) fn suspect(&self) {
        self.suspect.store(true, Ordering::Relaxed);
    }

    /// True when a comparison of claims may tell why the whole does not verify, and has not been tried.
    pub(crate) fn may_tell_of_the_whole(&self) -> bool {
        let claims = self.claims.lock().unwrap_or_else(PoisonError::into_inner);
        // Without any events there is nothing that could be wrong in them.
        !self.compares() && claims.values().flat_map(BTreeMap::keys).any(|claim| !claim.is_empty())
    }

    /// True when a comparison of claims may tell why a shard cannot be proven, and has not been tried.
    pub(crate) fn may_tell_of_a_part(&self) -> bool {
        !self.compares() && self.is_suspect()
    }

    /// A part that was believed unverified is wrong.
    pub(crate) fn found_wrong_part(&self) {
        self.wrong_part.store(true, Ordering::Relaxed);
    }

    /// True when what was believed unverified was wrong, and is the reason of whatever failed.
    pub(crate) fn has_wrong_part(&self) -> bool {
        self.wrong_part.load(Ordering::Relaxed)
    }

    /// A result of an earlier time is used, of which nobody here has claimed anything.
    pub(crate) fn recall(&self) {
        self.recalled.store(true, Ordering::Relaxed);
    }

    /// True when results of earlier times may be why there is no proof, and have been used since this was last asked.
    pub(crate) fn take_recalled(&self) -> bool {
        self.recalled.swap(false, Ordering::Relaxed)
    }

    /// True when a precompile shard could not be proven.
    pub(crate) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Relaxed)
    }

    /// From now on a claim counts when two workers make it.
    pub(crate) fn compare(&self) {
        self.compares.store(true, Ordering::Relaxed);
    }

    pub(crate) fn compares(&self) -> bool {
        self.compares.load(Ordering::Relaxed)
    }

    /// `peer` claims `claim` of the shard that `record` is of. `alone`: nobody else could be asked.
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

    /// Claims of a shard, each with who makes it, while claims are compared; what becomes of the last.
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
    fn who_is_alone_is_believed_unless_others_said_otherwise() {
        let evidence = Evidence::default();
        let (record, alone) = (Digest::of(b"record"), true);
        let taken = Judgement::Taken { liars: Vec::new() };
        assert_eq!(evidence.hear(record, vec![[1; 32]], PeerId(1), false), taken, "nothing is compared yet");
        evidence.compare();
        assert_eq!(evidence.hear(record, vec![[1; 32]], PeerId(1), alone), taken);
        assert_eq!(evidence.hear(record, vec![[2; 32]], PeerId(2), alone), Judgement::Open);
    }
}
