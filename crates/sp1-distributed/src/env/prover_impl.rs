//! The trait [`Prover`] of the prover that `SP1_PROVER` names.

use super::{pk::EnvProvingKey, prove::EnvProveRequest, prover::EnvProver};
use crate::{
    prover::{Prover, execute_on},
    request::ProveOptions,
};
use futures::future::BoxFuture;
use sp1_core_executor::{ExecutionError, ExecutionReport, SP1Context, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::SP1NodeCore;
use sp1_sdk::{
    Elf, SP1ProofWithPublicValues, SP1PublicValues, SP1VerificationError, SP1VerifyingKey, prover::SendFutureResult,
};

/// Runs `$body` with the prover of any variant.
macro_rules! each {
    ($of:expr, $prover:ident => $body:expr) => {
        match $of {
            EnvProver::Mock($prover) => $body,
            EnvProver::Light($prover) => $body,
            EnvProver::Cpu($prover) => $body,
            #[cfg(feature = "cuda")]
            EnvProver::Cuda($prover) => $body,
            #[cfg(feature = "network")]
            EnvProver::Network($prover) => $body,
            EnvProver::Distributed($prover) => $body,
        }
    };
}

impl Prover for EnvProver {
    type ProvingKey = EnvProvingKey;
    type Error = anyhow::Error;
    type ProveRequest<'a> = EnvProveRequest<'a>;

    fn inner(&self) -> &SP1NodeCore {
        each!(self, prover => Prover::inner(prover))
    }

    fn setup(&self, elf: Elf) -> impl SendFutureResult<EnvProvingKey, anyhow::Error> {
        let setup: BoxFuture<'_, _> = Box::pin(async move {
            Ok(match self {
                Self::Mock(prover) => EnvProvingKey::mock(Prover::setup(prover, elf).await?),
                Self::Light(prover) => EnvProvingKey::light(Prover::setup(prover, elf).await?),
                Self::Cpu(prover) => EnvProvingKey::cpu(Prover::setup(prover, elf).await?),
                #[cfg(feature = "cuda")]
                Self::Cuda(prover) => EnvProvingKey::cuda(Prover::setup(prover, elf).await?),
                #[cfg(feature = "network")]
                Self::Network(prover) => EnvProvingKey::network(Prover::setup(prover, elf).await?),
                Self::Distributed(prover) => EnvProvingKey::distributed(Prover::setup(prover, elf).await?),
            })
        });
        setup
    }

    fn prove<'a>(&'a self, pk: &'a EnvProvingKey, stdin: SP1Stdin) -> EnvProveRequest<'a> {
        EnvProveRequest { prover: self, key: pk, stdin, options: ProveOptions::default() }
    }

    fn run_execution<'a>(
        &'a self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> BoxFuture<'a, Result<(SP1PublicValues, ExecutionReport), ExecutionError>> {
        match self {
            Self::Distributed(prover) => prover.run_execution(elf, stdin, context),
            other => Box::pin(execute_on(Prover::inner(other), elf, stdin, context)),
        }
    }

    fn verify(
        &self,
        proof: &SP1ProofWithPublicValues,
        vkey: &SP1VerifyingKey,
        status_code: Option<StatusCode>,
    ) -> Result<(), SP1VerificationError> {
        each!(self, prover => Prover::verify(prover, proof, vkey, status_code))
    }
}
