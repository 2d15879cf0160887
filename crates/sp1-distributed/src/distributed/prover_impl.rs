//! The trait [`Prover`] of the distributed prover.

use super::{
    error::DistributedError,
    proof_conversion::{borrowed, to_sdk_error},
    prover::DistributedProver,
    request::DistributedProveRequest,
};
use crate::prover::Prover;
use futures::future::BoxFuture;
use sp1_core_executor::{ExecutionError, ExecutionReport, SP1Context, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::SP1NodeCore;
use sp1_sdk::{
    Elf, SP1ProofWithPublicValues, SP1ProvingKey, SP1PublicValues, SP1VerificationError, SP1VerifyingKey,
    prover::SendFutureResult,
};
use sp1d_engine::verify_proof;
use tokio_util::sync::CancellationToken;

impl Prover for DistributedProver {
    type ProvingKey = SP1ProvingKey;
    type Error = DistributedError;
    type ProveRequest<'a> = DistributedProveRequest<'a>;

    fn inner(&self) -> &SP1NodeCore {
        self.node()
    }

    fn setup(&self, elf: Elf) -> impl SendFutureResult<SP1ProvingKey, DistributedError> {
        let inner = self.inner.clone();
        async move {
            let of_inner = inner.clone();
            inner.threads.spawn(async move { of_inner.setup(elf).await }).await
        }
    }

    fn prove<'a>(&'a self, pk: &'a SP1ProvingKey, stdin: SP1Stdin) -> DistributedProveRequest<'a> {
        DistributedProveRequest::new(self, pk, stdin)
    }

    fn run_execution<'a>(
        &'a self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> BoxFuture<'a, Result<(SP1PublicValues, ExecutionReport), ExecutionError>> {
        let (inner, stop) = (self.inner.clone(), CancellationToken::new());
        let guard = stop.clone().drop_guard();
        Box::pin(async move {
            let _guard = guard;
            let of_inner = inner.clone();
            inner.threads.spawn(async move { of_inner.execute(elf, stdin, context, stop).await }).await
        })
    }

    fn verify(
        &self,
        proof: &SP1ProofWithPublicValues,
        vkey: &SP1VerifyingKey,
        status_code: Option<StatusCode>,
    ) -> Result<(), SP1VerificationError> {
        let exit = status_code.unwrap_or(StatusCode::SUCCESS);
        verify_proof(self.node(), borrowed(proof), vkey, exit).map_err(to_sdk_error)
    }
}
