//! Checks that the result of a task is what the task asked for. With `verify = final`, results are used before this
//! check, and are checked only if the whole proof does not verify.
//!
//! ```text
//!   program, nonce, input proofs, records ──► Expectations ───┐
//!   a task's output ──► decoded completely ──► claims what is expected? ──► SP1's verifier ──► accepted
//! ```
//!
//! The public values of a shard proof say where the shard starts and ends. They do not say which values it read from
//! memory or which precompile calls it made. A valid proof of a shard with wrong values is therefore detected only when
//! the reductions sum up all parts. The public values of a reduction follow completely from its inputs.
//!
//! A *part* is a shard proof or a recursion proof of a piece of the run.

use crate::{
    accesses::count_opened,
    controller::on_chain_nonce,
    marker_order::{Clock, clock_cycles},
    memory::{ShardCells, fixed_cells},
    options::CutOptions,
    program::ProgramSize,
    shrink_wrap::WrapProof,
};
use artifacts::{Blob, Digest};
use bincode::Options;
use orchestrator::{Checked, CheckedMarker, ProofHandle, ProofRequest, TaskInput};
use scheduler::TaskKind;
use serde::{Deserialize, de::DeserializeOwned};
use slop_algebra::{AbstractField, PrimeField32};
use sp1_core_executor::{
    SplitOpts, SyscallCode,
    events::{PrecompileEvent, SyscallEvent},
};
use sp1_core_machine::io::SP1Stdin;
use sp1_hypercube::{
    DIGEST_SIZE, HashableKey, MachineVerifyingKey, PROOF_MAX_NUM_PVS, SP1PcsProofInner, SP1RecursionProof,
    SP1VerifyingKey, ShardProof,
    air::{PV_DIGEST_NUM_WORDS, SP1CorePublicValues, ShardRange},
    septic_digest::SepticDigest,
};
use sp1_primitives::{SP1Field, SP1GlobalContext};
use sp1_prover::{
    Groth16Bn254Proof, PlonkBn254Proof,
    utils::is_recursion_public_values_valid,
    verify::SP1Verifier,
    worker::{DeferredEvents, FinalVmState, PrecompileArtifactSlice, SP1DeferredData, hash_deferred_proofs},
};
use sp1_recursion_executor::RecursionPublicValues;
use std::{
    borrow::Borrow,
    collections::{HashMap, HashSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type CoreProof = ShardProof<SP1GlobalContext, SP1PcsProofInner>;
type RecursionProof = SP1RecursionProof<SP1GlobalContext, SP1PcsProofInner>;
type RecursionValues = RecursionPublicValues<SP1Field>;
type FieldDigest = [SP1Field; DIGEST_SIZE];

/// Largest list of deferred events in bytes. A list names a few pieces for each precompile, with about 50 bytes each.
const MOST_LIST_BYTES: u64 = 1 << 20;

/// Largest piece of deferred events in bytes. The events of a whole precompile shard have 300 MB at most, and a piece
/// contains events of only one core shard.
const MOST_PIECE_BYTES: u64 = 1 << 30;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The proofs that are running, each with what is expected of its parts. There are few of them.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Vec<Expected>>>);

type Expected = (ProofHandle, Arc<Expectations>);

impl Running {
    /// Registers `proof` until the returned value is dropped. Results of the proof can be checked as soon as
    /// [`Presence::expect`] was called.
    pub(crate) fn enter(&self, proof: &ProofHandle) -> Presence {
        Presence { running: self.clone(), proof: proof.clone() }
    }

    /// Returns what is expected of the parts of `proof`.
    ///
    /// # Errors
    /// Fails if the proof is over, or if its expectations are not known yet.
    pub(crate) fn expectations(&self, proof: &ProofHandle) -> Result<Arc<Expectations>, String> {
        let running = lock(&self.0);
        let found = running.iter().find(|(known, _)| known.is_same(proof));
        found.map(|(_, expected)| expected.clone()).ok_or_else(|| "its proof has already ended".to_owned())
    }
}

/// Registers a proof as running. Dropping it removes the proof.
pub(crate) struct Presence {
    running: Running,
    proof: ProofHandle,
}

impl Presence {
    /// Sets what is expected of the parts of the proof.
    pub(crate) fn expect(&self, expected: Arc<Expectations>) {
        lock(&self.running.0).push((self.proof.clone(), expected));
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        lock(&self.running.0).retain(|(known, _)| !known.is_same(&self.proof));
    }
}

/// What is known of a proof's parts before they are proven.
pub(crate) struct Expectations {
    key: SP1VerifyingKey,
    key_digest: FieldDigest,
    nonce: [u32; 4],
    /// Digests of the first 0, 1, 2, … input proofs.
    input_digests: Vec<FieldDigest>,
    limits: EventLimits,
    size: ProgramSize,
    /// Number of trace cells after which a shard ends.
    threshold: u64,
    /// Content of the records, by the name of their artifact.
    records: Mutex<HashMap<String, Record>>,
}

impl Expectations {
    /// Creates the expectations. `key` and `size` belong to a valid program, and the input proofs in `stdin` have the
    /// right number of public values.
    pub(crate) fn new(
        request: &ProofRequest,
        options: &CutOptions,
        key: &SP1VerifyingKey,
        size: ProgramSize,
        stdin: &SP1Stdin,
    ) -> Self {
        let mut input_digests = vec![[SP1Field::zero(); DIGEST_SIZE]];
        for (proof, _) in &stdin.proofs {
            let before = *input_digests.last().expect("the list starts with the digest of no proof");
            input_digests.push(hash_deferred_proofs(before, std::slice::from_ref(proof)));
        }
        Self {
            key: key.clone(),
            key_digest: key.hash_koalabear(),
            nonce: request.nonce,
            input_digests,
            limits: EventLimits::new(options, size.instructions, size.untrusted),
            size,
            threshold: options.threshold(),
            records: Mutex::default(),
        }
    }

    /// Notes which shard the artifact `name` describes, if it is a record. Another artifact that happens to decode as a
    /// record does no harm: its name is never looked up.
    pub(crate) fn note(&self, name: &str, data: &[u8]) {
        if let Some(record) = Record::read(data) {
            lock(&self.records).insert(name.to_owned(), record);
        }
    }

    /// Estimates the trace cells of the shard with the record `name`. The estimate is rather too high than too low.
    pub(crate) fn cells(&self, name: &str) -> Option<ShardCells> {
        /// Trace cells of an access that opens an address: its rows of `MemoryLocal` and `Global`.
        const OPENED: u64 = 502;
        /// Number of registers. Every shard accesses all of them.
        const REGISTERS: u64 = 32;
        /// Trace cells of a cycle. Most instructions have 30 to 80. The mean over real programs is below this value.
        const CYCLE: u64 = 60;
        /// Trace cells of an address before or after the run: its rows of `MemoryGlobalInit` (or `Finalize`) and
        /// `Global`.
        const GLOBAL_ACCESS: u64 = 271;
        let instructions = self.size.instructions as u64;
        let variable = match lock(&self.records).get(name)? {
            Record::Core { clock, opened, .. } => {
                let cycles = clock_cycles(*clock);
                OPENED.saturating_mul(opened + REGISTERS).saturating_add(CYCLE.saturating_mul(cycles))
            }
            Record::Precompile { code, events } => {
                let events: usize = events.iter().map(|slice| slice.end_idx.saturating_sub(slice.start_idx)).sum();
                self.limits.part_of_shard(*code, events, self.threshold.saturating_sub(fixed_cells(instructions)))
            }
            Record::Memory { accesses, .. } => GLOBAL_ACCESS.saturating_mul(*accesses),
        };
        Some(ShardCells::new(instructions, variable, self.threshold))
    }

    /// Returns the number of cycles in the shard with the record `name`. Returns `None` if it is not a core shard.
    pub(crate) fn cycles(&self, name: &str) -> Option<u64> {
        self.clock(name).map(clock_cycles)
    }

    /// Returns the program's exit code if the record `name` contains it.
    pub(crate) fn exit_code(&self, name: &str) -> Option<u32> {
        match lock(&self.records).get(name) {
            Some(Record::Memory { exit_code, .. }) => Some(*exit_code),
            Some(Record::Core { .. } | Record::Precompile { .. }) | None => None,
        }
    }

    /// Returns start and end of the shard with the record `name` on the program's clock. Returns `None` if it is not a
    /// core shard.
    pub(crate) fn clock(&self, name: &str) -> Option<Clock> {
        match lock(&self.records).get(name) {
            Some(Record::Core { clock, .. }) => Some(*clock),
            Some(Record::Precompile { .. } | Record::Memory { .. }) | None => None,
        }
    }

    /// Returns a digest of the record `name` that is the same whenever the program runs with the same input. A
    /// precompile record names its events by artifact, and these names differ each time, so the content of the
    /// artifacts is used instead. `digest` returns the digest of an artifact.
    pub(crate) fn content(&self, name: &str, digest: impl Fn(&str) -> Option<Digest>) -> Option<Digest> {
        let (code, events) = match lock(&self.records).get(name)? {
            Record::Core { .. } | Record::Memory { .. } => return digest(name),
            Record::Precompile { code, events } => (*code, events.clone()),
        };
        let mut content = format!("precompile {}", code as u32).into_bytes();
        for PrecompileArtifactSlice { artifact, start_idx, end_idx } in events.iter() {
            content.extend(digest(&artifact.0)?.as_bytes());
            content.extend([*start_idx as u64, *end_idx as u64].map(u64::to_le_bytes).concat());
        }
        Some(Digest::of(&content))
    }

    fn nonce(&self) -> [SP1Field; 4] {
        self.nonce.map(SP1Field::from_canonical_u32)
    }

    /// Returns what the proof of the shard with this record must claim.
    fn claims(&self, record: &Record) -> Claims {
        let all = *self.input_digests.last().expect("the list starts with the digest of no proof");
        let count = self.input_digests.len() as u64 - 1;
        match *record {
            Record::Core { pc, clock, .. } => Claims {
                range: ShardRange {
                    timestamp_range: clock,
                    deferred_proof_range: (count, count),
                    ..ShardRange::default()
                },
                pc: limbs(pc),
                idle: None,
                input_digests: [all; 2],
            },
            Record::Precompile { .. } => self.initial_claims(ShardRange::precompile(), [self.input_digests[0]; 2]),
            Record::Memory {
                pc,
                timestamp,
                exit_code,
                committed,
                initialized,
                finalized,
                initialized_pages,
                finalized_pages,
                accesses: _,
            } => Claims {
                range: ShardRange {
                    timestamp_range: (timestamp, timestamp),
                    initialized_address_range: initialized,
                    finalized_address_range: finalized,
                    initialized_page_index_range: initialized_pages,
                    finalized_page_index_range: finalized_pages,
                    deferred_proof_range: (count, count),
                },
                pc: limbs(pc),
                idle: Some(State {
                    // SP1 converts the code into its field in the same way. The field is smaller than a 32-bit word.
                    exit_code: SP1Field::from_wrapped_u32(exit_code),
                    committed: committed.map(|word| word.to_le_bytes().map(SP1Field::from_canonical_u8)),
                    input_digest: all,
                    committed_all: SP1Field::one(),
                }),
                input_digests: [all; 2],
            },
        }
    }

    /// Returns what a part must claim that stands before the program's first cycle.
    fn initial_claims(&self, range: ShardRange, input_digests: [FieldDigest; 2]) -> Claims {
        Claims { range, pc: self.key.vk.pc_start, idle: Some(State::initial()), input_digests }
    }

    /// Checks the deferred events that an attempt delivered for a core shard.
    ///
    /// # Errors
    /// Fails with the first problem of the list or of a piece.
    pub(crate) fn check_marker(&self, marker: &CheckedMarker<'_>) -> Result<(), String> {
        let name = marker.spec.outputs.get(1).ok_or("its task has no output for deferred events")?;
        let list = (marker.delivered)(name.as_str()).ok_or("the list of deferred events is missing")?;
        if list.len() > MOST_LIST_BYTES {
            return Err(format!(
                "the list of deferred events has {} bytes, at most {MOST_LIST_BYTES} are allowed",
                list.len()
            ));
        }
        let list = list.decode().map_err(|error| format!("cannot read the list of deferred events: {error}"))?;
        self.limits.check(&list, marker.delivered)
    }
}

/// What identifies the shard of a record.
#[derive(Debug, Clone)]
enum Record {
    /// A core shard: a part of the program's run. `opened` is what [`count_opened`] returns for its chunk.
    Core { pc: u64, clock: Clock, opened: u64 },
    /// A precompile shard. All precompile shards have the same range, so the range does not tell them apart.
    Precompile { code: SyscallCode, events: Arc<[PrecompileArtifactSlice]> },
    /// A shard of memory before and after the run. Each pair is the last address of the previous memory shard and of
    /// this one.
    Memory {
        pc: u64,
        timestamp: u64,
        exit_code: u32,
        committed: [u32; PV_DIGEST_NUM_WORDS],
        initialized: (u64, u64),
        finalized: (u64, u64),
        initialized_pages: (u64, u64),
        finalized_pages: (u64, u64),
        /// Number of addresses that the shard initializes or finalizes.
        accesses: u64,
    },
}

/// The first fields of SP1's `TraceChunk`.
#[derive(Deserialize)]
struct ChunkHead {
    _registers: [u64; 32],
    pc_start: u64,
    clk_start: u64,
    clk_end: u64,
}

impl ChunkHead {
    /// Size of these fields and of the length of the accesses that follow.
    const BYTES: usize = 8 * 36;
}

impl Record {
    /// Reads the identity of the shard from a serialized `TraceData`. Skips the megabytes between the first and the
    /// last fields.
    fn read(data: &[u8]) -> Option<Self> {
        // The variant of the enum, as bincode writes it.
        let (variant, rest) = data.split_first_chunk::<4>()?;
        match u32::from_le_bytes(*variant) {
            0 => {
                // The chunk is a byte string that contains the serialized chunk, so its length comes first.
                let (length, chunk) = rest.split_first_chunk::<8>()?;
                if u64::from_le_bytes(*length) != chunk.len() as u64 {
                    return None;
                }
                let head: ChunkHead = bincode::deserialize(chunk).ok()?;
                let clock = (head.clk_start, head.clk_end);
                let opened = count_opened(chunk.get(ChunkHead::BYTES..)?, clock);
                Some(Self::Core { pc: head.pc_start, clock, opened })
            }
            1 => {
                let (events, code): (Vec<PrecompileArtifactSlice>, SyscallCode) = bincode::deserialize(rest).ok()?;
                Some(Self::Precompile { code, events: events.into() })
            }
            2 => {
                let state: FinalVmState = bincode::deserialize(rest).ok()?;
                // The last 8 fields of SP1's `GlobalMemoryShard`: 4 of the previous shard, then 4 of this shard.
                let (_, bounds) = rest.split_last_chunk::<64>()?;
                let bounds: [u64; 8] = bincode::deserialize(bounds.as_slice()).ok()?;
                let [before @ .., init, finalize, init_page, finalize_page] = bounds;
                // Nearly all of the record are events of 24 bytes: address, value and time of 8 bytes each.
                let accesses = rest.len() as u64 / 24;
                Some(Self::Memory {
                    pc: state.pc,
                    timestamp: state.timestamp,
                    exit_code: state.exit_code,
                    committed: state.public_value_digest,
                    initialized: (before[0], init),
                    finalized: (before[1], finalize),
                    initialized_pages: (before[2], init_page),
                    finalized_pages: (before[3], finalize_page),
                    accesses,
                })
            }
            _ => None,
        }
    }
}

/// Returns an address as public values contain it: three limbs of 16 bits, lowest limb first.
fn limbs(address: u64) -> [SP1Field; 3] {
    std::array::from_fn(|at| SP1Field::from_canonical_u16((address >> (16 * at)) as u16))
}

/// What the proof of a part must claim, as far as it is known in advance.
struct Claims {
    range: ShardRange,
    /// The program counter before the part.
    pc: [SP1Field; 3],
    /// The state of the program for a part that does not execute it and so leaves its state unchanged. `None` for a
    /// core shard.
    idle: Option<State>,
    /// Digests of the input proofs that were verified before and after the part.
    input_digests: [FieldDigest; 2],
}

/// The state of a program.
#[derive(Clone, Copy)]
struct State {
    exit_code: SP1Field,
    committed: [[SP1Field; 4]; PV_DIGEST_NUM_WORDS],
    input_digest: FieldDigest,
    /// Whether the program has committed its public values and the digest of its input proofs: 0 or 1.
    committed_all: SP1Field,
}

impl State {
    fn initial() -> Self {
        Self {
            exit_code: SP1Field::zero(),
            committed: [[SP1Field::zero(); 4]; PV_DIGEST_NUM_WORDS],
            input_digest: [SP1Field::zero(); DIGEST_SIZE],
            committed_all: SP1Field::zero(),
        }
    }
}

/// The claims that core proofs and recursion proofs have in common. Each pair is the value before and after the part.
struct Said {
    range: ShardRange,
    pc: [[SP1Field; 3]; 2],
    exit_code: [SP1Field; 2],
    committed: [[[SP1Field; 4]; PV_DIGEST_NUM_WORDS]; 2],
    input_digest: [FieldDigest; 2],
    commit_syscall: [SP1Field; 2],
    commit_deferred_syscall: [SP1Field; 2],
    nonce: [SP1Field; 4],
}

/// Makes a [`Said`] of core or of recursion public values. The two types share field names but no trait.
macro_rules! said {
    ($values:ident) => {
        Said {
            range: $values.range(),
            pc: [$values.pc_start, $values.next_pc],
            exit_code: [$values.prev_exit_code, $values.exit_code],
            committed: [$values.prev_committed_value_digest, $values.committed_value_digest],
            input_digest: [$values.prev_deferred_proofs_digest, $values.deferred_proofs_digest],
            commit_syscall: [$values.prev_commit_syscall, $values.commit_syscall],
            commit_deferred_syscall: [$values.prev_commit_deferred_syscall, $values.commit_deferred_syscall],
            nonce: $values.proof_nonce,
        }
    };
}

impl Claims {
    /// Returns true for the shard that contains the program's first cycle.
    fn is_first(&self) -> bool {
        self.idle.is_none() && self.range.timestamp_range.0 == 1
    }

    fn check(&self, said: &Said, nonce: [SP1Field; 4]) -> Result<(), String> {
        if said.range != self.range {
            return Err(other_range(said.range, self.range));
        }
        agree("nonce", said.nonce, nonce)?;
        agree("first instruction", said.pc[0], self.pc)?;
        let Some(state) = &self.idle else {
            // What the shard does is not known before it is traced. But it executes cycles, so the program had not
            // ended before.
            return agree("exit code before the shard", said.exit_code[0], SP1Field::zero());
        };
        agree("next instruction", said.pc[1], self.pc)?;
        agree("exit code", said.exit_code, [state.exit_code; 2])?;
        agree("digest of committed values", said.committed, [state.committed; 2])?;
        agree("digest of input proofs", said.input_digest, [state.input_digest; 2])?;
        agree("flag for committed values", said.commit_syscall, [state.committed_all; 2])?;
        agree("flag for verified input proofs", said.commit_deferred_syscall, [state.committed_all; 2])
    }
}

fn other_range(said: ShardRange, expected: ShardRange) -> String {
    format!("it does not prove what its task asks for: its range is {said:?}, the range of the task is {expected:?}")
}

fn agree<T: PartialEq>(what: &str, said: T, expected: T) -> Result<(), String> {
    if said == expected { Ok(()) } else { Err(format!("it does not prove what its task asks for: unexpected {what}")) }
}

/// Decodes `bytes` and rejects bytes that follow. The receiver has bounded the length, and SP1's types take little more
/// memory than their serialized form.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // The same encoding as `bincode::deserialize`, which however ignores bytes that follow.
    let options = bincode::DefaultOptions::new().with_fixint_encoding().reject_trailing_bytes();
    options.deserialize(bytes).map_err(|error| format!("it cannot be decoded: {error}"))
}

