//! The interface between the orchestrator and the code that knows SP1.

use crate::ProofHandle;
use artifacts::{Blob, Digest};
use async_trait::async_trait;
use bytes::Bytes;
use scheduler::{PastAttempt, TaskId, TaskKind};
use std::{fmt, time::Duration};

/// A request for one proof.
#[derive(Debug, Clone)]
pub struct ProofRequest {
    /// The program.
    pub elf: Bytes,
    /// Its input, in the controller's serialization.
    pub stdin: Bytes,
    /// Kind of the proof.
    pub mode: ProofMode,
    /// Number of cycles after which the program is stopped; `None` for no limit.
    pub cycle_limit: Option<u64>,
    /// How the program must end.
    pub expected_exit: ExpectedExit,
    /// Whether to verify the proofs in the input before proving starts, unless they are known to be valid.
    pub check_input_proofs: bool,
    /// Nonce to which the proof commits.
    pub nonce: [u32; 4],
    /// Options that decide how the run is cut into shards, in the controller's serialization. Each task carries them to
    /// its worker.
    pub options: String,
    /// Maximum duration of the whole proof; `None` for no limit.
    pub timeout: Option<Duration>,
    /// Name of the proof in logs. Only the first 64 ASCII letters and digits are used. If there are none, logs use the
    /// number of the proof.
    pub label: String,
}

/// The exit code with which a program must end for its proof to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpectedExit {
    /// Code 0.
    #[default]
    Success,
    /// This code.
    Code(u32),
    /// Any code.
    Any,
}

impl ExpectedExit {
    /// Returns true if `code` is one of the expected codes.
    #[must_use]
    pub fn accepts(self, code: u32) -> bool {
        match self {
            Self::Success => code == 0,
            Self::Code(expected) => code == expected,
            Self::Any => true,
        }
    }
}

/// Kinds of proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProofMode {
    /// One proof per shard.
    Core,
    /// One proof of constant size.
    Compressed,
    /// A Groth16 proof, for verification on a blockchain.
    Groth16,
    /// A PLONK proof, for verification on a blockchain.
    Plonk,
}

impl ProofMode {
    /// Returns the name, as used on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Core => "core",
            Self::Compressed => "compressed",
            Self::Groth16 => "groth16",
            Self::Plonk => "plonk",
        }
    }
}

impl fmt::Display for ProofMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One input of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskInput {
    /// The value itself.
    Literal(String),
    /// An artifact of the proof.
    Artifact {
        /// Its name.
        name: String,
        /// True if other tasks use it, too. Otherwise it is removed when the task is done.
        shared: bool,
    },
}

/// A task for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// Kind of the task.
    pub kind: TaskKind,
    /// Inputs, in the order that the engine expects.
    pub inputs: Vec<TaskInput>,
    /// Names of the outputs. The first is the result and must be delivered. The others belong to the marker.
    pub outputs: Vec<String>,
    /// Marker that the task completes while it runs.
    pub marker: Option<TaskId>,
    /// Estimated memory that the task needs on a worker, in addition to the loaded engine, in bytes; 0 if unknown.
    pub memory_bytes: u64,
    /// Number of program cycles that the task proves; 0 if it proves none, or if the number is unknown.
    pub cycles: u64,
}

/// A delivered result, to be checked before it is used.
pub struct Checked<'a> {
    /// The proof to which it belongs. The task's inputs are available until a result of the task is accepted. With
    /// [`crate::Verify::Final`], the check runs later or not at all, and the inputs of shards may be removed by then.
    pub proof: &'a ProofHandle,
    /// The task.
    pub spec: &'a TaskSpec,
    /// Content of the first output.
    pub output: Vec<u8>,
}

/// Outputs that an attempt delivered for its task's marker, to be checked before the marker is completed.
pub struct CheckedMarker<'a> {
    /// The proof to which they belong.
    pub proof: &'a ProofHandle,
    /// The task.
    pub spec: &'a TaskSpec,
    /// Returns an artifact that this attempt has delivered, by name, except the task's result.
    pub delivered: &'a dyn Fn(&str) -> Option<Blob>,
}

/// How a run is cut into shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The options, in the controller's serialization.
    pub options: String,
    /// The setting as users write it, for example `ELEMENT_THRESHOLD=130023424`.
    pub name: String,
}

/// How much of a worker's memory its attempts can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptMemory {
    /// Bytes for each attempt when all provers of the machine prove at the same time.
    pub each_bytes: u64,
    /// Bytes for an attempt that runs alone on the machine.
    pub alone_bytes: u64,
}

/// The outcome of a successful proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofOutput {
    /// The proof, in the controller's serialization.
    pub proof: Vec<u8>,
    /// Number of cycles that the program ran.
    pub cycles: u64,
}

