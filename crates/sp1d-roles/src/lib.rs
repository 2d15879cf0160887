//! The two roles of a process, as library calls: an orchestrator that proves on workers, and a worker.
//!
//! ```text
//!   flags, environment, file ──► config ──► WorkerPool     proofs on connected workers, perhaps also in this process
//!   WorkerBuilder ───────────► BoundWorker                 tasks of an orchestrator
//! ```
//!
//! The command `sp1d` and the library `sp1-distributed` are built on this crate. It does not know sp1-sdk, so `sp1d` is
//! compiled without SP1's own CPU prover.

mod call_deadline;
pub mod config;
mod local_memory;
mod pool;
mod proving_threads;
mod worker;

pub use call_deadline::CallDeadline;
pub use local_memory::check_local_memory;
pub use pool::{LocalWorkerHandle, WorkerPool};
pub use proving_threads::start_proving_threads;
pub use sp1d_identity::{KeysError, PeerRole, TlsIdentity};
pub use worker::{BoundWorker, WorkerBuilder, WorkerError, serve_gpu_prover, serve_prover, serve_worker};
