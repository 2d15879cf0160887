//! Reads `SP1_PROVER`.

use sp1d_machine::ProcessorError;
use std::{env, fmt};

/// Why no prover can be made from the environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvProverError {
    /// `SP1_PROVER` names an unknown prover or one whose feature is off.
    #[error(transparent)]
    Unknown(#[from] UnknownProver),
    /// This processor lacks features that the program was compiled for.
    #[error(transparent)]
    Processor(#[from] ProcessorError),
}

/// The prover that `SP1_PROVER` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProverChoice {
    Cpu,
    Mock,
    Light,
    Distributed,
    #[cfg(feature = "cuda")]
    Cuda,
    #[cfg(feature = "network")]
    Network,
    #[cfg(feature = "network")]
    Hosted,
}

/// The error for a value of `SP1_PROVER` that is not a prover of this program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownProver {
    value: String,
    /// The disabled feature that this prover needs, if the value names a known prover.
    feature: Option<&'static str>,
}

impl std::error::Error for UnknownProver {}

impl fmt::Display for UnknownProver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, feature } = self;
        match feature {
            Some(feature) => write!(f, "SP1_PROVER={value} needs the feature `{feature}` of sp1-sdk, which is off")?,
            None => write!(f, "SP1_PROVER={value:?} does not name a prover")?,
        }
        f.write_str("\nhint: set SP1_PROVER to one of distributed, cpu, mock, light")?;
        for (name, on) in [
            ("cuda", cfg!(feature = "cuda")),
            ("network", cfg!(feature = "network")),
            ("hosted", cfg!(feature = "network")),
        ] {
            if on {
                write!(f, ", {name}")?;
            } else {
                let feature = if name == "hosted" { "network" } else { name };
                write!(f, ", {name} (with the feature {feature})")?;
            }
        }
        Ok(())
    }
}

impl ProverChoice {
    /// Reads `SP1_PROVER`. Returns `Cpu` if it is not set.
    pub(crate) fn from_environment() -> Result<Self, UnknownProver> {
        match env::var_os("SP1_PROVER") {
            None => Ok(Self::Cpu),
            Some(value) => Self::parse(&value.to_string_lossy()),
        }
    }

    fn parse(value: &str) -> Result<Self, UnknownProver> {
        let unknown = |feature| Err(UnknownProver { value: value.to_owned(), feature });
        match value {
            "cpu" => Ok(Self::Cpu),
            "mock" => Ok(Self::Mock),
            "light" => Ok(Self::Light),
            "distributed" => Ok(Self::Distributed),
            #[cfg(feature = "cuda")]
            "cuda" => Ok(Self::Cuda),
            #[cfg(not(feature = "cuda"))]
            "cuda" => unknown(Some("cuda")),
            #[cfg(feature = "network")]
            "network" => Ok(Self::Network),
            #[cfg(feature = "network")]
            "hosted" => Ok(Self::Hosted),
            #[cfg(not(feature = "network"))]
            "network" | "hosted" => unknown(Some("network")),
            _ => unknown(None),
        }
    }
}
