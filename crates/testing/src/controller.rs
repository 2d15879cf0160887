//! A controller that builds proofs from the results of fake engines.

use crate::honest_result;
use artifacts::Digest;
use async_trait::async_trait;
use bytes::Bytes;
use orchestrator::{
    Checked, ExpectedExit, Outcome, ProgramController, ProofController, ProofFailure, ProofHandle, ProofMode,
    ProofOutput, ProofRequest, TaskInput, TaskSpec,
};
use scheduler::TaskKind;
use std::time::Duration;

/// Submits as many shards as the request's cycle limit says, each with a marker, and concatenates the digests of their
/// results.
#[derive(Debug, Clone, Copy)]
pub struct FakeController {
    /// Size of a shard's record in bytes, at least 8. Records do not compress.
    pub record_bytes: usize,
    /// Whether to submit a last shard whose inputs are the events that all other shards claim. It fails if any events
    /// are wrong.
    pub precompiles: bool,
    /// Whether to fold the results of all shards into one. The fold fails if any result is garbage.
    pub folds: bool,
}

impl Default for FakeController {
    fn default() -> Self {
        Self { record_bytes: 8, precompiles: false, folds: false }
    }
}

/// Returns the events of a shard that honest workers claim for these inputs.
#[must_use]
pub fn events_of(inputs: &[u8]) -> Vec<u8> {
    [b"events of ", &artifacts::Digest::of(inputs).as_bytes()[..]].concat()
}

/// First input of the last shard. The events of all other shards follow.
pub const PRECOMPILES: &[u8] = b"precompiles";