/// Checks the number of public values. SP1 indexes them without checking.
fn check_count(values: &[SP1Field]) -> Result<(), String> {
    match values.len() {
        PROOF_MAX_NUM_PVS => Ok(()),
        count => Err(format!("it has {count} public values instead of {PROOF_MAX_NUM_PVS}")),
    }
}

fn recursion_values(values: &[SP1Field]) -> Result<&RecursionValues, String> {
    check_count(values)?;
    Ok(values.borrow())
}

/// Runs `check` and turns a panic into an error. SP1's verifier does not validate everything before it uses it.
pub(crate) fn contained(check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| Err("SP1's code panicked during the check".to_owned()))
}

/// Checks a task's result. May panic, so run it in [`contained`].
///
/// # Errors
/// Fails with the first problem of the result.
pub(crate) fn check_result<'a>(
    verifier: &'a SP1Verifier,
    expected: &'a Expectations,
    result: &'a Checked<'a>,
) -> Result<(), String> {
    let check = Check { verifier, expected, result };
    match result.spec.kind {
        TaskKind::ProveShard => check.core(),
        TaskKind::NormalizeShard => check.normalized(),
        TaskKind::RecursionReduce => check.reduced(),
        TaskKind::RecursionDeferred => check.input_proof(),
        TaskKind::ShrinkWrap => check.wrapped(),
        TaskKind::Groth16Wrap => {
            let proof: Groth16Bn254Proof = decode(&result.output)?;
            check.on_chain(&proof.public_inputs[4])?;
            verifier.verify_groth16_bn254(&proof, &expected.key).map_err(|error| does_not_verify(&error))
        }
        TaskKind::PlonkWrap => {
            let proof: PlonkBn254Proof = decode(&result.output)?;
            check.on_chain(&proof.public_inputs[4])?;
            verifier.verify_plonk_bn254(&proof, &expected.key).map_err(|error| does_not_verify(&error))
        }
    }
}

