//! Selects a prover.

use super::{
    distributed::DistributedProverBuilder,
    env::{EnvProver, env_prover},
};
use crate::{
    env::EnvProverError,
    riscv_machine::{RiscvMachine, is_foreign, or_standard},
};
use sp1_core_executor::SP1CoreOpts;
use sp1_sdk::blocking::{self as sp1, CpuProverBuilder, LightProver, MockProver};
use sp1d_machine::check_processor;

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
        env_prover(None, None)
    }

    /// Same as [`ProverClient::from_env`], with a custom machine. Workers have only SP1's standard machine. With any
    /// other machine, the `distributed` prover refuses to prove.
    ///
    /// # Panics
    /// Same as [`ProverClient::from_env`].
    #[must_use]
    pub fn from_env_with_machine(machine: RiscvMachine) -> EnvProver {
        EnvProver::new_with_machine(machine)
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

/// Calls the method of this name on the builder of sp1-sdk.
macro_rules! of_sp1 {
    ($self:ident . $method:ident ($($argument:expr)?)) => {
        sp1::ProverClient::builder_with_machine($self.machine()).$method($($argument)?)
    };
}

/// Defines builders that sp1-sdk has but does not export.
macro_rules! builders {
    ($($(#[$doc:meta])* $name:ident $method:ident $prover:ident;)*) => {$(
        $(#[$doc])*
        pub struct $name {
            machine: RiscvMachine,
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
                let builder = sp1::ProverClient::builder_with_machine(self.machine).$method();
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
        let foreign = self.machine.as_ref().is_some_and(is_foreign);
        DistributedProverBuilder(crate::distributed::DistributedProverBuilder::for_machine(foreign))
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
        MockProverBuilder { machine: self.machine(), core_opts: None }
    }

    /// Executes and verifies only. It cannot prove.
    #[must_use]
    pub fn light(&self) -> LightProverBuilder {
        LightProverBuilder { machine: self.machine(), core_opts: None }
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

    fn machine(&self) -> RiscvMachine {
        check_processor().unwrap_or_else(|error| panic!("{error}"));
        or_standard(self.machine.clone())
    }
}
