//! A runner that builds proofs from the results of fake engines.

use crate::shards::{COMMON_INPUT, digest_of, events_in, honest_result, precompile_record, proof_with, record};
use async_trait::async_trait;
use bytes::Bytes;
use sp1d_artifacts::{Blob, Digest};
use sp1d_orchestrator::{
    ProofChecks, ProofFailure, ProofHandle, ProofOutput, ProofRequest, ProofRunner, ServiceRunner, TaskOutcome,
    TaskSpec,
};
use sp1d_protocol::{ReducePart, ReduceTask, ShardMarker, ShardTask, TaskPayload};
use std::{io::Read, time::Duration};

/// Submits as many shards as the request's cycle limit says, each with a marker, and concatenates the digests of their
/// results. Each shard uses [`GAS_PER_SHARD`].
#[derive(Debug, Clone, Copy)]
pub struct FakeRunner {
    /// Size of a shard's record in bytes, at least 8. Records do not compress.
    pub record_bytes: usize,
    /// Whether to submit a last shard, of precompiles, whose record names the deferred events of all other shards.
    /// It fails if any of them are wrong.
    pub precompiles: bool,
    /// Whether to fold the results of all shards into one. The fold fails if any result is garbage.
    pub folds: bool,
    /// Whether the workers get the input of the proof, after the usual common input.
    pub sends_input: bool,
    /// Duration of the check of a [`SLOW_RESULT`].
    pub slow_check: Duration,
}

impl Default for FakeRunner {
    fn default() -> Self {
        Self { record_bytes: 8, precompiles: false, folds: false, sends_input: false, slow_check: Duration::ZERO }
    }
}

/// Gas that a [`FakeRunner`] counts for each shard, if the request has a gas limit.
pub const GAS_PER_SHARD: u64 = 1000;

/// A wrong result whose check takes as long as [`FakeRunner::slow_check`] says.
pub const SLOW_RESULT: &[u8] = b"a result whose check is slow";

/// Maximum number of bytes that attempts may upload for the marker of a shard, before compression.
const MAX_EVENT_BYTES: u64 = 64 << 20;

/// Name of the record of the shard of precompiles.
const PRECOMPILE_RECORD: &str = "record-of-precompiles";

/// Returns the task that proves the shard with this record.
fn shard_task(record: String, result: String, marker: Option<ShardMarker>) -> TaskSpec {
    let (program, common_input) = ("program".to_owned(), "common".to_owned());
    let task = ShardTask { program, common_input, record, result, marker };
    TaskSpec { payload: TaskPayload::ProveShard(task), needed_bytes: 0, cycles: 0 }
}

/// Returns the content of the list of deferred events of a shard, which is the name of its events.
fn events_name(artifact: &dyn Fn(&str) -> Option<Vec<u8>>, shard: u64) -> Option<String> {
    String::from_utf8(artifact(&format!("events-{shard}"))?).ok()
}

impl FakeRunner {
    async fn submit(
        &self,
        proof: &ProofHandle,
        shard: u64,
    ) -> Result<(sp1d_model::TaskId, sp1d_model::TaskId), ProofFailure> {
        let name = format!("record-{shard}");
        let kept = proof.put(&name, record(shard, self.record_bytes)).await;
        kept.map_err(|error| ProofFailure::Machine(error.to_string()))?;
        let task = proof.submit_marker().await;
        let marker = ShardMarker { task, event_list: format!("events-{shard}") };
        let spec = shard_task(name, format!("result-{shard}"), Some(marker));
        Ok((proof.submit(spec).await, task))
    }

    /// Returns the content of an input of a task. `artifact` returns the content of an artifact of the proof.
    fn content(&self, artifact: &dyn Fn(&str) -> Option<Vec<u8>>, name: &str) -> Option<Vec<u8>> {
        // Records are removed when their shards are done, so make them again.
        if name == PRECOMPILE_RECORD {
            let events: Vec<String> = (0..).map_while(|shard| events_name(artifact, shard)).collect();
            return Some(precompile_record(&events));
        }
        match name.strip_prefix("record-").and_then(|shard| shard.parse().ok()) {
            Some(shard) => Some(record(shard, self.record_bytes)),
            None => artifact(name),
        }
    }
}

