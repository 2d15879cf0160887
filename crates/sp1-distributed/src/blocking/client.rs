//! Selects a prover.

use super::{
    distributed::DistributedProverBuilder,
    env::{EnvProver, env_prover},
};
use crate::{env::EnvProverError, riscv_machine::is_foreign};
use sp1_core_executor::SP1CoreOpts;
use sp1_core_machine::riscv::RiscvAir;
use sp1_hypercube::Machine;
use sp1_primitives::SP1Field;
use sp1_sdk::blocking::{self as sp1, CpuProverBuilder, LightProver, MockProver};

#[cfg(feature = "cuda")]
use sp1_sdk::blocking::CudaProverBuilder;
#[cfg(feature = "network")]
use sp1_sdk::{blocking::NetworkProverBuilder, network::NetworkMode};

/// Entry point of every program. Same as [`sp1_sdk::blocking::ProverClient`], with the distributed prover as an
/// additional choice.
pub struct ProverClient;

impl ProverClient {
    /// Returns the prover that `SP1_PROVER` names: `distributed` or one of SP1's provers. Default: `cpu`.
    ///
    /// # Panics
    /// If `SP1_PROVER` names an unknown prover or one whose feature is off, or if this processor lacks features that
    /// the program was compiled for. [`ProverClient::try_from_env`] returns an error instead.
    #[must_use]
    pub fn from_env() -> EnvProver {
        EnvProver::new()
    }

    /// Same as [`ProverClient::from_env`], but returns an error instead of panicking.
    ///
    /// # Errors
    /// If `SP1_PROVER` names an unknown prover or one whose feature is off, or if this processor lacks features that
    /// the program was compiled for.
    pub fn try_from_env() -> Result<EnvProver, EnvProverError> {
        env_prover(None, RiscvAir::machine())
    }

    /// Same as [`ProverClient::from_env`], with a custom machine. Workers have only SP1's standard machine. With any
    /// other machine, the `distributed` prover refuses to prove.
    ///
    /// # Panics
    /// Same as [`ProverClient::from_env`].
    #[must_use]
    pub fn from_env_with_machine(machine: Machine<SP1Field, RiscvAir<SP1Field>>) -> EnvProver {
        EnvProver::new_with_machine(machine)
    }

    /// Returns a builder: the program selects the prover, not `SP1_PROVER`.
    #[must_use]
    pub fn builder() -> ProverClientBuilder {
        Self::builder_with_machine(RiscvAir::machine())
    }

    /// Same as [`ProverClient::builder`], with a custom machine.
    #[must_use]
    pub fn builder_with_machine(machine: Machine<SP1Field, RiscvAir<SP1Field>>) -> ProverClientBuilder {
        ProverClientBuilder { machine }
    }
}

/// Selects a prover. It has one method for each available prover.
pub struct ProverClientBuilder {
    machine: Machine<SP1Field, RiscvAir<SP1Field>>,
}

/// Calls the method of this name on the builder of sp1-sdk.
macro_rules! of_sp1 {
    ($self:ident . $method:ident ($($argument:expr)?)) => {
        sp1::ProverClient::builder_with_machine($self.machine.clone()).$method($($argument)?)
    };
}

/// Defines builders that sp1-sdk has but does not export.
macro_rules! builders {
    ($($(#[$doc:meta])* $name:ident $method:ident $prover:ident;)*) => {$(
        $(#[$doc])*
        pub struct $name {
            machine: Machine<SP1Field, RiscvAir<SP1Field>>,
            core_opts: Option<SP1CoreOpts>,
        }

        impl $name {
            /// Sets custom core options.
            #[must_use]
            pub fn core_opts(mut self, options: SP1CoreOpts) -> Self {
                self.core_opts = Some(options);
                self
            }

            /// Same as `core_opts`.
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
    /// Builds a prover that creates mock proofs.
    MockProverBuilder mock MockProver;
    /// Builds a prover that executes and verifies only.
    LightProverBuilder light LightProver;
}

impl ProverClientBuilder {
    /// Proves on the workers of a worker list, or through a service.
    #[must_use]
    pub fn distributed(&self) -> DistributedProverBuilder {
        DistributedProverBuilder(crate::distributed::DistributedProverBuilder::for_machine(is_foreign(&self.machine)))
    }

    /// Proves in this process, on the CPU.
    #[must_use]
    pub fn cpu(&self) -> CpuProverBuilder {
        of_sp1!(self.cpu())
    }

    /// Proves on the GPU of this machine.
    #[cfg(feature = "cuda")]
    #[must_use]
    pub fn cuda(&self) -> CudaProverBuilder {
        of_sp1!(self.cuda())
    }

    /// Creates mock proofs. They prove nothing.
    #[must_use]
    pub fn mock(&self) -> MockProverBuilder {
        MockProverBuilder { machine: self.machine.clone(), core_opts: None }
    }

    /// Executes and verifies only. It cannot prove.
    #[must_use]
    pub fn light(&self) -> LightProverBuilder {
        LightProverBuilder { machine: self.machine.clone(), core_opts: None }
    }

    /// Proves on Succinct's prover network.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn network(&self) -> NetworkProverBuilder {
        of_sp1!(self.network())
    }

    /// Proves on Succinct's prover network, in the given mode.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn network_for(&self, mode: NetworkMode) -> NetworkProverBuilder {
        of_sp1!(self.network_for(mode))
    }

    /// Proves on a private cluster that speaks the protocol of the prover network.
    #[cfg(feature = "network")]
    #[must_use]
    pub fn hosted(&self) -> NetworkProverBuilder {
        of_sp1!(self.hosted())
    }
}
