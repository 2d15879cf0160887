//! Deferred claims: what workers claim for the markers of their tasks, and the verdicts on these claims.

use super::{dice::mixed, fault::MachineId, plan::Plan};
use sp1d_scheduler::{AttemptId, ClaimsVerdict, TaskId, WorkerId};
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

    /// Returns wrong claims of `task`. Two machines never make the same wrong claims, because the orchestrator trusts
    /// two workers that agree. A check of the claims alone detects malformed claims. Only a comparison detects others.
    pub(crate) const fn wrong(task: TaskId, machine: MachineId, malformed: bool) -> Self {
        Self { content: mixed(Self::of(task).content ^ (machine.0 as u64 + 1)), malformed }
    }

    pub(crate) const fn is_malformed(self) -> bool {
        self.malformed
    }
}

/// All claims that were judged, like the orchestrator's deferred claims.
#[derive(Debug, Default)]
pub(crate) struct HeardClaims(BTreeMap<TaskId, BTreeMap<Claims, BTreeSet<WorkerId>>>);

/// Two workers of an earlier try of a proof. A comparison starts only after a try has failed.
const EARLIER: [WorkerId; 2] = [WorkerId(u64::MAX), WorkerId(u64::MAX - 1)];

impl HeardClaims {
    pub(crate) fn is_new(&self, task: TaskId) -> bool {
        !self.0.contains_key(&task)
    }

    /// Records that `workers` workers, at most two, made correct claims for `task` in an earlier try of its proof.
    pub(crate) fn recall(&mut self, task: TaskId, workers: usize) {
        self.0.entry(task).or_default().entry(Claims::of(task)).or_default().extend(&EARLIER[..workers]);
    }

    /// Records that `worker` makes `claims` for `task` and returns the verdict. They are accepted at once, unless the
    /// proof of the task compares claims. Then a second worker must make the same claims, if another worker is
    /// available or has made other claims. `is_alone` is true if no other worker is available.
    pub(crate) fn judge(
        &mut self,
        task: TaskId,
        claims: Claims,
        worker: WorkerId,
        is_alone: bool,
        plan: &Plan,
    ) -> ClaimsVerdict {
        let of_task = self.0.entry(task).or_default();
        of_task.entry(claims).or_default().insert(worker);
        if !plan.proofs[&plan.tasks[&task].proof].compares {
            return ClaimsVerdict::Accepted { refuted: Vec::new() };
        }
        let is_confirmed = |workers: &BTreeSet<WorkerId>| workers.len() >= 2;
        if is_confirmed(&of_task[&claims]) {
            let others = of_task.iter().filter(|(other, _)| **other != claims);
            return ClaimsVerdict::Accepted { refuted: others.flat_map(|(_, workers)| workers).copied().collect() };
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

    /// Judges these claims for one task, as pairs of the machine that makes wrong claims (`None` for right claims)
    /// and a worker. Checks the last verdict.
    fn check(claims: &[(Option<usize>, u64)], is_alone: bool, expected: &ClaimsVerdict) {
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
        let mut judge = |(wrong, worker): &(Option<usize>, u64)| {
            let claims = wrong.map_or(Claims::of(task), |machine| Claims::wrong(task, MachineId(machine), false));
            heard.judge(task, claims, WorkerId(*worker), is_alone, &plan)
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
