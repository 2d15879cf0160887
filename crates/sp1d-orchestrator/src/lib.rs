//! The orchestrator: it connects to workers, runs proofs through a [`ProofController`], and distributes their tasks to
//! the workers.
//!
//! ```text
//!   ProofController ──tasks──► ProofHandle ──► dispatcher ──assignments──► session ◄══connection══► worker
//!         ▲                                      │    ▲                     │   │
//!         └──statuses, messages── TaskTracker ◄──┘    └───────reports───────┘   └──artifacts──► Store
//! ```
//!
//! - `orchestrator.rs` has the handle that callers use, and `settings.rs` its settings. `proof/run.rs` has its `prove`.
//! - `registry.rs` has the state that the parts share: connected workers, sessions, attempts and proofs, behind locks.
//! - `pool/`: the worker list, connections, and which workers are connected or disconnected.
//! - `session/`: one session with a worker.
//! - `proof/`: runs proofs. `controller/`: the interface to the code that knows SP1.
//! - `audit/`: audits, which find the workers whose results or claims turn out to be wrong after other tasks have used
//!   them.
//! - `dispatch/`: the dispatcher and its inputs.
//!
//! The *dispatcher* is the tokio task that owns the state machines of the crate `scheduler`. It turns messages and
//! calls into events, and it carries out the commands that it gets back. It also publishes the `PoolSnapshot`: the
//! scheduler's view of the workers, for all parts that only read it.
//!
//! The orchestrator does not know what a program is or how a shard is proven. Only the controller knows that.

mod audit;
mod controller;
mod counts;
mod dispatch;
mod lock;
mod orchestrator;
mod pool;
mod proof;
mod registry;
mod scope;
mod session;
mod settings;

pub use controller::{
    checks::ProofChecks,
    failure::ProofFailure,
    interface::{ProgramController, ProofController},
    request::{Cut, ExpectedExit, ProofOutput, ProofRequest},
    task::{AttemptMemory, TaskSpec},
};
pub use counts::OrchestratorCounts;
pub use orchestrator::{Holdings, Orchestrator};
pub use pool::{
    dialer::{LocalConnector, Stream},
    disconnected::DisconnectedWorker,
    info::{ConnectError, UnknownWorker, Unreachable, WorkerInfo},
    list::{DEFAULT_PATH, ListError, Member, WorkerFile, WorkerList},
    probe::{ProbeError, Probed, probe},
    reach_error::ReachError,
};
pub use proof::{
    handle::ProofHandle,
    result_cache::{CachedResult, ResultCache},
    run::Proven,
    task_tracker::{TaskOutcome, TaskTracker},
};
pub use settings::{MAX_HELD_ATTEMPTS, OrchestratorSettings, Verify};
pub use sp1d_model::{AttemptInfo, ProofEvent, ProofMode, ProofWaiting, WorkerTasks};
pub use sp1d_scheduler::Placement;
