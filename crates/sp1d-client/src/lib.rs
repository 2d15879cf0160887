//! A client for the HTTP interface of `sp1d serve`. The types of the interface are those of the crate `model`. The
//! client depends neither on SP1 nor on the orchestrator.
//!
//! [`Client`] sends the requests. If a response is lost, the request can be sent again. A request for a proof needs an
//! idempotency key for that. [`Client::follow`] waits for a proof, across lost connections and restarts of the service.

mod address;
mod client;
mod credentials;
mod error;
mod follow;
mod limits;
mod settings;

pub use address::{ServiceUrl, redacted};
pub use client::{Client, WorkerAction};
pub use error::ClientError;
pub use limits::limits;
pub use settings::ClientSettings;
pub use sp1d_model::{
    AttemptInfo, Disconnection, EventRecord, FailureInfo, Health, ListStatus, Moment, NewProof, OpenTask,
    OpenTaskState, OpenTasks, ProgramSummary, ProofEvent, ProofFailureKind, ProofMode, ProofState, ProofSummary,
    TaskCounts, WaitCode, WaitingTasks, WorkerActivity, WorkerSummary, WorkerTasks, WorkersReport,
};
