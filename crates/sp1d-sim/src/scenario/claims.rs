//! Deferred claims: what workers claim for the markers of their tasks, and the verdicts on these claims.

use super::{dice::mixed, plan::Plan};
use sp1d_scheduler::{AttemptId, ClaimsVerdict, OriginId, TaskId, WorkerId};
use std::collections::{BTreeMap, BTreeSet};

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
}

/// All claims that were judged, like the orchestrator's deferred claims.
#[derive(Debug, Default)]
pub(crate) struct HeardClaims(BTreeMap<TaskId, BTreeMap<Claims, BTreeMap<WorkerId, OriginId>>>);

/// Two workers of an earlier try of a proof. A comparison starts only after a try has failed.
const EARLIER: [(WorkerId, OriginId); 2] =
    [(WorkerId(u64::MAX), OriginId(u128::MAX)), (WorkerId(u64::MAX - 1), OriginId(u128::MAX - 1))];

/// Returns true if the workers have at least two origins.
fn is_confirmed(workers: &BTreeMap<WorkerId, OriginId>) -> bool {
    workers.values().collect::<BTreeSet<_>>().len() >= 2
}

impl HeardClaims {
    pub(crate) fn is_new(&self, task: TaskId) -> bool {
        !self.0.contains_key(&task)
    }

    /// Records that `workers` workers, at most two, made correct claims for `task` in an earlier try of its proof.
    pub(crate) fn recall(&mut self, task: TaskId, workers: usize) {
        self.0.entry(task).or_default().entry(Claims::of(task)).or_default().extend(EARLIER[..workers].iter().copied());
    }

    /// Records that `worker`, with its origin, makes `claims` for `task` and returns the verdict. They are accepted at
    /// once, unless the proof of the task compares claims. Then a worker of another origin must make the same claims,
    /// if such a worker is available or has made other claims. `is_alone` is true if no worker of another origin is
    /// available.
    pub(crate) fn judge(
        &mut self,
        task: TaskId,
        claims: Claims,
        (worker, origin): (WorkerId, OriginId),
        is_alone: bool,
        plan: &Plan,
    ) -> ClaimsVerdict {
        let of_task = self.0.entry(task).or_default();
        of_task.entry(claims).or_default().insert(worker, origin);
        if !plan.proofs[&plan.tasks[&task].proof].compares {
            return ClaimsVerdict::Accepted { refuted: Vec::new() };
        }
        if is_confirmed(&of_task[&claims]) {
            let others = of_task.iter().filter(|(other, _)| **other != claims);
            return ClaimsVerdict::Accepted {
                refuted: others.flat_map(|(_, workers)| workers.keys()).copied().collect(),
            };
        }
        if of_task.values().any(is_confirmed) {
            return ClaimsVerdict::Contradicted;
        }
        // The orchestrator believes a lone worker and verifies the finished proof. Here a lone worker is believed only
        // if it is right, so that a complete marker is always right.
        if is_alone && of_task.len() == 1 && claims == Claims::of(task) {
            ClaimsVerdict::Accepted { refuted: Vec::new() }
        } else {
            ClaimsVerdict::Unconfirmed
        }
    }
}

/// The claims of attempts, before any command of a step is carried out.
pub(crate) type UploadedClaims = BTreeMap<AttemptId, Claims>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::plan::{ProofPlan, TaskPlan};
    use sp1d_scheduler::{ProofId, TaskKind};
    use std::time::Duration;

    /// Judges these claims for one task, as pairs of the origin that makes wrong claims (`None` for right claims) and a
    /// worker. The workers below 10 have their own origins, and the other workers have the same origin. Checks the last
    /// verdict.
    fn check(claims: &[(Option<u128>, u64)], is_alone: bool, expected: &ClaimsVerdict) {
        let (task, proof, mut plan) = (TaskId(1), ProofId(1), Plan::default());
        plan.proofs.insert(proof, ProofPlan { compares: true, ..ProofPlan::default() });
        plan.tasks.insert(
            task,
            TaskPlan {
                proof,
                kind: TaskKind::ProveShard,
                marker: Some(TaskId(2)),
                poison: false,
                work: Duration::ZERO,
                memory: 1,
                inputs: 0,
                parent: None,
            },
        );
        let mut heard = HeardClaims::default();
        let mut judge = |(wrong, worker): &(Option<u128>, u64)| {
            let claims = wrong.map_or(Claims::of(task), |origin| Claims::wrong(task, OriginId(origin), false));
            let origin = OriginId(u128::from(*worker).min(10));
            heard.judge(task, claims, (WorkerId(*worker), origin), is_alone, &plan)
        };
        assert_eq!(claims.iter().map(&mut judge).last().as_ref(), Some(expected), "{claims:?}");
    }

    #[test]
    fn two_workers_with_the_same_claims_are_believed() {
        let accepted =
            |refuted: &[u64]| ClaimsVerdict::Accepted { refuted: refuted.iter().copied().map(WorkerId).collect() };
        check(&[(None, 1)], false, &ClaimsVerdict::Unconfirmed);
        check(&[(None, 1), (None, 1)], false, &ClaimsVerdict::Unconfirmed);
        check(&[(None, 1), (None, 2)], false, &accepted(&[]));
        check(&[(Some(1), 1), (None, 2), (None, 3)], false, &accepted(&[1]));
        check(&[(None, 2), (None, 3), (Some(1), 1)], false, &ClaimsVerdict::Contradicted);
        check(&[(Some(1), 1), (Some(2), 2)], false, &ClaimsVerdict::Unconfirmed);
    }

    #[test]
    fn two_names_of_one_origin_do_not_confirm_each_other() {
        check(&[(Some(10), 10), (Some(10), 11)], false, &ClaimsVerdict::Unconfirmed);
        let refuted = [10, 11].map(WorkerId).to_vec();
        let claims = [(Some(10), 10), (Some(10), 11), (None, 1), (None, 2)];
        check(&claims, false, &ClaimsVerdict::Accepted { refuted });
    }

    #[test]
    fn claims_of_an_earlier_try_count() {
        let (mut heard, task) = (HeardClaims::default(), TaskId(1));
        assert!(heard.is_new(task));
        heard.recall(task, 2);
        assert!(!heard.is_new(task));
        assert_eq!(heard.0[&task][&Claims::of(task)].len(), 2);
    }

    #[test]
    fn a_lone_worker_is_believed_if_it_is_right() {
        check(&[(None, 1)], true, &ClaimsVerdict::Accepted { refuted: Vec::new() });
        check(&[(Some(1), 1)], true, &ClaimsVerdict::Unconfirmed);
        check(&[(Some(1), 1), (None, 2)], true, &ClaimsVerdict::Unconfirmed);
    }
}
