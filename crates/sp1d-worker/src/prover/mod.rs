//! Runs provers in separate processes.
//!
//! ```text
//!   worker: session, transfers, reservations          prover process: SP1, gigabytes
//!     Provers (a ProvingEngine) ──── Run, Cancel ────► serve_prover ──► ProvingEngine
//!                               ◄─── Call, Ended ────
//! ```
//!
//! If a prover crashes or the kernel kills it, only its own attempts fail. The session continues, and the worker
//! restarts the prover. This module does not know sessions or orchestrators.

mod calls;
mod command;
mod connection;
mod contents;
mod exit;
mod frames;
mod life;
mod process;
mod provers;
mod restarts;
mod rules;
mod serve;

pub use command::ProverCommand;
pub(crate) use connection::LIMITS as PROVER_LIMITS;
pub(crate) use frames::LIMITS as FRAME_LIMITS;
pub use provers::Provers;
pub(crate) use restarts::LIMITS as LOAD_LIMITS;
pub use rules::ProverRules;
pub use serve::serve_prover;
