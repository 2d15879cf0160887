//! The settings of an orchestrator.

use crate::resolver::{AddressResolver, SystemResolver};
use sp1d_identity::TlsIdentity;
use sp1d_protocol::Build;
use sp1d_scheduler::Placement;
use std::{ffi::OsStr, fs, path::Path, sync::Arc, time::Duration};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum number of attempts that a worker may hold at a time. A worker rejects attempts beyond
    /// `sp1d_protocol::MessageLimits::HELD_ATTEMPTS`, which is larger, and no worker needs this many.
    pub const MAX_HELD_ATTEMPTS: u32 = 128; Count by Worker;
}

/// Settings of an orchestrator.
#[derive(Debug, Clone)]
pub struct OrchestratorSettings {
    /// What the orchestrator is, for people. A worker tells this name to other orchestrators that wait for it. Only the
    /// first 100 characters are used. Orchestrators that share workers need different names.
    pub name: String,
    /// The orchestrator's build. A worker is refused if its SP1 version, its circuits or its SP1 features differ.
    pub build: Build,
    /// Maximum number of attempts that a worker holds at a time for each of its provers, from assignment to report. 1
    /// uses the least memory. A worker never holds more than [`MAX_HELD_ATTEMPTS`].
    pub shard_batch_size: u32,
    /// Whether all workers share the work (`Spread`), or only as many as are needed to finish about as early (`Pack`).
    pub placement: Placement,
    /// Interval between two heartbeats.
    pub heartbeat: Duration,
    /// Number of heartbeats that may be missed before a side closes the session.
    pub missed_heartbeats: u32,
    /// How long a proof waits before it fails, while no worker is connected or while no connected worker supports a
    /// task kind that the proof waits for. While it waits for workers that serve other orchestrators, the time starts
    /// anew when it moves up in a worker's queue. While connected workers support the kind and none of them can prove,
    /// because their provers are not loaded or they are draining, it waits for at least 30 minutes: a prover may take
    /// long to load. `sp1d serve` sets at least 24 hours. Another limit is how long a task waits for a worker with more
    /// memory (`SchedulerConfig::memory_patience`).
    pub patience: Duration,
    /// Memory and disk limits of the artifact store.
    pub store: sp1d_artifacts::StoreLimits,
    /// Which results are verified before they are used.
    pub verify: Verify,
    /// A task and its try fail after failures on workers of this many different origins: workers that count as one
    /// machine (`worker_origins`) count once. Rejected output counts as a failure. If every worker that supports the
    /// task was tried or is too small, this many failures in total are enough. At least 1.
    pub max_failures: u32,
    /// The same for losses of workers of this many different origins: they were lost with the task, ran it for too
    /// long, or never started it. If every worker that supports the task was tried or is too small, this many losses in
    /// total are enough. At least 1.
    pub max_losses: u32,
    /// Which workers count as one machine. Such workers do not confirm each other, and a new one starts with the worst
    /// record of the others.
    pub worker_origins: WorkerOrigins,
    /// Whether only trusted workers may get the tasks of any proof: those whose certificates say so, and the worker of
    /// this process. A request can ask for the same.
    pub trusted_only: bool,
    /// What happens to a proof if no connected worker supports a task kind that it needs. If true, the proof waits up
    /// to `patience` for a worker that does. If false, it fails before it starts. A proof always waits up to `patience`
    /// if no worker at all is connected.
    pub wait_for_capabilities: bool,
    /// Memory that a full shard takes on a processor for each trace cell of its cut, in bytes. After a task ran out of
    /// memory, it gives a GPU worker a size that can be compared with the memory of workers on processors. `None` if
    /// unknown: a GPU worker then counts as larger than all of them.
    pub shard_cell_bytes: Option<u64>,
    /// The highest attempt number that this orchestrator assigned before it restarted; 0 if it did not restart.
    /// Artifact names contain attempt numbers, and with a result cache they must not repeat.
    pub last_attempt_before_restart: u64,
    /// Shared by all orchestrators that continue each other's proofs, one after another. Workers resume attempts that
    /// an earlier orchestrator with the same lineage assigned. `None` for an orchestrator without predecessor or
    /// successor. Requires a result cache.
    pub lineage: Option<[u8; 16]>,
    /// Looks up the names of the worker list.
    pub resolver: Arc<dyn AddressResolver>,
    /// The identity of this orchestrator. With it, all connections use TLS, and the name in a worker's certificate and
    /// the worker's own name identify the worker, whatever its address is. `None` for plain connections. The worker of
    /// this process needs no identity.
    pub tls: Option<Arc<TlsIdentity>>,
}

