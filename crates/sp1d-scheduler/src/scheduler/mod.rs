//! The scheduler's state machine, with a file for each group of its events.
//!
//! ```text
//!   state_machine ── apply ──► tries, sessions, reports ──► outcomes, pace, standing ──► slots
//! ```

mod invariants;
mod outcomes;
mod pace;
mod queries;
mod reports;
mod sessions;
mod slots;
mod standing;
mod state_machine;
mod tries;
mod waiting;

pub(crate) use reports::MARKER_MISSING;
pub use state_machine::Scheduler;
