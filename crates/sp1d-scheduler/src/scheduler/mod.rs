//! The scheduler's state machine, with a file for each group of its events.
//!
//! ```text
//!   state_machine ── apply ──► tries, session_events, reports ──► outcomes, slow_attempts, faults ──► slots
//! ```
//!
//! The files `sessions`, `pace` and `standing` of the folder `workers/` have the facts on which `session_events`,
//! `slow_attempts` and `faults` act.

mod faults;
mod invariants;
mod outcomes;
mod queries;
mod reports;
mod session_events;
mod slots;
mod slow_attempts;
mod state_machine;
mod tries;
mod waiting;

pub(crate) use reports::MARKER_MISSING;
pub use state_machine::Scheduler;
