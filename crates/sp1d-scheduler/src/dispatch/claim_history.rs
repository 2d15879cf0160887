//! What workers claimed about the deferred events of shards, and the comparison of these claims.
//!
//! The attempt of a core shard uploads deferred events, which cannot be verified on their own. If well-formed events do
//! not belong to the shard, this is noticed only when a precompile shard cannot be proven, or when the finished proof
//! does not verify. However, the events are deterministic, so an attempt at the same shard on another worker shows
//! which worker is right.

use crate::{OriginId, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

/// The deferred events that an attempt claims for its shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeferredClaim {
    /// Digest of what determines the shard. It is the same in every try of a proof request, and in every attempt.
    pub shard: [u8; 32],
    /// Digests of the events, in any order.
    pub events: Vec<[u8; 32]>,
    /// True if the try already has artifacts with the names of the uploaded ones, but with other content. It is not
    /// known which of them are right, so the claim is not accepted.
    ///
    /// Artifact names contain an attempt number. After a restart of the orchestrator, each worker itself says which
    /// attempt it resumes. So two workers can name the same attempt, and upload different content under the same names.
    pub has_name_conflict: bool,
}

/// The verdict on the claim of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ClaimVerdict {
    /// The claim is accepted.
    Accepted {
        /// Workers that made other claims for the shard, perhaps this worker in an earlier attempt. They count as
        /// wrong, because workers of two origins agree on this claim. Even workers that had confirmed each other are
        /// refuted when another claim is confirmed later.
        refuted: Vec<WorkerId>,
    },
    /// Workers of two origins agree on another claim, and no worker of another origin has made this one. So this one
    /// counts as wrong.
    Contradicted,
    /// No worker of another origin has made the same claim, so the task goes to another worker.
    Unconfirmed,
    /// See [`DeferredClaim::has_name_conflict`].
    NameConflict,
}

/// Digests of the claimed events, sorted.
type ClaimedEvents = Vec<[u8; 32]>;

/// The workers that made a claim, with their origins.
type Claimants = BTreeMap<WorkerId, OriginId>;

/// Returns true if workers of at least two origins made a claim. Two names of one origin may be the same machine.
fn is_confirmed(claimants: &Claimants) -> bool {
    claimants.values().collect::<BTreeSet<_>>().len() >= 2
}

/// The claims of all workers for the shards of a proof request, over all its tries.
///
/// A claim without a name conflict is accepted at once, until [`start_comparing`](Self::start_comparing) is called.
/// Then a worker of another origin must make the same claim. One worker is enough only if no worker of another origin
/// is available and no other claim was made for the shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClaimHistory {
    /// The claims of each shard.
    claims: BTreeMap<[u8; 32], BTreeMap<ClaimedEvents, Claimants>>,
    is_comparing: bool,
}

impl ClaimHistory {
    /// From now on, claims are compared. The claims that are already recorded take part.
    pub fn start_comparing(&mut self) {
        self.is_comparing = true;
    }

    /// Returns true if claims are compared.
    #[must_use]
    pub const fn is_comparing(&self) -> bool {
        self.is_comparing
    }

    /// Returns true if a worker made a claim. A claim without events can be wrong, too: events may be missing.
    #[must_use]
    pub fn has_claims(&self) -> bool {
        !self.claims.is_empty()
    }

    /// Records that `worker` of `origin` makes `claim`.
    pub fn record(&mut self, claim: &DeferredClaim, worker: WorkerId, origin: OriginId) {
        self.claims.entry(claim.shard).or_default().entry(sorted(claim)).or_default().insert(worker, origin);
    }

    /// Records that `worker` of `origin` makes `claim`, and returns the verdict. `has_independent_worker` is true if a
    /// worker of another origin is available for the shard.
    pub(super) fn judge(
        &mut self,
        claim: &DeferredClaim,
        worker: WorkerId,
        origin: OriginId,
        has_independent_worker: bool,
    ) -> ClaimVerdict {
        self.record(claim, worker, origin);
        if claim.has_name_conflict {
            return ClaimVerdict::NameConflict;
        }
        if !self.is_comparing {
            return ClaimVerdict::Accepted { refuted: Vec::new() };
        }
        let (events, of_shard) = (sorted(claim), &self.claims[&claim.shard]);
        let others = of_shard.iter().filter(|(other, _)| **other != events);
        let others: Vec<&Claimants> = others.map(|(_, claimants)| claimants).collect();
        if is_confirmed(&of_shard[&events]) {
            let refuted = others.iter().flat_map(|claimants| claimants.keys()).copied().collect();
            return ClaimVerdict::Accepted { refuted };
        }
        if others.iter().any(|claimants| is_confirmed(claimants)) {
            return ClaimVerdict::Contradicted;
        }
        if !has_independent_worker && others.is_empty() {
            ClaimVerdict::Accepted { refuted: Vec::new() }
        } else {
            ClaimVerdict::Unconfirmed
        }
    }
}

