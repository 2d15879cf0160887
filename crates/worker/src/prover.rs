//! The prover in a process of its own.
//!
//! ```text
//!   worker: session, transfers, reservations          prover process: SP1, gigabytes
//!     Provers (a ProvingEngine) ──── Run, Cancel ────► serve_prover ──► ProvingEngine
//!                               ◄─── Call, Ended ────
//! ```
//!
//! A prover that crashes, or that the kernel kills, ends the attempts inside it and nothing else: the session goes on,
//! and the prover is started again.

mod child;
mod exit;
mod frames;
mod process;
mod provers;

pub use child::serve_prover;
pub use provers::{ProverCommand, ProverRules, Provers};
