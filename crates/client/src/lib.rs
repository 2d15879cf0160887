//! A client for the HTTP interface of `sp1d serve`, and the types of this interface. It does not depend on SP1.
//!
//! [`Client`] sends the requests. If a response is lost, the request can be sent again. A request for a proof needs an
//! idempotency key for that. [`Client::follow`] waits for a proof, across lost connections and restarts of the service.

mod client;
mod event;
mod record;
mod worker;

pub use client::{Client, ClientError, WorkerAction};
pub use event::{Attempt, EventRecord, ProofEvent};
pub use record::{FailureInfo, Mode, Moment, NewProof, Program, Proof, ProofState, Share, Tasks};
pub use worker::{Health, ListStatus, Lost, Worker, Workers};
