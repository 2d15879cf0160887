//! The task of an assignment on the wire.

use super::{
    invalid::{Invalid, check_name, check_range},
    limits::MessageLimits,
};
use crate::{
    task::{ArtifactRef, DeferredTask, ReducePart, ReduceTask, ShardMarker, ShardTask, TaskPayload, WrapTask},
    wire::{self, assign::Task},
};
use sp1d_artifacts::Digest;
use sp1d_model::TaskId;

/// The result of a task, in errors.
const RESULT: &str = "the result";

/// Checks an artifact. `field` names it in the error.
fn check_artifact(artifact: Option<wire::ArtifactRef>, field: &'static str) -> Result<ArtifactRef, Invalid> {
    let wire::ArtifactRef { name, digest, length } = artifact.ok_or(Invalid::Missing(field))?;
    if length > MessageLimits::ARTIFACT_BYTES {
        return Err(Invalid::Size(field));
    }
    let digest = Digest::from_slice(&digest).ok_or(Invalid::Digest(field))?;
    Ok(ArtifactRef { name: check_name(name, field)?, digest, length })
}

impl TryFrom<Task> for TaskPayload<ArtifactRef> {
    type Error = Invalid;

    fn try_from(task: Task) -> Result<Self, Invalid> {
        Ok(match task {
            Task::ProveShard(task) => Self::ProveShard(task.try_into()?),
            Task::NormalizeShard(task) => Self::NormalizeShard(task.try_into()?),
            Task::RecursionReduce(task) => Self::RecursionReduce(task.try_into()?),
            Task::RecursionDeferred(task) => Self::RecursionDeferred(task.try_into()?),
            Task::ShrinkWrap(task) => Self::ShrinkWrap(task.try_into()?),
            Task::PlonkWrap(task) => Self::PlonkWrap(task.try_into()?),
            Task::Groth16Wrap(task) => Self::Groth16Wrap(task.try_into()?),
        })
    }
}

impl TryFrom<wire::ShardTask> for ShardTask<ArtifactRef> {
    type Error = Invalid;

    fn try_from(task: wire::ShardTask) -> Result<Self, Invalid> {
        Ok(Self {
            program: check_artifact(task.program, "the program")?,
            common_input: check_artifact(task.common_input, "the common input")?,
            record: check_artifact(task.record, "the record")?,
            result: check_name(task.result, RESULT)?,
            marker: task.marker.map(ShardMarker::try_from).transpose()?,
        })
    }
}

impl TryFrom<wire::ShardMarker> for ShardMarker {
    type Error = Invalid;

    fn try_from(marker: wire::ShardMarker) -> Result<Self, Invalid> {
        let event_list = check_name(marker.event_list, "the list of deferred events")?;
        Ok(Self { task: TaskId(marker.task), event_list })
    }
}

impl TryFrom<wire::ReduceTask> for ReduceTask<ArtifactRef> {
    type Error = Invalid;

    fn try_from(task: wire::ReduceTask) -> Result<Self, Invalid> {
        if task.parts.is_empty() || task.parts.len() > MessageLimits::PARTS {
            return Err(Invalid::Parts(task.parts.len()));
        }
        Ok(Self {
            is_last: task.is_last,
            range: check_range(task.range, "the range of a reduction")?,
            parts: task.parts.into_iter().map(ReducePart::try_from).collect::<Result<_, _>>()?,
            result: check_name(task.result, RESULT)?,
        })
    }
}

impl TryFrom<wire::ReducePart> for ReducePart<ArtifactRef> {
    type Error = Invalid;

    fn try_from(part: wire::ReducePart) -> Result<Self, Invalid> {
        Ok(Self {
            range: check_range(part.range, "the range of a part")?,
            proof: check_artifact(part.proof, "the proof of a part")?,
        })
    }
}

impl TryFrom<wire::DeferredTask> for DeferredTask<ArtifactRef> {
    type Error = Invalid;

