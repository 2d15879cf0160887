//! Connections to the workers of the list.
//!
//! - `dialer`: establishes a connection, over TCP or inside this process.
//! - `listed_worker`: keeps a worker of the list connected.
//! - `probe`: asks a worker about itself without becoming its orchestrator.

pub(crate) mod dialer;
pub(crate) mod listed_worker;
pub(crate) mod probe;
