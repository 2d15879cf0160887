//! `sp1d tune`: finds the worker settings that prove fastest on this machine.

mod measure;
mod report;
mod run;
mod search;
mod shard_counter;

pub(super) use run::run;
