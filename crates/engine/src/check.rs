//! Is what a worker delivered what was asked for? Nothing is built on it before.
//!
//! ```text
//!   program, nonce, input proofs, records ──► Expectations ──────────┐
//!   a task's output ──► decoded to the last byte ──► says what is expected? ──► SP1's verifier ──► believed
//! ```
//!
//! A shard's public values say where it begins and ends. They do not say what it found in memory, nor what it asked of
//! precompiles: a shard that is proven rightly of wrong values is found out when all parts are summed up, and no
//! earlier. What a reduction must say follows from its inputs whole.

use crate::{
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

/// Bytes of a list of deferred events: it names a few pieces for each precompile, in some fifty bytes each.
const MOST_LIST_BYTES: u64 = 1 << 20;

/// Bytes of one piece of events. Those of a whole precompile shard come to 300 MB at most, and a piece is of one core
/// shard.
const MOST_PIECE_BYTES: u64 = 1 << 30;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The proofs that run, with what is expected of their parts. They are few.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<Vec<Expected>>>);

type Expected = (ProofHandle, Arc<Expectations>);

impl Running {
    /// From now on, and until the answer is dropped, results of `proof` may be asked about.
    pub(crate) fn enter(&self, proof: &ProofHandle) -> Presence {
        Presence { running: self.clone(), proof: proof.clone() }
    }

    /// What is expected of the parts of `proof`.
    ///
    /// # Errors
    /// When it is over, or has no parts yet.
    pub(crate) fn expectations(&self, proof: &ProofHandle) -> Result<Arc<Expectations>, String> {
        let running = lock(&self.0);
        let found = running.iter().find(|(known, _)| known.is_same(proof));
        found.map(|(_, expected)| expected.clone()).ok_or_else(|| "its proof is over".to_owned())
    }
}

/// A proof's place among those that run; it leaves when dropped.
pub(crate) struct Presence {
    running: Running,
    proof: ProofHandle,
}

impl Presence {
    /// Says what is expected of the proof's parts.
    pub(crate) fn expect(&self, expected: Arc<Expectations>) {
        lock(&self.running.0).push((self.proof.clone(), expected));
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        lock(&self.running.0).retain(|(known, _)| !known.is_same(&self.proof));
    }
}

/// What is known of a proof before any part of it is proven.
pub(crate) struct Expectations {
    key: SP1VerifyingKey,
    key_digest: FieldDigest,
    nonce: [u32; 4],
    /// Digests of the first 0, 1, 2 … proofs that the program is given to verify.
    input_digests: Vec<FieldDigest>,
    limits: EventLimits,
    size: ProgramSize,
    /// Cells after which a shard ends.
    threshold: u64,
    /// By the name of the artifact.
    records: Mutex<HashMap<String, Record>>,
}

