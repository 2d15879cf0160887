//! Private checks of untrusted bytes, for the fuzz targets and the tests. They can change in any release.
//!
//! This module is in every build, so that the fuzz targets run the code that ships.

use crate::{
    options::CutOptions,
    program::ProgramShape,
    proof_file::ProofFile,
    runner::WrapChecks,
    sp1_types::{CoreShardProof, riscv_machine},
    verify::{Expectations, PartChecks, check_nonce},
};
use slop_algebra::{AbstractField, PrimeField32};
use sp1_core_machine::io::SP1Stdin;
use sp1_hypercube::{
    PROOF_MAX_NUM_PVS, SP1VerifyingKey,
    air::{SP1CorePublicValues, ShardRange},
};
use sp1_primitives::SP1Field;
use sp1_prover::{
    verify::{SP1Verifier, VerifierRecursionVks},
    worker::SP1Proof,
};
use sp1d_model::{TaskId, TaskKind};
use sp1d_orchestrator::{ExpectedExit, ProofChecks, ProofMode, ProofRequest, TaskSpec};
use sp1d_protocol::{DeferredTask, ReducePart, ReduceTask, ShardMarker, ShardTask, TaskPayload, WrapTask};
use std::{
    borrow::Borrow,
    sync::{Arc, LazyLock},
};

static VERIFIER: LazyLock<Arc<SP1Verifier>> =
    LazyLock::new(|| Arc::new(SP1Verifier::new_with_machine(VerifierRecursionVks::default(), riscv_machine())));

/// Name of a task's record.
const RECORD: &str = "record";

/// A task whose results are checked.
pub struct CheckedTask {
    checks: PartChecks,
    spec: TaskSpec,
}

impl CheckedTask {
    /// Returns a task of a proof with `nonce` for the program with `key`. If the task has a record, it is that of a
    /// core shard that starts at the instruction `pc` and has this start and end on the program's clock.
    ///
    /// # Panics
    /// Panics if a word of the nonce is not an element of SP1's field.
    #[must_use]
    pub fn new(kind: TaskKind, key: &SP1VerifyingKey, nonce: [u32; 4], pc: u64, clock: (u64, u64)) -> Self {
        let options = CutOptions::from_variables(|_| None).expect("the default options are valid");
        let request = ProofRequest {
            elf: b""[..].into(),
            stdin: b""[..].into(),
            mode: ProofMode::Core,
            cycle_limit: None,
            gas_limit: None,
            expected_exit: ExpectedExit::Success,
            check_input_proofs: true,
            trusted_only: false,
            nonce,
            options: options.canonical(),
            timeout: None,
            cache_scope: String::new(),
            share_group: 0,
            label: String::new(),
        };
        let shape = ProgramShape { instructions: 1000, may_write_instructions: false };
        let expected = Expectations::new(&request, &options, key, shape, &SP1Stdin::new());
        expected.note(RECORD, &core_record(pc, clock));
        let checks = PartChecks::new(VERIFIER.clone(), Arc::new(expected), &options);
        Self { checks, spec: TaskSpec { payload: payload(kind), needed_bytes: 0, cycles: 0 } }
    }

    /// Checks the result `output`. Every input of the task has the content `input`.
    ///
    /// # Errors
    /// Returns what is wrong with the result.
    pub fn check(&self, output: &[u8], input: &[u8]) -> Result<(), String> {
        self.checks.check_result(&self.spec, output, &|_| Some(input.to_vec()))
    }
}

/// Checks that `proof`, which need not be verified, was made for `nonce`.
///
/// # Errors
/// Returns what is wrong with the proof.
pub fn check_proof_nonce(proof: &SP1Proof, nonce: [u32; 4]) -> Result<(), String> {
    check_nonce(proof, nonce)
}

