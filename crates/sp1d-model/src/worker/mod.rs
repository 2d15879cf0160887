//! Workers, as a service shows them.
//!
//! It does not know sessions or connections.

mod activity;
mod gpu_state;
mod summary;

pub use activity::WorkerActivity;
pub use gpu_state::GpuState;
pub use summary::{Disconnection, ListStatus, WorkerSummary, WorkersReport};
