//! The benches: each file is one subcommand, with its arguments, its configurations and its report.

pub(crate) mod cuts;
pub(crate) mod evm;
pub(crate) mod memory;
pub(crate) mod overhead;
pub(crate) mod scaling;
pub(crate) mod setup;
