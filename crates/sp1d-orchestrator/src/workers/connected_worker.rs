//! A connected worker, as the shared state lists it.

use super::{close_reason::CloseReason, worker_address::WorkerAddress};
use crate::{
    lock::lock,
    runner::task::{AttemptMemory, shard_room},
};
use sp1d_identity::PeerName;
use sp1d_model::GpuState;
use sp1d_protocol::{Closer, wire::ToWorker};
use sp1d_scheduler::{KindSet, OriginId, ShardRoom, TaskKind, WorkerId};
use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64},
    },
};
use tokio::sync::mpsc;

/// A connected worker. Whether it is ready, its standing and what it holds are not kept here: see
/// [`PoolSnapshot`](super::snapshot::PoolSnapshot).
pub(crate) struct ConnectedWorker {
    /// Identity of the worker, which is the same in all its sessions.
    pub(crate) worker_id: WorkerId,
    /// Where it comes from.
    pub(crate) origin: OriginId,
    pub(crate) name: Arc<str>,
    /// The name in its certificate; `None` without TLS.
    pub(crate) certificate: Option<PeerName>,
    /// Whether it may get the tasks of proofs that are only for trusted workers: its certificate says so, or it is the
    /// worker of this process.
    pub(crate) trusted: bool,
    pub(crate) address: WorkerAddress,
    /// Its address as text. Each of its attempts needs the text.
    pub(crate) address_text: Arc<str>,
    pub(crate) supported_kinds: KindSet,
    /// Why it does not support the other task kinds.
    pub(crate) missing_capabilities: BTreeMap<TaskKind, String>,
    pub(crate) outbox: mpsc::Sender<Result<ToWorker, tonic::Status>>,
    pub(crate) closer: Closer,
    pub(crate) close_reason: Arc<CloseReason>,
    pub(crate) threads: u32,
    /// Maximum number of attempts that it may hold.
    pub(crate) slots: u32,
    /// Memory of its machine; 0 if unknown.
    pub(crate) machine_bytes: u64,
    /// How much of it its attempts can use, as it last reported.
    pub(crate) attempt_memory: Mutex<Option<AttemptMemory>>,
    /// Number of its provers.
    pub(crate) provers: u32,
    /// The most cells of a shard that it proves; `None` if only its memory bounds them.
    pub(crate) largest_cut: Option<u64>,
    /// By kind: the cut of the try of the last accepted result in this session, which says to which cut the pace
    /// belongs; 0 before.
    pub(crate) cut_of_last_result: [AtomicU64; TaskKind::ALL.len()],
    /// Its processor, after its GPUs if it proves on them.
    pub(crate) hardware: String,
    /// The state of its GPUs, as it last reported it.
    pub(crate) gpus: Mutex<Vec<GpuState>>,
    pub(crate) done: AtomicU64,
    pub(crate) failed_attempts: AtomicU64,
    /// True if the worker had joined and ended its session on purpose, or if it was forgotten. It is then not listed as
    /// disconnected.
    pub(crate) left_on_purpose: AtomicBool,
}

impl ConnectedWorker {
    pub(crate) fn gpus(&self) -> MutexGuard<'_, Vec<GpuState>> {
        lock(&self.gpus)
    }

    /// Returns how much memory attempts on the worker can use, as it last reported.
    pub(crate) fn attempt_memory(&self) -> MutexGuard<'_, Option<AttemptMemory>> {
        lock(&self.attempt_memory)
    }

    /// Returns what bounds the shards that it proves.
    pub(crate) fn shard_room(&self) -> ShardRoom {
        shard_room(self.largest_cut, *self.attempt_memory())
    }
}
