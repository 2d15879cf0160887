//! Unverified results, which are used before they are verified, and the audit that finds the faulty workers if the
//! finished proof is wrong.

use crate::controller::{TaskInput, TaskSpec};
use scheduler::PeerId;
use std::collections::HashSet;

/// An unverified result that was accepted.
#[derive(Debug, Clone)]
pub(crate) struct Believed {
    pub(crate) spec: TaskSpec,
    pub(crate) peer: PeerId,
    pub(crate) worker: String,
}

impl Believed {
    /// Returns the name of the artifact that contains the result.
    pub(crate) fn name(&self) -> Option<&String> {
        self.spec.outputs.first()
    }

    /// Returns the names of the artifacts that the verification needs in addition to the result. A shard needs none:
    /// its inputs are large, and the facts that its verification needs were recorded when they were created.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &String> {
        let inputs = if self.spec.kind.is_shard() { &[] } else { self.spec.inputs.as_slice() };
        inputs.iter().filter_map(|input| match input {
            TaskInput::Artifact { name, .. } => Some(name),
            TaskInput::Literal(_) => None,
        })
    }
}

/// All unverified results of a proof, in the order in which they were accepted.
#[derive(Debug, Default)]
pub(crate) struct Beliefs {
    all: Vec<Believed>,
    /// Artifacts that their verification needs.
    kept: HashSet<String>,
    /// The artifacts in `kept` that nothing else needs any more.
    left: HashSet<String>,
}

impl Beliefs {
    pub(crate) fn add(&mut self, believed: Believed) {
        self.kept.extend(believed.name().into_iter().chain(believed.needs()).cloned());
        self.all.push(believed);
    }

    /// Returns true if the artifact `name`, which nothing else needs any more, must be kept for an audit.
    pub(crate) fn keep(&mut self, name: &str) -> bool {
        let kept = self.kept.contains(name);
        if kept {
            self.left.insert(name.to_owned());
        }
        kept
    }

    /// Forgets all results. Returns the artifacts that were only kept for their audit.
    pub(crate) fn give_up(&mut self) -> HashSet<String> {
        std::mem::take(self).left
    }

    pub(crate) fn all(&self) -> Vec<Believed> {
        self.all.clone()
    }
}

/// Evaluates the verdicts on unverified results, in the order in which the results were accepted. A result that was
/// made from a wrong part is wrong without a fault of its own worker. A result that was made from a part without a
/// verdict cannot be judged.
#[derive(Debug, Default)]
pub(crate) struct Inquest {
    believed: HashSet<String>,
    right: HashSet<String>,
}

impl Inquest {
    pub(crate) fn new(all: &[Believed]) -> Self {
        Self { believed: all.iter().filter_map(Believed::name).cloned().collect(), right: HashSet::new() }
    }

    /// Returns why the worker that made `part` is at fault; `None` if it is not at fault, or if that is unknown.
    /// `verdict` is the outcome of verifying `part`, or `None` if `part` could not be verified.
    pub(crate) fn hear(&mut self, part: &Believed, verdict: Option<Result<(), String>>) -> Option<String> {
        if part.needs().any(|name| self.believed.contains(name) && !self.right.contains(name)) {
            return None;
        }
        match verdict? {
            Ok(()) => {
                self.right.extend(part.name().cloned());
                None
            }
            Err(reason) => Some(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use scheduler::TaskKind;

    fn part(kind: TaskKind, inputs: &[&str], output: &str) -> Believed {
        let artifact = |name: &&str| TaskInput::Artifact { name: (*name).to_owned(), shared: false };
        let spec = TaskSpec {
            kind,
            inputs: inputs.iter().map(artifact).collect(),
            outputs: vec![output.to_owned()],
            marker: None,
            memory_bytes: 0,
            cycles: 0,
        };
        Believed { spec, peer: PeerId(1), worker: "worker".to_owned() }
    }

    /// Checks an audit of five results: three shards, the reduction of the first two, and the reduction of that with
    /// the third. `verdicts` has the outcome of verifying each, and `blamed` names the results whose workers are at
    /// fault.
    fn check(verdicts: [Option<bool>; 5], blamed: &[&str]) {
        let shard =
            |number: usize| part(TaskKind::NormalizeShard, &[&format!("record-{number}")], &format!("{number}"));
        let fold = |inputs: &[&str], output| part(TaskKind::RecursionReduce, inputs, output);
        let all = [shard(0), shard(1), shard(2), fold(&["0", "1"], "01"), fold(&["01", "2"], "012")];
        let mut inquest = Inquest::new(&all);
        let found = all.iter().zip(verdicts).filter(|(part, verdict)| {
            inquest.hear(part, verdict.map(|right| if right { Ok(()) } else { Err("wrong".to_owned()) })).is_some()
        });
        assert!(found.map(|(part, _)| part.name().unwrap()).eq(blamed.iter()), "{verdicts:?}");
    }

    #[test]
    fn workers_are_not_blamed_for_wrong_inputs() {
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
        let mut beliefs = Beliefs::default();
        beliefs.add(part(TaskKind::NormalizeShard, &["record"], "result"));
        assert!(!beliefs.keep("record"), "records are large, so they are not kept");
        assert!(beliefs.keep("result"));
        beliefs.add(part(TaskKind::RecursionReduce, &["result", "other"], "whole"));
        assert!(beliefs.keep("other"));
        assert_eq!(beliefs.give_up(), ["result", "other"].map(str::to_owned).into());
        assert!(!beliefs.keep("result"));
    }
}
