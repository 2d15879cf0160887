//! A worker: it listens (or calls its orchestrator, or, inside the orchestrator's process, waits to be called), serves
//! one orchestrator at a time, and runs the tasks it is given through a [`ProvingEngine`].
//!
//! ```text
//!   listener ──► filter, preamble ──► session ──► attempts ──► ProvingEngine
//!                                        │            │
//!                                   heartbeats    AttemptIo (artifacts over the same connection)
//! ```
//!
//! It knows nothing of other workers, of proofs as a whole, or of how a shard is proven. Everything here runs on one
//! asynchronous thread that nothing heavy shares, so heartbeats go out while every core is proving; the engine brings
//! threads of its own.

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
