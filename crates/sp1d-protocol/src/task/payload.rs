//! A task of any kind, and the views of it that are the same for all kinds.

use super::{
    outputs::TaskOutputs,
    shapes::{DeferredTask, ReduceTask, ShardMarker, ShardTask, WrapTask},
};
use sp1d_model::TaskKind;
use std::convert::Infallible;

/// A task: its kind, its inputs and its outputs. `A` is how an input artifact is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskPayload<A> {
    /// Prove a shard.
    ProveShard(ShardTask<A>),
    /// Prove a shard, and verify its proof inside of a recursion proof.
    NormalizeShard(ShardTask<A>),
    /// Combine proofs of adjacent parts of a run.
    RecursionReduce(ReduceTask<A>),
    /// Verify an input proof inside of a recursion proof.
    RecursionDeferred(DeferredTask<A>),
    /// Shrink and wrap a compressed proof.
    ShrinkWrap(WrapTask<A>),
    /// Make a PLONK proof from a wrapped proof.
    PlonkWrap(WrapTask<A>),
    /// Make a Groth16 proof from a wrapped proof.
    Groth16Wrap(WrapTask<A>),
}

/// An input of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskInput<'a, A> {
    /// The artifact.
    pub artifact: &'a A,
    /// True if the artifact stays when the task's result is accepted: other tasks use it, or SP1's controller removes
    /// it.
    pub kept: bool,
}

impl<A> TaskPayload<A> {
    /// Returns the kind of the task.
    #[must_use]
    pub const fn kind(&self) -> TaskKind {
        match self {
            Self::ProveShard(_) => TaskKind::ProveShard,
            Self::NormalizeShard(_) => TaskKind::NormalizeShard,
            Self::RecursionReduce(_) => TaskKind::RecursionReduce,
            Self::RecursionDeferred(_) => TaskKind::RecursionDeferred,
            Self::ShrinkWrap(_) => TaskKind::ShrinkWrap,
            Self::PlonkWrap(_) => TaskKind::PlonkWrap,
            Self::Groth16Wrap(_) => TaskKind::Groth16Wrap,
        }
    }

    /// Returns the task if it proves a shard.
    #[must_use]
    pub const fn shard(&self) -> Option<&ShardTask<A>> {
        match self {
            Self::ProveShard(task) | Self::NormalizeShard(task) => Some(task),
            Self::RecursionReduce(_)
            | Self::RecursionDeferred(_)
            | Self::ShrinkWrap(_)
            | Self::PlonkWrap(_)
            | Self::Groth16Wrap(_) => None,
        }
    }

    /// Returns the marker of the task. An attempt reports its deferred events before it delivers its result.
    #[must_use]
    pub fn marker(&self) -> Option<&ShardMarker> {
        self.shard()?.marker.as_ref()
    }

