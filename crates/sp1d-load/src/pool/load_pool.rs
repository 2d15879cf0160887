//! An orchestrator that is connected to all workers.

use super::fleet_process::FleetProcess;
use anyhow::{Context, Result, bail};
use sp1d_artifacts::StoreLimits;
use sp1d_identity::TlsIdentity;
use sp1d_orchestrator::{Orchestrator, OrchestratorSettings, WorkerAddress, WorkerList};
use sp1d_testing::fake_build;
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::sleep;

/// Memory for artifacts. The parts bound what they store, so nothing goes to disk.
const STORE_BYTES: u64 = 4 << 30;

/// Longest start of all sessions.
const START_TIME: Duration = Duration::from_secs(60);

/// A running orchestrator in this process, and its workers.
pub(crate) struct LoadPool {
    pub(crate) orchestrator: Arc<Orchestrator>,
    pub(crate) fleets: Vec<FleetProcess>,
}

impl LoadPool {
    /// Connects to all workers of `fleets`, and waits until they are ready. `missed_heartbeats` is how many heartbeats
    /// of a second a worker may miss.
    ///
    /// # Errors
    /// Fails if a worker is not ready in time.
    pub(crate) async fn start(fleets: Vec<FleetProcess>, missed_heartbeats: u32) -> Result<Self> {
        Self::connect(fleets, missed_heartbeats, None).await
    }

    /// Connects to all workers of `fleet` with TLS, and waits until they are ready. A worker may be silent for 20 s.
    ///
    /// # Errors
    /// Fails if a worker is not ready in time.
    pub(crate) async fn secure(fleet: FleetProcess, tls: Arc<TlsIdentity>) -> Result<Self> {
        Self::connect(vec![fleet], 20, Some(tls)).await
    }

    async fn connect(fleets: Vec<FleetProcess>, missed_heartbeats: u32, tls: Option<Arc<TlsIdentity>>) -> Result<Self> {
        let members: Vec<WorkerAddress> =
            fleets.iter().flat_map(|fleet| &fleet.addresses).map(|address| WorkerAddress::from(*address)).collect();
        let (count, mut settings) = (members.len(), OrchestratorSettings::new(fake_build()));
        settings.missed_heartbeats = missed_heartbeats;
        settings.tls = tls;
        settings.store = StoreLimits { memory_bytes: STORE_BYTES, disk_bytes: 0, spill_folder: None };
        let connected = Orchestrator::connect(&WorkerList(members), settings, None).await;
        let orchestrator = Arc::new(connected.context("cannot connect to the workers")?);
        let deadline = Instant::now() + START_TIME;
        let ready = || orchestrator.workers().iter().filter(|worker| worker.has_loaded_prover).count();
        while ready() < count {
            if Instant::now() > deadline {
                bail!("{} of {count} workers are ready after {} s", ready(), START_TIME.as_secs());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { orchestrator, fleets })
    }

    /// Starts one process with `count` workers whose results have `result_bytes`, and connects to all of them. Under
    /// full load, a worker may be silent for 20 s.
    ///
    /// # Errors
    /// Fails if a worker is not ready in time.
    pub(crate) async fn of(count: u32, result_bytes: usize) -> Result<Self> {
        let fleet = FleetProcess::start(count, &[("result-bytes", result_bytes.to_string())])?;
        Self::start(vec![fleet], 20).await
    }

    /// Ends all sessions and processes.
    pub(crate) async fn end(self) {
        self.orchestrator.end().await;
    }
}
