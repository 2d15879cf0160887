//! Names results in the result cache.

use crate::{identity::build_identity, options::CutOptions, verify::ExpectationRegistry};
use sp1d_artifacts::Digest;
use sp1d_orchestrator::{ProofHandle, TaskSpec};
use sp1d_protocol::ShardTask;

/// Returns the name of the task's result in the result cache. Returns `None` if the result is not cached.
pub(super) fn shard_result_key(running: &ExpectationRegistry, proof: &ProofHandle, spec: &TaskSpec) -> Option<Digest> {
    // Only shard proofs are cached. The inputs of a reduction depend on the order in which results arrive.
    let ShardTask { program, common_input, record, .. } = spec.payload.shard()?;
    let record = running.expectations(proof).ok()?.content(record, |name| proof.digest(name))?;
    let options = CutOptions::decode(proof.options()).ok()?.canonical();
    let mut made_of = format!("shard {} {options} {:?}", spec.kind(), build_identity()).into_bytes();
    for input in [proof.digest(program)?, proof.digest(common_input)?, record] {
        made_of.extend(input.as_bytes());
    }
    Some(Digest::of(&made_of))
}
