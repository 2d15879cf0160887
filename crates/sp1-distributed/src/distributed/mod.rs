//! The distributed prover and its types. Programs often import the crate root with a glob, so names that a program may
//! define itself are here and not at the root.

mod builder;
mod config_source;
mod error;
mod events;
mod proof_conversion;
mod prover;
mod prover_impl;
mod request;
mod requested_proof;
mod service_prover;

pub use builder::DistributedProverBuilder;
pub use error::DistributedError;
pub use events::ProofEvents;
pub use prover::DistributedProver;
pub use request::DistributedProveRequest;
pub use requested_proof::RequestedProof;
pub use sp1d_client::{ClientError, FailureInfo, ProofFailureKind};
pub use sp1d_engine::{MachineError, private_temporary_folder};
pub use sp1d_machine::{
    FoundGpus, GpuDevice, GpuDriver, GpuFault, GpuLibrary, GpuReading, GpuSelection, ProcessorError, check_gpus,
    gpu_library,
};
pub use sp1d_model::{ProofState, TaskKind};
pub use sp1d_orchestrator::{
    AttemptInfo, ConnectError, Holdings, ListError, Placement, ProofEvent, ProofFailure, UnknownWorker, Verify,
    WorkerInfo, WorkerOrigins, WorkerTasks,
};
pub use sp1d_protocol::{Address, Filter};
pub use sp1d_roles::{
    BoundWorker, CallDeadline, LocalWorkerHandle, WorkerBuilder, WorkerError, WorkerPool, check_local_memory, config,
    serve_gpu_prover, serve_prover, start_proving_threads,
};
pub use sp1d_worker::{EngineState, LoadError, MemoryError, ProverCommand, ServeError, WorkerStop};
