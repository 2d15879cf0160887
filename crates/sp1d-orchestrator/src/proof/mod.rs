//! Runs proofs, from the request to the end.
//!
//! - `audit`: verifies the unverified results after their try has failed, and names the workers that were proven
//!   wrong.
//! - `cached_result`: uses a cached result in a try.
//! - `handle`: the handle that a runner uses to run its proof.
//! - `out_of_workers`: how long a proof waits for workers that can prove its tasks.
//! - `proof_runner`: the traits of a runner. A *runner* starts and supervises SP1's controller; only SP1 has a
//!   controller.
//! - `restart`: the decision whether a proof restarts after a failed try, and how.
//! - `run`: runs a proof, and restarts it if that can help.
//! - `submission`: how a runner submits tasks.
//!
//! The state of a running try is in `tries/`. This folder does not know which worker gets a task: the scheduler decides
//! that. It does not know how a result is verified: the `ProofChecks` of the runner do that.

mod audit;
mod cached_result;
pub(crate) mod handle;
mod out_of_workers;
pub(crate) mod proof_runner;
pub(crate) mod restart;
pub(crate) mod run;
mod submission;
