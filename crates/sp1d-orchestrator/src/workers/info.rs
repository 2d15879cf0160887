//! What people see of a connected worker.

use super::{connected_worker::ConnectedWorker, snapshot::PoolSnapshot};
use sp1d_model::GpuState;
use sp1d_scheduler::{SessionId, TaskKind};
use std::sync::atomic::Ordering;

/// A connected worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its name.
    pub name: String,
    /// Its address; `local` for the worker in this process; `joined from ADDRESS` for a worker that joined.
    pub address: String,
    /// Whether it gets tasks of proofs that are only for trusted workers.
    pub trusted: bool,
    /// True while one of its provers is loaded.
    pub has_loaded_prover: bool,
    /// Number of threads that prove, as the worker reports it.
    pub threads: u32,
    /// Memory of its machine in bytes, as the worker reports it; 0 if unknown.
    pub memory_bytes: u64,
    /// Its processor, as the worker reports it, after its GPUs if it proves on them.
    pub hardware: String,
    /// The state of the GPUs that it proves on, as it last reported it.
    pub gpus: Vec<GpuState>,
    /// Task kinds that it supports.
    pub kinds: Vec<TaskKind>,
    /// Maximum number of attempts that it may hold.
    pub slots: u32,
    /// Number of attempts that it holds.
    pub holds: usize,
    /// Number of its results that were accepted since it connected.
    pub done: u64,
    /// Number of its attempts that failed since it connected, rejected results included.
    pub failed_attempts: u64,
    /// True while it is draining or drained. It then receives no tasks until it is resumed.
    pub draining: bool,
    /// For which task kinds it is quarantined and why; `None` if it is not quarantined.
    pub quarantine: Option<String>,
}

impl WorkerInfo {
    /// Describes `worker`, which is connected in `session`.
    pub(crate) fn new(session: SessionId, worker: &ConnectedWorker, pool: &PoolSnapshot) -> Self {
        Self {
            name: worker.name.to_string(),
            address: worker.address.to_string(),
            trusted: worker.trusted,
            has_loaded_prover: pool.has_loaded_prover(session),
            threads: worker.threads,
            slots: worker.slots,
            memory_bytes: worker.machine_bytes,
            hardware: worker.hardware.clone(),
            gpus: worker.gpus().clone(),
            kinds: worker.supported_kinds.iter().collect(),
            holds: pool.held(session),
            done: worker.done.load(Ordering::Relaxed),
            failed_attempts: worker.failed_attempts.load(Ordering::Relaxed),
            draining: pool.is_draining(session),
            quarantine: pool.quarantine(worker.worker_id),
        }
    }
}
