//! The proving key of an [`EnvProver`](super::EnvProver). It records which client made it.

use sp1_sdk::{Elf, ProvingKey, SP1ProvingKey, SP1VerifyingKey};

#[cfg(feature = "cuda")]
type CudaProvingKey = <sp1_sdk::CudaProver as sp1_sdk::Prover>::ProvingKey;

macro_rules! keys {
    ($($(#[$feature:meta])? $variant:ident $make:ident $key:ty, $doc:literal;)*) => {
        /// A proving key, by the prover that made it. Same as [`sp1_sdk::env::EnvProvingKey`], with the additional
        /// variant `Distributed`.
        #[derive(Clone)]
        pub enum EnvProvingKey {
            $($(#[$feature])? #[doc = $doc] $variant {
                /// The key.
                pk: $key,
                /// Prevents construction outside this crate: only `setup` creates keys.
                seal: sealed::KeySeal,
            },)*
        }

        impl EnvProvingKey {
            $($(#[$feature])? pub(crate) const fn $make(pk: $key) -> Self {
                Self::$variant { pk, seal: sealed::KeySeal::new() }
            })*

            /// Returns the name of the client that made this key.
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
    Cpu cpu SP1ProvingKey, "Key of the CPU prover.";
    #[cfg(feature = "cuda")] Cuda cuda CudaProvingKey, "Key of the GPU prover.";
    Mock mock SP1ProvingKey, "Key of the mock prover.";
    Light light SP1ProvingKey, "Key of the light prover.";
    #[cfg(feature = "network")] Network network SP1ProvingKey, "Key of the network prover.";
    Distributed distributed SP1ProvingKey, "Key of the distributed prover.";
}

mod sealed {
    /// A value that only this crate can create.
    #[derive(Clone)]
    pub struct KeySeal {
        _private: (),
    }

    impl KeySeal {
        pub(crate) const fn new() -> Self {
            Self { _private: () }
        }
    }
}
