//! `sp1d explain`: explains the state of a proof, what it waits for, and which attempts failed.

mod attempts;
mod queue;
mod run;
mod sentences;

pub(in crate::command) use run::run;
