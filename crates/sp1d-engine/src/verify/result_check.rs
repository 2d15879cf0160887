//! Checks the result of a task against what the task asked for.

use super::{
    decoding::decode,
    expectations::Expectations,
    nonce::on_chain_nonce,
    part_values::{CommonValues, PartValues, agree, other_range},
    recursion_values::{RecursionValues, check_count, recursion_values, reduction},
};
use crate::sp1_types::{CoreShardProof, InnerRecursionProof, InnerVerifyingKey, WrapProof};
use slop_algebra::{AbstractField, PrimeField32};
use sp1_hypercube::{
    SP1RecursionProof,
    air::{SP1CorePublicValues, ShardRange},
    septic_digest::SepticDigest,
};
use sp1_primitives::SP1Field;
use sp1_prover::{
    Groth16Bn254Proof, PlonkBn254Proof, utils::is_recursion_public_values_valid, verify::SP1Verifier,
    worker::SP1DeferredData,
};
use sp1d_orchestrator::TaskSpec;
use sp1d_protocol::{DeferredTask, ReduceTask, ShardTask, TaskPayload, WrapTask};
use std::borrow::Borrow;

/// Checks `output`, the content of a result of the task `spec`. `artifact` returns the content of an artifact of the
/// proof. May panic.
///
/// # Errors
/// Fails with the first problem of the result.
pub(super) fn check_result<'a>(
    verifier: &'a SP1Verifier,
    expected: &'a Expectations,
    spec: &TaskSpec,
    output: &'a [u8],
    artifact: &'a dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<(), String> {
    let check = ResultCheck { verifier, expected, output, artifact };
    match &spec.payload {
        TaskPayload::ProveShard(task) => check.core(task),
        TaskPayload::NormalizeShard(task) => check.normalized(task),
        TaskPayload::RecursionReduce(task) => check.reduced(task),
        TaskPayload::RecursionDeferred(task) => check.input_proof(task),
        TaskPayload::ShrinkWrap(task) => check.wrapped(task),
        TaskPayload::Groth16Wrap(_) => {
            let proof: Groth16Bn254Proof = decode(output)?;
            check.on_chain(&proof.public_inputs[4])?;
            verifier.verify_groth16_bn254(&proof, &expected.key).map_err(|error| does_not_verify(&error))
        }
        TaskPayload::PlonkWrap(_) => {
            let proof: PlonkBn254Proof = decode(output)?;
            check.on_chain(&proof.public_inputs[4])?;
            verifier.verify_plonk_bn254(&proof, &expected.key).map_err(|error| does_not_verify(&error))
        }
    }
}

/// The check of one result: one method for each kind of task.
struct ResultCheck<'a> {
    verifier: &'a SP1Verifier,
    expected: &'a Expectations,
    output: &'a [u8],
    artifact: &'a dyn Fn(&str) -> Option<Vec<u8>>,
}

