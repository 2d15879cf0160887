//! Conversion of wire messages to validated values.

use crate::wire;
use artifacts::Digest;
use scheduler::{AttemptId, KindSet, TaskKind};
use std::{collections::BTreeMap, fmt};

/// Limits on the messages of a peer.
pub struct Limits;

impl Limits {
    /// Maximum number of inputs of a task.
    pub const INPUTS: usize = 64;
    /// Maximum number of outputs of a task.
    pub const OUTPUTS: usize = 8;
    /// Maximum bytes of an artifact's name, a marker or a proof's id.
    pub const NAME_BYTES: usize = 200;
    /// Maximum bytes of a literal input or of the options.
    pub const TEXT_BYTES: usize = 64 << 10;
    /// Maximum uncompressed bytes of one artifact. No shard record or proof comes near it.
    pub const ARTIFACT_BYTES: u64 = 4 << 30;
    /// Maximum uncompressed bytes of a task's result. Proofs have one or two megabytes.
    pub const RESULT_BYTES: u64 = 64 << 20;
    /// Maximum number of attempts that a worker holds, and offers when it returns. No orchestrator assigns that many.
    pub const HELD_ATTEMPTS: usize = 256;
    /// Maximum number of artifacts that an attempt may deliver. The events of a core shard take a few artifacts for
    /// each precompile.
    pub const DELIVERIES: usize = 1024;
    /// Maximum compressed bytes that an attempt may deliver.
    pub const DELIVERED_BYTES: u64 = 4 << 30;
    /// Maximum bytes that are kept of a failure's text.
    pub const FAILURE_BYTES: usize = 4 << 10;
}

/// Returns the prefix for names of artifacts that `attempt` makes in addition to its outputs. An attempt may deliver
/// only artifacts with this prefix and its outputs.
#[must_use]
pub fn made_prefix(attempt: AttemptId) -> String {
    format!("made-{attempt}-")
}

/// Why a message is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid message: {0}")]
pub struct Invalid(pub &'static str);

/// One input of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputValue {
    /// The value itself.
    Literal(String),
    /// An artifact that the orchestrator holds.
    Artifact {
        /// Name of the artifact.
        name: String,
        /// Digest of the content.
        digest: Digest,
        /// Length of the content in bytes.
        length: u64,
        /// True if other tasks use the artifact too.
        shared: bool,
    },
}

/// A task given to a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// Number of the attempt.
    pub attempt: AttemptId,
    /// The proof's id, for logs and for the engine's context.
    pub proof: String,
    /// The kind of the task.
    pub kind: TaskKind,
    /// The inputs, in the engine's order.
    pub inputs: Vec<InputValue>,
    /// The names for the results, in the engine's order.
    pub outputs: Vec<String>,
    /// The marker that the attempt completes before it delivers its result.
    pub marker: Option<String>,
    /// The engine's options.
    pub options: String,
    /// Estimated bytes of memory that the task needs in addition to the loaded engine; 0 if unknown.
    pub memory_bytes: u64,
    /// Digest of everything that the results depend on. `None` if the orchestrator keeps no result cache.
    pub key: Option<Digest>,
    /// An attempt of an earlier run of the orchestrator. The new attempt resumes it if the worker still has it.
    pub resumes: Option<AttemptId>,
}

/// The kind of failure that ended an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The engine returned an error.
    Engine,
    /// The engine panicked.
    Panic,
    /// An input could not be fetched, or differs from what was announced.
    Input,
    /// An output could not be delivered.
    Output,
    /// The worker does not support this kind of task.
    Unsupported,
    /// The prover process ended while it ran the attempt.
    Killed,
    /// The kernel killed the prover process because memory ran out.
    OutOfMemory,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "engine error",
            Self::Panic => "engine panic",
            Self::Input => "input not fetched",
            Self::Output => "output not delivered",
            Self::Unsupported => "unsupported task",
            Self::Killed => "prover killed",
            Self::OutOfMemory => "out of memory",
        })
    }
}

impl From<FailureKind> for wire::FailureKind {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Engine => Self::Engine,
            FailureKind::Panic => Self::Panic,
            FailureKind::Input => Self::Input,
            FailureKind::Output => Self::Output,
            FailureKind::Unsupported => Self::Unsupported,
            FailureKind::Killed => Self::Killed,
            FailureKind::OutOfMemory => Self::OutOfMemory,
        }
    }
}