    fn try_from(task: wire::DeferredTask) -> Result<Self, Invalid> {
        Ok(Self {
            common_input: check_artifact(task.common_input, "the common input")?,
            deferred_data: check_artifact(task.deferred_data, "the deferred data")?,
            result: check_name(task.result, RESULT)?,
        })
    }
}

impl TryFrom<wire::WrapTask> for WrapTask<ArtifactRef> {
    type Error = Invalid;

    fn try_from(task: wire::WrapTask) -> Result<Self, Invalid> {
        Ok(Self { proof: check_artifact(task.proof, "the proof to wrap")?, result: check_name(task.result, RESULT)? })
    }
}

impl From<TaskPayload<ArtifactRef>> for Task {
    fn from(payload: TaskPayload<ArtifactRef>) -> Self {
        match payload {
            TaskPayload::ProveShard(task) => Self::ProveShard(task.into()),
            TaskPayload::NormalizeShard(task) => Self::NormalizeShard(task.into()),
            TaskPayload::RecursionReduce(task) => Self::RecursionReduce(task.into()),
            TaskPayload::RecursionDeferred(task) => Self::RecursionDeferred(task.into()),
            TaskPayload::ShrinkWrap(task) => Self::ShrinkWrap(task.into()),
            TaskPayload::PlonkWrap(task) => Self::PlonkWrap(task.into()),
            TaskPayload::Groth16Wrap(task) => Self::Groth16Wrap(task.into()),
        }
    }
}

impl From<ArtifactRef> for wire::ArtifactRef {
    fn from(ArtifactRef { name, digest, length }: ArtifactRef) -> Self {
        Self { name, digest: digest.as_bytes().to_vec().into(), length }
    }
}

impl From<ShardTask<ArtifactRef>> for wire::ShardTask {
    fn from(task: ShardTask<ArtifactRef>) -> Self {
        let ShardTask { program, common_input, record, result, marker } = task;
        Self {
            program: Some(program.into()),
            common_input: Some(common_input.into()),
            record: Some(record.into()),
            result,
            marker: marker.map(Into::into),
        }
    }
}

impl From<ShardMarker> for wire::ShardMarker {
    fn from(ShardMarker { task, event_list }: ShardMarker) -> Self {
        Self { task: task.0, event_list }
    }
}

impl From<ReduceTask<ArtifactRef>> for wire::ReduceTask {
    fn from(task: ReduceTask<ArtifactRef>) -> Self {
        let ReduceTask { is_last, range, parts, result } = task;
        Self { is_last, range, parts: parts.into_iter().map(Into::into).collect(), result }
    }
}

impl From<ReducePart<ArtifactRef>> for wire::ReducePart {
    fn from(ReducePart { range, proof }: ReducePart<ArtifactRef>) -> Self {
        Self { range, proof: Some(proof.into()) }
    }
}

impl From<DeferredTask<ArtifactRef>> for wire::DeferredTask {
    fn from(task: DeferredTask<ArtifactRef>) -> Self {
        let DeferredTask { common_input, deferred_data, result } = task;
        Self { common_input: Some(common_input.into()), deferred_data: Some(deferred_data.into()), result }
    }
}

