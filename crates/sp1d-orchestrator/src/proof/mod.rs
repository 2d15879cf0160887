//! Runs proofs, from the request to the end.
//!
//! - `attempt_rights`: what the attempts of a task may read and upload.
//! - `audit`: verifies the unverified results after their try has failed, and names the workers that were proven
//!   wrong.
//! - `cache_entry`: makes a cache entry from a result, and uses an entry in a try.
//! - `handle`: the handle that a runner uses to run its proof.
//! - `findings`: what the tries of a proof request have found out.
//! - `restart`: the decision whether a proof restarts after a failed try, and how.
//! - `result_cache`: the interface of the result cache.
//! - `run`: runs a proof, and restarts it if that can help.
//! - `running`: the state of a running try of a proof request.
//! - `submission`: how a runner submits tasks.
//! - `task_outcomes`: the outcomes of tasks, and the message channels between tasks.
//! - `unverified`: the results that were used before they were verified, and the decision which workers are at fault.
//!
//! This folder does not know which worker gets a task: the scheduler decides that. It does not know how a result is
//! verified: the `ProofChecks` of the runner do that.

pub(crate) mod attempt_rights;
mod audit;
pub(crate) mod cache_entry;
mod findings;
pub(crate) mod handle;
pub(crate) mod restart;
pub(crate) mod result_cache;
pub(crate) mod run;
pub(crate) mod running;
mod submission;
pub(crate) mod task_outcomes;
pub(crate) mod unverified;