impl OrchestratorSettings {
    /// Returns the defaults for `build`: the name of this program and machine with the process id, two attempts per
    /// prover, spread placement, a heartbeat every second of which three may be missed, 60 s of patience, a quarter of
    /// the memory for artifacts, every result verified, three failures and five losses, no memory of shards, the
    /// resolver of the operating system, and plain connections.
    #[must_use]
    pub fn new(build: Build) -> Self {
        Self {
            name: own_name(),
            build,
            shard_batch_size: 2,
            placement: Placement::Spread,
            heartbeat: Duration::from_secs(1),
            missed_heartbeats: 3,
            patience: Duration::from_secs(60),
            store: sp1d_artifacts::StoreLimits::of_host(),
            verify: Verify::All,
            max_failures: 3,
            max_losses: 5,
            worker_origins: WorkerOrigins::ByAddress,
            trusted_only: false,
            wait_for_capabilities: false,
            shard_cell_bytes: None,
            last_attempt_before_restart: 0,
            lineage: None,
            resolver: Arc::new(SystemResolver),
            tls: None,
        }
    }

    /// Returns the duration of silence after which a side closes the session.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.heartbeat * self.missed_heartbeats.max(1)
    }
}

/// Returns the name of this program and this machine, with the process id. A part that is unknown is left out.
fn own_name() -> String {
    let program = std::env::current_exe().ok();
    let program = program.as_deref().and_then(Path::file_name).map_or("program".into(), OsStr::to_string_lossy);
    let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = Some(machine.trim()).filter(|machine| !machine.is_empty());
    let place = machine.map(|machine| format!(" on {machine}")).unwrap_or_default();
    format!("{program}{place} (pid {})", std::process::id())
}

/// Which results are verified before they are used. The finished proof is always verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verify {
    /// Every result is verified when it arrives. This takes about 50 ms on one core of the orchestrator. The task of a
    /// wrong result is retried on another worker, and the fault is recorded for the worker that sent it.
    #[default]
    All,
    /// Only the finished proof is verified. If it is wrong, a task fails for good, or the results cannot be combined,
    /// then the results are verified to find the workers that sent wrong ones. These workers are quarantined. If the
    /// proof or a result was wrong, the proof restarts with every result verified when it arrives. This suits trusted
    /// workers, and orchestrators with few cores. Results stay in the store until the try ends, unless the store
    /// needs their room for the running work.
    Final,
}

impl Verify {
    /// All policies, the default first.
    pub const ALL: [Self; 2] = [Self::All, Self::Final];

    /// Returns the stable name that configurations and logs use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Final => "final",
        }
    }
}

/// Which workers count as one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkerOrigins {
    /// Workers with one IP address, or of one IPv6 network of 64 bits. Workers of the list with loopback addresses
    /// count by port: they are processes of this machine that the user has listed.
    #[default]
    ByAddress,
    /// No two workers: the user knows that workers with different names are independent, for example behind one router.
    /// A worker that changes its name then starts with a clean record.
    ByName,
}

impl WorkerOrigins {
    /// All rules, the default first.
    pub const ALL: [Self; 2] = [Self::ByAddress, Self::ByName];

    /// Returns the stable name that configurations use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ByAddress => "address",
            Self::ByName => "name",
        }
    }
}
