//! The interface between the orchestrator and the code that knows SP1.

use super::handle::ProofHandle;
use crate::runner::{
    failure::ProofFailure,
    request::{Cut, ProofOutput, ProofRequest},
};
use async_trait::async_trait;
use bytes::Bytes;
use std::io::Read;

/// Runs proofs, in practice with SP1's controller. A runner knows programs and shards, and how the parts of a proof are
/// combined.
#[async_trait]
pub trait ProofRunner: Send + Sync + 'static {
    /// Runs one try of a proof to its end: sets its checks, submits tasks through `proof`, and verifies the finished
    /// proof. Must end soon after [`ProofHandle::stopped`] is cancelled.
    ///
    /// # Errors
    /// Returns why the proof failed. The orchestrator then fails the try, and audits its unverified results.
    ///
    /// # Cancel safety
    /// Dropping the future ends the execution and all other work for the proof in this process.
    async fn run(&self, proof: ProofHandle, request: ProofRequest) -> Result<ProofOutput, ProofFailure>;

    /// Returns the next cut that is smaller than the one in `options`, or `None` if that one is the smallest. The proof
    /// restarts with it if a shard ran out of memory, or if no connected worker has enough memory for a shard. The
    /// default implementation returns `None`.
    fn smaller_cut(&self, _options: &str) -> Option<Cut> {
        None
    }

    /// Returns options with which the runner chooses the cut again. The proof restarts with them if `options` exclude
    /// small workers, and no large worker is connected any more. Returns `None` if `options` exclude no worker, or if
    /// the user has set the cut. The default implementation returns `None`.
    fn choose_cut_again(&self, _options: &str) -> Option<String> {
        None
    }
}

/// A runner for a service: it also checks whether programs and inputs can be proven, before they are stored.
#[async_trait]
pub trait ServiceRunner: ProofRunner {
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

    /// Checks that `stdin` contains a valid input in the runner's serialization, and that decoding the input takes
    /// little more memory than its length. The check itself never has the whole input in memory. Called on a thread
    /// that may block.
    ///
    /// # Errors
    /// [`ProofFailure::Request`] if the input is not valid, and [`ProofFailure::Machine`] if it cannot be read.
    fn check_stdin(&self, stdin: &mut dyn Read) -> Result<(), ProofFailure>;

    /// Returns the input for a program that reads no input.
    fn empty_stdin(&self) -> Vec<u8>;
}
