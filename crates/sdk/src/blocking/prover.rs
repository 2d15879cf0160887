//! SP1's blocking prover traits, open to provers from outside of sp1-sdk; see [`crate::prover`].

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

/// What a prover does. As [`sp1_sdk::blocking::Prover`].
pub trait Prover: Clone + Send + Sync {
    /// What a program is proven with.
    type ProvingKey: ProvingKey;
    /// Why there is no key or no proof.
    type Error: fmt::Debug + fmt::Display;
    /// A proof to be made.
    type ProveRequest<'a>: ProveRequest<'a, Self>
    where
        Self: 'a;

    /// What executes and verifies.
    fn inner(&self) -> &SP1NodeCore;

    /// The version of SP1's circuits.
    fn version(&self) -> &str {
        SP1_CIRCUIT_VERSION
    }

    /// The keys of a program.
    ///
    /// # Errors
    /// When it is no program for SP1.
    fn setup(&self, elf: Elf) -> Result<Self::ProvingKey, Self::Error>;

    /// Asks for a proof of the program that `pk` is of, run on `stdin`.
    fn prove<'a>(&'a self, pk: &'a Self::ProvingKey, stdin: SP1Stdin) -> Self::ProveRequest<'a>;

    /// Asks for an execution without proof.
    fn execute(&self, elf: Elf, stdin: SP1Stdin) -> ExecuteRequest<'_, Self> {
        ExecuteRequest { prover: self, elf, stdin, context: SP1ContextBuilder::new() }
    }

    /// What an [`ExecuteRequest`] comes to.
    #[doc(hidden)]
    fn run_execution(
        &self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError>;

    /// Verifies a proof of the program that `vkey` is of; it must have ended with `status_code`, by default 0.
    ///
    /// # Errors
    /// Why it does not verify.
    fn verify(
        &self,
        proof: &SP1ProofWithPublicValues,
        vkey: &SP1VerifyingKey,
        status_code: Option<StatusCode>,
    ) -> Result<(), SP1VerificationError>;
}

/// A proof to be made. As [`sp1_sdk::blocking::ProveRequest`].
pub trait ProveRequest<'a, P>: Sized
where
    P: Prover + 'a,
{
    /// Makes the proof.
    ///
    /// # Errors
    /// Why there is none.
    fn run(self) -> Result<SP1ProofWithPublicValues, P::Error>;

    /// The kind of proof.
    #[must_use]
    fn mode(self, mode: SP1ProofMode) -> Self;

    /// One proof of constant size.
    #[must_use]
    fn compressed(self) -> Self {
        self.mode(SP1ProofMode::Compressed)
    }

    /// A PLONK proof for chains.
    #[must_use]
    fn plonk(self) -> Self {
        self.mode(SP1ProofMode::Plonk)
    }

    /// A Groth16 proof for chains.
    #[must_use]
    fn groth16(self) -> Self {
        self.mode(SP1ProofMode::Groth16)
    }

    /// One proof for each shard: the default.
    #[must_use]
    fn core(self) -> Self {
        self.mode(SP1ProofMode::Core)
    }

    /// Cycles after which the program is stopped.
    #[must_use]
    fn cycle_limit(self, cycle_limit: u64) -> Self;

    /// Whether proofs in the input are verified first; by default they are.
    #[must_use]
    fn deferred_proof_verification(self, value: bool) -> Self;

    /// How the program is expected to end, by default with code 0.
    #[must_use]
    fn expected_exit_code(self, code: StatusCode) -> Self;

    /// A nonce that the proof commits to, by default zeros.
    #[must_use]
    fn with_proof_nonce(self, nonce: [u32; 4]) -> Self;
}

/// Where SP1's own provers execute. SP1's blocking clients have such a runtime too, and keep it to themselves.
static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Runtime::new().expect("the system gives threads, as it gave them to SP1's own runtime"));

/// As all of SP1's blocking provers execute.
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

/// An execution to be made. As sp1-sdk's.
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
    /// When it cannot be run to its end.
    pub fn run(mut self) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError> {
        let context = self.context.build();
        self.prover.run_execution(self.elf, self.stdin, context)
    }
}
