//! Knows which values the parts of a proof must have, before they are proven.

use super::{
    event_limits::EventLimits,
    part_values::{PartValues, ProgramState, limbs},
    record::{ClockRange, ShardRecord, clock_cycles},
};
use crate::{
    memory::{ShardCells, fixed_cells},
    options::CutOptions,
    program::ProgramShape,
    sp1_types::FieldDigest,
};
use slop_algebra::AbstractField;
use sp1_core_machine::io::SP1Stdin;
use sp1_hypercube::{DIGEST_SIZE, HashableKey, SP1VerifyingKey, air::ShardRange};
use sp1_primitives::SP1Field;
use sp1_prover::worker::{PrecompileArtifactSlice, hash_deferred_proofs};
use sp1d_artifacts::{Blob, Digest};
use sp1d_orchestrator::{ProofRequest, TaskSpec};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

sp1d_model::limits! {
    /// Largest list of deferred events in bytes. A list names a few pieces for each precompile, with about 50 bytes
    /// each.
    const MAX_LIST_BYTES: u64 = 1 << 20; Bytes by Worker;
}

/// What is known of a proof's parts before they are proven.
pub(crate) struct Expectations {
    pub(super) key: SP1VerifyingKey,
    pub(super) key_digest: FieldDigest,
    pub(super) nonce: [u32; 4],
    /// Digests of the first 0, 1, 2, … input proofs.
    pub(super) input_digests: Vec<FieldDigest>,
    limits: EventLimits,
    shape: ProgramShape,
    /// Number of trace cells after which a shard ends.
    threshold: u64,
    /// Content of the records, by the name of their artifact.
    records: Mutex<HashMap<String, ShardRecord>>,
}

