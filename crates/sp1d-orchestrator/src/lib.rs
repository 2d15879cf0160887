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
//! - `shared_state.rs` has the state that all parts share, for example the store and the connected workers, the
//!   registered attempts and the running tries. Its documentation says who writes each part. `published.rs` has the
//!   parts that have a writer of their own: the dispatcher, or the cleanup of a try.
//! - `pool/`: the worker list, and the connections to its workers and to those that join. `resolver.rs` looks up their
//!   names.
//! - `session/`: one session with a worker. `workers/`: what `pool/` and `session/` know about the workers.
//! - `proof/`: runs proofs, and audits the unverified results of a failed try. `runner/`: the interface to the code
//!   that knows SP1.
//! - `dispatch/`: the dispatcher and its inputs.
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
mod describe_first;
mod dispatch;
mod limits;
mod lock;
mod orchestrator;
mod pool;
mod proof;
mod published;
mod resolver;
mod runner;
mod scope;
mod session;
mod settings;
mod shared_state;
#[cfg(test)]
mod test_state;
mod workers;

pub use counts::OrchestratorCounts;
pub use limits::limits;
pub use orchestrator::{Holdings, Orchestrator};
pub use pool::{
    connection::{
        dialer::{LocalConnector, Stream},
        first_outcome::{FirstOutcome, Reached},
        probe::{ProbeError, Probed, probe},
        reach_error::ReachError,
        unreachable::{ConnectError, Unreachable},
    },
    join_port::JoinSettings,
    list::{DEFAULT_PATH, ListError, WorkerFile, WorkerList},
    unknown_worker::UnknownWorker,
};
pub use proof::{
    handle::ProofHandle,
    result_cache::{CachedResult, ResultCache},
    run::Proven,
    task_outcomes::{TaskOutcome, TaskOutcomes},
};
pub use resolver::{AddressResolver, SystemResolver};
pub use runner::{
    checks::ProofChecks,
    failure::{FailedAttempt, ProofFailure},
    interface::{ProofRunner, ServiceRunner},
    request::{Cut, ExpectedExit, ProofOutput, ProofRequest},
    task::{AttemptMemory, ShardWorker, TaskSpec, comparable_bytes},
};
pub use settings::{MAX_HELD_ATTEMPTS, OrchestratorSettings, Verify, WorkerOrigins};
pub use sp1d_artifacts::default_spill_folder;
pub use sp1d_model::{AttemptInfo, OpenTasks, ProofEvent, ProofMode, WorkerTasks};
pub use sp1d_scheduler::{Placement, ShardSize};
pub use workers::{disconnected::DisconnectedWorker, info::WorkerInfo, worker_address::WorkerAddress};
