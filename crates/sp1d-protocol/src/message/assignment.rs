//! The assignment of an attempt.

use super::invalid::{Invalid, check_name, check_text};
use crate::{
    task::{ArtifactRef, TaskPayload},
    wire,
};
use sp1d_artifacts::Digest;
use sp1d_model::AttemptId;

/// A task given to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Number of the attempt.
    pub attempt: AttemptId,
    /// The proof's id, for logs and for the engine's context.
    pub proof: String,
    /// The kind of the task, its inputs and its outputs.
    pub payload: TaskPayload<ArtifactRef>,
    /// The engine's options.
    pub options: String,
    /// Estimated bytes of memory that the task needs in addition to the loaded engine; 0 if unknown.
    pub memory_bytes: u64,
    /// Digest of everything that the results depend on. `None` if the orchestrator keeps no result cache.
    pub key: Option<Digest>,
    /// An attempt from before the orchestrator restarted. The new attempt resumes it if the worker still has it.
    pub resumes: Option<AttemptId>,
}

impl TryFrom<wire::Assign> for Assignment {
    type Error = Invalid;

    fn try_from(assign: wire::Assign) -> Result<Self, Invalid> {
        let key = Some(assign.key).filter(|key| !key.is_empty());
        let key = key.map(|key| Digest::from_slice(&key).ok_or(Invalid::Digest("the key"))).transpose()?;
        Ok(Self {
            attempt: AttemptId(assign.attempt),
            proof: check_name(assign.proof, "the proof")?,
            payload: assign.task.ok_or(Invalid::NoTask)?.try_into()?,
            options: check_text(assign.options, "the text of the options")?,
            memory_bytes: assign.memory_bytes,
            key,
            resumes: Some(AttemptId(assign.resumes)).filter(|attempt| attempt.0 != 0),
        })
    }
}

impl From<Assignment> for wire::Assign {
    fn from(assignment: Assignment) -> Self {
        Self {
            attempt: assignment.attempt.0,
            proof: assignment.proof,
            task: Some(assignment.payload.into()),
            options: assignment.options,
            memory_bytes: assignment.memory_bytes,
            key: assignment.key.map_or_else(Default::default, |key| key.as_bytes().to_vec().into()),
            resumes: assignment.resumes.map_or(0, |attempt| attempt.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::{ShardMarker, ShardTask};
    use sp1d_model::TaskId;

    fn assignment() -> Assignment {
        let artifact = |name: &str| ArtifactRef { name: name.into(), digest: Digest::of(b"content"), length: 7 };
        Assignment {
            attempt: AttemptId(7),
            proof: "p1".into(),
            payload: TaskPayload::ProveShard(ShardTask {
                program: artifact("elf"),
                common_input: artifact("common"),
                record: artifact("record"),
                result: "proof".into(),
                marker: Some(ShardMarker { task: TaskId(4), event_list: "events".into() }),
            }),
            options: "{}".into(),
            memory_bytes: 5 << 30,
            key: Some(Digest::of(b"key")),
            resumes: Some(AttemptId(3)),
        }
    }

    #[test]
    fn an_assignment_round_trips_through_the_wire() {
        let plain = Assignment { key: None, resumes: None, ..assignment() };
        for assignment in [assignment(), plain] {
            assert_eq!(Assignment::try_from(wire::Assign::from(assignment.clone())), Ok(assignment));
        }
    }

    fn check_invalid(change: impl FnOnce(&mut wire::Assign), expected: Invalid) {
        let mut assign = wire::Assign::from(assignment());
        change(&mut assign);
        assert_eq!(Assignment::try_from(assign), Err(expected));
    }

    #[test]
    fn invalid_assignments_are_refused() {
        check_invalid(|assign| assign.task = None, Invalid::NoTask);
        check_invalid(
            |assign| assign.task = Some(wire::assign::Task::PlonkWrap(wire::WrapTask::default())),
            Invalid::Missing("the proof to wrap"),
        );
        check_invalid(|assign| assign.proof.clear(), Invalid::Name("the proof"));
        check_invalid(|assign| assign.key = vec![1; 31].into(), Invalid::Digest("the key"));
        check_invalid(|assign| assign.options = "x".repeat(70_000), Invalid::Text("the text of the options"));
    }
}
