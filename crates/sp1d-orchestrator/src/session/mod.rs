//! Sessions with workers, from the handshake to the end.
//!
//! - `close_reason`: why a session ended.
//! - `control`: receives what the worker reports on the control stream, and sends heartbeats. Assignments leave through
//!   the worker's outbox, which `service` sends.
//! - `introduction`: what a worker reports about itself when a session starts.
//! - `server`: serves a session until it ends.
//! - `service`: the calls that a worker can make, and the artifacts that it fetches and uploads.
//! - `worker_session`: the state of one session.
//!
//! A session reports to the dispatcher what happens, and decides nothing. It does not know why a worker gets a task, or
//! how a connection is established.

pub(crate) mod close_reason;
mod control;
pub(crate) mod introduction;
pub(crate) mod server;
mod service;
mod worker_session;
