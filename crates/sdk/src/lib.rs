//! sp1-sdk, and with it a prover that proves on many machines.
//!
//! A program that uses sp1-sdk moves over by one line of its `Cargo.toml`, and none of its code:
//!
//! ```toml
//! sp1-sdk = { package = "sp1-distributed", version = "0.1" }
//! ```
//!
//! From then on `SP1_PROVER=distributed` has the workers of `distributed.json` prove; every other value does what it
//! does in sp1-sdk. All that sp1-sdk exports is here under the same name. What had to be replaced so that a further
//! prover fits in has the same names and methods: [`ProverClient`], [`Prover`], [`ProveRequest`] and the modules
//! [`client`], [`prover`], [`mod@env`], [`prelude`] and `blocking`.
//!
//! ```no_run
//! use sp1_distributed::{Elf, ProveRequest, Prover, ProverClient, ProvingKey, SP1Stdin};
//!
//! # async fn prove(elf: Elf) -> Result<(), Box<dyn std::error::Error>> {
//! let client = ProverClient::builder().distributed().workers(["10.0.0.7:8081", "10.0.0.8:8081"]).build().await;
//! let pk = client.setup(elf).await?;
//! let mut stdin = SP1Stdin::new();
//! stdin.write(&1000_u32);
//! let proof = client.prove(&pk, stdin).compressed().await?;
//! client.verify(&proof, pk.verifying_key(), None)?;
//! # Ok(())
//! # }
//! ```
//!
//! The other role is [`serve_worker`], or [`WorkerBuilder`] with all its settings. What else belongs to the distributed
//! prover, such as its errors' details, events and configuration, is in [`distributed`].

// What is declared here, and below by name, stands before what the glob brings.
pub use sp1_sdk::*;

#[cfg(feature = "blocking")]
pub mod blocking;
pub mod client;
pub mod distributed;
pub mod env;
mod pool;
pub mod prover;
mod request;
mod threads;
mod worker;

pub use crate::{
    client::ProverClient,
    distributed::{
        DistributedError, DistributedProveRequest, DistributedProver, DistributedProverBuilder, ProofEvents,
    },
    env::UnknownProver,
    prover::{ProveRequest, Prover},
    worker::{WorkerBuilder, WorkerError, serve_worker},
};

/// What most programs need.
pub mod prelude {
    pub use super::{
        Elf, HashableKey, ProveRequest, Prover, ProvingKey, RiscvAir, SP1ProofWithPublicValues, SP1Stdin, include_elf,
    };
}
