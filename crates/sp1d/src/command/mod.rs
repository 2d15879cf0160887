//! The subcommands. This folder does not know how arguments are parsed or how a proof is made.
//!
//! `remote`, `verify` and `manual` are in every build. `prover` has the subcommands that need SP1's prover or executor.

mod manual;
#[cfg(feature = "prover")]
mod prover;
mod public_values;
mod remote;
mod run_subcommand;
mod runtime;
mod start_logging;
mod verify;

#[cfg(feature = "prover")]
pub(crate) use prover::prepare;
pub(crate) use run_subcommand::run;
pub(crate) use start_logging::start_logging;
