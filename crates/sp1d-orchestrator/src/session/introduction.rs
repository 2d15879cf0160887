//! What a worker reports about itself when a session starts.

use crate::{
    pool::list::Member,
    runner::task::AttemptMemory,
    settings::{MAX_HELD_ATTEMPTS, OrchestratorSettings},
};
use sp1d_model::clean_line;
use sp1d_protocol::wire::{self, HelloRequest, Machine};
use sp1d_scheduler::{KindSet, TaskKind};
use std::collections::BTreeMap;

sp1d_model::limits! {
    /// Maximum number of characters of a worker's name, and of the name of its processor.
    const MAX_TEXT_CHARACTERS: usize = 64; Count by Worker;
}

/// What a worker reported about itself in an accepted handshake.
#[derive(Debug, Clone)]
pub(super) struct WorkerIntroduction {
    pub(super) name: String,
    pub(super) supported_kinds: KindSet,
    pub(super) missing: BTreeMap<TaskKind, String>,
    pub(super) threads: u32,
    /// Maximum number of attempts that it may hold.
    pub(super) slots: u32,
    pub(super) memory_bytes: u64,
    pub(super) memory: Option<AttemptMemory>,
    pub(super) cpu: String,
}

impl WorkerIntroduction {
    /// Reads the hello of the worker at `address`. A worker without a name is named after its address.
    pub(super) fn new(hello: HelloRequest, address: &Member, settings: &OrchestratorSettings) -> Self {
        let (supported_kinds, missing) = (hello.kind_set(), hello.missing_capability_texts());
        let short = |text: String| clean_line(&text, MAX_TEXT_CHARACTERS).trim().to_owned();
        let name = short(hello.name);
        let name = if name.is_empty() { address.to_string() } else { name };
        let Machine { threads, memory_bytes, cpu, provers } = hello.machine.unwrap_or_default();
        tracing::debug!(worker = %name, threads, memory_bytes, ?cpu, "hello");
        let memory = hello.readiness.and_then(|readiness| attempt_memory(readiness.memory));
        let slots = settings.shard_batch_size.saturating_mul(provers.max(1)).clamp(1, MAX_HELD_ATTEMPTS);
        Self { name, supported_kinds, missing, threads, slots, memory_bytes, memory, cpu: short(cpu) }
    }
}

/// Returns the memory that a worker reports; `None` if it reports none, or if it contradicts itself.
pub(crate) fn attempt_memory(memory: Option<wire::AttemptMemory>) -> Option<AttemptMemory> {
    let wire::AttemptMemory { each_bytes, alone_bytes } = memory?;
    (each_bytes <= alone_bytes).then_some(AttemptMemory { each_bytes, alone_bytes })
}
