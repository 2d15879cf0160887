//! The paths whose instructions are counted.

use crate::{
    measure::shrinking_record,
    simulation::{FleetKind, HubRate, SimulatedFleet, plan_shards, simulate},
};
use anyhow::{Context, Result, anyhow, ensure};
use fastrand::Rng;
use sp1d_artifacts::{Blob, StoreLimits};
use sp1d_orchestrator::{Orchestrator, OrchestratorSettings, WorkerAddress, WorkerList};
use sp1d_testing::{EndpointConnector, FakeEngine, FakeRunner, fake_build, introduction, ready, request};
use sp1d_worker::LocalWorker;
use std::{hint::black_box, sync::Arc, time::Duration};
use tokio::{runtime::Builder, sync::broadcast};
use tokio_util::sync::CancellationToken;

/// A path whose instructions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CountedPath {
    /// The scheduler assigns a shard and accepts its result, in a pool whose workers fail now and then.
    Scheduler,
    /// An artifact of 1 MiB is compressed and hashed.
    Encode,
    /// An artifact of 1 MiB is decompressed and checked.
    Decode,
    /// A shard with a record of 8 bytes passes through an orchestrator and a worker: messages and bookkeeping.
    Bookkeeping,
    /// The same with a record of 256 KiB that does not compress: mostly its bytes.
    Transfer,
}

/// Content of the artifacts.
const ARTIFACT_BYTES: usize = 1 << 20;

/// Workers of the scheduler.
const WORKERS: usize = 50;

/// Seconds of a shard, and of its record, in the virtual time of the scheduler.
const SHARD_SECONDS: f64 = 10.0;
const RECORD_SECONDS: f64 = 0.01;

/// The count of a shard must not depend on the speed of this machine, so no heartbeat is due. The largest interval that
/// a worker accepts.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Longest proof. A program takes about fifty times as long while its instructions are counted.
const PROOF_TIME: Duration = Duration::from_secs(600);

/// Memory for artifacts. Nothing goes to disk.
const STORE_BYTES: u64 = 1 << 30;

impl CountedPath {
    pub(crate) const ALL: [Self; 5] = [Self::Scheduler, Self::Encode, Self::Decode, Self::Bookkeeping, Self::Transfer];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Encode => "encode",
            Self::Decode => "decode",
            Self::Bookkeeping => "bookkeeping",
            Self::Transfer => "transfer",
        }
    }

    /// Returns the number of repetitions to count. A run of this many takes a few seconds.
    pub(crate) const fn repetitions(self) -> u64 {
        match self {
            Self::Scheduler => 1000,
            Self::Encode | Self::Decode => 4,
            Self::Bookkeeping => 200,
            Self::Transfer => 10,
        }
    }

    /// Returns how much a count may differ from the recorded one, as a fraction. The paths with an orchestrator use
    /// hash maps and several threads, so their counts differ a little between runs.
    pub(crate) const fn tolerance(self) -> f64 {
        match self {
            Self::Scheduler | Self::Encode | Self::Decode => 0.02,
            Self::Bookkeeping => 0.06,
            // How many frames one write takes depends on when the threads of checks run.
            Self::Transfer => 0.12,
        }
    }

    /// Takes the path this many times.
    ///
    /// # Errors
    /// Fails if the path does not lead to its end.
    pub(crate) fn take(self, repetitions: u64) -> Result<()> {
        match self {
            Self::Scheduler => schedule(repetitions as usize),
            Self::Encode => {
                let content = shrinking_record(ARTIFACT_BYTES);
                (0..repetitions).for_each(|_| _ = black_box(Blob::encode(black_box(&content))));
                Ok(())
            }
            Self::Decode => {
                let blob = Blob::encode(&shrinking_record(ARTIFACT_BYTES));
                (0..repetitions).try_for_each(|_| {
                    let content = blob.clone().decode().context("cannot decode an artifact")?;
                    ensure!(black_box(content).len() == ARTIFACT_BYTES, "a decoded artifact has another length");
                    anyhow::Ok(())
                })
            }
            Self::Bookkeeping => prove(repetitions, 8),
            Self::Transfer => prove(repetitions, 256 << 10),
        }
    }
}

/// Runs shards with the real scheduler in virtual time.
fn schedule(shards: usize) -> Result<()> {
    let mut random = Rng::with_seed(1);
    let kind = FleetKind::Failing;
    let fleet = SimulatedFleet::new(kind, WORKERS, SHARD_SECONDS, &mut random);
    let shards = plan_shards(shards, SHARD_SECONDS, kind.shard_spread(), RECORD_SECONDS, &mut random);
    black_box(simulate(&shards, &fleet, Some(HubRate(1000.0)), random)?);
    Ok(())
}

/// Proves shards with records of this size: an orchestrator, and a worker that proves nothing, on one thread. They are
/// connected by an in-memory pipe, because the count of a socket depends on how the kernel splits the bytes.
fn prove(shards: u64, record_bytes: usize) -> Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build().context("cannot start a runtime")?;
    runtime.block_on(async {
        let (worker, endpoint) = LocalWorker::new(introduction("counted"));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(worker.serve(ready(FakeEngine::honest()), stop.clone()));
        let mut settings = OrchestratorSettings::new(fake_build());
        settings.heartbeat = HEARTBEAT;
        settings.store = StoreLimits { memory_bytes: STORE_BYTES, disk_bytes: 0, spill_folder: None };
        let members = WorkerList(vec![WorkerAddress::Local]);
        let connected = Orchestrator::connect(&members, settings, Some(Arc::new(EndpointConnector(endpoint)))).await;
        let orchestrator = connected.context("cannot connect to the worker")?;
        let runner = Arc::new(FakeRunner { record_bytes, ..FakeRunner::default() });
        let (progress, _events) = broadcast::channel(64);
        let asked = request(shards, PROOF_TIME);
        let proven = orchestrator.prove(asked, runner, progress, CancellationToken::new()).await;
        let proven = proven.map_err(|failure| anyhow!("the proof failed: {failure}"))?;
        ensure!(proven.shards == shards, "the proof has {} shards, not {shards}", proven.shards);
        orchestrator.shutdown().await;
        stop.cancel();
        serving.await.context("the worker panicked")?.context("the worker failed")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;

    #[test]
    fn each_path_leads_to_its_end() {
        for path in CountedPath::ALL {
            path.take(3).unwrap();
        }
    }

    #[test]
    fn each_path_has_the_name_of_its_argument() {
        assert_eq!(CountedPath::value_variants(), CountedPath::ALL);
        for path in CountedPath::ALL {
            assert_eq!(CountedPath::from_str(path.name(), false), Ok(path));
        }
    }
}