impl Expectations {
    /// For a program that was checked, and input proofs that have the form of proofs.
    pub(crate) fn new(
        request: &ProofRequest,
        options: &CutOptions,
        key: &SP1VerifyingKey,
        size: ProgramSize,
        stdin: &SP1Stdin,
    ) -> Self {
        let mut input_digests = vec![[SP1Field::zero(); DIGEST_SIZE]];
        for (proof, _) in &stdin.proofs {
            let before = *input_digests.last().expect("the first is there from the start");
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

    /// Notes what the artifact `name` says of a shard, if it is a shard's record. Another artifact that begins alike is
    /// never asked about.
    pub(crate) fn note(&self, name: &str, data: &[u8]) {
        if let Some(record) = Record::read(data) {
            lock(&self.records).insert(name.to_owned(), record);
        }
    }

    /// How large the traces of the shard of the record `name` are, by estimate: rather too large than too small.
    pub(crate) fn cells(&self, name: &str) -> Option<ShardCells> {
        /// Cells of an address that is accessed for the first time in a shard: its rows of `MemoryLocal` and `Global`.
        const FIRST_ACCESS: u64 = 502;
        /// Registers, which are accessed in every shard.
        const REGISTERS: u64 = 32;
        /// Cells of a cycle. Most instructions have 30 to 80; the mean of programs lies below this.
        const CYCLE: u64 = 60;
        /// Cells of an address before or after the run: its rows of `MemoryGlobalInit` (or `Finalize`) and `Global`.
        const GLOBAL_ACCESS: u64 = 271;
        let instructions = self.size.instructions as u64;
        let variable = match lock(&self.records).get(name)? {
            Record::Core { clock, first_accesses, .. } => {
                let cycles = clock_cycles(*clock);
                FIRST_ACCESS.saturating_mul(first_accesses + REGISTERS).saturating_add(CYCLE.saturating_mul(cycles))
            }
            Record::Precompile { code, events } => {
                let events: usize = events.iter().map(|slice| slice.end_idx.saturating_sub(slice.start_idx)).sum();
                self.limits.part_of_shard(*code, events, self.threshold.saturating_sub(fixed_cells(instructions)))
            }
            Record::Memory { accesses, .. } => GLOBAL_ACCESS.saturating_mul(*accesses),
        };
        Some(ShardCells::new(instructions, variable, self.threshold))
    }

    /// Cycles of the program's run in the shard of the record `name`; `None` if it has no part of the run.
    pub(crate) fn cycles(&self, name: &str) -> Option<u64> {
        self.clock(name).map(clock_cycles)
    }

    /// The program's exit code, if the record `name` has it.
    pub(crate) fn exit_code(&self, name: &str) -> Option<u32> {
        match lock(&self.records).get(name) {
            Some(Record::Memory { exit_code, .. }) => Some(*exit_code),
            Some(Record::Core { .. } | Record::Precompile { .. }) | None => None,
        }
    }

    /// Begin and end of the shard of the record `name` on the program's clock, if it is part of its run.
    pub(crate) fn clock(&self, name: &str) -> Option<Clock> {
        match lock(&self.records).get(name) {
            Some(Record::Core { clock, .. }) => Some(*clock),
            Some(Record::Precompile { .. } | Record::Memory { .. }) | None => None,
        }
    }

    /// What tells the record `name` from all others, and comes out the same were the program run again. Those of
    /// precompiles name artifacts, which are called otherwise each time: what is in them counts. `digest` knows the
    /// artifacts.
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

    /// What the shard of `record` must say.
    fn claims(&self, record: &Record) -> Claims {
        let all = *self.input_digests.last().expect("the first is there from the start");
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
                    // As SP1 puts it into the field, which is smaller than a word.
                    exit_code: SP1Field::from_wrapped_u32(exit_code),
                    committed: committed.map(|word| word.to_le_bytes().map(SP1Field::from_canonical_u8)),
                    input_digest: all,
                    committed_all: SP1Field::one(),
                }),
                input_digests: [all; 2],
            },
        }
    }

    /// What a part must say that stands before the program's first cycle.
    fn initial_claims(&self, range: ShardRange, input_digests: [FieldDigest; 2]) -> Claims {
        Claims { range, pc: self.key.vk.pc_start, idle: Some(State::initial()), input_digests }
    }

    /// Checks what an attempt delivered of a core shard's deferred events.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn check_marker(&self, marker: &CheckedMarker<'_>) -> Result<(), String> {
        let name = marker.spec.outputs.get(1).ok_or("its task has no place for events")?;
        let list = (marker.delivered)(name.as_str()).ok_or("the list of its events is missing")?;
        if list.len() > MOST_LIST_BYTES {
            return Err(format!("the list of its events has {} bytes", list.len()));
        }
        let list = list.decode().map_err(|error| error.to_string())?;
        self.limits.check(&list, marker.delivered)
    }
}

/// What tells one shard's record from another's.
#[derive(Debug, Clone)]
enum Record {
    /// Part of the program's run, and how many addresses it is the first in the shard to access.
    Core { pc: u64, clock: Clock, first_accesses: u64 },
    /// Precompile calls. They all stand at the beginning, and nothing in the order tells one from another.
    Precompile { code: SyscallCode, events: Arc<[PrecompileArtifactSlice]> },
    /// Memory before and after the run; pairs are the last address of the shard before and of this one.
    Memory {
        pc: u64,
        timestamp: u64,
        exit_code: u32,
        committed: [u32; PV_DIGEST_NUM_WORDS],
        initialized: (u64, u64),
        finalized: (u64, u64),
        initialized_pages: (u64, u64),
        finalized_pages: (u64, u64),
        /// Addresses before and after the run.
        accesses: u64,
    },
}

/// How SP1's `TraceChunk` begins.
#[derive(Deserialize)]
struct ChunkHead {
    _registers: [u64; 32],
    pc_start: u64,
    clk_start: u64,
    clk_end: u64,
}

impl ChunkHead {
    /// Its bytes, and those of the length of what follows.
    const BYTES: usize = 8 * 36;
}