/// Runs proofs. A controller knows programs and shards, and how the parts of a proof are combined.
#[async_trait]
pub trait ProofController: Send + Sync + 'static {
    /// Runs one proof to its end: submits tasks through `proof`, and verifies the finished proof.
    ///
    /// # Errors
    /// Returns why there is no proof.
    ///
    /// # Cancel safety
    /// Dropping the future ends the execution and all other work for the proof in this process.
    async fn run(&self, proof: ProofHandle, request: ProofRequest) -> Result<ProofOutput, ProofFailure>;

    /// Checks the result of a task. Called on a thread that may block.
    ///
    /// # Errors
    /// Returns what is wrong with the result. The fault is recorded for the worker that sent it.
    fn check(&self, result: Checked<'_>) -> Result<(), String>;

    /// Returns the digest of everything on which the results of a task depend, so that tasks with the same digest are
    /// the same task, even in different proofs. `None` if the results of the task must not be cached, which is the
    /// default. Called when the task's inputs are available.
    fn memo_key(&self, _proof: &ProofHandle, _spec: &TaskSpec) -> Option<Digest> {
        None
    }

    /// Returns the next smaller cut than the one in `options`, for a run with a shard that needs more memory than any
    /// worker has. `None` if there is no smaller cut, which is the default.
    fn smaller_cut(&self, _options: &str) -> Option<Cut> {
        None
    }

    /// Checks what an attempt delivered for its task's marker. Called on a thread that may block. By default it accepts
    /// everything.
    ///
    /// # Errors
    /// Returns what is wrong. The fault is recorded for the worker that delivered it.
    fn check_marker(&self, _marker: CheckedMarker<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// Checks whether programs and inputs can be proven, before they are stored.
#[async_trait]
pub trait ProgramController: ProofController {
    /// Checks that `elf` is a valid program. This takes at most one second.
    ///
    /// # Errors
    /// Fails if `elf` is not a valid program.
    async fn check_program(&self, elf: Bytes) -> Result<(), ProofFailure>;

    /// Returns the key that verifies proofs of the program `elf`, in the form that people compare. Computing it takes
    /// up to one minute.
    ///
    /// # Errors
    /// Fails if the key cannot be computed.
    async fn program_key(&self, elf: Bytes) -> Result<String, ProofFailure>;

    /// Checks that `stdin` is an input in the controller's serialization. Called on a thread that may block.
    ///
    /// # Errors
    /// Fails if `stdin` is not a valid input.
    fn check_stdin(&self, stdin: &[u8]) -> Result<(), ProofFailure>;

    /// Returns the input for a program that reads no input.
    fn empty_stdin(&self) -> Vec<u8>;
}

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFailure {
    /// The program or its input is at fault. The proof would fail on any machine.
    #[error("{0}")]
    Guest(String),
    /// The request cannot be served as it is.
    #[error("{0}")]
    Request(String),
    /// The machine of the orchestrator is at fault, for example because its disk is full.
    #[error("{0}")]
    Host(String),
    /// The execution was interrupted from outside. Another execution may succeed.
    #[error("{0}")]
    Interrupted(String),
    /// The finished proof does not verify, although all its parts are there.
    #[error("the finished proof does not verify: {0}")]
    Unverified(String),
    /// A task failed for good.
    #[error("{}", poison(*.task, *.kind, .history))]
    Task {
        /// The task.
        task: TaskId,
        /// Its kind.
        kind: TaskKind,
        /// Its attempts, oldest first.
        history: Vec<PastAttempt>,
    },
    /// A task needs more memory than any connected worker has.
    #[error("{0}")]
    Memory(String),
    /// No connected worker supports a task kind that the proof needs.
    #[error("no connected worker supports {kind} tasks: {}", reasons.join("; "))]
    Unable {
        /// The task kind.
        kind: TaskKind,
        /// The reasons, one sentence for each worker.
        reasons: Vec<String>,
    },
    /// No worker was connected for longer than the settings allow.
    #[error("no worker was connected for {} s; last disconnected worker: {last}\nhint: start a worker with `sp1d worker`", waited.as_secs())]
    NoWorkers {
        /// How long the proof waited.
        waited: Duration,
        /// Which worker left last, and why.
        last: String,
    },
    /// The timeout of the request passed.
    #[error("the proof did not end within its timeout of {} s\nhint: allow more time with `--timeout` or the setting `timeout_s`", .0.as_secs_f32())]
    Timeout(Duration),
    /// The proof was cancelled.
    #[error("the proof was cancelled")]
    Cancelled,
    /// A defect in this software or in SP1.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Describes a task that ran out of memory on the largest workers.
pub(crate) fn too_large(task: TaskId, kind: TaskKind, history: &[PastAttempt]) -> String {
    format!("a {kind} task needs more memory than any connected worker has: {}", poison(task, kind, history))
}

fn poison(task: TaskId, kind: TaskKind, history: &[PastAttempt]) -> String {
    use fmt::Write;
    let mut text = format!("task {task} ({kind}) failed permanently:");
    for past in history {
        let what = &past.failure;
        let seconds = past.duration.as_secs_f32();
        write!(text, " [attempt {} on worker {} after {seconds:.1} s: {what}]", past.attempt, past.worker)
            .expect("writing to a string cannot fail");
    }
    text
}
