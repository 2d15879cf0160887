//! What the orchestrator needs of whoever knows SP1.

use crate::ProofHandle;
use artifacts::{Blob, Digest};
use async_trait::async_trait;
use bytes::Bytes;
use scheduler::{PastAttempt, TaskId, TaskKind};
use std::{fmt, time::Duration};

/// What is to be proven.
#[derive(Debug, Clone)]
pub struct ProofRequest {
    /// The program.
    pub elf: Bytes,
    /// Its input, as the controller's serialisation has it.
    pub stdin: Bytes,
    /// What kind of proof.
    pub mode: ProofMode,
    /// Cycles after which the program is stopped; none for no limit.
    pub cycle_limit: Option<u64>,
    /// How the program must end.
    pub expected_exit: ExpectedExit,
    /// Verify the proofs in the input before anything is proven, as long as they are not known to be right.
    pub check_input_proofs: bool,
    /// Nonce that the proof commits to.
    pub nonce: [u32; 4],
    /// Options that decide how the run is cut, as the controller's serialisation has them. They travel to the workers
    /// with each task.
    pub options: String,
    /// Longest time the whole may take; none for no limit.
    pub timeout: Option<Duration>,
    /// How logs call it, in letters and digits; empty for its number.
    pub label: String,
}

/// How a program must end for its proof to count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpectedExit {
    /// With code 0.
    #[default]
    Success,
    /// With this code.
    Code(u32),
    /// With any code.
    Any,
}

impl ExpectedExit {
    /// True when `code` is one of those expected.
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
    /// One proof, of constant size.
    Compressed,
    /// For chains, by Groth16.
    Groth16,
    /// For chains, by PLONK.
    Plonk,
}

impl ProofMode {
    /// Name as on the command line.
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
        /// True when further tasks use it; else it goes when the task is done.
        shared: bool,
    },
}

/// A task for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskSpec {
    /// What it asks for.
    pub kind: TaskKind,
    /// In the engine's order.
    pub inputs: Vec<TaskInput>,
    /// Names for the results; the first must be delivered, the others belong to the marker.
    pub outputs: Vec<String>,
    /// Marker that the task completes on its way.
    pub marker: Option<TaskId>,
    /// Memory that it takes on a worker beside the loaded engine, by estimate; 0 for unknown.
    pub memory_bytes: u64,
    /// Cycles of the program that it proves; 0 if it proves none, or an unknown number.
    pub cycles: u64,
}

/// A result as it came, to be checked before anything is built on it.
pub struct Checked<'a> {
    /// The proof it is a part of. The task's inputs are among its artifacts until a result of the task is accepted.
    /// With [`crate::Verify::Final`] it is checked later, if at all: the inputs of shards may be gone then.
    pub proof: &'a ProofHandle,
    /// What was asked for.
    pub spec: &'a TaskSpec,
    /// Content of the first output.
    pub output: Vec<u8>,
}

/// What an attempt delivered for its task's marker, to be checked before anybody hears that the marker is complete.
pub struct CheckedMarker<'a> {
    /// The proof it is a part of.
    pub proof: &'a ProofHandle,
    /// What was asked for.
    pub spec: &'a TaskSpec,
    /// Finds what the attempt, and no other, has delivered so far, but for the task's result.
    pub delivered: &'a dyn Fn(&str) -> Option<Blob>,
}

/// How a run is cut into shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// In the controller's serialization.
    pub options: String,
    /// As people set it, like `ELEMENT_THRESHOLD=130023424`.
    pub name: String,
}

/// What attempts on a worker can have of its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptMemory {
    /// Bytes for each attempt when all provers of the machine prove at the same time.
    pub each_bytes: u64,
    /// Bytes for an attempt that runs alone on the machine.
    pub alone_bytes: u64,
}

/// What a proof comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofOutput {
    /// The proof, in the controller's serialisation.
    pub proof: Vec<u8>,
    /// Cycles the program ran.
    pub cycles: u64,
}