impl Expectations {
    /// Creates the expectations. `key` and `shape` belong to a valid program, and the input proofs in `stdin` have the
    /// right number of public values.
    pub(crate) fn new(
        request: &ProofRequest,
        options: &CutOptions,
        key: &SP1VerifyingKey,
        shape: ProgramShape,
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
            limits: EventLimits::new(options, shape.instructions, shape.may_write_instructions),
            shape,
            threshold: options.threshold(),
            records: Mutex::default(),
        }
    }

    fn records(&self) -> MutexGuard<'_, HashMap<String, ShardRecord>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns what identifies the shard of the record `name`.
    pub(super) fn record(&self, name: &str) -> Option<ShardRecord> {
        self.records().get(name).cloned()
    }

    /// Notes which shard the artifact `name` describes, if it is a record. Another artifact that happens to decode as a
    /// record does no harm: its name is never looked up.
    pub(crate) fn note(&self, name: &str, data: &[u8]) {
        if let Some(record) = ShardRecord::read(data) {
            self.records().insert(name.to_owned(), record);
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
        let instructions = self.shape.instructions as u64;
        let variable = match self.records().get(name)? {
            ShardRecord::Core { clock, opened, .. } => {
                let cycles = clock_cycles(*clock);
                OPENED.saturating_mul(opened + REGISTERS).saturating_add(CYCLE.saturating_mul(cycles))
            }
            ShardRecord::Precompile { code, events } => {
                let events: usize = events.iter().map(|slice| slice.end_idx.saturating_sub(slice.start_idx)).sum();
                self.limits.part_of_shard(*code, events, self.threshold.saturating_sub(fixed_cells(instructions)))
            }
            ShardRecord::Memory { accesses, .. } => GLOBAL_ACCESS.saturating_mul(*accesses),
        };
        Some(ShardCells::new(instructions, variable, self.threshold))
    }

    /// Returns the number of cycles in the shard with the record `name`. Returns `None` if it is not a core shard.
    pub(crate) fn cycles(&self, name: &str) -> Option<u64> {
        self.clock(name).map(clock_cycles)
    }

    /// Returns how many input values the shard with the record `name` reads. Returns `None` if it is not a core shard.
    pub(crate) fn input_reads(&self, name: &str) -> Option<u64> {
        match self.records().get(name) {
            Some(ShardRecord::Core { input_reads, .. }) => Some(*input_reads),
            Some(ShardRecord::Precompile { .. } | ShardRecord::Memory { .. }) | None => None,
        }
    }

    /// Returns the program's exit code if the record `name` contains it.
    pub(crate) fn exit_code(&self, name: &str) -> Option<u32> {
        match self.records().get(name) {
            Some(ShardRecord::Memory { exit_code, .. }) => Some(*exit_code),
            Some(ShardRecord::Core { .. } | ShardRecord::Precompile { .. }) | None => None,
        }
    }

    /// Returns start and end of the shard with the record `name` on the program's clock. Returns `None` if it is not a
    /// core shard.
    pub(crate) fn clock(&self, name: &str) -> Option<ClockRange> {
        match self.records().get(name) {
            Some(ShardRecord::Core { clock, .. }) => Some(*clock),
            Some(ShardRecord::Precompile { .. } | ShardRecord::Memory { .. }) | None => None,
        }
    }

    /// Returns a digest of the record `name` that is the same whenever the program runs with the same input. A
    /// precompile record names its events by artifact, and these names differ each time, so the content of the
    /// artifacts is used instead. `digest` returns the digest of an artifact.
    pub(super) fn content(&self, name: &str, digest: impl Fn(&str) -> Option<Digest>) -> Option<Digest> {
        let (code, events) = match self.records().get(name)? {
            ShardRecord::Core { .. } | ShardRecord::Memory { .. } => return digest(name),
            ShardRecord::Precompile { code, events } => (*code, events.clone()),
        };
        let mut content = format!("precompile {}", code as u32).into_bytes();
        for PrecompileArtifactSlice { artifact, start_idx, end_idx } in events.iter() {
            content.extend(digest(&artifact.0)?.as_bytes());
            content.extend([*start_idx as u64, *end_idx as u64].map(u64::to_le_bytes).concat());
        }
        Some(Digest::of(&content))
    }

    pub(super) fn nonce(&self) -> [SP1Field; 4] {
        self.nonce.map(SP1Field::from_canonical_u32)
    }

    /// Returns the values that the proof of the shard with this record must have.
    pub(super) fn shard_values(&self, record: &ShardRecord) -> PartValues {
        let all = *self.input_digests.last().expect("the list starts with the digest of no proof");
        let count = self.input_digests.len() as u64 - 1;
        match *record {
            ShardRecord::Core { pc, clock, .. } => PartValues {
                range: ShardRange {
                    timestamp_range: clock,
                    deferred_proof_range: (count, count),
                    ..ShardRange::default()
                },
                pc: limbs(pc),
                idle: None,
                input_digests: [all; 2],
            },
            ShardRecord::Precompile { .. } => self.initial_values(ShardRange::precompile(), [self.input_digests[0]; 2]),
            ShardRecord::Memory {
                pc,
                timestamp,
                exit_code,
                committed,
                initialized,
                finalized,
                initialized_pages,
                finalized_pages,
                accesses: _,
            } => PartValues {
                range: ShardRange {
                    timestamp_range: (timestamp, timestamp),
                    initialized_address_range: initialized,
                    finalized_address_range: finalized,
                    initialized_page_index_range: initialized_pages,
                    finalized_page_index_range: finalized_pages,
                    deferred_proof_range: (count, count),
                },
                pc: limbs(pc),
                idle: Some(ProgramState {
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

    /// Returns the values of a part that stands before the program's first cycle.
    pub(super) fn initial_values(&self, range: ShardRange, input_digests: [FieldDigest; 2]) -> PartValues {
        PartValues { range, pc: self.key.vk.pc_start, idle: Some(ProgramState::initial()), input_digests }
    }

    /// Checks the deferred events that an attempt uploaded for the core shard of `spec`. `uploaded` finds an artifact
    /// that the attempt uploaded. Returns the names of the artifacts with the events.
    ///
    /// # Errors
    /// Fails with the first problem of the list or of a piece.
    pub(super) fn check_deferred_events(
        &self,
        spec: &TaskSpec,
        uploaded: &dyn Fn(&str) -> Option<Blob>,
    ) -> Result<Vec<String>, String> {
        let marker = spec.payload.marker().ok_or("its task has no marker")?;
        let list = uploaded(&marker.event_list).ok_or("the list of deferred events is missing")?;
        if list.len() > MAX_LIST_BYTES {
            return Err(format!(
                "the list of deferred events has {} bytes, at most {MAX_LIST_BYTES} are allowed",
                list.len()
            ));
        }
        let list = list.decode().map_err(|error| format!("cannot read the list of deferred events: {error}"))?;
        self.limits.check(&list, self.max_event_bytes(spec), uploaded)
    }

    /// Returns the maximum number of bytes of the deferred events of the core shard of `spec`, with their list.
    pub(super) fn max_event_bytes(&self, spec: &TaskSpec) -> u64 {
        let records = self.records();
        let accesses = match spec.payload.shard().and_then(|shard| records.get(&shard.record)) {
            Some(ShardRecord::Core { accesses, .. }) => *accesses,
            Some(ShardRecord::Precompile { .. } | ShardRecord::Memory { .. }) | None => 0,
        };
        self.limits.max_bytes(accesses).saturating_add(MAX_LIST_BYTES)
    }

    /// Returns the names of the artifacts that the record of `spec` names: the events of a precompile shard.
    pub(super) fn named_artifacts(&self, spec: &TaskSpec) -> Vec<String> {
        match spec.payload.shard().and_then(|shard| self.record(&shard.record)) {
            Some(ShardRecord::Precompile { events, .. }) => {
                events.iter().map(|slice| slice.artifact.0.clone()).collect()
            }
            Some(ShardRecord::Core { .. } | ShardRecord::Memory { .. }) | None => Vec::new(),
        }
    }
}
