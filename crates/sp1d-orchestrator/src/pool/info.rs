//! What people see of the pool: its connected workers, and the workers that cannot be reached.

use super::{
    connected::ConnectedWorker,
    list::Member,
    reach_error::{ReachError, failure_line},
    snapshot::PoolSnapshot,
};
use sp1d_model::GpuState;
use sp1d_scheduler::{SessionId, TaskKind};
use std::{
    fmt,
    sync::{Arc, atomic::Ordering},
};

/// A connected worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its name.
    pub name: String,
    /// Its address; `local` for the worker in this process; `joined from ADDRESS` for a worker that joined.
    pub address: String,
    /// Whether it gets tasks of proofs that are only for trusted workers.
    pub trusted: bool,
    /// True if its prover is loaded.
    pub ready: bool,
    /// Number of threads that prove, as the worker reports it.
    pub threads: u32,
    /// Memory of its machine in bytes, as the worker reports it; 0 if unknown.
    pub memory_bytes: u64,
    /// Its processor, as the worker reports it, after its GPUs if it proves on them.
    pub cpu: String,
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
    /// True if a drain was requested. It then receives no tasks until it is resumed.
    pub drained: bool,
    /// For which task kinds it is quarantined and why; `None` if it is not quarantined.
    pub quarantine: Option<String>,
}

impl WorkerInfo {
    /// Describes `worker`, which is connected in `session`.
    pub(crate) fn new(session: SessionId, worker: &ConnectedWorker, pool: &PoolSnapshot) -> Self {
        Self {
            name: worker.name.clone(),
            address: worker.address.to_string(),
            trusted: worker.trusted,
            ready: worker.ready.load(Ordering::Relaxed),
            threads: worker.threads,
            slots: worker.slots,
            memory_bytes: worker.memory_bytes,
            cpu: worker.cpu.clone(),
            gpus: worker.gpus().clone(),
            kinds: worker.supported_kinds.iter().collect(),
            holds: pool.held(session),
            done: worker.done.load(Ordering::Relaxed),
            failed_attempts: worker.failed_attempts.load(Ordering::Relaxed),
            drained: pool.is_drained(session),
            quarantine: pool.quarantine(worker.id),
        }
    }
}

/// A name or address does not select a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownWorker {
    /// No connected worker has this name or address.
    #[error("unknown worker {wanted}; connected workers: {}", NameList(connected))]
    NotConnected {
        /// The name or address that the caller passed.
        wanted: String,
        /// Names of the connected workers.
        connected: Vec<String>,
    },
    /// Several workers have this name. A worker chooses its name itself.
    #[error("several workers are named {wanted}: {}\nhint: pass one of these addresses instead", NameList(addresses))]
    Ambiguous {
        /// The name that the caller passed.
        wanted: String,
        /// Addresses of the workers.
        addresses: Vec<String>,
    },
}

/// Displays names with commas.
struct NameList<'a>(&'a [String]);

impl fmt::Display for NameList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(", ")) }
    }
}

/// A worker of the list that could not be reached.
#[derive(Debug)]
pub struct Unreachable {
    /// Its entry in the list.
    pub worker: Member,
    /// Why it could not be reached.
    pub reason: Arc<ReachError>,
}

/// No worker of the list could be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach any worker of the list: {}\nhint: start the workers with `sp1d worker`, or correct the list; `[\"local\"]` proves in this process", UnreachableList(.0))]
pub struct ConnectError(pub Vec<Unreachable>);

/// Displays each worker with its reason.
pub(crate) struct UnreachableList<'a>(pub(crate) &'a [Unreachable]);

impl fmt::Display for UnreachableList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, Unreachable { worker, reason }) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{worker} ({})", failure_line(reason))?;
        }
        Ok(())
    }
}
