//! The worker's side of a session: serves one orchestrator at a time and runs its tasks through a [`ProvingEngine`].
//!
//! A worker listens for orchestrators ([`ListeningWorker`]), dials its orchestrator ([`JoiningWorker`]), or runs inside
//! the orchestrator's process ([`LocalWorker`]).
//!
//! ```text
//!   listener ──► filter, preamble ──► session ──► attempts ──► ProvingEngine
//!                                        │            │
//!                                   heartbeats    AttemptIo (artifacts over the same connection)
//! ```
//!
//! [`HealthPort`] tells probes over HTTP whether the worker runs and whether it can take work.
//!
//! This crate does not know how a shard is proven or what a whole proof is. Workers on one machine share only their
//! memory reservations and the lock that lets provers load one after another.
//!
//! A caller should run all sessions on one asynchronous thread that does no heavy work, as `sp1d-roles` does.
//! Heartbeats are then sent while every core is proving. The engine has its own threads.

mod attempt;
mod cache;
mod driver_call;
mod engine;
mod engine_state;
mod gpu_monitor;
mod health;
mod limits;
mod load_error;
mod machine_memory;
mod port;
mod prover;
mod session;
mod stop;
mod text;

pub use driver_call::call_driver;
pub use engine::{
    AttemptError, AttemptIo, EngineRoom, Footprint, IoAction, IoError, MemoryUse, ProverCounts, ProvingEngine,
};
pub use engine_state::{EngineState, StateSender, engine_state};
pub use gpu_monitor::GpuMonitor;
pub use health::HealthPort;
pub use limits::limits;
pub use load_error::LoadError;
pub use machine_memory::{MemoryError, MemoryPlan, StartLock, wait_for_memory};
pub use port::PortError;
pub use prover::{ProverCommand, ProverRules, Provers, serve_prover};
pub use session::{
    Capabilities, Introduction, JoiningWorker, ListeningWorker, LocalEndpoint, LocalWorker, ServeError, WorkerSettings,
};
pub use stop::WorkerStop;
