//! sp1-sdk with an additional prover: `distributed`, which proves on many machines.
//!
//! A program that uses sp1-sdk changes one line of its `Cargo.toml` and no code:
//!
//! ```toml
//! sp1-sdk = { package = "sp1-distributed", git = "https://github.com/sp1-distributed/sp1-distributed" }
//! ```
//!
//! With `SP1_PROVER=distributed`, the workers listed in `distributed.json` prove. Every other value works as in
//! sp1-sdk. This crate exports everything that sp1-sdk exports, under the same names. It replaces the items that could
//! not be extended with another prover. The replacements have the same names and methods: [`ProverClient`], [`Prover`],
//! [`ProveRequest`] and the modules [`client`], [`prover`], [`mod@env`], [`prelude`] and `blocking`.
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
//! [`serve_worker`] runs a worker. [`WorkerBuilder`] does the same with all settings. The module [`distributed`]
//! contains everything else that belongs to the distributed prover, such as its error details, events and
//! configuration.

// Items declared in this crate, and the named imports below, take precedence over this glob import.
pub use sp1_sdk::*;

#[cfg(feature = "blocking")]
pub mod blocking;
pub mod client;
pub mod distributed;
pub mod env;
pub mod prover;
mod request;
mod riscv_machine;
mod threads;

pub use crate::{
    client::ProverClient,
    distributed::{
        DistributedError, DistributedProveRequest, DistributedProver, DistributedProverBuilder, ProofEvents,
    },
    env::{EnvProverError, UnknownProver},
    prover::{ProveRequest, Prover},
};
pub use sp1d_roles::{KeysError, PeerRole, TlsIdentity, WorkerBuilder, WorkerError, serve_worker};

/// The items that most programs need.
pub mod prelude {
    pub use super::{
        Elf, HashableKey, ProveRequest, Prover, ProvingKey, RiscvAir, SP1ProofWithPublicValues, SP1Stdin, include_elf,
    };
}
