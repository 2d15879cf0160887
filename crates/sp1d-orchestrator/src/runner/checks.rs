//! The checks of one proof, by which the orchestrator decides which results and markers count.

use super::task::TaskSpec;
use sp1d_artifacts::{Blob, Digest};

/// The checks of one proof. Its runner sets them with [`ProofHandle::set_checks`](crate::ProofHandle::set_checks),
/// and the proof holds them until nothing can be checked any more. Therefore they must not hold a `ProofHandle`: the
/// two would keep each other alive.
pub trait ProofChecks: Send + Sync + 'static {
    /// Checks `output`, the content of a result of the task `spec`. `artifact` returns the content of an artifact of
    /// the proof. The task's inputs are available until a result of the task is accepted. With
    /// [`crate::Verify::Final`], the check runs later or not at all, and the inputs of shards may be removed by then.
    /// Called on a thread that may block.
    ///
    /// # Errors
    /// Returns what is wrong with the result. The fault is recorded for the worker that sent it.
    fn check(&self, spec: &TaskSpec, output: &[u8], artifact: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<(), String>;

    /// Checks what an attempt uploaded for the marker of the task `spec`, before the marker is completed. `delivered`
    /// returns an artifact that this attempt has uploaded, by name, except the task's result. Called on a thread that
    /// may block.
    ///
    /// # Errors
    /// Returns what is wrong. The fault is recorded for the worker that delivered it.
    fn check_marker(&self, spec: &TaskSpec, delivered: &dyn Fn(&str) -> Option<Blob>) -> Result<(), String>;

    /// Returns the digest of everything on which the results of the task `spec` depend, so that tasks with the same
    /// digest are the same task, even in different proofs. `digest` returns the digest of an artifact of the proof.
    /// `None` if the results of the task must not be cached, which is the default. Called when the task's inputs are
    /// available.
    fn result_key(&self, _spec: &TaskSpec, _digest: &dyn Fn(&str) -> Option<Digest>) -> Option<Digest> {
        None
    }
}