#[async_trait]
impl ProofRunner for FakeRunner {
    async fn run(&self, proof: ProofHandle, request: ProofRequest) -> Result<ProofOutput, ProofFailure> {
        proof.set_checks(*self);
        self.prove(&proof, &request).await
    }
}

impl ProofChecks for FakeRunner {
    fn result_key(&self, spec: &TaskSpec, digest: &dyn Fn(&str) -> Option<Digest>) -> Option<Digest> {
        // The shard of precompiles is not cached.
        let shard = spec.payload.shard().filter(|shard| shard.record != PRECOMPILE_RECORD)?;
        let made_of = [digest(&shard.program)?, digest(&shard.common_input)?, digest(&shard.record)?];
        let made_of = made_of.map(|digest| *digest.as_bytes());
        Some(Digest::of(&made_of.concat()))
    }

    fn check_result(
        &self,
        spec: &TaskSpec,
        output: &[u8],
        artifact: &dyn Fn(&str) -> Option<Vec<u8>>,
    ) -> Result<(), String> {
        let (mut inputs, mut events) = (Vec::new(), Vec::new());
        for input in spec.payload.inputs() {
            let content = self.content(artifact, input.artifact).ok_or("an input no longer exists")?;
            if input.artifact == PRECOMPILE_RECORD {
                events = events_in(&content).ok_or("the record of precompiles is wrong")?;
            }
            inputs.extend(content);
        }
        for name in events {
            inputs.extend(artifact(&name).ok_or("the deferred events of a shard no longer exist")?);
        }
        if output == SLOW_RESULT {
            std::thread::sleep(self.slow_check);
        }
        if output == honest_result(&inputs) { Ok(()) } else { Err("the result is garbage".into()) }
    }

    fn check_deferred_events(
        &self,
        spec: &TaskSpec,
        uploaded: &dyn Fn(&str) -> Option<Blob>,
    ) -> Result<Vec<String>, String> {
        let marker = spec.payload.marker().ok_or("the task has no marker")?;
        let list = uploaded(&marker.event_list).ok_or("the list of events is missing")?;
        let name = list.decode().ok().and_then(|list| String::from_utf8(list).ok()).ok_or("the list is not a name")?;
        // A test may upload a list of events that do not exist. The proof then fails at its end.
        Ok(uploaded(&name).map(|_| name).into_iter().collect())
    }

    fn named_artifacts(&self, spec: &TaskSpec, artifact: &dyn Fn(&str) -> Option<Vec<u8>>) -> Vec<String> {
        let shard = spec.payload.shard().filter(|shard| shard.record == PRECOMPILE_RECORD);
        shard.and_then(|shard| events_in(&artifact(&shard.record)?)).unwrap_or_default()
    }

    fn named_artifacts_may_block(&self, spec: &TaskSpec) -> bool {
        spec.payload.shard().is_some_and(|shard| shard.record == PRECOMPILE_RECORD)
    }

    fn max_event_bytes(&self, _: &TaskSpec) -> u64 {
        MAX_EVENT_BYTES
    }
}

/// First bytes of every program that a [`FakeRunner`] accepts.
const PROGRAM: &[u8] = b"program";

#[async_trait]
impl ServiceRunner for FakeRunner {
    async fn check_program(&self, elf: Bytes) -> Result<(), ProofFailure> {
        let is_program = elf.starts_with(PROGRAM);
        if is_program { Ok(()) } else { Err(ProofFailure::Request("invalid program".into())) }
    }

    async fn program_key(&self, elf: Bytes) -> Result<String, ProofFailure> {
        // As in SP1, the key has 248 bits.
        Ok(format!("0x00{}", &Digest::of(&elf).to_string()[2..]))
    }

