//! The subcommands. This folder does not know how arguments are parsed or how a proof is made.

mod child_worker;
mod config;
mod demo;
mod docs;
mod doctor;
mod program;
mod prove;
mod remote;
mod run_subcommand;
mod runtime;
mod serve;
mod signals;
mod tune;
mod worker;

pub(crate) use run_subcommand::{prepare, run};