    /// Returns all artifacts that the task reads.
    #[must_use]
    pub fn inputs(&self) -> Vec<TaskInput<'_, A>> {
        let kept = |artifact| TaskInput { artifact, kept: true };
        let unshared = |artifact| TaskInput { artifact, kept: false };
        match self {
            Self::ProveShard(task) | Self::NormalizeShard(task) => {
                vec![kept(&task.program), kept(&task.common_input), unshared(&task.record)]
            }
            Self::RecursionReduce(task) => task.parts.iter().map(|part| unshared(&part.proof)).collect(),
            Self::RecursionDeferred(task) => vec![kept(&task.common_input), unshared(&task.deferred_data)],
            Self::ShrinkWrap(task) | Self::PlonkWrap(task) | Self::Groth16Wrap(task) => vec![kept(&task.proof)],
        }
    }

    /// Returns the artifacts that only this task reads. They are removed when its result is accepted.
    pub fn unshared_inputs(&self) -> impl Iterator<Item = &A> {
        self.inputs().into_iter().filter(|input| !input.kept).map(|input| input.artifact)
    }

    /// Returns the name of the result.
    #[must_use]
    pub fn result(&self) -> &str {
        match self {
            Self::ProveShard(task) | Self::NormalizeShard(task) => &task.result,
            Self::RecursionReduce(task) => &task.result,
            Self::RecursionDeferred(task) => &task.result,
            Self::ShrinkWrap(task) | Self::PlonkWrap(task) | Self::Groth16Wrap(task) => &task.result,
        }
    }

    /// Returns the names of all outputs.
    #[must_use]
    pub fn outputs(&self) -> TaskOutputs {
        TaskOutputs {
            result: self.result().to_owned(),
            event_list: self.marker().map(|marker| marker.event_list.clone()),
        }
    }

    /// Returns the same task with its input artifacts named by `name`.
    ///
    /// # Errors
    /// Returns the first error of `name`.
    pub fn try_map<B, E>(&self, mut name: impl FnMut(&A) -> Result<B, E>) -> Result<TaskPayload<B>, E> {
        Ok(match self {
            Self::ProveShard(task) => TaskPayload::ProveShard(task.try_map(&mut name)?),
            Self::NormalizeShard(task) => TaskPayload::NormalizeShard(task.try_map(&mut name)?),
            Self::RecursionReduce(task) => TaskPayload::RecursionReduce(task.try_map(&mut name)?),
            Self::RecursionDeferred(task) => TaskPayload::RecursionDeferred(task.try_map(&mut name)?),
            Self::ShrinkWrap(task) => TaskPayload::ShrinkWrap(task.try_map(&mut name)?),
            Self::PlonkWrap(task) => TaskPayload::PlonkWrap(task.try_map(&mut name)?),
            Self::Groth16Wrap(task) => TaskPayload::Groth16Wrap(task.try_map(&mut name)?),
        })
    }

    /// Returns the same task with its input artifacts named by `name`.
    #[must_use]
    pub fn map<B>(&self, mut name: impl FnMut(&A) -> B) -> TaskPayload<B> {
        let Ok(mapped) = self.try_map(|artifact| Ok::<B, Infallible>(name(artifact)));
        mapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{ReducePart, TaskOutput};
    use sp1d_model::TaskId;

    fn shard(marker: Option<ShardMarker>) -> ShardTask<&'static str> {
        let result = "result".to_owned();
        ShardTask { program: "program", common_input: "common", record: "record", result, marker }
    }

    /// Checks the inputs of `task`: the artifacts that stay, and its unshared ones.
    #[track_caller]
    fn check_inputs(task: &TaskPayload<&str>, kept: &[&str], unshared: &[&str]) {
        let inputs = task.inputs();
        let kept_inputs = inputs.iter().filter(|input| input.kept).map(|input| *input.artifact);
        assert_eq!(kept_inputs.collect::<Vec<_>>(), kept);
        assert_eq!(task.unshared_inputs().copied().collect::<Vec<_>>(), unshared);
        assert_eq!(inputs.len(), kept.len() + unshared.len());
    }

    #[test]
    fn inputs_that_only_one_task_reads_are_unshared() {
        let result = || "result".to_owned();
        check_inputs(&TaskPayload::ProveShard(shard(None)), &["program", "common"], &["record"]);
        check_inputs(&TaskPayload::NormalizeShard(shard(None)), &["program", "common"], &["record"]);
        let part = |proof| ReducePart { range: "range".to_owned(), proof };
        let parts = vec![part("a"), part("b")];
        let reduce = ReduceTask { is_last: false, range: "all".to_owned(), parts, result: result() };
        check_inputs(&TaskPayload::RecursionReduce(reduce), &[], &["a", "b"]);
        let deferred = DeferredTask { common_input: "common", deferred_data: "data", result: result() };
        check_inputs(&TaskPayload::RecursionDeferred(deferred), &["common"], &["data"]);
        let wrap = || WrapTask { proof: "proof", result: result() };
        for wrap in [TaskPayload::ShrinkWrap(wrap()), TaskPayload::PlonkWrap(wrap()), TaskPayload::Groth16Wrap(wrap())]
        {
            check_inputs(&wrap, &["proof"], &[]);
        }
    }

    #[test]
    fn outputs_are_found_by_name() {
        let marker = ShardMarker { task: TaskId(4), event_list: "events".to_owned() };
        let with = TaskPayload::ProveShard(shard(Some(marker))).outputs();
        let without = TaskPayload::ProveShard(shard(None)).outputs();
        assert_eq!(with.find("result"), Some(TaskOutput::Result));
        assert_eq!(with.find("events"), Some(TaskOutput::EventList));
        assert_eq!((with.find("record"), without.find("events")), (None, None));
        assert_eq!(with.name(TaskOutput::EventList), Some("events"));
        assert_eq!((without.name(TaskOutput::Result), without.name(TaskOutput::EventList)), (Some("result"), None));
    }
}
