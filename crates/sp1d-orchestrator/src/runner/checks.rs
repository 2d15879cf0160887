//! The checks of one proof, by which the orchestrator decides which results and deferred events count.

use super::task::TaskSpec;
use sp1d_artifacts::{Blob, Digest};
use sp1d_protocol::MessageLimits;

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
    fn check_result(
        &self,
        spec: &TaskSpec,
        output: &[u8],
        artifact: &dyn Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<(), String>;

    /// Checks the deferred events that an attempt of the task `spec` uploaded, before the task's marker is completed.
    /// `uploaded` returns an artifact that this attempt has uploaded, by name, except the task's result. Called on a
    /// thread that may block.
    ///
    /// Returns the names of the artifacts with deferred events. All of them were uploaded. The list of deferred events
    /// also belongs to the marker, but its name is not among them. Other artifacts of the attempt never belong to the
    /// proof.
    ///
    /// # Errors
    /// Returns what is wrong. The fault is recorded for the worker that uploaded it.
    fn check_deferred_events(
        &self,
        spec: &TaskSpec,
        uploaded: &dyn Fn(&str) -> Option<Blob>,
    ) -> Result<Vec<String>, String>;

    /// Returns the names of the artifacts that the task `spec` reads in addition to its inputs, because its record
    /// names them. Attempts of the task may read no other artifacts. `artifact` returns the content of an artifact of
    /// the proof. The default implementation returns an empty list. Called when the task's inputs are available, on a
    /// thread that may block if [`ProofChecks::named_artifacts_may_block`] returns true for `spec`.
    fn named_artifacts(&self, _spec: &TaskSpec, _artifact: &dyn Fn(&str) -> Option<Vec<u8>>) -> Vec<String> {
        Vec::new()
    }

    /// Returns true if [`ProofChecks::named_artifacts`] may block for the task `spec`, because it reads artifacts. Each
    /// such task costs a switch to another thread. The default implementation returns false.
    fn named_artifacts_may_block(&self, _spec: &TaskSpec) -> bool {
        false
    }

    /// Returns the maximum number of uncompressed bytes that an attempt of the task `spec` may upload for its marker.
    /// The default implementation returns [`MessageLimits::UPLOADED_BYTES`]. A larger number has no effect. Not called
    /// for a task without a marker. Must not block.
    fn max_event_bytes(&self, _spec: &TaskSpec) -> u64 {
        MessageLimits::UPLOADED_BYTES
    }

    /// Returns the digest of everything on which the results of the task `spec` depend, so that tasks with the same
    /// digest are the same task, even in different proofs. `digest` returns the digest of an artifact of the proof.
    /// Returns `None` if the results of the task must not be cached. The default implementation returns `None`. Called
    /// when the task's inputs are available.
    fn result_key(&self, _spec: &TaskSpec, _digest: &dyn Fn(&str) -> Option<Digest>) -> Option<Digest> {
        None
    }
}
