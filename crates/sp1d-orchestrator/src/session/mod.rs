//! Sessions with workers, from the handshake to the end.
//!
//! - `close_reason`: why a session ended.
//! - `control`: receives what the worker reports on the control stream, and sends heartbeats. Assignments leave through
//!   the worker's outbox, which `service` sends.
//! - `introduction`: what a worker reports about itself when a session starts.
//! - `release`: releases a worker for which other orchestrators wait.
//! - `server`: serves a session until it ends.
//! - `service`: the calls that a worker can make, and the artifacts that it fetches and uploads.
//! - `turn_end`: decides when to release it.
//! - `worker_session`: the state of one session.
//!
//! A session reports to the dispatcher what happens, and decides nothing. It does not know why a worker gets a task, or
//! how a connection is established.

pub(crate) mod close_reason;
mod control;
pub(crate) mod introduction;
mod release;
pub(crate) mod server;
mod service;
mod turn_end;
mod worker_session;
