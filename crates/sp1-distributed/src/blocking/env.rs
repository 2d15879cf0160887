//! The prover that `SP1_PROVER` names, without `async`.

use super::{
    distributed::{DistributedProver, DistributedProverBuilder},
    prover::{ProveRequest, Prover, execute_blocking},
};
use crate::{
    distributed::{self, DistributedError},
    env::{EnvProverError, ProverChoice},
    request::{ProveOptions, apply_options, with_options},
    riscv_machine::{RiscvMachine, is_foreign, or_standard},
};
use anyhow::Result;
use sp1_core_executor::{ExecutionError, ExecutionReport, SP1Context, SP1CoreOpts, StatusCode};
use sp1_core_machine::io::SP1Stdin;
use sp1_prover::worker::SP1NodeCore;
use sp1_sdk::{
    Elf, SP1ProofMode, SP1ProofWithPublicValues, SP1PublicValues, SP1VerificationError, SP1VerifyingKey,
    blocking::{CpuProver, LightProver, MockProver},
};
use sp1d_machine::check_processor;

#[cfg(feature = "cuda")]
use sp1_sdk::blocking::CudaProver;
#[cfg(feature = "network")]
use sp1_sdk::blocking::NetworkProver;

pub use crate::env::EnvProvingKey;

/// One of the available provers. Same as [`sp1_sdk::blocking::EnvProver`], with the additional variant `Distributed`.
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
    Network(Box<NetworkProver>),
    /// Proves on the workers of a worker list, or through a service.
    Distributed(DistributedProver),
}

/// Returns the prover that `SP1_PROVER` names. Without a `machine`, it has SP1's standard machine. Never inlined, so
/// that SP1's provers are compiled in this crate.
#[inline(never)]
pub(super) fn env_prover(
    core_opts: Option<SP1CoreOpts>,
    machine: Option<RiscvMachine>,
) -> Result<EnvProver, EnvProverError> {
    // Later code may use instructions that this processor lacks.
    check_processor()?;
    let foreign = machine.as_ref().is_some_and(is_foreign);
    let machine = or_standard(machine);
    Ok(match ProverChoice::from_environment()? {
        ProverChoice::Cpu => EnvProver::Cpu(CpuProver::new_with_opts_and_machine(core_opts, machine)),
        ProverChoice::Mock => EnvProver::Mock(MockProver::new_with_machine(machine)),
        ProverChoice::Light => EnvProver::Light(LightProver::new_with_machine(machine)),
        ProverChoice::Distributed => {
            let builder = distributed::DistributedProverBuilder::for_machine(foreign);
            let builder = DistributedProverBuilder(match core_opts {
                Some(opts) => builder.core_opts(opts),
                None => builder,
            });
            EnvProver::Distributed(builder.build())
        }
        #[cfg(feature = "cuda")]
        ProverChoice::Cuda => EnvProver::Cuda(sp1_sdk::blocking::CudaProverBuilder::new_with_machine(machine).build()),
        #[cfg(feature = "network")]
        ProverChoice::Network => match sp1_sdk::blocking::EnvProver::new_with_machine(machine) {
            sp1_sdk::blocking::EnvProver::Network(prover) => EnvProver::Network(prover),
            _ => unreachable!("SP1_PROVER selects the network prover"),
        },
        // The blocking `EnvProver` of sp1-sdk does not accept `hosted`, but its builder does.
        #[cfg(feature = "network")]
        ProverChoice::Hosted => {
            let builder = sp1_sdk::blocking::ProverClient::builder_with_machine(machine).hosted();
            EnvProver::Network(Box::new(builder.build()))
        }
    })
}

impl Default for EnvProver {
    fn default() -> Self {
        Self::new()
    }
}

impl EnvProver {
    /// Same as [`super::ProverClient::from_env`].
    ///
    /// # Panics
    /// If `SP1_PROVER` names an unknown prover or one whose feature is off, or if this processor lacks features that
    /// the program was compiled for.
    #[must_use]
    pub fn new() -> Self {
        Self::from_env_with_opts(None)
    }

    /// Same as [`EnvProver::new`], with a custom machine.
    ///
    /// # Panics
    /// Same as [`EnvProver::new`].
    #[must_use]
    pub fn new_with_machine(machine: RiscvMachine) -> Self {
        Self::from_env_with_opts_and_machine(None, machine)
    }

