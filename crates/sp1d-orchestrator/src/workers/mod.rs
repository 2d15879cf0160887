//! What the orchestrator knows about its workers, whichever way they are connected.
//!
//! - `close_reason`: why a session ended.
//! - `connected_worker`: a connected worker.
//! - `contacts`: whether each worker of the list is reached.
//! - `demand`: which proof requests run, and need workers.
//! - `disconnected`: workers that should be connected and are not.
//! - `identity`: which worker is which over all its sessions, and where it comes from.
//! - `info`: what people see of a connected worker.
//! - `local_connector`: connects to a worker of this process.
//! - `reach_error`: why a worker cannot be reached.
//! - `snapshot`: the scheduler's view of the workers, published by the dispatcher.
//! - `unreachable`: the workers that cannot be reached, as people see them.
//! - `worker_address`: the address of a worker, and how it belongs to the pool.
//!
//! This folder does not know how workers are connected, or what a session transfers: `pool/` and `session/` use it.

pub(crate) mod close_reason;
pub(crate) mod connected_worker;
pub(crate) mod contacts;
pub(crate) mod demand;
pub(crate) mod disconnected;
pub(crate) mod identity;
pub(crate) mod info;
pub(crate) mod local_connector;
pub(crate) mod reach_error;
pub(crate) mod snapshot;
pub(crate) mod unreachable;
pub(crate) mod worker_address;
