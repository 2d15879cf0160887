//! Choosing a prover.

use super::{
    distributed::DistributedProverBuilder,
    env::{EnvProver, env_prover},
};
use crate::{client::is_foreign, env::UnknownProver};
use sp1_core_executor::SP1CoreOpts;
use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::Machine;
use sp1_primitives::SP1Field;
use sp1_sdk::blocking::{self as sp1, CpuProverBuilder, LightProver, MockProver};

#[cfg(feature = "cuda")]
use sp1_sdk::blocking::CudaProverBuilder;
#[cfg(feature = "network")]
use sp1_sdk::{blocking::NetworkProverBuilder, network::NetworkMode};

/// Where every program begins. As [`sp1_sdk::blocking::ProverClient`], with one choice more.
pub struct ProverClient;

impl ProverClient {
    /// The prover that `SP1_PROVER` names: `distributed`, or one of SP1's own. By default `cpu`.
    ///
    /// # Panics
    /// When it names none, or one whose feature is off; [`ProverClient::try_from_env`] returns that as an error.
    #[must_use]
    pub fn from_env() -> EnvProver {
        EnvProver::new()
    }

    /// As [`ProverClient::from_env`].
    ///
    /// # Errors
    /// When `SP1_PROVER` names no prover, or one whose feature is off.
    pub fn try_from_env() -> Result<EnvProver, UnknownProver> {
        env_prover(None, RiscvAir::machine())
    }

    /// As [`ProverClient::from_env`], with a machine of one's own.
    #[must_use]
    pub fn from_env_with_machine(machine: Machine<SP1Field, RiscvAir<SP1Field>>) -> EnvProver {
        EnvProver::new_with_machine(machine)
    }

    /// Chooses in the program.
    #[must_use]
    pub fn builder() -> ProverClientBuilder {
        Self::builder_with_machine(RiscvAir::machine())
    }

    /// Chooses in the program, with a machine of one's own.
    #[must_use]
    pub fn builder_with_machine(machine: Machine<SP1Field, RiscvAir<SP1Field>>) -> ProverClientBuilder {
        ProverClientBuilder { machine }
    }
}

/// The provers there are.
pub struct ProverClientBuilder {
    machine: Machine<SP1Field, RiscvAir<SP1Field>>,
}

/// What sp1-sdk's builder of that name gives.
macro_rules! of_sp1 {
    ($self:ident . $method:ident ($($argument:expr)?)) => {
        sp1::ProverClient::builder_with_machine($self.machine.clone()).$method($($argument)?)
    };
}

/// Builders that sp1-sdk has and does not export.
macro_rules! builders {
    ($($(#[$doc:meta])* $name:ident $method:ident $prover:ident;)*) => {$(
        $(#[$doc])*
        pub struct $name {
            machine: Machine<SP1Field, RiscvAir<SP1Field>>,
            core_opts: Option<SP1CoreOpts>,
        }

        impl $name {
            /// With options of one's own.
            #[must_use]
            pub fn core_opts(mut self, options: SP1CoreOpts) -> Self {
                self.core_opts = Some(options);
                self
            }

            /// With options of one's own.
            #[must_use]
            pub fn with_opts(self, options: SP1CoreOpts) -> Self {
                self.core_opts(options)
            }

            /// Builds the prover.
            #[must_use]
            pub fn build(self) -> $prover {
                let builder = of_sp1!(self.$method());
                match self.core_opts {
                    Some(options) => builder.core_opts(options).build(),
                    None => builder.build(),
                }
            }
        }
    )*};
}

builders! {
    /// Builds a prover that makes proofs up.
    MockProverBuilder mock MockProver;
    /// Builds a prover that only executes and verifies.
    LightProverBuilder light LightProver;
}

impl ProverClientBuilder {
    /// The workers of a list.
    #[must_use]
    pub fn distributed(&self) -> DistributedProverBuilder {
        DistributedProverBuilder(crate::distributed::DistributedProverBuilder::for_machine(is_foreign(&self.machine)))
    }

    /// This process, on its processor.
    #[must_use]
    pub fn cpu(&self) -> CpuProverBuilder {
        of_sp1!(self.cpu())
    }

    /// This machine, on its graphics card.
    #[cfg(feature = "cuda")]
    #[must_use]
    pub fn cuda(&self) -> CudaProverBuilder {
        of_sp1!(self.cuda())
    }

    /// Nobody: proofs are made up.
    #[must_use]
    pub fn mock(&self) -> MockProverBuilder {
        MockProverBuilder { machine: self.machine.clone(), core_opts: None }
    }

    /// Nobody: only executes and verifies.
    #[must_use]
    pub fn light(&self) -> LightProverBuilder {
        LightProverBuilder { machine: self.machine.clone(), core_opts: None }
    }

    /// Succinct's prover network.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn network(&self) -> NetworkProverBuilder {
        of_sp1!(self.network())
    }

    /// Succinct's prover network, in the mode given.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn network_for(&self, mode: NetworkMode) -> NetworkProverBuilder {
        of_sp1!(self.network_for(mode))
    }

    /// A cluster of one's own that speaks the prover network's protocol.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn hosted(&self) -> NetworkProverBuilder {
        of_sp1!(self.hosted())
    }
}
