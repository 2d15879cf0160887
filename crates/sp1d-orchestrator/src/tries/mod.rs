//! The state of running tries: what is known about a try while it runs, and about its tasks.
//!
//! - `attempt_rights`: what the attempts of a task may read and upload.
//! - `cache_entry`: makes an entry of the result cache from a result.
//! - `findings`: what the tries of a proof request have found out.
//! - `result_cache`: the interface of the result cache.
//! - `running`: the state of a running try of a proof request.
//! - `submitted_task`: what a runner submits to the dispatcher, and what the dispatcher keeps of it.
//! - `task_outcomes`: the outcomes of tasks, and the message channels between tasks.
//! - `unverified`: the results that were used before they were verified, and the decision which workers are at fault.
//!
//! This folder does not know how a proof is run, or what connects the orchestrator with its workers. `proof/`,
//! `dispatch/` and `session/` use it.

pub(crate) mod attempt_rights;
pub(crate) mod cache_entry;
pub(crate) mod findings;
pub(crate) mod result_cache;
pub(crate) mod running;
pub(crate) mod submitted_task;
pub(crate) mod task_outcomes;
pub(crate) mod unverified;
