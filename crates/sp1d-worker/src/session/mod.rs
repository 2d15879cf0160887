//! Sessions with orchestrators: how a connection comes about, what both sides say, and what survives a session.
//!
//! ```text
//!   ListeningWorker, JoiningWorker, LocalWorker ──► run (one session) ──► WorkerState ──► AssignedAttempts
//!          │                                          │     │
//!        Turns ◄─────────────── TurnView ─────────────┘  SilenceDetector
//! ```
//!
//! A listening worker serves one orchestrator at a time. The others wait in its `TurnQueue`, each on its own
//! connection.
//!
//! `WorkerState` decides which orchestrator continues the attempts of a lost connection, and how long they are kept.
//!
//! This module does not know how attempts run, or what they report after a reconnect.

mod end;
mod error;
mod introduction;
mod join;
mod listen;
mod local;
mod run;
mod silence;
mod turn_queue;
mod turns;
mod worker_state;

pub use error::ServeError;
pub use introduction::{Capabilities, Introduction};
pub use join::JoiningWorker;
pub(crate) use listen::LIMITS as LISTEN_LIMITS;
pub use listen::{ListeningWorker, WorkerSettings};
pub use local::{LocalEndpoint, LocalWorker};
pub(crate) use run::LIMITS as SESSION_LIMITS;
pub(crate) use turn_queue::LIMITS as TURN_LIMITS;
pub(crate) use worker_state::LIMITS as STATE_LIMITS;