/// Checks `output`, the result of a request that only wraps a proof of the program with `key`. All public values of
/// that proof are zero.
///
/// # Errors
/// Returns what is wrong with the wrapped proof.
pub fn check_wrapped(key: &SP1VerifyingKey, output: &[u8]) -> Result<(), String> {
    let checks = WrapChecks::new(&[SP1Field::zero(); PROOF_MAX_NUM_PVS], key.clone()).expect("the right number");
    let task = WrapTask { proof: "compressed".to_owned(), result: "wrapped".to_owned() };
    let spec = TaskSpec { payload: TaskPayload::ShrinkWrap(task), needed_bytes: 0, cycles: 0 };
    checks.check_result(&spec, output, &|_| None)
}

/// Returns the tasks that prove the core shards of `proof`, a core proof of the program with `key`, each with its
/// result.
///
/// # Panics
/// Panics if the proof was not made by SP1's prover.
#[must_use]
pub fn core_shards(key: &SP1VerifyingKey, proof: &ProofFile) -> Vec<(CheckedTask, Vec<u8>)> {
    let SP1Proof::Core(shards) = &proof.proof else { return Vec::new() };
    let task = |shard: &CoreShardProof| {
        let values: &SP1CorePublicValues<SP1Field> = shard.public_values.as_slice().borrow();
        let pc = values.pc_start.iter().rev().fold(0_u64, |pc, limb| (pc << 16) | u64::from(limb.as_canonical_u32()));
        let nonce = values.proof_nonce.map(|word| word.as_canonical_u32());
        let task = CheckedTask::new(TaskKind::ProveShard, key, nonce, pc, values.range().timestamp_range);
        let output = bincode::serialize(shard).expect("a proof can be serialized");
        (values.is_execution_shard == SP1Field::one()).then_some((task, output))
    };
    shards.iter().filter_map(task).collect()
}

/// Returns true if both are encodings of the same shard proof. A field element has several encodings.
#[must_use]
pub fn is_same_shard_proof(one: &[u8], other: &[u8]) -> bool {
    let encoded = |bytes: &[u8]| {
        let proof: CoreShardProof = bincode::deserialize(bytes).ok()?;
        bincode::serialize(&proof).ok()
    };
    encoded(one).is_some_and(|one| encoded(other) == Some(one))
}

/// Returns the start of a serialized record of a core shard without accesses to memory.
fn core_record(pc: u64, clock: (u64, u64)) -> Vec<u8> {
    let registers = [0; 32];
    let accesses = 0;
    let chunk = registers.into_iter().chain([pc, clock.0, clock.1, accesses]).flat_map(u64::to_le_bytes);
    let chunk: Vec<u8> = chunk.collect();
    [&0_u32.to_le_bytes()[..], &(chunk.len() as u64).to_le_bytes(), &chunk].concat()
}

fn payload(kind: TaskKind) -> TaskPayload<String> {
    let input = || "input".to_owned();
    let result = "result".to_owned();
    let shard = |result, marker| ShardTask {
        program: input(),
        common_input: input(),
        record: RECORD.to_owned(),
        result,
        marker,
    };
    let wrap = |result| WrapTask { proof: input(), result };
    match kind {
        TaskKind::ProveShard => {
            let marker = ShardMarker { task: TaskId(1), event_list: "events".to_owned() };
            TaskPayload::ProveShard(shard(result, Some(marker)))
        }
        TaskKind::NormalizeShard => TaskPayload::NormalizeShard(shard(result, None)),
        TaskKind::RecursionReduce => {
            let range = serde_json::to_string(&ShardRange::default()).expect("a range can be serialized");
            let part = || ReducePart { range: range.clone(), proof: input() };
            let parts = vec![part(), part()];
            TaskPayload::RecursionReduce(ReduceTask { is_last: false, range, parts, result })
        }
        TaskKind::RecursionDeferred => {
            TaskPayload::RecursionDeferred(DeferredTask { common_input: input(), deferred_data: input(), result })
        }
        TaskKind::ShrinkWrap => TaskPayload::ShrinkWrap(wrap(result)),
        TaskKind::PlonkWrap => TaskPayload::PlonkWrap(wrap(result)),
        TaskKind::Groth16Wrap => TaskPayload::Groth16Wrap(wrap(result)),
    }
}