impl From<wire::FailureKind> for FailureKind {
    /// A kind that this version does not know arrives as unspecified and is treated as an engine error.
    fn from(kind: wire::FailureKind) -> Self {
        match kind {
            wire::FailureKind::Unspecified | wire::FailureKind::Engine => Self::Engine,
            wire::FailureKind::Panic => Self::Panic,
            wire::FailureKind::Input => Self::Input,
            wire::FailureKind::Output => Self::Output,
            wire::FailureKind::Unsupported => Self::Unsupported,
            wire::FailureKind::Killed => Self::Killed,
            wire::FailureKind::OutOfMemory => Self::OutOfMemory,
        }
    }
}

/// Converts a task kind to its wire value.
#[must_use]
pub fn kind_to_wire(kind: TaskKind) -> wire::TaskKind {
    match kind {
        TaskKind::ProveShard => wire::TaskKind::ProveShard,
        TaskKind::NormalizeShard => wire::TaskKind::NormalizeShard,
        TaskKind::RecursionReduce => wire::TaskKind::RecursionReduce,
        TaskKind::RecursionDeferred => wire::TaskKind::RecursionDeferred,
        TaskKind::ShrinkWrap => wire::TaskKind::ShrinkWrap,
        TaskKind::PlonkWrap => wire::TaskKind::PlonkWrap,
        TaskKind::Groth16Wrap => wire::TaskKind::Groth16Wrap,
    }
}

/// Converts a wire value to a task kind. Returns `None` for a kind that this version does not know.
#[must_use]
pub fn kind_from_wire(kind: wire::TaskKind) -> Option<TaskKind> {
    match kind {
        wire::TaskKind::Unspecified => None,
        wire::TaskKind::ProveShard => Some(TaskKind::ProveShard),
        wire::TaskKind::NormalizeShard => Some(TaskKind::NormalizeShard),
        wire::TaskKind::RecursionReduce => Some(TaskKind::RecursionReduce),
        wire::TaskKind::RecursionDeferred => Some(TaskKind::RecursionDeferred),
        wire::TaskKind::ShrinkWrap => Some(TaskKind::ShrinkWrap),
        wire::TaskKind::PlonkWrap => Some(TaskKind::PlonkWrap),
        wire::TaskKind::Groth16Wrap => Some(TaskKind::Groth16Wrap),
    }
}

impl wire::HelloRequest {
    /// Returns the task kinds that the worker supports, without kinds that this version does not know.
    #[must_use]
    pub fn kind_set(&self) -> KindSet {
        self.kinds().filter_map(kind_from_wire).collect()
    }

    /// Returns why the worker does not support other kinds. Each reason is cut to 400 characters.
    #[must_use]
    pub fn inability_texts(&self) -> BTreeMap<TaskKind, String> {
        let told = self.inabilities.iter().take(TaskKind::ALL.len());
        let text = |reason: &str| reason.chars().filter(|letter| !letter.is_control()).take(400).collect();
        told.filter_map(|told| Some((kind_from_wire(told.kind())?, text(&told.reason)))).collect()
    }
}

fn check_name(name: String, what: &'static str) -> Result<String, Invalid> {
    let printable = name.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    if name.is_empty() || name.len() > Limits::NAME_BYTES || !printable {
        return Err(Invalid(what));
    }
    Ok(name)
}

fn check_text(text: String, what: &'static str) -> Result<String, Invalid> {
    if text.len() > Limits::TEXT_BYTES { Err(Invalid(what)) } else { Ok(text) }
}

impl TryFrom<wire::Input> for InputValue {
    type Error = Invalid;

    fn try_from(input: wire::Input) -> Result<Self, Invalid> {
        match input.value.ok_or(Invalid("an input has no value"))? {
            wire::input::Value::Literal(text) => Ok(Self::Literal(check_text(text, "a literal input is too long")?)),
            wire::input::Value::Artifact(artifact) => {
                if artifact.length > Limits::ARTIFACT_BYTES {
                    return Err(Invalid("an input artifact is too large"));
                }
                Ok(Self::Artifact {
                    name: check_name(artifact.name, "an input has an invalid name")?,
                    digest: Digest::from_slice(&artifact.digest).ok_or(Invalid("an input has an invalid digest"))?,
                    length: artifact.length,
                    shared: artifact.shared,
                })
            }
        }
    }
}

