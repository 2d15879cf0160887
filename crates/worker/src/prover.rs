//! Runs provers in separate processes.
//!
//! ```text
//!   worker: session, transfers, reservations          prover process: SP1, gigabytes
//!     Provers (a ProvingEngine) ──── Run, Cancel ────► serve_prover ──► ProvingEngine
//!                               ◄─── Call, Ended ────
//! ```
//!
//! If a prover crashes or the kernel kills it, only its own attempts fail. The session continues, and the worker
//! restarts the prover.

mod child;
mod exit;
mod frames;
mod process;
mod provers;

pub use child::serve_prover;
pub use provers::{ProverCommand, ProverRules, Provers};