impl ResultCheck<'_> {
    /// Returns the content of the artifact `name`, an input of the task. The inputs are removed when another attempt's
    /// result was accepted; the error does not matter then, because the outcome is dropped. An audit still finds the
    /// inputs.
    fn input(&self, name: &str) -> Result<Vec<u8>, String> {
        (self.artifact)(name).ok_or_else(|| format!("input {name} of its task no longer exists"))
    }

    /// Returns the public values of the recursion proof `name`, an input of the task. That proof was checked when it
    /// was delivered.
    fn input_values(&self, name: &str) -> Result<RecursionValues, String> {
        // The public values follow right after the key. The megabyte behind them is not decoded.
        let (_, values): (InnerVerifyingKey, Vec<SP1Field>) =
            bincode::deserialize(&self.input(name)?).map_err(|error| undecodable(name, &error))?;
        recursion_values(&values).copied()
    }

    /// Returns the values that the proof of the task's shard must have.
    fn shard_values(&self, task: &ShardTask<String>) -> Result<PartValues, String> {
        let name = &task.record;
        let record = self.expected.record(name).ok_or_else(|| format!("record {name} of its task is unknown"))?;
        Ok(self.expected.shard_values(&record))
    }

    /// Checks a shard proof, as SP1's `SP1Verifier::verify` does for each part of a core proof.
    fn core(&self, task: &ShardTask<String>) -> Result<(), String> {
        let proof: CoreShardProof = decode(self.output)?;
        check_count(&proof.public_values)?;
        let values: &SP1CorePublicValues<SP1Field> = proof.public_values.as_slice().borrow();
        let expected = self.shard_values(task)?;
        expected.check(&CommonValues::of_core(values), self.expected.nonce())?;
        agree("flag for shards of the run", values.is_execution_shard, SP1Field::from_bool(expected.idle.is_none()))?;
        agree("flag for the first shard", values.is_first_execution_shard, SP1Field::from_bool(expected.is_first()))?;
        let key = &self.expected.key.vk;
        let untrusted = &key.untrusted_config;
        agree(
            "flag for untrusted programs",
            values.is_untrusted_programs_enabled,
            untrusted.enable_untrusted_programs,
        )?;
        #[cfg(feature = "mprotect")]
        {
            agree("trap handler", values.enable_trap_handler, untrusted.enable_trap_handler)?;
            agree("trap context", values.trap_context, untrusted.trap_context)?;
            agree("memory for loaded code", values.untrusted_memory, untrusted.untrusted_memory)?;
        }
        let mut challenger = self.verifier.core.challenger();
        key.observe_into(&mut challenger);
        let verified = self.verifier.core.verify_shard(key, &proof, &mut challenger);
        verified.map_err(|error| does_not_verify(&error))
    }

    /// Checks a recursion proof, as SP1's `verify_compressed` does, except for what only the last recursion proof
    /// states. Returns the public values.
    fn recursion(&self) -> Result<RecursionValues, String> {
        let proof: InnerRecursionProof = decode(self.output)?;
        let SP1RecursionProof { vk, proof, vk_merkle_proof } = &proof;
        let values = recursion_values(&proof.public_values)?;
        let keys = &self.verifier.recursion_vks;
        // With the feature `mprotect`, SP1 has no list of its own programs and accepts any key. Requests with such
        // proofs are refused before they start (`check_recursion_keys`).
        if !self.verifier.vk_verification() || !keys.verify(vk_merkle_proof, vk) {
            return Err("it is not a proof of one of SP1's recursion programs".to_owned());
        }
        if !is_recursion_public_values_valid(values) {
            return Err("the digest of its public values is wrong".to_owned());
        }
        agree("digest of SP1's recursion keys", values.vk_root, keys.root())?;
        agree("program", values.sp1_vk_digest, self.expected.key_digest)?;
        agree("nonce", values.proof_nonce, self.expected.nonce())?;
        let mut challenger = self.verifier.compress.challenger();
        vk.observe_into(&mut challenger);
        let verified = self.verifier.compress.verify_shard(vk, proof, &mut challenger);
        verified.map_err(|error| does_not_verify(&error))?;
        Ok(*values)
    }

    /// Checks a recursion proof that was made directly from a shard proof or an input proof. `shard` is true for a
    /// shard proof.
    fn part(&self, expected: &PartValues, shard: bool) -> Result<RecursionValues, String> {
        let values = self.recursion()?;
        expected.check(&CommonValues::of_recursion(&values), self.expected.nonce())?;
        let digests = [values.start_reconstruct_deferred_digest, values.end_reconstruct_deferred_digest];
        agree("digest of verified proofs", digests, expected.input_digests)?;
        agree("number of shards", values.num_included_shard, SP1Field::from_bool(shard))?;
        agree("flag for the first shard", values.contains_first_shard, SP1Field::from_bool(expected.is_first()))?;
        agree("flag for complete proofs", values.is_complete, SP1Field::zero())?;
        Ok(values)
    }

    /// Checks a recursion proof that verifies one shard proof.
    fn normalized(&self, task: &ShardTask<String>) -> Result<(), String> {
        self.part(&self.shard_values(task)?, true).map(|_| ())
    }

    /// Checks a recursion proof that verifies one input proof.
    fn input_proof(&self, task: &DeferredTask<String>) -> Result<(), String> {
        let name = &task.deferred_data;
        let data: SP1DeferredData =
            bincode::deserialize(&self.input(name)?).map_err(|error| undecodable(name, &error))?;
        let at = data.deferred_proof_index.as_canonical_u32();
        let digests = self.expected.input_digests.get(at as usize..).and_then(|rest| rest.first_chunk::<2>());
        let digests = digests.ok_or_else(|| format!("its task is for input proof {at}, which does not exist"))?;
        let range = ShardRange::deferred(u64::from(at), u64::from(at) + 1);
        let values = self.part(&self.expected.initial_values(range, *digests), false)?;
        agree("cumulative sum", values.global_cumulative_sum, SepticDigest::zero())
    }

    /// Checks a reduction: a recursion proof that verifies several others. It states what its parts state, and nothing
    /// else.
    fn reduced(&self, task: &ReduceTask<String>) -> Result<(), String> {
        let range: ShardRange = serde_json::from_str(&task.range)
            .map_err(|error| format!("the range of its task cannot be decoded: {error}"))?;
        let parts = task.parts.iter().map(|part| self.input_values(&part.proof)).collect::<Result<Vec<_>, _>>()?;
        let values = self.recursion()?;
        if values.range() != range {
            return Err(other_range(values.range(), range));
        }
        let expected = reduction(&parts, task.is_last).ok_or("the cumulative sums of its parts cannot be added")?;
        // The digest was checked against the other public values in `recursion`.
        let expected = RecursionValues { digest: values.digest, ..expected };
        agree("public values for a reduction of its parts", values.as_array(), expected.as_array())
    }

    /// Checks that a wrapped proof has the same values as its compressed proof.
    fn wrapped(&self, task: &WrapTask<String>) -> Result<(), String> {
        let wrapped: WrapProof = decode(self.output)?;
        let values = recursion_values(&wrapped.proof.public_values)?;
        let compressed = self.input_values(&task.proof)?;
        agree("program", values.sp1_vk_digest, self.expected.key_digest)?;
        agree("nonce", values.proof_nonce, self.expected.nonce())?;
        agree("digest of committed values", values.committed_value_digest, compressed.committed_value_digest)?;
        agree("digest of input proofs", values.deferred_proofs_digest, compressed.deferred_proofs_digest)?;
        agree("exit code", values.exit_code, compressed.exit_code)?;
        let verified = self.verifier.verify_wrap_bn254(&wrapped, &self.expected.key);
        verified.map_err(|error| does_not_verify(&error))
    }

    /// Checks the nonce, which SP1's verifiers of on-chain proofs ignore.
    fn on_chain(&self, nonce: &str) -> Result<(), String> {
        agree("nonce", nonce, on_chain_nonce(self.expected.nonce).as_str())
    }
}

fn undecodable(name: &str, error: &dyn std::fmt::Display) -> String {
    format!("input {name} of its task cannot be decoded: {error}")
}

fn does_not_verify(error: &dyn std::fmt::Display) -> String {
    format!("it does not verify: {error}")
}