/// How many of a chunk's memory accesses are the first to their address in the shard: the time of the access before is
/// earlier than the shard. Each stands as the time of that access and the value, eight bytes each.
fn first_accesses(accesses: &[u8], begin: u64) -> u64 {
    let (accesses, _) = accesses.as_chunks::<16>();
    let is_first = |access: &&[u8; 16]| access.first_chunk().is_some_and(|time| u64::from_le_bytes(*time) < begin);
    accesses.iter().filter(is_first).count() as u64
}

impl Record {
    /// Reads what tells which shard it is from a serialised `TraceData`, and leaves out the megabytes between.
    fn read(data: &[u8]) -> Option<Self> {
        // Its variant, as bincode writes it.
        let (variant, rest) = data.split_first_chunk::<4>()?;
        match u32::from_le_bytes(*variant) {
            0 => {
                // The chunk was serialised before, to bytes, which have a length in front.
                let (length, chunk) = rest.split_first_chunk::<8>()?;
                if u64::from_le_bytes(*length) != chunk.len() as u64 {
                    return None;
                }
                let head: ChunkHead = bincode::deserialize(chunk).ok()?;
                let first_accesses = first_accesses(chunk.get(ChunkHead::BYTES..)?, head.clk_start);
                Some(Self::Core { pc: head.pc_start, clock: (head.clk_start, head.clk_end), first_accesses })
            }
            1 => {
                let (events, code): (Vec<PrecompileArtifactSlice>, SyscallCode) = bincode::deserialize(rest).ok()?;
                Some(Self::Precompile { code, events: events.into() })
            }
            2 => {
                let state: FinalVmState = bincode::deserialize(rest).ok()?;
                // The last eight fields of SP1's `GlobalMemoryShard`: those before, then those of this shard.
                let (_, bounds) = rest.split_last_chunk::<64>()?;
                let bounds: [u64; 8] = bincode::deserialize(bounds.as_slice()).ok()?;
                let [before @ .., init, finalize, init_page, finalize_page] = bounds;
                // The events, each an address, a value and a time of eight bytes, are nearly all of it.
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

/// An address as public values have it, lowest limb first.
fn limbs(address: u64) -> [SP1Field; 3] {
    std::array::from_fn(|at| SP1Field::from_canonical_u16((address >> (16 * at)) as u16))
}

/// What the proof of a part must say, as far as that is known before.
struct Claims {
    range: ShardRange,
    /// Where the program stands before it.
    pc: [SP1Field; 3],
    /// The state of the program, which a part leaves as it was that does not run it.
    idle: Option<State>,
    /// Digests of the input proofs that were verified before and after it.
    input_digests: [FieldDigest; 2],
}

/// What a program has done so far.
#[derive(Clone, Copy)]
struct State {
    exit_code: SP1Field,
    committed: [[SP1Field; 4]; PV_DIGEST_NUM_WORDS],
    input_digest: FieldDigest,
    /// Whether it has committed its values, and its input proofs.
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

/// What core and recursion proofs both say. Pairs are before and after the part.
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

/// [`Said`] of either kind of public values: they have nothing in common but names.
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
    /// True for the shard with the program's first cycle.
    fn is_first(&self) -> bool {
        self.idle.is_none() && self.range.timestamp_range.0 == 1
    }

    fn check(&self, said: &Said, nonce: [SP1Field; 4]) -> Result<(), String> {
        if said.range != self.range {
            return Err(format!("it is of {:?}, and {:?} was asked for", said.range, self.range));
        }
        agree("nonce", said.nonce, nonce)?;
        agree("first instruction", said.pc[0], self.pc)?;
        let Some(state) = &self.idle else {
            // What it does besides is not known before it is traced; but it runs, so the program had not ended.
            return agree("exit code before it", said.exit_code[0], SP1Field::zero());
        };
        agree("next instruction", said.pc[1], self.pc)?;
        agree("exit code", said.exit_code, [state.exit_code; 2])?;
        agree("digest of committed values", said.committed, [state.committed; 2])?;
        agree("digest of input proofs", said.input_digest, [state.input_digest; 2])?;
        agree("word on committed values", said.commit_syscall, [state.committed_all; 2])?;
        agree("word on input proofs", said.commit_deferred_syscall, [state.committed_all; 2])
    }
}

fn agree<T: PartialEq>(what: &str, said: T, expected: T) -> Result<(), String> {
    if said == expected {
        Ok(())
    } else {
        Err(format!("it is of something else than was asked for: its {what} differs"))
    }
}

/// Decodes `bytes` to the last. They are bounded by whoever received them, and SP1's types take little more memory than
/// bytes.
fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    // As `bincode::deserialize`, which ignores what follows.
    let options = bincode::DefaultOptions::new().with_fixint_encoding().reject_trailing_bytes();
    options.deserialize(bytes).map_err(|error| format!("it does not decode: {error}"))
}

/// SP1 indexes public values without looking.
fn check_count(values: &[SP1Field]) -> Result<(), String> {
    match values.len() {
        PROOF_MAX_NUM_PVS => Ok(()),
        count => Err(format!("it has {count} public values, a proof has {PROOF_MAX_NUM_PVS}")),
    }
}

fn recursion_values(values: &[SP1Field]) -> Result<&RecursionValues, String> {
    check_count(values)?;
    Ok(values.borrow())
}

/// Runs `check`, whose panics are verdicts: SP1's verifier is careful, but not everywhere.
pub(crate) fn contained(check: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|_| Err("the verifier panicked on it".to_owned()))
}

/// Checks a task's result. May panic on it.
///
/// # Errors
/// What is wrong with it.
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

fn does_not_verify(error: &dyn std::fmt::Display) -> String {
    format!("it does not verify: {error}")
}

struct Check<'a> {
    verifier: &'a SP1Verifier,
    expected: &'a Expectations,
    result: &'a Checked<'a>,
}

impl Check<'_> {
    /// Content of the artifact at `at` of the task's inputs. Gone when another attempt's result was accepted, and then
    /// nobody hears of the verdict; what is checked later has it.
    fn input(&self, at: usize) -> Result<Vec<u8>, String> {
        let Some(TaskInput::Artifact { name, .. }) = self.result.spec.inputs.get(at) else {
            return Err(format!("its task has no artifact at {at}"));
        };
        self.result.proof.get_now(name).ok_or_else(|| format!("{name}, an input of its task, is gone"))
    }

