//! What workers claim for the markers of their tasks.

use super::{
    dice::{Dice, mixed},
    plan::Plan,
};
use sp1d_scheduler::{AttemptId, ClaimHistory, DeferredClaim, OriginId, TaskId, TryId, WorkerId};
use std::collections::BTreeMap;

/// What an attempt claims for the marker of its task, reduced to what the simulation needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Claims {
    content: u64,
    malformed: bool,
}

impl Claims {
    /// Returns the correct claims of `task`.
    pub(crate) const fn of(task: TaskId) -> Self {
        Self { content: mixed(task.0 ^ (1 << 62)), malformed: false }
    }

    /// Returns wrong claims of `task`. All workers of an origin make the same wrong claims. Two origins never do,
    /// because the orchestrator trusts two origins that agree. A check of the claims alone detects malformed claims.
    /// Only a comparison detects others.
    pub(crate) const fn wrong(task: TaskId, origin: OriginId, malformed: bool) -> Self {
        Self { content: mixed(Self::of(task).content ^ (origin.0 as u64 + 1)), malformed }
    }

    pub(crate) const fn is_malformed(self) -> bool {
        self.malformed
    }

    /// Returns the claims in the form of the dispatch state machine, for the shard of `task`.
    pub(crate) fn to_deferred(self, task: TaskId, has_name_conflict: bool) -> DeferredClaim {
        DeferredClaim { shard: digest(task.0), events: vec![digest(self.content)], has_name_conflict }
    }
}

/// Returns a digest that identifies `number`.
fn digest(number: u64) -> [u8; 32] {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_be_bytes());
    digest
}

/// Two workers of an earlier try of a proof.
const EARLIER: [(WorkerId, OriginId); 2] =
    [(WorkerId(u64::MAX), OriginId(u128::MAX)), (WorkerId(u64::MAX - 1), OriginId(u128::MAX - 1))];

/// Returns the claims with which `try_id` starts. If it compares claims, an earlier try has failed, in which at most
/// two workers made correct claims for most of the tasks.
pub(crate) fn earlier_claims(try_id: TryId, plan: &Plan, dice: &mut Dice) -> ClaimHistory {
    let mut claims = ClaimHistory::default();
    if !plan.tries[&try_id].compares {
        return claims;
    }
    claims.start_comparing();
    for task in &plan.tries[&try_id].tasks {
        if plan.tasks[task].marker.is_some() && dice.chance(700) {
            let workers = dice.index(2) + 1;
            let claim = Claims::of(*task).to_deferred(*task, false);
            EARLIER[..workers].iter().for_each(|(worker, origin)| claims.record(&claim, *worker, *origin));
        }
    }
    claims
}

/// The claims of attempts, before any command of a step is carried out.
pub(crate) type UploadedClaims = BTreeMap<AttemptId, Claims>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{WorldParameters, dice::Purpose};

    #[test]
    fn origins_make_different_wrong_claims() {
        let task = TaskId(1);
        let wrong = |origin: u128| Claims::wrong(task, OriginId(origin), false).to_deferred(task, false);
        assert_eq!(wrong(1), wrong(1));
        assert_ne!(wrong(1), wrong(2));
        assert_ne!(wrong(1), Claims::of(task).to_deferred(task, false));
        assert_ne!(wrong(1).shard, Claims::of(TaskId(2)).to_deferred(TaskId(2), false).shard);
    }

    #[test]
    fn only_tries_that_compare_claims_have_earlier_claims() {
        let mut have_claims = 0;
        for seed in 0..100 {
            let plan = Plan::draw(seed, &WorldParameters::draw(seed));
            let mut dice = Dice::new(seed, Purpose::Plan);
            for (try_id, entry) in &plan.tries {
                let claims = earlier_claims(*try_id, &plan, &mut dice);
                assert_eq!(claims.is_comparing(), entry.compares, "seed {seed}: {try_id}");
                assert!(entry.compares || !claims.has_claims(), "seed {seed}: {try_id}");
                have_claims += usize::from(claims.has_claims());
            }
        }
        assert!(have_claims > 0, "no try has earlier claims");
    }
}
