//! The checks of one proof: of the results of its tasks, of the deferred events, and when two tasks are the same.

use super::{expectations::Expectations, result_check::check_result};
use crate::{identity::build_identity, options::CutOptions};
use sp1_prover::verify::SP1Verifier;
use sp1d_artifacts::{Blob, Digest};
use sp1d_orchestrator::{ProofChecks, TaskSpec};
use sp1d_protocol::ShardTask;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

/// The checks of one proof.
pub(crate) struct PartChecks {
    verifier: Arc<SP1Verifier>,
    expected: Arc<Expectations>,
    /// The options of the run, which decide how its shards are cut.
    options: String,
}

impl PartChecks {
    pub(crate) fn new(verifier: Arc<SP1Verifier>, expected: Arc<Expectations>, options: &CutOptions) -> Self {
        Self { verifier, expected, options: options.canonical() }
    }
}

impl ProofChecks for PartChecks {
    fn check_result(
        &self,
        spec: &TaskSpec,
        output: &[u8],
        artifact: &dyn Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<(), String> {
        contained(|| check_result(&self.verifier, &self.expected, spec, output, artifact))
    }

    fn check_deferred_events(
        &self,
        spec: &TaskSpec,
        uploaded: &dyn Fn(&str) -> Option<Blob>,
    ) -> Result<Vec<String>, String> {
        contained(|| self.expected.check_deferred_events(spec, uploaded))
    }

    fn named_artifacts(&self, spec: &TaskSpec, _: &dyn Fn(&str) -> Option<Vec<u8>>) -> Vec<String> {
        self.expected.named_artifacts(spec)
    }

    fn max_event_bytes(&self, spec: &TaskSpec) -> u64 {
        self.expected.max_event_bytes(spec)
    }

    fn result_key(&self, spec: &TaskSpec, digest: &dyn Fn(&str) -> Option<Digest>) -> Option<Digest> {
        // Only shard proofs are cached. The inputs of a reduction depend on the order in which results arrive.
        let ShardTask { program, common_input, record, .. } = spec.payload.shard()?;
        let record = self.expected.content(record, digest)?;
        let mut made_of = format!("shard {} {} {:?}", spec.kind(), self.options, build_identity()).into_bytes();
        for input in [digest(program)?, digest(common_input)?, record] {
            made_of.extend(input.as_bytes());
        }
        Some(Digest::of(&made_of))
    }
}

/// Runs `check` and turns a panic into an error. SP1's decoder and verifier do not validate everything before they use
/// it.
pub(crate) fn contained<T>(check: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| Err("SP1's code panicked during the check".to_owned()))
}
