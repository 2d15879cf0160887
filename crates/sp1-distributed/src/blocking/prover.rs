//! SP1's blocking prover traits, open to provers defined outside sp1-sdk. See [`crate::prover`].

use crate::prover::{context_options, execute_on};
use sp1_core_executor::{ExecutionError, ExecutionReport, HookEnv, SP1Context, SP1ContextBuilder, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::SP1NodeCore;
use sp1_sdk::{
    Elf, ProvingKey, SP1_CIRCUIT_VERSION, SP1ProofMode, SP1ProofWithPublicValues, SP1PublicValues,
    SP1VerificationError, SP1VerifyingKey, blocking as sp1,
};
use std::{fmt, sync::LazyLock};
use tokio::{runtime::Runtime, sync::watch};

/// A prover. Same as [`sp1_sdk::blocking::Prover`].
pub trait Prover: Clone + Send + Sync {
    /// Result of [`Prover::setup`]: a program with its keys.
    type ProvingKey: ProvingKey;
    /// The reason why `setup` or a proof failed.
    type Error: fmt::Debug + fmt::Display;
    /// A proof request. [`ProveRequest::run`] creates the proof.
    type ProveRequest<'a>: ProveRequest<'a, Self>
    where
        Self: 'a;

    /// Returns the SP1 node that executes programs and verifies proofs.
    fn inner(&self) -> &SP1NodeCore;

    /// Returns the version of SP1's circuits.
    fn version(&self) -> &str {
        SP1_CIRCUIT_VERSION
    }

    /// Computes the keys of a program.
    ///
    /// # Errors
    /// If `elf` is not a valid SP1 program, or the prover cannot be used.
    fn setup(&self, elf: Elf) -> Result<Self::ProvingKey, Self::Error>;

    /// Creates a request to prove the program of `pk` with the input `stdin`.
    fn prove<'a>(&'a self, pk: &'a Self::ProvingKey, stdin: SP1Stdin) -> Self::ProveRequest<'a>;

    /// Creates a request to execute a program without proving it.
    fn execute(&self, elf: Elf, stdin: SP1Stdin) -> ExecuteRequest<'_, Self> {
        ExecuteRequest { prover: self, elf, stdin, context: SP1ContextBuilder::new() }
    }

    /// Carries out an [`ExecuteRequest`].
    #[doc(hidden)]
    fn run_execution(
        &self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError>;

    /// Verifies a proof of the program of `vkey`. The program must have ended with `status_code` (default: 0).
    ///
    /// # Errors
    /// The reason why the proof does not verify.
    fn verify(
        &self,
        proof: &SP1ProofWithPublicValues,
        vkey: &SP1VerifyingKey,
        status_code: Option<StatusCode>,
    ) -> Result<(), SP1VerificationError>;
}

/// A proof request. Same as [`sp1_sdk::blocking::ProveRequest`].
pub trait ProveRequest<'a, P>: Sized
where
    P: Prover + 'a,
{
    /// Creates the proof. Blocks until it is complete.
    ///
    /// # Errors
    /// The reason why proving failed.
    fn run(self) -> Result<SP1ProofWithPublicValues, P::Error>;

    /// Sets the kind of proof.
    #[must_use]
    fn mode(self, mode: SP1ProofMode) -> Self;

    /// Requests one proof of constant size.
    #[must_use]
    fn compressed(self) -> Self {
        self.mode(SP1ProofMode::Compressed)
    }

    /// Requests a PLONK proof that can be verified on-chain.
    #[must_use]
    fn plonk(self) -> Self {
        self.mode(SP1ProofMode::Plonk)
    }

    /// Requests a Groth16 proof that can be verified on-chain.
    #[must_use]
    fn groth16(self) -> Self {
        self.mode(SP1ProofMode::Groth16)
    }

    /// Requests one proof per shard. This is the default.
    #[must_use]
    fn core(self) -> Self {
        self.mode(SP1ProofMode::Core)
    }

    /// Stops the program after this number of cycles.
    #[must_use]
    fn cycle_limit(self, cycle_limit: u64) -> Self;

    /// Sets whether the proofs in the input are verified before proving. Default: true.
    #[must_use]
    fn deferred_proof_verification(self, value: bool) -> Self;

    /// Sets the exit code that the program must end with. Default: 0.
    #[must_use]
    fn expected_exit_code(self, code: StatusCode) -> Self;

    /// Sets the nonce that the proof commits to. Default: zeros.
    #[must_use]
    fn with_proof_nonce(self, nonce: [u32; 4]) -> Self;
}

/// The runtime on which SP1's own provers execute. SP1's blocking clients have their own runtime, but do not export it.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("the system can create threads, as it did for SP1's own runtime"));

/// Executes a program in the same way as all of SP1's blocking provers.
pub(crate) fn execute_blocking(
    node: &SP1NodeCore,
    elf: Elf,
    stdin: SP1Stdin,
    context: SP1Context<'static>,
) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError> {
    RUNTIME.block_on(execute_on(node, elf, stdin, context))
}

impl<P: sp1::Prover> Prover for P {
    type ProvingKey = <P as sp1::Prover>::ProvingKey;
    type Error = <P as sp1::Prover>::Error;
    type ProveRequest<'a>
        = <P as sp1::Prover>::ProveRequest<'a>
    where
        Self: 'a;

    fn inner(&self) -> &SP1NodeCore {
        sp1::Prover::inner(self)
    }

    fn version(&self) -> &str {
        sp1::Prover::version(self)
    }

    fn setup(&self, elf: Elf) -> Result<Self::ProvingKey, Self::Error> {
        sp1::Prover::setup(self, elf)
    }

    fn prove<'a>(&'a self, pk: &'a Self::ProvingKey, stdin: SP1Stdin) -> Self::ProveRequest<'a> {
        sp1::Prover::prove(self, pk, stdin)
    }

    fn run_execution(
        &self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError> {
        execute_blocking(sp1::Prover::inner(self), elf, stdin, context)
    }

    fn verify(
        &self,
        proof: &SP1ProofWithPublicValues,
        vkey: &SP1VerifyingKey,
        status_code: Option<StatusCode>,
    ) -> Result<(), SP1VerificationError> {
        sp1::Prover::verify(self, proof, vkey, status_code)
    }
}

impl<'a, P, R> ProveRequest<'a, P> for R
where
    P: sp1::Prover + 'a,
    R: sp1::ProveRequest<'a, P>,
{
    fn run(self) -> Result<SP1ProofWithPublicValues, <P as Prover>::Error> {
        sp1::ProveRequest::run(self)
    }

    fn mode(self, mode: SP1ProofMode) -> Self {
        sp1::ProveRequest::mode(self, mode)
    }

    fn cycle_limit(self, cycle_limit: u64) -> Self {
        sp1::ProveRequest::cycle_limit(self, cycle_limit)
    }

    fn deferred_proof_verification(self, value: bool) -> Self {
        sp1::ProveRequest::deferred_proof_verification(self, value)
    }

    fn expected_exit_code(self, code: StatusCode) -> Self {
        sp1::ProveRequest::expected_exit_code(self, code)
    }

    fn with_proof_nonce(self, nonce: [u32; 4]) -> Self {
        sp1::ProveRequest::with_proof_nonce(self, nonce)
    }
}

/// A request to execute a program. Same as sp1-sdk's `ExecuteRequest`.
pub struct ExecuteRequest<'a, P: Prover> {
    prover: &'a P,
    elf: Elf,
    stdin: SP1Stdin,
    context: SP1ContextBuilder<'static>,
}

impl<P: Prover> ExecuteRequest<'_, P> {
    context_options!();

    /// Executes the program.
    ///
    /// # Errors
    /// If the program cannot be executed to its end.
    pub fn run(mut self) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError> {
        let context = self.context.build();
        self.prover.run_execution(self.elf, self.stdin, context)
    }
}
