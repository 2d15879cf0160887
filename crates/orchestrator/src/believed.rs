//! Results that count though nobody has verified them, and who is to blame when the whole is wrong.

use crate::controller::{TaskInput, TaskSpec};
use scheduler::PeerId;
use std::collections::HashSet;

/// One such result.
#[derive(Debug, Clone)]
pub(crate) struct Believed {
    pub(crate) spec: TaskSpec,
    pub(crate) peer: PeerId,
    pub(crate) worker: String,
}

impl Believed {
    /// The artifact it is.
    pub(crate) fn name(&self) -> Option<&String> {
        self.spec.outputs.first()
    }

    /// The artifacts that verifying it takes, but for itself. What shards are made of is large, and what it says was
    /// noted when it was made.
    pub(crate) fn needs(&self) -> impl Iterator<Item = &String> {
        let inputs = if self.spec.kind.is_shard() { &[] } else { self.spec.inputs.as_slice() };
        inputs.iter().filter_map(|input| match input {
            TaskInput::Artifact { name, .. } => Some(name),
            TaskInput::Literal(_) => None,
        })
    }
}

/// All of a proof, in the order they were accepted.
#[derive(Debug, Default)]
pub(crate) struct Beliefs {
    all: Vec<Believed>,
    /// Artifacts that verifying them takes.
    kept: HashSet<String>,
    /// Those of them that nobody else needs any more.
    left: HashSet<String>,
}

impl Beliefs {
    pub(crate) fn add(&mut self, believed: Believed) {
        self.kept.extend(believed.name().into_iter().chain(believed.needs()).cloned());
        self.all.push(believed);
    }

    /// True when the artifact `name`, which nobody else needs any more, stays.
    pub(crate) fn keep(&mut self, name: &str) -> bool {
        let kept = self.kept.contains(name);
        if kept {
            self.left.insert(name.to_owned());
        }
        kept
    }

    /// Forgets everything; the artifacts that were only kept for it.
    pub(crate) fn give_up(&mut self) -> HashSet<String> {
        std::mem::take(self).left
    }

    pub(crate) fn all(&self) -> Vec<Believed> {
        self.all.clone()
    }
}

/// Goes through verdicts on believed results, in the order these were accepted. What is made of a wrong part is wrong
/// through no fault of its maker, and of what is made of an unknown part nobody knows.
#[derive(Debug, Default)]
pub(crate) struct Inquest {
    believed: HashSet<String>,
    right: HashSet<String>,
}

impl Inquest {
    pub(crate) fn new(all: &[Believed]) -> Self {
        Self { believed: all.iter().filter_map(Believed::name).cloned().collect(), right: HashSet::new() }
    }

    /// Why the maker of `part` is to blame, given what verifying it came to; `None` for a verdict that could not be
    /// reached.
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

    /// Two shards, folded, and folded once more with a third; what each is found to be, and which are blamed.
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
    fn who_makes_something_of_a_wrong_part_is_not_to_blame() {
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
    fn what_verifying_takes_is_kept_until_it_is_given_up() {
        let mut beliefs = Beliefs::default();
        beliefs.add(part(TaskKind::NormalizeShard, &["record"], "result"));
        assert!(!beliefs.keep("record"), "records are large");
        assert!(beliefs.keep("result"));
        beliefs.add(part(TaskKind::RecursionReduce, &["result", "other"], "whole"));
        assert!(beliefs.keep("other"));
        assert_eq!(beliefs.give_up(), ["result", "other"].map(str::to_owned).into());
        assert!(!beliefs.keep("result"));
    }
}
