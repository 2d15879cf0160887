//! Sessions with workers, from the handshake to the end.
//!
//! - `close_reason`: why a session ended.
//! - `control`: the control stream. It carries assignments, reports and heartbeats.
//! - `introduction`: what a worker reports about itself when a session starts.
//! - `server`: serves a session until it ends.
//! - `service`: the calls that a worker can make.
//! - `transfer`: the artifacts that a worker fetches and uploads.
//! - `worker_session`: the state of one session.
//!
//! A session reports to the dispatcher what happens, and decides nothing. It does not know why a worker gets a task, or
//! how a connection is established.

pub(crate) mod close_reason;
mod control;
pub(crate) mod introduction;
pub(crate) mod server;
mod service;
mod transfer;
mod worker_session;
