//! The proving key of an [`EnvProver`](super::EnvProver): it says whose it is.

use sp1_sdk::{Elf, ProvingKey, SP1ProvingKey, SP1VerifyingKey};

#[cfg(feature = "cuda")]
type CudaProvingKey = <sp1_sdk::CudaProver as sp1_sdk::Prover>::ProvingKey;

macro_rules! keys {
    ($($(#[$feature:meta])? $variant:ident $make:ident $key:ty, $doc:literal;)*) => {
        /// A proving key, by the prover that made it. As [`sp1_sdk::env::EnvProvingKey`], with one variant more.
        #[derive(Clone)]
        pub enum EnvProvingKey {
            $($(#[$feature])? #[doc = $doc] $variant {
                /// The key.
                pk: $key,
                /// Keys come from `setup` only.
                seal: sealed::Seal,
            },)*
        }

        impl EnvProvingKey {
            $($(#[$feature])? pub(crate) const fn $make(pk: $key) -> Self {
                Self::$variant { pk, seal: sealed::Seal::new() }
            })*

            /// The name of the client that made it.
            pub(crate) const fn client(&self) -> &'static str {
                match self {
                    $($(#[$feature])? Self::$variant { .. } => stringify!($make),)*
                }
            }
        }

        impl ProvingKey for EnvProvingKey {
            fn verifying_key(&self) -> &SP1VerifyingKey {
                match self {
                    $($(#[$feature])? Self::$variant { pk, .. } => pk.verifying_key(),)*
                }
            }

            fn elf(&self) -> &Elf {
                match self {
                    $($(#[$feature])? Self::$variant { pk, .. } => pk.elf(),)*
                }
            }
        }
    };
}

keys! {
    Cpu cpu SP1ProvingKey, "Of the CPU prover.";
    #[cfg(feature = "cuda")] Cuda cuda CudaProvingKey, "Of the prover on a graphics card.";
    Mock mock SP1ProvingKey, "Of the mock prover.";
    Light light SP1ProvingKey, "Of the light prover.";
    #[cfg(feature = "network")] Network network SP1ProvingKey, "Of the network prover.";
    Distributed distributed SP1ProvingKey, "Of the distributed prover.";
}

mod sealed {
    /// Nobody else can make one.
    #[derive(Clone)]
    pub struct Seal {
        _private: (),
    }

    impl Seal {
        pub(crate) const fn new() -> Self {
            Self { _private: () }
        }
    }
}