    fn literal(&self, at: usize) -> Result<&str, String> {
        match self.result.spec.inputs.get(at) {
            Some(TaskInput::Literal(text)) => Ok(text.as_str()),
            Some(TaskInput::Artifact { .. }) | None => Err(format!("its task has no literal at {at}")),
        }
    }

    /// Public values of the recursion proof at `at` of the task's inputs, which was checked when it came.
    fn input_values(&self, at: usize) -> Result<RecursionValues, String> {
        // They come right after the key; the megabyte behind is left out.
        let (_, values): (MachineVerifyingKey<SP1GlobalContext>, Vec<SP1Field>) =
            bincode::deserialize(&self.input(at)?).map_err(|error| error.to_string())?;
        recursion_values(&values).copied()
    }

    /// What the shard of the task's record must say.
    fn claims(&self) -> Result<Claims, String> {
        let Some(TaskInput::Artifact { name, .. }) = self.result.spec.inputs.get(2) else {
            return Err("its task has no record".to_owned());
        };
        let record = lock(&self.expected.records).get(name).cloned();
        let record = record.ok_or_else(|| format!("its task's record {name} is unknown"))?;
        Ok(self.expected.claims(&record))
    }

    /// A shard proof: what SP1's `SP1Verifier::verify` does to each part of a core proof.
    fn core(&self) -> Result<(), String> {
        let proof: CoreProof = decode(&self.result.output)?;
        check_count(&proof.public_values)?;
        let values: &SP1CorePublicValues<SP1Field> = proof.public_values.as_slice().borrow();
        let claims = self.claims()?;
        claims.check(&said!(values), self.expected.nonce())?;
        agree("kind", values.is_execution_shard, SP1Field::from_bool(claims.idle.is_none()))?;
        agree("place", values.is_first_execution_shard, SP1Field::from_bool(claims.is_first()))?;
        let key = &self.expected.key.vk;
        let untrusted = &key.untrusted_config;
        agree("word on loaded code", values.is_untrusted_programs_enabled, untrusted.enable_untrusted_programs)?;
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

    /// A recursion proof: what SP1's `verify_compressed` does, but for what only the last of them says. Answers what it
    /// says.
    fn recursion(&self) -> Result<RecursionValues, String> {
        let proof: RecursionProof = decode(&self.result.output)?;
        let SP1RecursionProof { vk, proof, vk_merkle_proof } = &proof;
        let values = recursion_values(&proof.public_values)?;
        let keys = &self.verifier.recursion_vks;
        // With the feature `mprotect` SP1 has no list of its own programs, and believes any key.
        if !keys.verify(vk_merkle_proof, vk) {
            return Err("it is of a program that is none of SP1's".to_owned());
        }
        if !is_recursion_public_values_valid(values) {
            return Err("the digest of its public values is another".to_owned());
        }
        agree("list of SP1's programs", values.vk_root, keys.root())?;
        agree("program", values.sp1_vk_digest, self.expected.key_digest)?;
        agree("nonce", values.proof_nonce, self.expected.nonce())?;
        let mut challenger = self.verifier.compress.challenger();
        vk.observe_into(&mut challenger);
        let verified = self.verifier.compress.verify_shard(vk, proof, &mut challenger);
        verified.map_err(|error| does_not_verify(&error))?;
        Ok(*values)
    }

    /// A part that was not made of others; `shard` if it is of the program's own.
    fn part(&self, claims: &Claims, shard: bool) -> Result<RecursionValues, String> {
        let values = self.recursion()?;
        claims.check(&said!(values), self.expected.nonce())?;
        let digests = [values.start_reconstruct_deferred_digest, values.end_reconstruct_deferred_digest];
        agree("digest of verified proofs", digests, claims.input_digests)?;
        agree("number of shards", values.num_included_shard, SP1Field::from_bool(shard))?;
        agree("place", values.contains_first_shard, SP1Field::from_bool(claims.is_first()))?;
        agree("completeness", values.is_complete, SP1Field::zero())?;
        Ok(values)
    }

    /// A shard proof, verified in a recursion proof.
    fn normalized(&self) -> Result<(), String> {
        self.part(&self.claims()?, true).map(|_| ())
    }

    /// One of the proofs that the program is given, verified in a recursion proof.
    fn input_proof(&self) -> Result<(), String> {
        let data: SP1DeferredData = bincode::deserialize(&self.input(1)?).map_err(|error| error.to_string())?;
        let at = data.deferred_proof_index.as_canonical_u32();
        let digests = self.expected.input_digests.get(at as usize..).and_then(|rest| rest.first_chunk::<2>());
        let digests = digests.ok_or_else(|| format!("the program is given no proof {at}"))?;
        let range = ShardRange::deferred(u64::from(at), u64::from(at) + 1);
        let values = self.part(&self.expected.initial_claims(range, *digests), false)?;
        agree("sum", values.global_cumulative_sum, SepticDigest::zero())
    }

    /// Several recursion proofs, verified in one: it says what its parts say, and nothing else.
    fn reduced(&self) -> Result<(), String> {
        let complete: bool = self.literal(0)?.parse().map_err(|_| "its task is not understood".to_owned())?;
        let range: ShardRange = serde_json::from_str(self.literal(1)?).map_err(|error| error.to_string())?;
        // Each after its own range.
        let places = (3..self.result.spec.inputs.len()).step_by(2);
        let parts = places.map(|at| self.input_values(at)).collect::<Result<Vec<_>, _>>()?;
        let values = self.recursion()?;
        if values.range() != range {
            return Err(format!("it is of {:?}, and {range:?} was asked for", values.range()));
        }
        let expected = reduction(&parts, complete).ok_or("its parts cannot be summed up")?;
        // It was recomputed from the rest.
        let expected = RecursionValues { digest: values.digest, ..expected };
        agree("sum of its parts", values.as_array(), expected.as_array())
    }

    /// A compressed proof, shrunk and wrapped: it says the same.
    fn wrapped(&self) -> Result<(), String> {
        let wrapped: WrapProof = decode(&self.result.output)?;
        let values = recursion_values(&wrapped.proof.public_values)?;
        let compressed = self.input_values(0)?;
        agree("program", values.sp1_vk_digest, self.expected.key_digest)?;
        agree("nonce", values.proof_nonce, self.expected.nonce())?;
        agree("digest of committed values", values.committed_value_digest, compressed.committed_value_digest)?;
        agree("digest of input proofs", values.deferred_proofs_digest, compressed.deferred_proofs_digest)?;
        agree("exit code", values.exit_code, compressed.exit_code)?;
        // The key of the wrapping program depends on the list of SP1's programs, which it has not with the feature
        // `mprotect`.
        if !self.verifier.vk_verification() {
            return Ok(());
        }
        let verified = self.verifier.verify_wrap_bn254(&wrapped, &self.expected.key);
        verified.map_err(|error| does_not_verify(&error))
    }

    /// What SP1's verifiers of on-chain proofs don't look at.
    fn on_chain(&self, nonce: &str) -> Result<(), String> {
        agree("nonce", nonce, on_chain_nonce(self.expected.nonce).as_str())
    }
}

/// What the reduction of `parts` says, but for its digest: as sp1-recursion-circuit's `SP1CompressVerifier` puts it
/// together. None for no parts.
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

/// What the precompile calls of a core shard may be that are proven apart: SP1's controller makes shards of what it is
/// told of them, without looking.
#[derive(Debug, Clone)]
pub struct EventLimits {
    split: SplitOpts,
    /// Calls that stay in their core shard.
    retained: HashSet<SyscallCode>,
}

impl EventLimits {
    /// For a program of `instructions` instructions; `untrusted` if it may run code that it loads.
    ///
    /// # Panics
    /// When the program does not fit into shards of that size.
    #[must_use]
    pub fn new(options: &CutOptions, instructions: usize, untrusted: bool) -> Self {
        let options = options.as_sp1();
        let retained = options.retained_events_presets.iter().flat_map(|preset| preset.syscall_codes()).copied();
        Self { split: SplitOpts::new(options, instructions, untrusted), retained: retained.collect() }
    }

