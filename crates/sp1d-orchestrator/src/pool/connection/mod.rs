//! Connections to the workers of the list.
//!
//! - `dialer`: establishes a connection, over TCP or inside this process.
//! - `first_outcome`: how a worker of the list was reached for the first time.
//! - `listed_worker`: keeps a worker of the list connected.
//! - `probe`: asks a worker about itself without becoming its orchestrator.
//! - `serve_session`: serves a session with a worker of the list, or with one that joins.

pub(crate) mod dialer;
pub(crate) mod first_outcome;
pub(crate) mod listed_worker;
pub(crate) mod probe;
pub(crate) mod serve_session;