    /// Replaces this prover by a new one with these options. As in sp1-sdk, `SP1_PROVER` is read again and the new
    /// prover has SP1's standard machine.
    ///
    /// # Panics
    /// Same as [`EnvProver::new`].
    #[must_use]
    pub fn with_opts(self, opts: SP1CoreOpts) -> Self {
        Self::from_env_with_opts(Some(opts))
    }

    /// Same as [`EnvProver::new`], with custom core options. Only the CPU prover and the distributed prover use them.
    ///
    /// # Panics
    /// Same as [`EnvProver::new`].
    #[must_use]
    pub fn from_env_with_opts(core_opts: Option<SP1CoreOpts>) -> Self {
        env_prover(core_opts, None).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Same as [`EnvProver::from_env_with_opts`], with a custom machine.
    ///
    /// # Panics
    /// Same as [`EnvProver::new`].
    #[must_use]
    pub fn from_env_with_opts_and_machine(core_opts: Option<SP1CoreOpts>, machine: RiscvMachine) -> Self {
        env_prover(core_opts, Some(machine)).unwrap_or_else(|error| panic!("{error}"))
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
}

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
            EnvProver::Network($prover) => {
                let $prover = &**$prover;
                $body
            }
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

    fn setup(&self, elf: Elf) -> Result<EnvProvingKey> {
        Ok(match self {
            Self::Mock(prover) => EnvProvingKey::mock(Prover::setup(prover, elf)?),
            Self::Light(prover) => EnvProvingKey::light(Prover::setup(prover, elf)?),
            Self::Cpu(prover) => EnvProvingKey::cpu(Prover::setup(prover, elf)?),
            #[cfg(feature = "cuda")]
            Self::Cuda(prover) => EnvProvingKey::cuda(Prover::setup(prover, elf)?),
            #[cfg(feature = "network")]
            Self::Network(prover) => EnvProvingKey::network(Prover::setup(&**prover, elf)?),
            Self::Distributed(prover) => EnvProvingKey::distributed(Prover::setup(prover, elf)?),
        })
    }

    fn prove<'a>(&'a self, pk: &'a EnvProvingKey, stdin: SP1Stdin) -> EnvProveRequest<'a> {
        EnvProveRequest { prover: self, key: pk, stdin, options: ProveOptions::default() }
    }

    fn run_execution(
        &self,
        elf: Elf,
        stdin: SP1Stdin,
        context: SP1Context<'static>,
    ) -> Result<(SP1PublicValues, ExecutionReport), ExecutionError> {
        match self {
            Self::Distributed(prover) => prover.run_execution(elf, stdin, context),
            other => execute_blocking(Prover::inner(other), elf, stdin, context),
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

/// A proof request. [`ProveRequest::run`] creates the proof.
pub struct EnvProveRequest<'a> {
    prover: &'a EnvProver,
    key: &'a EnvProvingKey,
    stdin: SP1Stdin,
    options: ProveOptions,
}

impl<'a> ProveRequest<'a, EnvProver> for EnvProveRequest<'a> {
    #[allow(clippy::needless_question_mark, reason = "some provers return another error type")]
    fn run(self) -> Result<SP1ProofWithPublicValues> {
        let Self { prover, key, stdin, options } = self;
        macro_rules! ask {
            ($prover:expr, $pk:expr) => {
                Ok(apply_options!(Prover::prove($prover, $pk, stdin), options).run()?)
            };
        }
        match (prover, key) {
            (EnvProver::Cpu(prover), EnvProvingKey::Cpu { pk, .. }) => ask!(prover, pk),
            #[cfg(feature = "cuda")]
            (EnvProver::Cuda(prover), EnvProvingKey::Cuda { pk, .. }) => ask!(prover, pk),
            (EnvProver::Mock(prover), EnvProvingKey::Mock { pk, .. }) => ask!(prover, pk),
            (EnvProver::Light(prover), EnvProvingKey::Light { pk, .. }) => ask!(prover, pk),
            #[cfg(feature = "network")]
            (EnvProver::Network(prover), EnvProvingKey::Network { pk, .. }) => ask!(&**prover, pk),
            (EnvProver::Distributed(prover), EnvProvingKey::Distributed { pk, .. }) => ask!(prover, pk),
            (prover, key) => Err(DistributedError::OtherClient { made_by: key.client(), client: prover.name() }.into()),
        }
    }

    with_options!();
}
