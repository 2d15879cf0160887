//! The orchestrator: it connects to workers, runs proofs through a [`ProofController`], and distributes their tasks to
//! the workers.
//!
//! ```text
//!   ProofController ──tasks, artifacts──► ProofHandle ──► dispatcher (scheduler) ──► sessions ──► workers
//!         ▲                                   │                    │                    │
//!         └────────statuses, messages──── TaskBoard             results          Store (artifacts)
//! ```
//!
//! One tokio task, the dispatcher in `core.rs`, owns the scheduler. It turns what happens into events, and it carries
//! out the commands that the scheduler returns. The orchestrator does not know what a program is or how a shard is
//! proven. Only the controller knows that.

mod absent;
mod believed;
mod board;
mod controller;
mod core;
mod counts;
mod dialler;
mod evidence;
mod list;
mod memo;
mod orchestrator;
mod probe;
mod progress;
mod proof;
mod session;
mod shared;
mod text;

pub use absent::AbsentWorker;
pub use board::{Outcome, TaskBoard};
pub use controller::{
    AttemptMemory, Checked, CheckedMarker, Cut, ExpectedExit, ProgramController, ProofController, ProofFailure,
    ProofMode, ProofOutput, ProofRequest, TaskInput, TaskSpec,
};
pub use counts::Counts;
pub use dialler::{LocalConnector, Stream};
pub use list::{DEFAULT_PATH, ListError, Member, WorkerFile, WorkerList};
pub use memo::{Memo, Remembered};
pub use orchestrator::{
    ConnectError, Holdings, MOST_SHARDS, Orchestrator, Proven, Settings, UnknownWorker, Unreachable, Verify, WorkerInfo,
};
pub use probe::{ProbeError, Probed, probe};
pub use progress::{AttemptNews, AttemptStep, Progress, WorkerShare};
pub use proof::ProofHandle;
pub use scheduler::Placement;