    /// Most events of `code` in one piece; 0 when there are none, and SP1's controller would never end cutting them.
    fn most(&self, code: SyscallCode) -> usize {
        if self.retained.contains(&code) { 0 } else { self.split.syscall_threshold[code] }
    }

    /// Cells of `events` calls of `code`, of which a shard with room for `room` cells holds its number.
    fn part_of_shard(&self, code: SyscallCode, events: usize, room: u64) -> u64 {
        let most = self.split.syscall_threshold[code].max(1) as u64;
        let cells = u128::from(room) * events as u128 / u128::from(most);
        u64::try_from(cells).unwrap_or(u64::MAX)
    }

    /// Checks `list`, a serialised [`DeferredEvents`], and the pieces that it names, which `delivered` finds among what
    /// the same attempt delivered.
    ///
    /// That the calls are those of the shard cannot be seen from them: if they are others, the proof's parts don't sum
    /// up.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self, list: &[u8], delivered: &dyn Fn(&str) -> Option<Blob>) -> Result<(), String> {
        let DeferredEvents(events) =
            decode(list).map_err(|error| format!("the list of its events is none: {error}"))?;
        let mut names = HashSet::new();
        for (code, pieces) in &events {
            let most = self.most(*code);
            if most == 0 {
                return Err(format!("its events are of {code:?}, which is not proven apart"));
            }
            for PrecompileArtifactSlice { artifact, start_idx, end_idx } in pieces {
                let name = artifact.0.as_str();
                if *start_idx != 0 || *end_idx == 0 || *end_idx > most {
                    return Err(format!(
                        "a piece of its events of {code:?} is {start_idx} to {end_idx}, of at most {most}"
                    ));
                }
                if !names.insert(name) {
                    return Err(format!("the events {name} are named twice"));
                }
                let piece =
                    delivered(name).ok_or_else(|| format!("the events {name:?} were not delivered with their list"))?;
                check_piece(piece, *end_idx).map_err(|error| format!("the events {name} are none: {error}"))?;
            }
        }
        Ok(())
    }
}

/// Checks that `piece` is `count` events, one by one: all at once take many times the memory that their bytes do.
fn check_piece(piece: Blob, count: usize) -> Result<(), String> {
    if piece.len() > MOST_PIECE_BYTES {
        return Err(format!("they have {} bytes", piece.len()));
    }
    let bytes = piece.decode().map_err(|error| error.to_string())?;
    let options = bincode::DefaultOptions::new().with_fixint_encoding();
    let mut reader = bincode::Deserializer::from_slice(&bytes, options);
    let found = u64::deserialize(&mut reader).map_err(|error| error.to_string())?;
    if found != count as u64 {
        return Err(format!("they are {found}, announced were {count}"));
    }
    for _ in 0..count {
        <(SyscallEvent, PrecompileEvent)>::deserialize(&mut reader).map_err(|error| error.to_string())?;
    }
    match u8::deserialize(&mut reader) {
        Ok(_) => Err("something follows them".to_owned()),
        Err(_) => Ok(()),
    }
}
