//! SP1's prover traits, open to provers defined outside sp1-sdk.
//!
//! `sp1_sdk::Prover` can be implemented only inside sp1-sdk, because a method of its requests returns a type that is
//! not exported. The traits in this module have the same methods except that one. Every type that implements SP1's
//! traits implements these traits too, and keeps SP1's own request types. Features of one prover, such as the network
//! prover's strategy, therefore stay available.

use futures::future::BoxFuture;
use sp1_core_executor::{ExecutionError, ExecutionReport, HookEnv, SP1Context, SP1ContextBuilder, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::SP1NodeCore;
use sp1_sdk::{Elf, SP1_CIRCUIT_VERSION, SP1ProofMode, SP1ProofWithPublicValues, SP1PublicValues, SP1VerifyingKey};
use std::{fmt, future::IntoFuture, pin::Pin};
use tokio::sync::watch;

pub use sp1_sdk::prover::{IntoSendFutureResult, ProvingKey, SP1ProvingKey, SP1VerificationError, SendFutureResult};

/// A prover. Same as [`sp1_sdk::Prover`], which describes each method in detail.
pub trait Prover: Clone + Send + Sync {
    /// Result of [`Prover::setup`]: a program with its keys.
    type ProvingKey: ProvingKey;
    /// The reason why `setup` or a proof failed.
    type Error: fmt::Debug + fmt::Display;
    /// A proof request. Awaiting it creates the proof.
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
    fn setup(&self, elf: Elf) -> impl SendFutureResult<Self::ProvingKey, Self::Error>;

    /// Creates a request to prove the program of `pk` with the input `stdin`.
    fn prove<'a>(&'a self, pk: &'a Self::ProvingKey, stdin: SP1Stdin) -> Self::ProveRequest<'a>;

    /// Creates a request to execute a program without proving it.
    fn execute(&self, elf: Elf, stdin: SP1Stdin) -> ExecuteRequest<'_, Self> {
        ExecuteRequest { prover: self, elf, stdin, context: SP1ContextBuilder::new() }
    }

    /// Carries out an [`ExecuteRequest`].
    #[doc(hidden)]
    fn run_execution<'a>(
        &'a self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> BoxFuture<'a, Result<(SP1PublicValues, ExecutionReport), ExecutionError>>;

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

/// A proof request. Awaiting it creates the proof. Same as [`sp1_sdk::ProveRequest`], which describes each method in
/// detail.
pub trait ProveRequest<'a, P>: IntoSendFutureResult<SP1ProofWithPublicValues, P::Error> + Sized + Send
where
    P: Prover + 'a,
{
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

impl<P: sp1_sdk::Prover> Prover for P {
    type ProvingKey = <P as sp1_sdk::Prover>::ProvingKey;
    type Error = <P as sp1_sdk::Prover>::Error;
    type ProveRequest<'a>
        = <P as sp1_sdk::Prover>::ProveRequest<'a>
    where
        Self: 'a;

    fn inner(&self) -> &SP1NodeCore {
        sp1_sdk::Prover::inner(self)
    }

    fn version(&self) -> &str {
        sp1_sdk::Prover::version(self)
    }

    fn setup(&self, elf: Elf) -> impl SendFutureResult<Self::ProvingKey, Self::Error> {
        sp1_sdk::Prover::setup(self, elf)
    }

    fn prove<'a>(&'a self, pk: &'a Self::ProvingKey, stdin: SP1Stdin) -> Self::ProveRequest<'a> {
        sp1_sdk::Prover::prove(self, pk, stdin)
    }

    fn run_execution<'a>(
        &'a self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> BoxFuture<'a, Result<(SP1PublicValues, ExecutionReport), ExecutionError>> {
        let node = sp1_sdk::Prover::inner(self);
        Box::pin(execute_on(node, elf, stdin, context))
    }

    fn verify(
        &self,
        proof: &SP1ProofWithPublicValues,
        vkey: &SP1VerifyingKey,
        status_code: Option<StatusCode>,
    ) -> Result<(), SP1VerificationError> {
        sp1_sdk::Prover::verify(self, proof, vkey, status_code)
    }
}

impl<'a, P, R> ProveRequest<'a, P> for R
where
    P: sp1_sdk::Prover + 'a,
    R: sp1_sdk::ProveRequest<'a, P>,
{
    fn mode(self, mode: SP1ProofMode) -> Self {
        sp1_sdk::ProveRequest::mode(self, mode)
    }

    fn cycle_limit(self, cycle_limit: u64) -> Self {
        sp1_sdk::ProveRequest::cycle_limit(self, cycle_limit)
    }

    fn deferred_proof_verification(self, value: bool) -> Self {
        sp1_sdk::ProveRequest::deferred_proof_verification(self, value)
    }

    fn expected_exit_code(self, code: StatusCode) -> Self {
        sp1_sdk::ProveRequest::expected_exit_code(self, code)
    }

    fn with_proof_nonce(self, nonce: [u32; 4]) -> Self {
        sp1_sdk::ProveRequest::with_proof_nonce(self, nonce)
    }
}

/// Executes a program in the same way as all of SP1's provers.
pub(crate) async fn execute_on(
    node: &SP1NodeCore,
    elf: Elf,
    stdin: SP1Stdin,
    context: SP1Context<'static>,
) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError> {
    sp1d_engine::execute_on(node, &elf, stdin, context).await.map_err(|error| ExecutionError::Other(error.to_string()))
}

/// A request to execute a program. Awaiting it runs the program. Same as sp1-sdk's `ExecuteRequest`.
pub struct ExecuteRequest<'a, P: Prover> {
    prover: &'a P,
    elf: Elf,
    stdin: SP1Stdin,
    context: SP1ContextBuilder<'static>,
}

/// The option methods of an execution request whose context is in `self.context`.
macro_rules! context_options {
    () => {
        /// Calls `f` when the program writes to the file descriptor `fd`.
        #[must_use]
        pub fn with_hook(
            mut self,
            fd: u32,
            f: impl FnMut(HookEnv, &[u8]) -> Vec<Vec<u8>> + Send + Sync + 'static,
        ) -> Self {
            self.context.hook(fd, f);
            self
        }

        /// Stops the program after this number of cycles.
        #[must_use]
        pub fn cycle_limit(mut self, max_cycles: u64) -> Self {
            self.context.max_cycles(max_cycles);
            self
        }

        /// Sets whether the proofs in the input are verified. Default: true.
        #[must_use]
        pub fn deferred_proof_verification(mut self, value: bool) -> Self {
            self.context.set_deferred_proof_verification(value);
            self
        }

        /// Sets whether gas is estimated. Default: true.
        #[must_use]
        pub fn calculate_gas(mut self, value: bool) -> Self {
            self.context.calculate_gas(value);
            self
        }

        /// Sets the exit code that the program is expected to end with.
        #[must_use]
        pub fn expected_exit_code(mut self, code: StatusCode) -> Self {
            self.context.expected_exit_code(code);
            self
        }

        /// Publishes the last 2 KiB that the program wrote to its standard output.
        #[must_use]
        pub fn stdout(mut self, sender: watch::Sender<String>) -> Self {
            self.context.stdout_channel(sender);
            self
        }

        /// Publishes the last 2 KiB that the program wrote to its standard error.
        #[must_use]
        pub fn stderr(mut self, sender: watch::Sender<String>) -> Self {
            self.context.stderr_channel(sender);
            self
        }
    };
}
#[cfg(feature = "blocking")]
pub(crate) use context_options;

impl<P: Prover> ExecuteRequest<'_, P> {
    context_options!();
}

impl<'a, P: Prover> IntoFuture for ExecuteRequest<'a, P> {
    type Output = Result<(SP1PublicValues, ExecutionReport), ExecutionError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(mut self) -> Self::IntoFuture {
        let context = self.context.build();
        self.prover.run_execution(self.elf, self.stdin, context)
    }
}
