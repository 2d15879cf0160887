//! The pool of workers: the worker list, the workers that join, and the connections to all of them.
//!
//! - `connection/`: connections to the workers of the list.
//! - `first_contact`: waits for the first workers.
//! - `first_outcome`: how a worker of the list was reached for the first time.
//! - `join_port`: the port on which workers join.
//! - `list`: the worker list.
//! - `membership`: which workers the pool has.
//! - `names/`: names of the list that stand for several workers.
//! - `start_session`: starts a session with a worker of the list, or with one that joins, and serves it.
//! - `unknown_worker`: why a name or address does not select a worker.
//!
//! This folder hands each connection to `session/`. It does not know what a session transfers, or which tasks the
//! workers get.

pub(crate) mod connection;
pub(crate) mod first_contact;
pub(crate) mod first_outcome;
pub(crate) mod join_port;
pub(crate) mod list;
pub(crate) mod membership;
pub(crate) mod names;
pub(crate) mod start_session;
pub(crate) mod unknown_worker;
