//! Unverified results, which are used before they are verified, and the decision which workers are at fault if a try
//! fails.

use crate::runner::task::TaskSpec;
use sp1d_scheduler::WorkerId;
use std::{collections::HashSet, sync::Arc};

/// An unverified result that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct UnverifiedResult {
    pub(crate) spec: TaskSpec,
    pub(crate) worker_id: WorkerId,
    pub(crate) worker: Arc<str>,
}

impl UnverifiedResult {
    /// Returns the name of the artifact that contains the result.
    pub(crate) fn name(&self) -> &str {
        self.spec.payload.result()
    }

    /// Returns the names of the artifacts that the verification of the result needs. A shard needs none: its inputs are
    /// large, and the facts that its verification needs were recorded when they were created.
    pub(crate) fn needed_artifacts(&self) -> impl Iterator<Item = &String> {
        let inputs = if self.spec.kind().is_shard() { Vec::new() } else { self.spec.payload.inputs() };
        inputs.into_iter().map(|input| input.artifact)
    }
}

/// All unverified results of a try, in the order in which they were accepted.
#[derive(Debug, Default)]
pub(crate) struct UnverifiedResults {
    all: Vec<UnverifiedResult>,
    /// Artifacts that their verification needs.
    needed: HashSet<String>,
    /// The needed artifacts that nothing else needs any more. They are kept only for an audit.
    only_for_audit: HashSet<String>,
}

impl UnverifiedResults {
    pub(crate) fn add(&mut self, result: UnverifiedResult) {
        self.needed.insert(result.name().to_owned());
        self.needed.extend(result.needed_artifacts().cloned());
        self.all.push(result);
    }

    /// Keeps the artifact `name`, which nothing else needs any more, if an audit needs it. Returns true if it is kept.
    pub(crate) fn keep_if_needed(&mut self, name: &str) -> bool {
        let is_needed = self.needed.contains(name);
        if is_needed {
            self.only_for_audit.insert(name.to_owned());
        }
        is_needed
    }

    /// Forgets all results. Returns the artifacts that were only kept for their audit.
    pub(crate) fn give_up(&mut self) -> HashSet<String> {
        std::mem::take(self).only_for_audit
    }

    pub(crate) fn all(&self) -> Vec<UnverifiedResult> {
        self.all.clone()
    }
}

/// Finds the workers at fault from the outcomes of verifying unverified results, in the order in which the results were
/// accepted. A result that was made from a wrong result is wrong without a fault of its own worker. A result that was
/// made from a result without an outcome cannot be judged.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    /// The artifacts that contain the results.
    results: HashSet<String>,
    /// Those of them that are right.
    right: HashSet<String>,
}

impl Audit {
    pub(crate) fn new(all: &[UnverifiedResult]) -> Self {
        Self { results: all.iter().map(|result| result.name().to_owned()).collect(), right: HashSet::new() }
    }

    /// Returns why the worker that made `result` is at fault; `None` if it is not at fault, or if that is unknown.
    /// `outcome` says whether `result` verifies. It is `None` if `result` could not be verified.
    pub(crate) fn judge(&mut self, result: &UnverifiedResult, outcome: Option<Result<(), String>>) -> Option<String> {
        if result.needed_artifacts().any(|name| self.results.contains(name) && !self.right.contains(name)) {
            return None;
        }
        match outcome? {
            Ok(()) => {
                self.right.insert(result.name().to_owned());
                None
            }
            Err(reason) => Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_protocol::{ReducePart, ReduceTask, ShardTask, TaskPayload};

    fn unverified(payload: TaskPayload<String>) -> UnverifiedResult {
        let spec = TaskSpec { payload, needed_bytes: 0, cycles: 0 };
        UnverifiedResult { spec, worker_id: WorkerId(1), worker: "worker".into() }
    }

    fn shard(record: &str, result: &str) -> UnverifiedResult {
        unverified(TaskPayload::NormalizeShard(ShardTask {
            program: "program".to_owned(),
            common_input: "common".to_owned(),
            record: record.to_owned(),
            result: result.to_owned(),
            marker: None,
        }))
    }

    fn fold(parts: &[&str], result: &str) -> UnverifiedResult {
        let parts = parts.iter().map(|proof| ReducePart { range: String::new(), proof: (*proof).to_owned() });
        unverified(TaskPayload::RecursionReduce(ReduceTask {
            is_last: false,
            range: String::new(),
            parts: parts.collect(),
            result: result.to_owned(),
        }))
    }

    /// Checks an audit of five results: three shards, the reduction of the first two, and the reduction of that with
    /// the third. `outcomes` says whether each verifies, and `at_fault` names the results whose workers are at
    /// fault.
    fn check(outcomes: [Option<bool>; 5], at_fault: &[&str]) {
        let shard = |number: usize| shard(&format!("record-{number}"), &format!("{number}"));
        let all = [shard(0), shard(1), shard(2), fold(&["0", "1"], "01"), fold(&["01", "2"], "012")];
        let mut audit = Audit::new(&all);
        let found = all.iter().zip(outcomes).filter(|(result, outcome)| {
            audit.judge(result, outcome.map(|right| if right { Ok(()) } else { Err("wrong".to_owned()) })).is_some()
        });
        assert!(found.map(|(result, _)| result.name()).eq(at_fault.iter().copied()), "{outcomes:?}");
    }

    #[test]
    fn workers_are_not_at_fault_for_wrong_inputs() {
        let (right, wrong, unknown) = (Some(true), Some(false), None);
        check([right, right, right, right, right], &[]);
        check([right, wrong, right, wrong, wrong], &["1"]);
        check([right, wrong, right, right, right], &["1"]);
        check([right, right, right, wrong, wrong], &["01"]);
        check([right, right, right, right, wrong], &["012"]);
        check([right, unknown, wrong, wrong, wrong], &["2"]);
        check([unknown; 5], &[]);
    }

    #[test]
    fn artifacts_for_an_audit_are_kept_until_given_up() {
        let mut results = UnverifiedResults::default();
        results.add(shard("record", "result"));
        assert!(!results.keep_if_needed("record"), "records are large, so they are not kept");
        assert!(results.keep_if_needed("result"));
        results.add(fold(&["result", "other"], "whole"));
        assert!(results.keep_if_needed("other"));
        assert_eq!(results.give_up(), ["result", "other"].map(str::to_owned).into());
        assert!(!results.keep_if_needed("result"));
    }
}