impl From<WrapTask<ArtifactRef>> for wire::WrapTask {
    fn from(WrapTask { proof, result }: WrapTask<ArtifactRef>) -> Self {
        Self { proof: Some(proof.into()), result }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_model::TaskKind;

    fn artifact(name: &str) -> ArtifactRef {
        ArtifactRef { name: name.to_owned(), digest: Digest::of(name.as_bytes()), length: name.len() as u64 }
    }

    fn payload(kind: TaskKind) -> TaskPayload<ArtifactRef> {
        let result = "result".to_owned();
        let shard = |result, marker| ShardTask {
            program: artifact("program"),
            common_input: artifact("common"),
            record: artifact("record"),
            result,
            marker,
        };
        let wrap = |result| WrapTask { proof: artifact("proof"), result };
        match kind {
            TaskKind::ProveShard => {
                let marker = ShardMarker { task: TaskId(4), event_list: "events".to_owned() };
                TaskPayload::ProveShard(shard(result, Some(marker)))
            }
            TaskKind::NormalizeShard => TaskPayload::NormalizeShard(shard(result, None)),
            TaskKind::RecursionReduce => {
                let part = |name: &str| ReducePart { range: format!("range of {name}"), proof: artifact(name) };
                let parts = vec![part("a"), part("b"), part("c")];
                let (is_last, range) = (true, "whole range".to_owned());
                TaskPayload::RecursionReduce(ReduceTask { is_last, range, parts, result })
            }
            TaskKind::RecursionDeferred => {
                let (common_input, deferred_data) = (artifact("common"), artifact("data"));
                TaskPayload::RecursionDeferred(DeferredTask { common_input, deferred_data, result })
            }
            TaskKind::ShrinkWrap => TaskPayload::ShrinkWrap(wrap(result)),
            TaskKind::PlonkWrap => TaskPayload::PlonkWrap(wrap(result)),
            TaskKind::Groth16Wrap => TaskPayload::Groth16Wrap(wrap(result)),
        }
    }

    #[test]
    fn a_task_of_each_kind_round_trips_through_the_wire() {
        for kind in TaskKind::ALL {
            let payload = payload(kind);
            assert_eq!(payload.kind(), kind);
            assert_eq!(TaskPayload::<ArtifactRef>::try_from(Task::from(payload.clone())), Ok(payload));
        }
    }

    fn check_shard(change: impl FnOnce(&mut wire::ShardTask), expected: Invalid) {
        let Task::ProveShard(mut task) = Task::from(payload(TaskKind::ProveShard)) else { unreachable!() };
        change(&mut task);
        assert_eq!(ShardTask::<ArtifactRef>::try_from(task), Err(expected));
    }

    fn check_reduce(change: impl FnOnce(&mut wire::ReduceTask), expected: Invalid) {
        let Task::RecursionReduce(mut task) = Task::from(payload(TaskKind::RecursionReduce)) else { unreachable!() };
        change(&mut task);
        assert_eq!(ReduceTask::<ArtifactRef>::try_from(task), Err(expected));
    }

    #[test]
    fn tasks_beyond_the_limits_are_refused() {
        check_shard(|task| task.program = None, Invalid::Missing("the program"));
        check_shard(|task| task.record = None, Invalid::Missing("the record"));
        let reference = |name: &str, digest: &'static [u8], length| {
            Some(wire::ArtifactRef { name: name.to_owned(), digest: digest.into(), length })
        };
        check_shard(|task| task.record = reference("a", b"short", 1), Invalid::Digest("the record"));
        check_shard(|task| task.record = reference("a", &[0; 32], 5 << 30), Invalid::Size("the record"));
        check_shard(|task| task.record = reference("", &[0; 32], 1), Invalid::Name("the record"));
        check_shard(|task| task.result = "x".repeat(201), Invalid::Name("the result"));
        check_shard(|task| task.result = "../\n".to_owned(), Invalid::Name("the result"));
        check_shard(
            |task| task.marker = Some(wire::ShardMarker::default()),
            Invalid::Name("the list of deferred events"),
        );
        check_reduce(|task| task.parts.clear(), Invalid::Parts(0));
        check_reduce(|task| task.parts = vec![task.parts[0].clone(); 32], Invalid::Parts(32));
        check_reduce(|task| task.parts[1].proof = None, Invalid::Missing("the proof of a part"));
        check_reduce(|task| task.parts[1].range = "x".repeat(9_000), Invalid::Text("the range of a part"));
        check_reduce(|task| task.range = "x".repeat(9_000), Invalid::Text("the range of a reduction"));
    }
}
