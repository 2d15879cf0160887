//! The scheduler's state machine, with a file for each group of its events.
//!
//! ```text
//!   state_machine ── apply ──► tries, on_sessions, reports ──► outcomes, on_pace, on_standing ──► slots
//! ```
//!
//! The files `sessions`, `pace` and `standing` of the folder `workers/` have the facts on which `on_sessions`,
//! `on_pace` and `on_standing` act.

mod invariants;
mod on_pace;
mod on_sessions;
mod on_standing;
mod outcomes;
mod queries;
mod reports;
mod slots;
mod state_machine;
mod tries;
mod waiting;

pub(crate) use reports::MARKER_MISSING;
pub use state_machine::Scheduler;