fn undecodable(at: usize, error: &dyn std::fmt::Display) -> String {
    format!("input {at} of its task cannot be decoded: {error}")
}

fn does_not_verify(error: &dyn std::fmt::Display) -> String {
    format!("it does not verify: {error}")
}

/// The check of one result: one method for each kind of task.
struct Check<'a> {
    verifier: &'a SP1Verifier,
    expected: &'a Expectations,
    result: &'a Checked<'a>,
}

impl Check<'_> {
    /// Returns the content of the artifact at position `at` of the task's inputs. The inputs are removed when another
    /// attempt's result was accepted; the error does not matter then, because the verdict is dropped. An audit still
    /// finds the inputs.
    fn input(&self, at: usize) -> Result<Vec<u8>, String> {
        let Some(TaskInput::Artifact { name, .. }) = self.result.spec.inputs.get(at) else {
            return Err(format!("input {at} of its task is not an artifact"));
        };
        self.result.proof.get_now(name).ok_or_else(|| format!("input {name} of its task no longer exists"))
    }

    fn literal(&self, at: usize) -> Result<&str, String> {
        match self.result.spec.inputs.get(at) {
            Some(TaskInput::Literal(text)) => Ok(text.as_str()),
            Some(TaskInput::Artifact { .. }) | None => Err(format!("input {at} of its task is not a literal")),
        }
    }

    /// Returns the public values of the recursion proof at position `at` of the task's inputs. That proof was checked
    /// when it was delivered.
    fn input_values(&self, at: usize) -> Result<RecursionValues, String> {
        // The public values follow right after the key. The megabyte behind them is not decoded.
        let (_, values): (MachineVerifyingKey<SP1GlobalContext>, Vec<SP1Field>) =
            bincode::deserialize(&self.input(at)?).map_err(|error| undecodable(at, &error))?;
        recursion_values(&values).copied()
    }

    /// Returns what the shard of the task's record must claim.
    fn claims(&self) -> Result<Claims, String> {
        let Some(TaskInput::Artifact { name, .. }) = self.result.spec.inputs.get(2) else {
            return Err("its task has no record".to_owned());
        };
        let record = lock(&self.expected.records).get(name).cloned();
        let record = record.ok_or_else(|| format!("record {name} of its task is unknown"))?;
        Ok(self.expected.claims(&record))
    }

    /// Checks a shard proof, as SP1's `SP1Verifier::verify` does for each part of a core proof.
    fn core(&self) -> Result<(), String> {
        let proof: CoreProof = decode(&self.result.output)?;
        check_count(&proof.public_values)?;
        let values: &SP1CorePublicValues<SP1Field> = proof.public_values.as_slice().borrow();
        let claims = self.claims()?;
        claims.check(&said!(values), self.expected.nonce())?;
        agree("flag for shards of the run", values.is_execution_shard, SP1Field::from_bool(claims.idle.is_none()))?;
        agree("flag for the first shard", values.is_first_execution_shard, SP1Field::from_bool(claims.is_first()))?;
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
    /// claims. Returns the public values.
    fn recursion(&self) -> Result<RecursionValues, String> {
        let proof: RecursionProof = decode(&self.result.output)?;
        let SP1RecursionProof { vk, proof, vk_merkle_proof } = &proof;
        let values = recursion_values(&proof.public_values)?;
        let keys = &self.verifier.recursion_vks;
        // With the feature `mprotect`, SP1 has no list of its own programs and accepts any key here.
        if !keys.verify(vk_merkle_proof, vk) {
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
    fn part(&self, claims: &Claims, shard: bool) -> Result<RecursionValues, String> {
        let values = self.recursion()?;
        claims.check(&said!(values), self.expected.nonce())?;
        let digests = [values.start_reconstruct_deferred_digest, values.end_reconstruct_deferred_digest];
        agree("digest of verified proofs", digests, claims.input_digests)?;
        agree("number of shards", values.num_included_shard, SP1Field::from_bool(shard))?;
        agree("flag for the first shard", values.contains_first_shard, SP1Field::from_bool(claims.is_first()))?;
        agree("flag for complete proofs", values.is_complete, SP1Field::zero())?;
        Ok(values)
    }

    /// Checks a recursion proof that verifies one shard proof.
    fn normalized(&self) -> Result<(), String> {
        self.part(&self.claims()?, true).map(|_| ())
    }

    /// Checks a recursion proof that verifies one input proof.
    fn input_proof(&self) -> Result<(), String> {
        let data: SP1DeferredData = bincode::deserialize(&self.input(1)?).map_err(|error| undecodable(1, &error))?;
        let at = data.deferred_proof_index.as_canonical_u32();
        let digests = self.expected.input_digests.get(at as usize..).and_then(|rest| rest.first_chunk::<2>());
        let digests = digests.ok_or_else(|| format!("its task is for input proof {at}, which does not exist"))?;
        let range = ShardRange::deferred(u64::from(at), u64::from(at) + 1);
        let values = self.part(&self.expected.initial_claims(range, *digests), false)?;
        agree("cumulative sum", values.global_cumulative_sum, SepticDigest::zero())
    }

    /// Checks a reduction: a recursion proof that verifies several others. It claims what its parts claim, and nothing
    /// else.
    fn reduced(&self) -> Result<(), String> {
        let complete: bool = self.literal(0)?.parse().map_err(|_| "input 0 of its task is not a boolean".to_owned())?;
        let range: ShardRange = serde_json::from_str(self.literal(1)?)
            .map_err(|error| format!("input 1 of its task is not a range: {error}"))?;
        // From position 3 on, every second input is a proof. Its range comes before it.
        let places = (3..self.result.spec.inputs.len()).step_by(2);
        let parts = places.map(|at| self.input_values(at)).collect::<Result<Vec<_>, _>>()?;
        let values = self.recursion()?;
        if values.range() != range {
            return Err(other_range(values.range(), range));
        }
        let expected = reduction(&parts, complete).ok_or("the cumulative sums of its parts cannot be added")?;
        // The digest was checked against the other public values in `recursion`.
        let expected = RecursionValues { digest: values.digest, ..expected };
        agree("public values for a reduction of its parts", values.as_array(), expected.as_array())
    }

    /// Checks that a wrapped proof claims the same as its compressed proof.
    fn wrapped(&self) -> Result<(), String> {
        let wrapped: WrapProof = decode(&self.result.output)?;
        let values = recursion_values(&wrapped.proof.public_values)?;
        let compressed = self.input_values(0)?;
        agree("program", values.sp1_vk_digest, self.expected.key_digest)?;
        agree("nonce", values.proof_nonce, self.expected.nonce())?;
        agree("digest of committed values", values.committed_value_digest, compressed.committed_value_digest)?;
        agree("digest of input proofs", values.deferred_proofs_digest, compressed.deferred_proofs_digest)?;
        agree("exit code", values.exit_code, compressed.exit_code)?;
        // The key of the wrap program depends on the list of SP1's programs. With the feature `mprotect`, SP1 has no
        // such list.
        if !self.verifier.vk_verification() {
            return Ok(());
        }
        let verified = self.verifier.verify_wrap_bn254(&wrapped, &self.expected.key);
        verified.map_err(|error| does_not_verify(&error))
    }

    /// Checks the nonce, which SP1's verifiers of on-chain proofs ignore.
    fn on_chain(&self, nonce: &str) -> Result<(), String> {
        agree("nonce", nonce, on_chain_nonce(self.expected.nonce).as_str())
    }
}

/// Returns the public values that a reduction of `parts` must have, except for the digest. They are combined as in
/// `SP1CompressVerifier` of sp1-recursion-circuit. Returns `None` if `parts` is empty or cannot be summed up.
fn reduction(parts: &[RecursionValues], complete: bool) -> Option<RecursionValues> {
    let (first, last) = (parts.first()?, parts.last()?);
    let mut sum = first.global_cumulative_sum;
    for part in &parts[1..] {
        sum = sum.checked_add(part.global_cumulative_sum)?;
    }
    Some(RecursionValues {
        committed_value_digest: last.committed_value_digest,
        deferred_proofs_digest: last.deferred_proofs_digest,
        deferred_proof: last.deferred_proof,
        next_pc: last.next_pc,
        last_timestamp: last.last_timestamp,
        last_init_addr: last.last_init_addr,
        last_finalize_addr: last.last_finalize_addr,
        last_init_page_idx: last.last_init_page_idx,
        last_finalize_page_idx: last.last_finalize_page_idx,
        end_reconstruct_deferred_digest: last.end_reconstruct_deferred_digest,
        global_cumulative_sum: sum,
        contains_first_shard: parts.iter().map(|part| part.contains_first_shard).sum(),
        num_included_shard: parts.iter().map(|part| part.num_included_shard).sum(),
        is_complete: SP1Field::from_bool(complete),
        exit_code: last.exit_code,
        commit_syscall: last.commit_syscall,
        commit_deferred_syscall: last.commit_deferred_syscall,
        ..*first
    })
}

/// Bounds the deferred precompile events that a worker may deliver for a core shard. SP1's controller makes precompile
/// shards of them without checking them.
#[derive(Debug, Clone)]
pub struct EventLimits {
    split: SplitOpts,
    /// Precompiles whose calls stay in their core shard.
    retained: HashSet<SyscallCode>,
}

impl EventLimits {
    /// Computes the limits for a program of `instructions` instructions. `untrusted` is true if it may run code that it
    /// loads.
    ///
    /// # Panics
    /// Panics if the program does not fit into a shard of that size.
    #[must_use]
    pub fn new(options: &CutOptions, instructions: usize, untrusted: bool) -> Self {
        let options = options.as_sp1();
        let retained = options.retained_events_presets.iter().flat_map(|preset| preset.syscall_codes()).copied();
        Self { split: SplitOpts::new(options, instructions, untrusted), retained: retained.collect() }
    }

    /// Returns the largest number of events of `code` in one piece. Returns 0 if no such events are allowed: SP1's
    /// controller would never finish cutting them into shards.
    fn most(&self, code: SyscallCode) -> usize {
        if self.retained.contains(&code) { 0 } else { self.split.syscall_threshold[code] }
    }

    /// Returns the trace cells of `events` calls of `code`. A shard with `room` cells holds the threshold number of
    /// calls.
    fn part_of_shard(&self, code: SyscallCode, events: usize, room: u64) -> u64 {
        let most = self.split.syscall_threshold[code].max(1) as u64;
        let cells = u128::from(room) * events as u128 / u128::from(most);
        u64::try_from(cells).unwrap_or(u64::MAX)
    }

    /// Checks `list`, a serialized [`DeferredEvents`], and the pieces that it names. `delivered` finds a piece among
    /// the artifacts that the same attempt delivered.
    ///
    /// This check cannot tell whether the events belong to the shard. If they do not, the parts of the proof do not sum
    /// up.
    ///
    /// # Errors
    /// Fails with the first problem of the list or of a piece.
    pub fn check(&self, list: &[u8], delivered: &dyn Fn(&str) -> Option<Blob>) -> Result<(), String> {
        let DeferredEvents(events) =
            decode(list).map_err(|error| format!("invalid list of deferred events: {error}"))?;
        let mut names = HashSet::new();
        for (code, pieces) in &events {
            let most = self.most(*code);
            if most == 0 {
                return Err(format!(
                    "the list of deferred events contains events of {code:?}, which are never deferred"
                ));
            }
            for PrecompileArtifactSlice { artifact, start_idx, end_idx } in pieces {
                let name = artifact.0.as_str();
                if *start_idx != 0 || *end_idx == 0 || *end_idx > most {
                    return Err(format!(
                        "the list of deferred events contains a piece of {code:?} with the range {start_idx} to \
                         {end_idx}; a range starts at 0 and has 1 to {most} events"
                    ));
                }
                if !names.insert(name) {
                    return Err(format!("the list of deferred events contains piece {name} twice"));
                }
                let piece = delivered(name)
                    .ok_or_else(|| format!("piece {name:?} of the deferred events was not delivered"))?;
                check_piece(piece, *end_idx)
                    .map_err(|error| format!("invalid piece {name} of the deferred events: {error}"))?;
            }
        }
        Ok(())
    }
}

/// Checks that `piece` consists of `count` events. Decodes them one by one, because all of them at once take many times
/// the memory of their bytes.
fn check_piece(piece: Blob, count: usize) -> Result<(), String> {
    if piece.len() > MOST_PIECE_BYTES {
        return Err(format!("it has {} bytes, at most {MOST_PIECE_BYTES} are allowed", piece.len()));
    }
    let bytes = piece.decode().map_err(|error| error.to_string())?;
    let options = bincode::DefaultOptions::new().with_fixint_encoding();
    let mut reader = bincode::Deserializer::from_slice(&bytes, options);
    let found = u64::deserialize(&mut reader).map_err(|error| error.to_string())?;
    if found != count as u64 {
        return Err(format!("it has {found} events, its list announces {count}"));
    }
    for _ in 0..count {
        <(SyscallEvent, PrecompileEvent)>::deserialize(&mut reader).map_err(|error| error.to_string())?;
    }
    match u8::deserialize(&mut reader) {
        Ok(_) => Err("bytes follow the last event".to_owned()),
        Err(_) => Ok(()),
    }
}
