//! The attempts of one orchestrator: they run in the engine, transfer their artifacts, and keep a journal of what they
//! reported.
//!
//! ```text
//!   AssignedAttempts ──► run ──► ProvingEngine ──► SessionIo ──► AttemptJournal ──► SessionHandle
//!          │                                                          │
//!          └──► OrphanedAttempts (after a restart)           sent again on the next session
//! ```
//!
//! This module does not know how a session starts, why it ends, or what the engine computes.

mod attempts;
mod held;
mod idle;
mod io;
mod journal;
mod report;
mod resume;
mod route;
mod run;
mod slots;
mod transfer;

pub(crate) use attempts::AssignedAttempts;
pub(crate) use slots::EngineSlots;
pub(crate) use transfer::SessionHandle;
