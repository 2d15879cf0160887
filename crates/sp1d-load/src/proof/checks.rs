//! Checks of the results of fake workers.

use crate::measure::thread_seconds;
use sp1d_artifacts::{Blob, Digest};
use sp1d_orchestrator::{ProofChecks, TaskSpec};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Compares the digest of each result with the expected one, and measures the processor time of that. The check of a
/// real shard proof takes longer.
#[derive(Debug, Clone)]
pub(crate) struct LoadChecks {
    expected: Digest,
    nanoseconds: Arc<AtomicU64>,
}

impl LoadChecks {
    /// Creates checks for which every result must have this content.
    pub(crate) fn new(result: &[u8]) -> Self {
        Self { expected: Digest::of(result), nanoseconds: Arc::default() }
    }

    /// Returns the processor time of all checks so far, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9
    }
}

impl ProofChecks for LoadChecks {
    fn check_result(&self, _: &TaskSpec, output: &[u8], _: &dyn Fn(&str) -> Option<Vec<u8>>) -> Result<(), String> {
        let start = thread_seconds();
        let is_right = Digest::of(output) == self.expected;
        let took = thread_seconds() - start;
        self.nanoseconds.fetch_add((took * 1e9) as u64, Ordering::Relaxed);
        if is_right { Ok(()) } else { Err("the result differs from that of the fake workers".to_owned()) }
    }

    fn check_deferred_events(&self, _: &TaskSpec, _: &dyn Fn(&str) -> Option<Blob>) -> Result<Vec<String>, String> {
        Err("no task of the bench has deferred events".to_owned())
    }
}