fn sorted(claim: &DeferredClaim) -> ClaimedEvents {
    let mut events = claim.events.clone();
    events.sort_unstable();
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARD: [u8; 32] = [0; 32];

    /// Makes a claim for [`SHARD`]. The workers below 10 have their own origins, and the other workers have the same
    /// origin.
    fn judge(history: &mut ClaimHistory, claim: u8, worker: u64, has_independent_worker: bool) -> ClaimVerdict {
        let claim = DeferredClaim { shard: SHARD, events: vec![[claim; 32]], has_name_conflict: false };
        let origin = OriginId(u128::from(worker).min(10));
        history.judge(&claim, WorkerId(worker), origin, has_independent_worker)
    }

    fn accepted(refuted: &[u64]) -> ClaimVerdict {
        ClaimVerdict::Accepted { refuted: refuted.iter().copied().map(WorkerId).collect() }
    }

    /// Makes these claims for one shard, as pairs of a claim and a worker, while claims are compared. Checks the last
    /// verdict.
    fn check(claims: &[(u8, u64)], expected: &ClaimVerdict) {
        let mut history = ClaimHistory::default();
        history.start_comparing();
        let verdicts = claims.iter().map(|(claim, worker)| judge(&mut history, *claim, *worker, true));
        assert_eq!(verdicts.last().as_ref(), Some(expected), "{claims:?}");
    }

    #[test]
    fn a_claim_counts_when_workers_of_two_origins_make_it() {
        check(&[(1, 1)], &ClaimVerdict::Unconfirmed);
        check(&[(1, 1), (1, 1)], &ClaimVerdict::Unconfirmed);
        check(&[(1, 1), (1, 2)], &accepted(&[]));
        check(&[(1, 1), (2, 2)], &ClaimVerdict::Unconfirmed);
        check(&[(1, 1), (2, 2), (1, 3)], &accepted(&[2]));
        check(&[(1, 1), (2, 2), (1, 3), (3, 4)], &ClaimVerdict::Contradicted);
    }

    #[test]
    fn two_names_of_one_origin_do_not_confirm_each_other() {
        check(&[(1, 10), (1, 11)], &ClaimVerdict::Unconfirmed);
        check(&[(1, 10), (1, 11), (2, 1)], &ClaimVerdict::Unconfirmed);
        check(&[(1, 10), (1, 11), (2, 1), (2, 2)], &accepted(&[10, 11]));
        check(&[(1, 10), (1, 1)], &accepted(&[]));
    }

    #[test]
    fn a_lone_claim_is_accepted_unless_claims_differ() {
        let mut history = ClaimHistory::default();
        assert_eq!(judge(&mut history, 1, 1, true), accepted(&[]), "claims are not compared yet");
        history.start_comparing();
        assert_eq!(judge(&mut history, 1, 1, false), accepted(&[]));
        assert_eq!(judge(&mut history, 2, 2, false), ClaimVerdict::Unconfirmed);
    }

    #[test]
    fn claims_are_compared_per_shard_and_in_any_order() {
        let mut history = ClaimHistory::default();
        history.start_comparing();
        let mut make = |shard: u8, events: [u8; 2], worker: u64| {
            let events = events.map(|event| [event; 32]).to_vec();
            let claim = DeferredClaim { shard: [shard; 32], events, has_name_conflict: false };
            history.judge(&claim, WorkerId(worker), OriginId(worker.into()), true)
        };
        assert_eq!(make(1, [1, 2], 1), ClaimVerdict::Unconfirmed);
        assert_eq!(make(2, [1, 2], 2), ClaimVerdict::Unconfirmed);
        assert_eq!(make(1, [2, 1], 2), accepted(&[]));
    }

    #[test]
    fn a_claim_with_a_name_conflict_is_recorded_but_not_accepted() {
        let mut history = ClaimHistory::default();
        let claim = DeferredClaim { shard: SHARD, events: vec![[1; 32]], has_name_conflict: true };
        let verdict = history.judge(&claim, WorkerId(1), OriginId(1), false);
        assert_eq!((verdict, history.has_claims()), (ClaimVerdict::NameConflict, true));
    }

    #[test]
    fn a_claim_without_events_can_be_refuted() {
        let mut history = ClaimHistory::default();
        assert!(!history.has_claims());
        let empty = DeferredClaim { shard: SHARD, events: Vec::new(), has_name_conflict: false };
        history.record(&empty, WorkerId(1), OriginId(1));
        assert!(history.has_claims());
        history.start_comparing();
        assert_eq!(judge(&mut history, 1, 2, true), ClaimVerdict::Unconfirmed);
        assert_eq!(judge(&mut history, 1, 3, true), accepted(&[1]));
    }
}
