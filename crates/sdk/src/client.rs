//! Choosing a prover.

use crate::{distributed::DistributedProverBuilder, env::EnvProver, env::UnknownProver};
use futures::future::BoxFuture;
use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::{Machine, air::MachineAir};
use sp1_primitives::SP1Field;
use sp1_sdk::{cpu::builder::CpuProverBuilder, light::builder::LightProverBuilder, mock::builder::MockProverBuilder};

#[cfg(feature = "cuda")]
use sp1_sdk::cuda::builder::CudaProverBuilder;
#[cfg(feature = "network")]
use sp1_sdk::network::{NetworkMode, builder::NetworkProverBuilder};

/// SP1's machine, as its clients take one.
type RiscvMachine = Machine<SP1Field, RiscvAir<SP1Field>>;

/// True when a machine has other tables than SP1's own: workers have SP1's.
pub(crate) fn is_foreign(machine: &RiscvMachine) -> bool {
    let names = |machine: &RiscvMachine| machine.chips().iter().map(|chip| chip.name().to_owned()).collect::<Vec<_>>();
    machine.num_pv_elts() != RiscvAir::<SP1Field>::machine().num_pv_elts()
        || names(machine) != names(&RiscvAir::machine())
}

/// Where every program begins. As [`sp1_sdk::ProverClient`], with one choice more.
pub struct ProverClient;

// The futures are boxed so that SP1's prover is compiled here, and not in every program.
impl ProverClient {
    /// The prover that `SP1_PROVER` names: `distributed`, or one of SP1's own. By default `cpu`.
    ///
    /// # Panics
    /// When it names none, or one whose feature is off; [`ProverClient::try_from_env`] returns that as an error.
    #[must_use]
    pub fn from_env() -> BoxFuture<'static, EnvProver> {
        Box::pin(EnvProver::new())
    }

    /// As [`ProverClient::from_env`].
    ///
    /// # Errors
    /// When `SP1_PROVER` names no prover, or one whose feature is off.
    pub fn try_from_env() -> BoxFuture<'static, Result<EnvProver, UnknownProver>> {
        Box::pin(EnvProver::try_new(None, RiscvAir::machine()))
    }

    /// As [`ProverClient::from_env`], with a machine of one's own. Workers have SP1's machine: with another,
    /// `distributed` refuses to prove.
    #[must_use]
    pub fn from_env_with_machine(machine: RiscvMachine) -> BoxFuture<'static, EnvProver> {
        Box::pin(EnvProver::new_with_machine(machine))
    }

    /// Chooses in the program.
    #[must_use]
    pub fn builder() -> ProverClientBuilder {
        Self::builder_with_machine(RiscvAir::machine())
    }

    /// Chooses in the program, with a machine of one's own.
    #[must_use]
    pub fn builder_with_machine(machine: RiscvMachine) -> ProverClientBuilder {
        ProverClientBuilder { machine }
    }
}

/// The provers there are.
pub struct ProverClientBuilder {
    machine: RiscvMachine,
}

impl ProverClientBuilder {
    /// The workers of a list.
    #[must_use]
    pub fn distributed(&self) -> DistributedProverBuilder {
        DistributedProverBuilder::for_machine(is_foreign(&self.machine))
    }

    /// This process, on its processor.
    #[must_use]
    pub fn cpu(&self) -> CpuProverBuilder {
        CpuProverBuilder::new_with_machine(self.machine.clone())
    }

    /// This machine, on its graphics card.
    #[cfg(feature = "cuda")]
    #[must_use]
    pub fn cuda(&self) -> CudaProverBuilder {
        CudaProverBuilder::new_with_machine(self.machine.clone())
    }

    /// Nobody: proofs are made up.
    #[must_use]
    pub fn mock(&self) -> MockProverBuilder {
        MockProverBuilder::new_with_machine(self.machine.clone())
    }

    /// Nobody: only executes and verifies.
    #[must_use]
    pub fn light(&self) -> LightProverBuilder {
        LightProverBuilder::new_with_machine(self.machine.clone())
    }

    /// Succinct's prover network.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn network(&self) -> NetworkProverBuilder {
        self.of_sp1().network()
    }

    /// Succinct's prover network, in the mode given.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn network_for(&self, mode: NetworkMode) -> NetworkProverBuilder {
        self.of_sp1().network_for(mode)
    }

    /// A cluster of one's own that speaks the prover network's protocol.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn hosted(&self) -> NetworkProverBuilder {
        self.of_sp1().hosted()
    }

    #[cfg(feature = "network")]
    fn of_sp1(&self) -> sp1_sdk::client::ProverClientBuilder {
        sp1_sdk::ProverClient::builder_with_machine(self.machine.clone())
    }
}
