//! The attempts of one orchestrator: they run in the engine, transfer their artifacts, and keep a journal of what they
//! reported.
//!
//! ```text
//!   AssignedAttempts ──► ProvingEngine ──► SessionIo ──► AttemptJournal ──► SessionHandle
//!          │                                                  │
//!          └──► OrphanedAttempts (after a restart)   sent again on the next session
//! ```
//!
//! This module does not know how a session starts, why it ends, or what the engine computes.

mod attempts;
mod gate;
mod held;
mod idle;
mod io;
mod journal;
mod places;
mod resume;
mod transfer;

pub(crate) use attempts::AssignedAttempts;
pub(crate) use gate::AttemptGate;
pub(crate) use journal::LIMITS as JOURNAL_LIMITS;
pub(crate) use places::ProvingPlaces;
pub(crate) use transfer::SessionHandle;