/// Returns the record of shard `shard`: its number, then bytes that do not compress.
#[must_use]
pub fn record(shard: u64, bytes: usize) -> Vec<u8> {
    let mut state = shard;
    let mut next = || {
        // SplitMix64, from Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    let mut content = shard.to_le_bytes().to_vec();
    while content.len() < bytes {
        content.extend(next().to_le_bytes());
    }
    content.truncate(bytes.max(8));
    content
}

/// Returns the number of the shard that a record belongs to.
#[must_use]
pub fn shard_of(record: &[u8]) -> Option<u64> {
    Some(u64::from_le_bytes(record.get(..8)?.try_into().ok()?))
}

/// Returns a request for a proof with `shards` shards.
#[must_use]
pub fn request(shards: u64, timeout: Duration) -> ProofRequest {
    ProofRequest {
        elf: b"program"[..].into(),
        stdin: b""[..].into(),
        mode: ProofMode::Core,
        cycle_limit: Some(shards),
        expected_exit: ExpectedExit::Success,
        check_input_proofs: true,
        nonce: [0; 4],
        options: "{}".into(),
        timeout: Some(timeout),
        label: String::new(),
    }
}

/// Returns the proof that honest workers produce for `shards` shards.
#[must_use]
pub fn expected_proof(shards: u64, record_bytes: usize) -> Vec<u8> {
    let input = |shard: u64| [b"program".as_slice(), b"literal", &record(shard, record_bytes)].concat();
    (0..shards).flat_map(|shard| digest_of(&honest_result(&input(shard)))).collect()
}

/// A proof contains the digests of the results, because results are as large as records.
fn digest_of(result: &[u8]) -> [u8; 32] {
    *artifacts::Digest::of(result).as_bytes()
}

impl FakeController {
    async fn submit(
        &self,
        proof: &ProofHandle,
        shard: u64,
    ) -> Result<(scheduler::TaskId, scheduler::TaskId), ProofFailure> {
        let name = format!("record-{shard}");
        let kept = proof.put(&name, record(shard, self.record_bytes)).await;
        kept.map_err(|error| ProofFailure::Host(error.to_string()))?;
        let marker = proof.submit_marker().await;
        let spec = TaskSpec {
            kind: TaskKind::ProveShard,
            inputs: vec![
                TaskInput::Artifact { name: "program".into(), shared: true },
                TaskInput::Literal("literal".into()),
                TaskInput::Artifact { name, shared: false },
            ],
            outputs: vec![format!("result-{shard}"), format!("events-{shard}")],
            marker: Some(marker),
            memory_bytes: 0,
            cycles: 0,
        };
        Ok((proof.submit(spec).await, marker))
    }
}

#[async_trait]
impl ProofController for FakeController {
    async fn run(&self, proof: ProofHandle, request: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        let outcome = self.prove(&proof, &request).await;
        if let Err(failure) = &outcome {
            proof.fail(failure.clone());
            proof.find_wrong_parts().await;
        }
        outcome
    }

    fn memo_key(&self, proof: &ProofHandle, spec: &TaskSpec) -> Option<Digest> {
        let [TaskInput::Artifact { name: program, .. }, _, TaskInput::Artifact { name: record, .. }] = &spec.inputs[..]
        else {
            return None;
        };
        let made_of = [proof.digest(program)?, proof.digest(record)?].map(|digest| *digest.as_bytes());
        Some(Digest::of(&made_of.concat()))
    }

    fn check(&self, result: Checked<'_>) -> Result<(), String> {
        let mut inputs = Vec::new();
        for input in &result.spec.inputs {
            inputs.extend(match input {
                TaskInput::Literal(text) => text.clone().into_bytes(),
                TaskInput::Artifact { name, .. } => match name.strip_prefix("record-").and_then(|at| at.parse().ok()) {
                    // The record is deleted when its shard is done, so make it again.
                    Some(shard) => record(shard, self.record_bytes),
                    None => result.proof.get_now(name).ok_or("an input no longer exists")?,
                },
            });
        }
        if result.output == honest_result(&inputs) { Ok(()) } else { Err("the result is garbage".into()) }
    }
}

/// First bytes of every program that a [`FakeController`] accepts.
const PROGRAM: &[u8] = b"program";

#[async_trait]
impl ProgramController for FakeController {
    async fn check_program(&self, elf: Bytes) -> Result<(), ProofFailure> {
        let is_program = elf.starts_with(PROGRAM);
        if is_program { Ok(()) } else { Err(ProofFailure::Request("invalid program".into())) }
    }

    async fn program_key(&self, elf: Bytes) -> Result<String, ProofFailure> {
        Ok(format!("0x{}", artifacts::Digest::of(&elf)))
    }

    fn check_stdin(&self, stdin: &[u8]) -> Result<(), ProofFailure> {
        if stdin.starts_with(b"bad") { Err(ProofFailure::Request("invalid stdin".into())) } else { Ok(()) }
    }

    fn empty_stdin(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl FakeController {
    async fn prove(&self, proof: &ProofHandle, request: &ProofRequest) -> Result<ProofOutput, ProofFailure> {
        let shards = request.cycle_limit.unwrap_or(0);
        let kept = proof.put("program", request.elf.to_vec()).await;
        kept.map_err(|error| ProofFailure::Host(error.to_string()))?;
        let mut tasks = Vec::new();
        for shard in 0..shards {
            tasks.push(self.submit(proof, shard).await?);
        }
        let (mut whole, mut events_of_all) = (Vec::new(), Vec::new());
        for (shard, (task, marker)) in tasks.into_iter().enumerate() {
            if proof.watch(task).await != Ok(Outcome::Succeeded) {
                return Err(ProofFailure::Internal("a task failed".into()));
            }
            if proof.watch(marker).await != Ok(Outcome::Succeeded) {
                return Err(ProofFailure::Internal("a task ended before its marker".into()));
            }
            let events = proof.get(&format!("events-{shard}")).await.and_then(|name| String::from_utf8(name).ok());
            let Some(name) = events.filter(|name| proof.exists(name)) else {
                return Err(ProofFailure::Internal("the events of a shard are missing".into()));
            };
            events_of_all.push(name);
            if proof.exists(&format!("record-{shard}")) {
                return Err(ProofFailure::Internal("a record was not deleted although its shard is done".into()));
            }
            let result = proof.get(&format!("result-{shard}")).await;
            let result = result.ok_or(ProofFailure::Internal("a result no longer exists".into()))?;
            whole.extend(digest_of(&result));
            if !self.folds {
                proof.remove(&format!("result-{shard}"));
            }
        }
        if self.folds {
            let result = |shard| TaskInput::Artifact { name: format!("result-{shard}"), shared: false };
            let spec = TaskSpec {
                kind: TaskKind::RecursionReduce,
                inputs: (0..shards).map(result).collect(),
                outputs: vec!["fold".into()],
                marker: None,
                memory_bytes: 0,
                cycles: 0,
            };
            let task = proof.submit(spec).await;
            if proof.watch(task).await != Ok(Outcome::Succeeded) {
                return Err(ProofFailure::Internal("the fold failed".into()));
            }
        }
        if self.precompiles {
            let artifact = |name| TaskInput::Artifact { name, shared: true };
            let inputs = [TaskInput::Literal(String::from_utf8_lossy(PRECOMPILES).into_owned())].into_iter();
            let spec = TaskSpec {
                kind: TaskKind::ProveShard,
                inputs: inputs.chain(events_of_all.into_iter().map(artifact)).collect(),
                outputs: vec!["result-of-precompiles".into()],
                marker: None,
                memory_bytes: 0,
                cycles: 0,
            };
            let task = proof.submit(spec).await;
            if proof.watch(task).await != Ok(Outcome::Succeeded) {
                return Err(ProofFailure::Internal("the precompile shard failed".into()));
            }
        }
        if whole != expected_proof(shards, self.record_bytes) {
            return Err(ProofFailure::Unverified("it differs from the proof of honest workers".into()));
        }
        Ok(ProofOutput { proof: whole, cycles: shards })
    }
}
