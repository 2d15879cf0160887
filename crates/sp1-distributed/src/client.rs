//! Selects a prover.

use crate::{
    distributed::DistributedProverBuilder,
    env::{EnvProver, EnvProverError},
    riscv_machine::{RiscvMachine, is_foreign, or_standard},
};
use futures::future::BoxFuture;
use sp1_sdk::{cpu::builder::CpuProverBuilder, light::builder::LightProverBuilder, mock::builder::MockProverBuilder};
use sp1d_machine::check_processor;

#[cfg(feature = "cuda")]
use sp1_sdk::cuda::builder::CudaProverBuilder;
#[cfg(feature = "network")]
use sp1_sdk::network::{NetworkMode, builder::NetworkProverBuilder};

/// Entry point of every program. Same as [`sp1_sdk::ProverClient`], with the distributed prover as an additional
/// choice.
pub struct ProverClient;

// The futures are boxed so that SP1's prover is compiled in this crate and not again in every program.
impl ProverClient {
    /// Returns the prover that `SP1_PROVER` names: `distributed` or one of SP1's provers. Default: `cpu`.
    ///
    /// # Panics
    /// If `SP1_PROVER` names an unknown prover or one whose feature is off, or if this processor lacks features that
    /// the program was compiled for. [`ProverClient::try_from_env`] returns an error instead.
    #[must_use]
    pub fn from_env() -> BoxFuture<'static, EnvProver> {
        Box::pin(EnvProver::new())
    }

    /// Same as [`ProverClient::from_env`], but returns an error instead of panicking.
    ///
    /// # Errors
    /// If `SP1_PROVER` names an unknown prover or one whose feature is off, or if this processor lacks features that
    /// the program was compiled for.
    pub fn try_from_env() -> BoxFuture<'static, Result<EnvProver, EnvProverError>> {
        Box::pin(EnvProver::try_new(None, None))
    }

    /// Same as [`ProverClient::from_env`], with a custom machine. Workers have only SP1's standard machine. With any
    /// other machine, the `distributed` prover refuses to prove.
    ///
    /// # Panics
    /// Same as [`ProverClient::from_env`].
    #[must_use]
    pub fn from_env_with_machine(machine: RiscvMachine) -> BoxFuture<'static, EnvProver> {
        Box::pin(EnvProver::new_with_machine(machine))
    }

    /// Returns a builder: the program selects the prover, not `SP1_PROVER`.
    #[must_use]
    pub fn builder() -> ProverClientBuilder {
        ProverClientBuilder { machine: None }
    }

    /// Same as [`ProverClient::builder`], with a custom machine.
    #[must_use]
    pub fn builder_with_machine(machine: RiscvMachine) -> ProverClientBuilder {
        ProverClientBuilder { machine: Some(machine) }
    }
}

/// Selects a prover. It has one method for each available prover.
///
/// All methods except [`ProverClientBuilder::distributed`] panic if this processor lacks features that the program was
/// compiled for.
pub struct ProverClientBuilder {
    /// `None`: SP1's standard machine.
    machine: Option<RiscvMachine>,
}

impl ProverClientBuilder {
    /// Proves on the workers of a worker list, or through a service.
    #[must_use]
    pub fn distributed(&self) -> DistributedProverBuilder {
        DistributedProverBuilder::for_machine(self.machine.as_ref().is_some_and(is_foreign))
    }

    /// Proves in this process, on the CPU.
    #[must_use]
    pub fn cpu(&self) -> CpuProverBuilder {
        CpuProverBuilder::new_with_machine(self.machine())
    }

    /// Proves on the GPU of this machine.
    #[cfg(feature = "cuda")]
    #[must_use]
    pub fn cuda(&self) -> CudaProverBuilder {
        CudaProverBuilder::new_with_machine(self.machine())
    }

    /// Creates mock proofs. They prove nothing.
    #[must_use]
    pub fn mock(&self) -> MockProverBuilder {
        MockProverBuilder::new_with_machine(self.machine())
    }

    /// Executes and verifies only. It cannot prove.
    #[must_use]
    pub fn light(&self) -> LightProverBuilder {
        LightProverBuilder::new_with_machine(self.machine())
    }

    /// Proves on Succinct's prover network.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn network(&self) -> NetworkProverBuilder {
        self.of_sp1().network()
    }

    /// Proves on Succinct's prover network, in the given mode.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn network_for(&self, mode: NetworkMode) -> NetworkProverBuilder {
        self.of_sp1().network_for(mode)
    }

    /// Proves on a private cluster that speaks the protocol of the prover network.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn hosted(&self) -> NetworkProverBuilder {
        self.of_sp1().hosted()
    }

    #[cfg(feature = "network")]
    fn of_sp1(&self) -> sp1_sdk::client::ProverClientBuilder {
        sp1_sdk::ProverClient::builder_with_machine(self.machine())
    }

    fn machine(&self) -> RiscvMachine {
        check_processor().unwrap_or_else(|error| panic!("{error}"));
        or_standard(self.machine.clone())
    }
}
