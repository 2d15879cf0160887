//! The subcommands that need SP1's prover or its executor: proving, executing, workers, the service, and the keys of
//! programs. Only a build with the feature `prover` has them.

mod child_worker;
mod computing;
mod config;
mod demo;
mod doctor;
mod exposure;
mod finding;
mod gpu_findings;
mod keys;
mod program;
mod prove;
mod prover_commands;
mod reference;
mod restore;
mod run_subcommand;
mod serve;
mod service_manager;
mod shared_memory;
mod signals;
mod start_logging;
mod tokens;
mod tune;
mod verify;
mod worker;

pub(crate) use run_subcommand::prepare;
pub(super) use run_subcommand::run;
pub(super) use start_logging::start_logging;
pub(super) use verify::verify;
