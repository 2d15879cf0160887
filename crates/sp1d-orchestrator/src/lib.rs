//! The orchestrator: it connects to workers, runs proofs through a [`ProofRunner`], and distributes their tasks to
//! the workers.
//!
//! ```text
//!   ProofRunner ─────tasks──► ProofHandle ──► dispatcher ──assignments──► session ◄══connection══► worker
//!         ▲                                      │    ▲                     │   │
//!         └──outcomes, messages─ TaskOutcomes ◄──┘    └───────reports───────┘   └──artifacts──► Store
//! ```
//!
//! - `orchestrator.rs` has the handle that callers use, and `settings.rs` its settings.
//! - `proof/`: runs proofs, and audits the unverified results of a failed try.
//! - `pool/`: the worker list, and the connections to its workers and to those that join. `resolver.rs` looks up their
//!   names.
//! - `session/`: one session with a worker.
//! - `dispatch/`: the dispatcher.
//! - `state/`: the state that all parts share, for example the store and the connected workers, the registered attempts
//!   and the running tries. The documentation of `SharedState` says who writes each part.
//! - `tries/`: the state of a running try. `workers/`: what is known about the workers.
//! - `runner/`: what the orchestrator and the code that knows SP1 exchange.
//!
//! A folder of this list uses only folders below it, and never one above it.
//!
//! - `check_limiter.rs` runs the checks of workers' outputs, at most one at a time for a worker. `check_threads.rs` has
//!   their threads.
//!
//! The *dispatcher* is the tokio task that owns the state machines of the crate `scheduler`. It turns messages and
//! calls into events, and it carries out the commands that it gets back. It also publishes the `PoolSnapshot`: the
//! scheduler's view of the workers, for all parts that only read it.
//!
//! The orchestrator does not know what a program is or how a shard is proven. Only the runner knows that.

mod check_limiter;
mod check_threads;
mod counts;
mod describe_first_workers;
mod dispatch;
mod limits;
mod lock;
mod orchestrator;
mod pool;
mod proof;
mod resolver;
mod runner;
mod scope;
mod session;
mod settings;
mod state;
#[cfg(test)]
mod test_state;
mod tries;
mod workers;

pub use counts::OrchestratorCounts;
pub use limits::limits;
pub use orchestrator::{Holdings, Orchestrator};
pub use pool::{
    connection::probe::{ProbeError, Probed, probe},
    first_outcome::{FirstOutcome, Reached},
    join_port::JoinSettings,
    list::{DEFAULT_PATH, ListError, WorkerFile, WorkerList},
    unknown_worker::UnknownWorker,
};
pub use proof::{
    handle::ProofHandle,
    proof_runner::{ProofRunner, ServiceRunner},
    run::Proven,
};
pub use resolver::{AddressResolver, SystemResolver};
pub use runner::{
    checks::ProofChecks,
    failure::{FailedAttempt, ProofFailure},
    request::{Cut, ExpectedExit, ProofOutput, ProofRequest},
    task::{AttemptMemory, ShardWorker, TaskSpec},
};
pub use settings::{MAX_HELD_ATTEMPTS, OrchestratorSettings, Verify, WorkerOrigins};
pub use sp1d_artifacts::default_spill_folder;
pub use sp1d_model::{AttemptInfo, OpenTasks, ProofEvent, ProofMode, WorkerTasks};
pub use sp1d_scheduler::{Placement, ShardSize};
pub use tries::{
    result_cache::{CachedResult, ResultCache},
    task_outcomes::{TaskOutcome, TaskOutcomes},
};
pub use workers::{
    disconnected::DisconnectedWorker,
    info::WorkerInfo,
    local_connector::{LocalConnector, Stream},
    reach_error::ReachError,
    unreachable::{ConnectError, Unreachable},
    worker_address::WorkerAddress,
};