    fn check_stdin(&self, stdin: &mut dyn Read) -> Result<(), ProofFailure> {
        let mut start = Vec::new();
        stdin.take(3).read_to_end(&mut start).map_err(|error| ProofFailure::Machine(error.to_string()))?;
        if start == b"bad" { Err(ProofFailure::Request("invalid stdin".into())) } else { Ok(()) }
    }

    fn empty_stdin(&self) -> Vec<u8> {
        Vec::new()
    }
}

impl FakeRunner {
    async fn prove(&self, proof: &ProofHandle, request: &ProofRequest) -> Result<ProofOutput, ProofFailure> {
        let shards = request.cycle_limit.unwrap_or(0);
        let limit = request.finite_gas_limit();
        let gas = limit.map(|_| shards.saturating_mul(GAS_PER_SHARD));
        if let Some((limit, gas)) = limit.zip(gas).filter(|(limit, gas)| gas > limit) {
            return Err(ProofFailure::GasLimit { limit, gas: Some(gas) });
        }
        let kept = proof.put("program", request.elf.to_vec()).await;
        kept.map_err(|error| ProofFailure::Machine(error.to_string()))?;
        let input: &[u8] = if self.sends_input { &request.stdin } else { &[] };
        let common = [COMMON_INPUT, input].concat();
        let kept = proof.put("common", common.clone()).await;
        kept.map_err(|error| ProofFailure::Machine(error.to_string()))?;
        let mut tasks = Vec::new();
        for shard in 0..shards {
            tasks.push(self.submit(proof, shard).await?);
        }
        let (mut whole, mut events_of_all) = (Vec::new(), Vec::new());
        for (shard, (task, marker)) in tasks.into_iter().enumerate() {
            if proof.watch(task).await != Ok(TaskOutcome::Succeeded) {
                return Err(ProofFailure::Internal("a task failed".into()));
            }
            if proof.watch(marker).await != Ok(TaskOutcome::Succeeded) {
                return Err(ProofFailure::Internal("a task ended before its marker".into()));
            }
            let events = proof.get(&format!("events-{shard}")).await.and_then(|name| String::from_utf8(name).ok());
            let Some(name) = events.filter(|name| proof.exists(name)) else {
                return Err(ProofFailure::Internal("the deferred events of a shard are missing".into()));
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
            let part = |shard: u64| ReducePart { range: shard.to_string(), proof: format!("result-{shard}") };
            let fold = ReduceTask {
                is_last: true,
                range: format!("0..{shards}"),
                parts: (0..shards).map(part).collect(),
                result: "fold".to_owned(),
            };
            let spec = TaskSpec { payload: TaskPayload::RecursionReduce(fold), needed_bytes: 0, cycles: 0 };
            let task = proof.submit(spec).await;
            if proof.watch(task).await != Ok(TaskOutcome::Succeeded) {
                return Err(ProofFailure::Internal("the fold failed".into()));
            }
        }
        if self.precompiles {
            let kept = proof.put(PRECOMPILE_RECORD, precompile_record(&events_of_all)).await;
            kept.map_err(|error| ProofFailure::Machine(error.to_string()))?;
            let spec = shard_task(PRECOMPILE_RECORD.to_owned(), "result-of-precompiles".to_owned(), None);
            let task = proof.submit(spec).await;
            if proof.watch(task).await != Ok(TaskOutcome::Succeeded) {
                return Err(ProofFailure::Internal("the precompile shard failed".into()));
            }
        }
        if whole != proof_with(&request.elf, &common, shards, self.record_bytes) {
            return Err(ProofFailure::WrongProof("it differs from the proof of honest workers".into()));
        }
        Ok(ProofOutput { proof: whole, cycles: shards, public_values: Vec::new(), gas })
    }
}

/// Returns a request for a proof with `shards` shards.
#[must_use]
pub fn request(shards: u64, timeout: Duration) -> ProofRequest {
    ProofRequest {
        cycle_limit: Some(shards),
        timeout: Some(timeout),
        ..ProofRequest::core(Bytes::from_static(b"program"), Bytes::new(), "{}".to_owned())
    }
}
