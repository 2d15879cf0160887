//! Sessions with workers, from the handshake to the end.
//!
//! - `calls`: the calls that a worker can make.
//! - `control`: receives what the worker reports on the control stream, and sends heartbeats. Assignments leave through
//!   the worker's outbox, which `calls` sends.
//! - `fetches`: sends the artifacts that attempts read.
//! - `introduction`: what a worker reports about itself when a session starts.
//! - `lifetime`: serves a session until it ends.
//! - `lost_prover`: ends the session of a worker whose last prover ended and is not loaded again.
//! - `part_timeout`: the timeout for the next part of a transfer, which sets the minimum rate of transfers.
//! - `release`: releases a worker for which other orchestrators wait.
//! - `turn_end`: decides when this orchestrator's turn at a worker is over.
//! - `uploads`: receives the artifacts that attempts upload, within their quotas.
//! - `worker_session`: the state of one session.
//!
//! A session tells the dispatcher what happens. It decides:
//!
//! - when to release its worker,
//! - when silence ends it,
//! - when it ends because its worker had a loaded prover and has none any more,
//! - which uploads exceed a quota, and which transfers are too slow,
//! - whether the worker is trusted,
//! - whether a GPU worker that becomes ready while tries run is too small for their shards,
//! - that a try fails if the store is full at an upload, or if a spilled artifact cannot be read back at a fetch.
//!
//! It decides nothing else about tasks and tries. It does not know why a worker gets a task, or how a connection is
//! established.

mod calls;
mod control;
mod fetches;
pub(crate) mod introduction;
pub(crate) mod lifetime;
mod lost_prover;
mod part_timeout;
mod release;
mod turn_end;
mod uploads;
mod worker_session;

pub(crate) use calls::LIMITS as CALL_LIMITS;
pub(crate) use control::LIMITS as CONTROL_LIMITS;
pub(crate) use part_timeout::LIMITS as PART_TIMEOUT_LIMITS;
pub(crate) use uploads::LIMITS as UPLOAD_LIMITS;
