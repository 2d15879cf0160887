//! The interface of `sp1d serve` as its clients see it: what it says, and how to ask.
//!
//! A request that nobody answered may be made again, and a proof is waited for over lost connections and restarts of
//! the service. Nothing of SP1 is needed for it.

mod client;
mod event;
mod record;
mod worker;

pub use client::{Client, ClientError, WorkerAction};
pub use event::{Attempt, EventRecord, ProofEvent};
pub use record::{FailureInfo, Mode, Moment, NewProof, Program, Proof, ProofState, Share, Tasks};
pub use worker::{Health, ListStatus, Lost, Worker, Workers};
