//! The worker's side of a session: serves one orchestrator at a time and runs its tasks through a [`ProvingEngine`].
//!
//! A worker listens for orchestrators ([`Worker`]), dials its orchestrator ([`JoiningWorker`]), or runs inside the
//! orchestrator's process ([`LocalWorker`]).
//!
//! ```text
//!   listener ──► filter, preamble ──► session ──► attempts ──► ProvingEngine
//!                                        │            │
//!                                   heartbeats    AttemptIo (artifacts over the same connection)
//! ```
//!
//! This crate does not know how a shard is proven or what a whole proof is. Workers on one host share only their memory
//! reservations.
//!
//! All sessions run on one asynchronous thread that does no heavy work, so that heartbeats are sent while every core is
//! proving. The engine has its own threads.

mod attempt;
mod cache;
mod correction;
mod engine;
mod home;
mod introduction;
mod join;
mod ledger;
mod local;
mod memory;
mod prover;
mod said;
mod server;
mod session;
mod start_lock;
mod text;
mod transfer;

pub use engine::{
    AttemptError, AttemptIo, EngineState, Footprint, IoError, MemoryUse, ProvingEngine, StateSender, engine_state,
};
pub use introduction::{Abilities, Introduction, MemoryPlan};
pub use join::JoiningWorker;
pub use local::{LocalDoor, LocalWorker};
pub use memory::{MemoryError, wait_for_memory};
pub use prover::{ProverCommand, ProverRules, Provers, serve_prover};
pub use server::{Error, Settings, Worker};
pub use start_lock::{LockError, StartLock};
