//! The prover that `SP1_PROVER` names.

use super::{
    choice::{EnvProverError, ProverChoice},
    pk::EnvProvingKey,
};
use crate::{
    distributed::{DistributedError, DistributedProver, DistributedProverBuilder},
    riscv_machine::{RiscvMachine, is_foreign, or_standard},
};
use futures::future::BoxFuture;
use sp1_core_executor::SP1CoreOpts;
use sp1_sdk::{CpuProver, LightProver, MockProver};
use sp1d_machine::check_processor;

#[cfg(feature = "cuda")]
use sp1_sdk::CudaProver;
#[cfg(feature = "network")]
use sp1_sdk::NetworkProver;

/// One of the available provers. Same as [`sp1_sdk::env::EnvProver`], with the additional variant `Distributed`.
#[derive(Clone)]
#[allow(clippy::large_enum_variant, reason = "a program has only one, as with sp1-sdk's")]
pub enum EnvProver {
    /// Creates mock proofs.
    Mock(MockProver),
    /// Executes and verifies only.
    Light(LightProver),
    /// Proves in this process.
    Cpu(CpuProver),
    /// Proves on the GPU of this machine.
    #[cfg(feature = "cuda")]
    Cuda(CudaProver),
    /// Proves on Succinct's prover network.
    #[cfg(feature = "network")]
    Network(NetworkProver),
    /// Proves on the workers of a worker list, or through a service.
    Distributed(DistributedProver),
}

impl EnvProver {
    /// Same as [`crate::ProverClient::from_env`].
    ///
    /// # Panics
    /// If `SP1_PROVER` names an unknown prover or one whose feature is off, or if this processor lacks features that
    /// the program was compiled for.
    pub async fn new() -> Self {
        Self::from_env_with_opts(None).await
    }

    /// Same as [`EnvProver::new`], with a custom machine.
    ///
    /// # Panics
    /// Same as [`EnvProver::new`].
    pub async fn new_with_machine(machine: RiscvMachine) -> Self {
        Self::from_env_with_opts_and_machine(None, machine).await
    }

    /// Replaces this prover by a new one with these options. As in sp1-sdk, `SP1_PROVER` is read again and the new
    /// prover has SP1's standard machine.
    ///
    /// # Panics
    /// Same as [`EnvProver::new`].
    pub async fn with_opts(self, opts: SP1CoreOpts) -> Self {
        Self::from_env_with_opts(Some(opts)).await
    }

    /// Same as [`EnvProver::new`], with custom core options. Only the CPU prover and the distributed prover use them.
    ///
    /// # Panics
    /// Same as [`EnvProver::new`].
    pub async fn from_env_with_opts(core_opts: Option<SP1CoreOpts>) -> Self {
        Self::try_new(core_opts, None).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Same as [`EnvProver::from_env_with_opts`], with a custom machine.
    ///
    /// # Panics
    /// Same as [`EnvProver::new`].
    pub async fn from_env_with_opts_and_machine(core_opts: Option<SP1CoreOpts>, machine: RiscvMachine) -> Self {
        Self::try_new(core_opts, Some(machine)).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Without a `machine`, the prover has SP1's standard machine. The future is boxed so that SP1's provers are
    /// compiled in this crate.
    pub(crate) fn try_new(
        core_opts: Option<SP1CoreOpts>,
        machine: Option<RiscvMachine>,
    ) -> BoxFuture<'static, Result<Self, EnvProverError>> {
        Box::pin(async move {
            // Later code may use instructions that this processor lacks.
            check_processor()?;
            let foreign = machine.as_ref().is_some_and(is_foreign);
            let machine = or_standard(machine);
            Ok(match ProverChoice::from_environment()? {
                ProverChoice::Cpu => Self::Cpu(CpuProver::new_with_opts_and_machine(core_opts, machine).await),
                ProverChoice::Mock => Self::Mock(MockProver::new_with_machine(machine).await),
                ProverChoice::Light => Self::Light(LightProver::new_with_machine(machine).await),
                ProverChoice::Distributed => {
                    let builder = DistributedProverBuilder::for_machine(foreign);
                    let builder = match core_opts {
                        Some(opts) => builder.core_opts(opts),
                        None => builder,
                    };
                    Self::Distributed(builder.build().await)
                }
                #[cfg(feature = "cuda")]
                ProverChoice::Cuda => {
                    Self::Cuda(sp1_sdk::cuda::builder::CudaProverBuilder::new_with_machine(machine).build().await)
                }
                // sp1-sdk reads the other environment variables of the network prover and reports errors in them.
                #[cfg(feature = "network")]
                ProverChoice::Network | ProverChoice::Hosted => {
                    match sp1_sdk::env::EnvProver::new_with_machine(machine).await {
                        sp1_sdk::env::EnvProver::Network(prover) => Self::Network(prover),
                        _ => unreachable!("SP1_PROVER selects the network prover"),
                    }
                }
            })
        })
    }

    /// Returns the distributed prover if this is one. Needed for its events.
    #[must_use]
    pub fn as_distributed(&self) -> Option<&DistributedProver> {
        match self {
            Self::Distributed(prover) => Some(prover),
            _ => None,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::Mock(_) => "mock",
            Self::Light(_) => "light",
            Self::Cpu(_) => "cpu",
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => "cuda",
            #[cfg(feature = "network")]
            Self::Network(_) => "network",
            Self::Distributed(_) => "distributed",
        }
    }

    /// Returns the error for a proving key that another client made.
    pub(super) fn refuse(&self, key: &EnvProvingKey) -> anyhow::Error {
        DistributedError::OtherClient { made_by: key.client(), client: self.name() }.into()
    }
}
