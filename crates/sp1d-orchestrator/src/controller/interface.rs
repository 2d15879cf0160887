//! The interface between the orchestrator and the code that knows SP1.

use super::{
    failure::ProofFailure,
    request::{Cut, ProofOutput, ProofRequest},
    task::TaskSpec,
};
use crate::proof::handle::ProofHandle;
use async_trait::async_trait;
use bytes::Bytes;
use sp1d_artifacts::{Blob, Digest};

/// A delivered result, to be checked before it is used.
pub struct DeliveredResult<'a> {
    /// The proof to which it belongs. The task's inputs are available until a result of the task is accepted. With
    /// [`crate::Verify::Final`], the check runs later or not at all, and the inputs of shards may be removed by then.
    pub proof: &'a ProofHandle,
    /// The task.
    pub spec: &'a TaskSpec,
    /// Content of the task's result.
    pub output: Vec<u8>,
}

/// Outputs that an attempt uploaded for its task's marker, to be checked before the marker is completed.
pub struct DeliveredMarker<'a> {
    /// The proof to which they belong.
    pub proof: &'a ProofHandle,
    /// The task.
    pub spec: &'a TaskSpec,
    /// Returns an artifact that this attempt has uploaded, by name, except the task's result.
    pub delivered: &'a dyn Fn(&str) -> Option<Blob>,
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
    fn check(&self, result: DeliveredResult<'_>) -> Result<(), String>;

    /// Returns the digest of everything on which the results of a task depend, so that tasks with the same digest are
    /// the same task, even in different proofs. `None` if the results of the task must not be cached, which is the
    /// default. Called when the task's inputs are available.
    fn result_key(&self, _proof: &ProofHandle, _spec: &TaskSpec) -> Option<Digest> {
        None
    }

    /// Returns the next smaller cut than the one in `options`, for a run with a shard that needs more memory than any
    /// worker has. `None` if there is no smaller cut, which is the default.
    fn smaller_cut(&self, _options: &str) -> Option<Cut> {
        None
    }

    /// Checks what an attempt uploaded for its task's marker. Called on a thread that may block. By default it accepts
    /// everything.
    ///
    /// # Errors
    /// Returns what is wrong. The fault is recorded for the worker that delivered it.
    fn check_marker(&self, _marker: DeliveredMarker<'_>) -> Result<(), String> {
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
