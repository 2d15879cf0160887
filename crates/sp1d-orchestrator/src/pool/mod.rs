//! The pool of workers: the worker list, connections to workers, and which workers are connected or disconnected.
//!
//! - `connected`: a connected worker.
//! - `connection`: keeps the workers of the list connected, and serves sessions.
//! - `contacts`: whether each worker of the list is reached.
//! - `demand`: which proof requests run, and need workers.
//! - `dialer`: establishes a connection, over TCP or inside this process.
//! - `disconnected`: workers that should be connected and are not.
//! - `first_contact`: waits for the first workers.
//! - `identity`: which worker is which over all its sessions, and where it comes from.
//! - `info`: what people see of the pool.
//! - `join_port`: the port on which workers join.
//! - `list`: the worker list.
//! - `membership`: which workers the pool has.
//! - `name_follower`: looks up a name of the list again and again, and connects to its workers.
//! - `named_workers`: decides which workers a name stands for.
//! - `probe`: asks a worker about itself without becoming its orchestrator.
//! - `reach_error`: why a worker cannot be reached.
//! - `resolver`: looks up names.
//! - `snapshot`: the scheduler's view of the workers, published by the dispatcher.
//!
//! This folder does not know what a session transfers, or which tasks the workers get.

pub(crate) mod connected;
pub(crate) mod connection;
pub(crate) mod contacts;
pub(crate) mod demand;
pub(crate) mod dialer;
pub(crate) mod disconnected;
pub(crate) mod first_contact;
pub(crate) mod identity;
pub(crate) mod info;
pub(crate) mod join_port;
pub(crate) mod list;
pub(crate) mod membership;
pub(crate) mod name_follower;
pub(crate) mod named_workers;
pub(crate) mod probe;
pub(crate) mod reach_error;
pub(crate) mod resolver;
pub(crate) mod snapshot;
