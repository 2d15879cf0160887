//! Workers, as a service shows them.
//!
//! It does not know sessions or connections.

mod activity;
mod summary;

pub use activity::WorkerActivity;
pub use summary::{Disconnection, ListStatus, WorkerSummary, WorkersReport};
