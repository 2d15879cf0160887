//! Runs proofs, from the request to the end.
//!
//! - `attempt_rights`: what the attempts of a task may read and upload.
//! - `cached_results`: turns results into cached results, and uses cached results in a proof.
//! - `handle`: the handle that a runner uses to run its proof.
//! - `restart`: the decision whether a failed proof restarts, and how.
//! - `result_cache`: the interface of the result cache.
//! - `run`: runs a proof, and restarts it if that can help.
//! - `running`: the state of a running proof.
//! - `submission`: how a runner submits tasks.
//! - `task_tracker`: the statuses of tasks, and the message channels between tasks.
//!
//! This folder does not know which worker gets a task. The dispatcher carries out that decision.

pub(crate) mod attempt_rights;
pub(crate) mod cached_results;
pub(crate) mod handle;
pub(crate) mod restart;
pub(crate) mod result_cache;
pub(crate) mod run;
pub(crate) mod running;
mod submission;
pub(crate) mod task_tracker;