impl From<InputValue> for wire::Input {
    fn from(input: InputValue) -> Self {
        let value = match input {
            InputValue::Literal(text) => wire::input::Value::Literal(text),
            InputValue::Artifact { name, digest, length, shared } => wire::input::Value::Artifact(wire::ArtifactRef {
                name,
                digest: digest.as_bytes().to_vec().into(),
                length,
                shared,
            }),
        };
        Self { value: Some(value) }
    }
}

impl TryFrom<wire::Assign> for Assignment {
    type Error = Invalid;

    fn try_from(assign: wire::Assign) -> Result<Self, Invalid> {
        let kind = kind_from_wire(assign.kind()).ok_or(Invalid("unknown task kind"))?;
        if assign.inputs.len() > Limits::INPUTS || assign.outputs.len() > Limits::OUTPUTS {
            return Err(Invalid("a task has too many inputs or outputs"));
        }
        let names = assign.outputs.into_iter().map(|name| check_name(name, "an output has an invalid name"));
        let marker = Some(assign.marker).filter(|marker| !marker.is_empty());
        let key = Some(assign.key).filter(|key| !key.is_empty());
        let key = key.map(|key| Digest::from_slice(&key).ok_or(Invalid("a task has an invalid key"))).transpose()?;
        Ok(Self {
            attempt: AttemptId(assign.attempt),
            proof: check_name(assign.proof, "a proof has an invalid id")?,
            kind,
            inputs: assign.inputs.into_iter().map(InputValue::try_from).collect::<Result<_, _>>()?,
            outputs: names.collect::<Result<_, _>>()?,
            marker: marker.map(|marker| check_name(marker, "a marker has an invalid name")).transpose()?,
            options: check_text(assign.options, "the options are too long")?,
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
            kind: kind_to_wire(assignment.kind).into(),
            inputs: assignment.inputs.into_iter().map(Into::into).collect(),
            outputs: assignment.outputs,
            marker: assignment.marker.unwrap_or_default(),
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

    fn assignment() -> Assignment {
        Assignment {
            attempt: AttemptId(7),
            proof: "p1".into(),
            kind: TaskKind::ProveShard,
            inputs: vec![
                InputValue::Literal(String::new()),
                InputValue::Artifact { name: "elf".into(), digest: Digest::of(b"elf"), length: 3, shared: true },
            ],
            outputs: vec!["proof".into()],
            marker: Some("t4".into()),
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
        for kind in TaskKind::ALL {
            assert_eq!(kind_from_wire(kind_to_wire(kind)), Some(kind));
        }
    }

    fn check_invalid(change: impl FnOnce(&mut wire::Assign), part: &str) {
        let mut assign = wire::Assign::from(assignment());
        change(&mut assign);
        let text = Assignment::try_from(assign).unwrap_err().to_string();
        assert!(text.contains(part), "{text}");
    }

    #[test]
    fn invalid_assignments_are_refused() {
        check_invalid(|assign| assign.kind = 99, "unknown task kind");
        check_invalid(|assign| assign.inputs = vec![InputValue::Literal(String::new()).into(); 65], "too many");
        check_invalid(|assign| assign.inputs[0].value = None, "no value");
        check_invalid(|assign| assign.outputs[0] = "x".repeat(201), "an output has an invalid name");
        check_invalid(|assign| assign.outputs[0] = "../\n".into(), "an output has an invalid name");
        check_invalid(|assign| assign.proof.clear(), "invalid id");
        check_invalid(|assign| assign.key = vec![1; 31].into(), "invalid key");
        check_invalid(|assign| assign.options = "x".repeat(70_000), "too long");
        let artifact = |length, digest: &'static [u8]| {
            let reference = wire::ArtifactRef { name: "a".into(), digest: digest.into(), length, shared: false };
            wire::Input { value: Some(wire::input::Value::Artifact(reference)) }
        };
        check_invalid(|assign| assign.inputs[0] = artifact(1, b"short"), "invalid digest");
        check_invalid(|assign| assign.inputs[0] = artifact(5 << 30, &[0; 32]), "too large");
    }
}
