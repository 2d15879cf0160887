//! The distributed prover and its types. Programs often import the crate root with a glob, so names that a program may
//! define itself are here and not at the root.

mod builder;
pub mod config;
mod config_source;
mod error;
mod events;
mod local_memory;
mod pool;
mod prover;
mod prover_impl;
mod proving_threads;
mod request;
mod requested_proof;
mod service_prover;

pub use crate::worker::{BoundWorker, WorkerBuilder, WorkerError, serve_prover};
pub use builder::DistributedProverBuilder;
pub use error::DistributedError;
pub use events::ProofEvents;
pub use local_memory::check_local_memory;
pub use pool::{LocalProver, WorkerPool};
pub use prover::DistributedProver;
pub use proving_threads::start_proving_threads;
pub use request::DistributedProveRequest;
pub use requested_proof::RequestedProof;
pub use sp1d_client::{ClientError, FailureInfo, ProofFailureKind};
pub use sp1d_engine::{MachineError, private_temporary_folder};
pub use sp1d_machine::ProcessorError;
pub use sp1d_model::{ProofState, TaskKind};
pub use sp1d_orchestrator::{
    AttemptInfo, ConnectError, Holdings, ListError, Placement, ProofEvent, ProofFailure, UnknownWorker, Verify,
    WorkerInfo, WorkerOrigins, WorkerTasks,
};
pub use sp1d_protocol::{Address, Filter};
pub use sp1d_worker::{EngineState, LoadError, MemoryError, ProverCommand, WorkerStop};
