//! What the orchestrator and a runner, the code that knows SP1, exchange.
//!
//! - `checks`: the checks of one proof.
//! - `failure`: why a proof failed.
//! - `request`: what a caller asks for, and what the caller gets.
//! - `task`: a task as the runner submits it.
//!
//! The traits of a runner are in `proof/proof_runner`. This folder does not know how tasks reach workers.

pub(crate) mod checks;
pub(crate) mod failure;
pub(crate) mod request;
pub(crate) mod task;