/// Runs proofs: knows programs, shards and how the parts make a whole.
#[async_trait]
pub trait ProofController: Send + Sync + 'static {
    /// Runs one proof to its end, submitting tasks through `proof`, and verifies the result.
    ///
    /// # Errors
    /// When there will be no proof.
    ///
    /// # Cancel safety
    /// Dropping the future ends the execution and everything else of the proof that runs in this process.
    async fn run(&self, proof: ProofHandle, request: ProofRequest) -> Result<ProofOutput, ProofFailure>;

    /// Checks a task's result; called on a thread that may block.
    ///
    /// # Errors
    /// What is wrong with it: the worker that sent it is at fault.
    fn check(&self, result: Checked<'_>) -> Result<(), String>;

    /// The digest of everything that the results of a task depend on, so that the same digest is the same task, in
    /// whatever proof. `None` for a task whose results are not to be remembered, and for all unless this is overridden.
    /// Called when the task's inputs are there.
    fn memo_key(&self, _proof: &ProofHandle, _spec: &TaskSpec) -> Option<Digest> {
        None
    }

    /// The next smaller cut than that of `options`, for a run of which a shard needs more memory than the workers have.
    /// `None` for the smallest, and for all unless this is overridden.
    fn smaller_cut(&self, _options: &str) -> Option<Cut> {
        None
    }

    /// Checks what an attempt delivered for its task's marker; called on a thread that may block. Unless this is
    /// overridden, it is taken as it is.
    ///
    /// # Errors
    /// What is wrong with it: the worker that sent it is at fault.
    fn check_marker(&self, _marker: CheckedMarker<'_>) -> Result<(), String> {
        Ok(())
    }
}

/// Says of programs and inputs whether they can be proven at all, before anything of them is kept.
#[async_trait]
pub trait ProgramController: ProofController {
    /// Checks that `elf` is a program: takes a second at most.
    ///
    /// # Errors
    /// If it is not a valid program.
    async fn check_program(&self, elf: Bytes) -> Result<(), ProofFailure>;

    /// The key by which proofs of the program `elf` are verified, as people compare it. Computing it takes up to a
    /// minute.
    ///
    /// # Errors
    /// If it cannot be computed.
    async fn program_key(&self, elf: Bytes) -> Result<String, ProofFailure>;

    /// Checks that `stdin` is an input in the controller's serialisation; called on a thread that may block.
    ///
    /// # Errors
    /// When it is none.
    fn check_stdin(&self, stdin: &[u8]) -> Result<(), ProofFailure>;

    /// The input of a program that reads none.
    fn empty_stdin(&self) -> Vec<u8>;
}

/// Why there is no proof.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFailure {
    /// The program or its input is at fault; no other machine would do better.
    #[error("{0}")]
    Guest(String),
    /// The request cannot be served as it is.
    #[error("{0}")]
    Request(String),
    /// The machine the orchestrator runs on lacks something.
    #[error("{0}")]
    Host(String),
    /// The execution was cut short from outside, and another may come through.
    #[error("{0}")]
    Interrupted(String),
    /// All parts are there, and the whole does not verify.
    #[error("the finished proof does not verify: {0}")]
    Unverified(String),
    /// A task failed everywhere.
    #[error("{}", poison(*.task, *.kind, .history))]
    Task {
        /// The task.
        task: TaskId,
        /// What it asked for.
        kind: TaskKind,
        /// Its attempts, oldest first.
        history: Vec<PastAttempt>,
    },
    /// A task needs more memory than every worker has.
    #[error("{0}")]
    Memory(String),
    /// Nobody does a kind of task that the proof needs.
    #[error("no worker does {kind} tasks: {}", reasons.join("; "))]
    Unable {
        /// The kind.
        kind: TaskKind,
        /// Why not, a sentence for each worker.
        reasons: Vec<String>,
    },
    /// No worker was connected for longer than allowed.
    #[error("no worker has been connected for {} s; the last to leave: {last}", waited.as_secs())]
    NoWorkers {
        /// How long.
        waited: Duration,
        /// Why the last one left.
        last: String,
    },
    /// The request's timeout passed.
    #[error("the proof was not done after {} s, its timeout", .0.as_secs_f32())]
    Timeout(Duration),
    /// Somebody cancelled it.
    #[error("the proof was cancelled")]
    Cancelled,
    /// A mistake of ours, or of SP1.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What is said of a task that ran out of memory on the largest workers.
pub(crate) fn too_large(task: TaskId, kind: TaskKind, history: &[PastAttempt]) -> String {
    format!("{kind} needs more memory than every connected worker has: {}", poison(task, kind, history))
}

fn poison(task: TaskId, kind: TaskKind, history: &[PastAttempt]) -> String {
    use fmt::Write;
    let mut text = format!("task {task} ({kind}) failed for good:");
    for past in history {
        let what = &past.failure;
        let seconds = past.duration.as_secs_f32();
        write!(text, " [{} on {} after {seconds:.1} s: {what}]", past.attempt, past.worker)
            .expect("writing to a string does not fail");
    }
    text
}
