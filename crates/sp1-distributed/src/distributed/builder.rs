//! Builds a distributed prover.

use super::{config_source::ConfigSource, error::DistributedError, prover::DistributedProver};
use crate::threads::ClientThreads;
use sp1_core_executor::SP1CoreOpts;
use sp1d_engine::{ProofRunnerSettings, Sp1ProofRunner};
use sp1d_machine::check_processor;
use sp1d_orchestrator::{Placement, Verify, WorkerOrigins};
use sp1d_roles::{config::ConfigOverrides, start_proving_threads};
use std::{path::Path, time::Duration};

/// Settings of a [`DistributedProver`]. Precedence: this builder, then environment variable, then worker list file,
/// then default. The first call that needs the configuration returns its errors.
#[derive(Default)]
pub struct DistributedProverBuilder {
    source: ConfigSource,
}

impl DistributedProverBuilder {
    /// Creates a builder with no settings.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn for_machine(foreign_machine: bool) -> Self {
        Self { source: ConfigSource { foreign_machine, ..ConfigSource::default() } }
    }

    fn set(mut self, change: impl FnOnce(&mut ConfigOverrides)) -> Self {
        change(&mut self.source.overrides);
        self
    }

    /// Reads the worker list from `path` instead of `distributed.json`.
    #[must_use]
    pub fn workers_file(self, path: impl AsRef<Path>) -> Self {
        self.set(|overrides| overrides.workers_file(path.as_ref()))
    }

    /// Sets the workers, each as `HOST:PORT`. No worker list file is read.
    #[must_use]
    pub fn workers<A: ToString>(self, workers: impl IntoIterator<Item = A>) -> Self {
        let workers = workers.into_iter().map(|worker| worker.to_string()).collect();
        self.set(|overrides| overrides.workers(workers))
    }

    /// Sends proof requests to the service at `url` (`http://HOST:PORT` or `https://HOST:PORT`, with an optional path,
    /// see `sp1d serve`) instead of using workers directly. No worker list is read. Returned proofs are verified here.
    ///
    /// The service uses its own settings for placement, verification and shard sizes. It always checks the proofs in an
    /// input. It proves only runs that end with exit code 0.
    #[must_use]
    pub fn url(self, url: impl ToString) -> Self {
        self.set(|overrides| overrides.url(&url.to_string()))
    }

    /// Sets the file with the certificates (PEM) of the only authorities to trust if the service has an `https` URL.
    /// Default: the authorities of the system.
    #[must_use]
    pub fn ca_file(self, path: impl AsRef<Path>) -> Self {
        self.set(|overrides| overrides.ca_file(path.as_ref()))
    }

    /// Sets the file with a token of the service, or of a proxy in front of it, sent as `Authorization: Bearer`.
    #[must_use]
    pub fn token_file(self, path: impl AsRef<Path>) -> Self {
        self.set(|overrides| overrides.token_file(path.as_ref()))
    }

    /// Makes this process a worker too, in addition to the workers of the list. Without a list it is the only worker.
    #[must_use]
    pub fn local_worker(self) -> Self {
        self.set(ConfigOverrides::local_worker)
    }

    /// Sets the number of proving threads of the local worker. Default: one less than the available cores, at least 1.
    /// The executor uses the remaining core.
    #[must_use]
    pub fn local_threads(self, threads: usize) -> Self {
        self.set(|overrides| overrides.local_threads(threads))
    }

    /// Sets how many tasks (usually shards) a worker may hold at a time for each of its provers: 1 to 128. A worker
    /// never holds more than 128 tasks in total. Default: 2.
    #[must_use]
    pub fn shard_batch_size(self, shards: u32) -> Self {
        self.set(|overrides| overrides.shard_batch_size(shards))
    }

    /// Sets whether all workers share the work (`Placement::Spread`, the default) or only as few as finish equally
    /// early (`Placement::Pack`).
    #[must_use]
    pub fn placement(self, placement: Placement) -> Self {
        self.set(|overrides| overrides.placement(placement))
    }

    /// Sets the time between heartbeats: 50 ms to 60 s. Default: 1 s.
    #[must_use]
    pub fn heartbeat(self, interval: Duration) -> Self {
        self.set(|overrides| overrides.heartbeat(interval))
    }

    /// Sets how many heartbeats may be missed before the connection is given up: 1 to 1000. Default: 3.
    #[must_use]
    pub fn missed_heartbeats(self, count: u32) -> Self {
        self.set(|overrides| overrides.missed_heartbeats(count))
    }

    /// Sets how long a proof waits while no connected worker can continue it, in whole seconds. It waits for workers
    /// that have not started yet, and for its turn at workers that serve other orchestrators. If connected workers
    /// support its tasks, but each has no loaded prover or is draining, the proof waits for at least 30 minutes.
    /// Default: 60 s.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        self.set(|overrides| overrides.patience(patience))
    }

    /// Sets which results are verified before they are used. Default: all.
    #[must_use]
    pub fn verify(self, verify: Verify) -> Self {
        self.set(|overrides| overrides.verify(verify))
    }

    /// Sets after failures on workers of how many different origins a task and the try of its proof fail, see
    /// [`settings`](super::config::settings): 1 to 100. The default is 3.
    #[must_use]
    pub fn max_failures(self, failures: u32) -> Self {
        self.set(|overrides| overrides.max_failures(failures))
    }

    /// Sets after losses of workers of how many different origins a task and the try of its proof fail: 1 to 1000.
    /// Default: 5.
    #[must_use]
    pub fn max_losses(self, losses: u32) -> Self {
        self.set(|overrides| overrides.max_losses(losses))
    }

    /// Sets which workers count as one machine. Default: those with one IP address.
    #[must_use]
    pub fn worker_origins(self, origins: WorkerOrigins) -> Self {
        self.set(|overrides| overrides.worker_origins(origins))
    }

    /// Sets whether only trusted workers get tasks: those whose certificates say so, and the local worker. Default: all
    /// workers get tasks.
    #[must_use]
    pub fn trusted_only(self, is_set: bool) -> Self {
        self.set(|overrides| overrides.trusted_only(is_set))
    }

    /// Limits the artifacts of running proofs: `memory_bytes` in memory, and beyond that `disk_bytes` on disk in a
    /// subfolder of `folder`. Both are rounded down to whole MiB.
    #[must_use]
    pub fn store(self, memory_bytes: u64, disk_bytes: u64, folder: impl AsRef<Path>) -> Self {
        self.set(|overrides| overrides.store(memory_bytes, disk_bytes, folder.as_ref()))
    }

    /// Sets the maximum duration of a proof, in whole seconds, at least 1. Default: unlimited. It covers the whole
    /// call, with the wait for the first worker. At a service, it counts from the start of the proof there.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|overrides| overrides.timeout(timeout))
    }

    /// Sets the options that decide how runs are cut into shards. The workers receive them with each proof.
    #[must_use]
    pub fn core_opts(mut self, options: SP1CoreOpts) -> Self {
        self.source.cut = Some(options);
        self
    }

    /// Same as [`DistributedProverBuilder::core_opts`]. SP1's builders have this name too.
    #[must_use]
    pub fn with_opts(self, options: SP1CoreOpts) -> Self {
        self.core_opts(options)
    }

    /// Builds the prover: starts its threads and SP1's verifier, which takes half a second. Errors in the configuration
    /// are returned later, by the first call that needs it.
    ///
    /// # Panics
    /// If this processor lacks features that the program was compiled for. [`DistributedProverBuilder::try_build`]
    /// returns an error instead.
    #[must_use]
    pub async fn build(self) -> DistributedProver {
        self.try_build().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Same as [`DistributedProverBuilder::build`], but returns an error instead of panicking.
    ///
    /// # Errors
    /// If this processor lacks features that the program was compiled for.
    pub async fn try_build(self) -> Result<DistributedProver, DistributedError> {
        let threads = self.start()?;
        let runner = threads.spawn(Sp1ProofRunner::new(ProofRunnerSettings::default())).await;
        Ok(self.finish(threads, runner))
    }

    #[cfg(feature = "blocking")]
    pub(crate) fn try_build_blocking(self) -> Result<DistributedProver, DistributedError> {
        let threads = self.start()?;
        let runner = threads.block_on(Sp1ProofRunner::new(ProofRunnerSettings::default()));
        Ok(self.finish(threads, runner))
    }

    /// Checks the processor and starts the threads.
    fn start(&self) -> Result<ClientThreads, DistributedError> {
        // Later code may use instructions that this processor lacks.
        check_processor()?;
        self.start_proving_threads();
        Ok(ClientThreads::start())
    }

    /// Starts the proving threads before SP1 code can create them. A configuration error is ignored here, because the
    /// first call that needs the configuration returns it.
    fn start_proving_threads(&self) {
        if let Ok(config) = self.source.load() {
            start_proving_threads(&config);
        }
    }

    fn finish(self, threads: ClientThreads, runner: Sp1ProofRunner) -> DistributedProver {
        DistributedProver::from_parts(threads, runner, self.source)
    }
}

impl DistributedProver {
    /// Creates a prover without settings of the program. It is configured by the environment and the worker list file.
    ///
    /// # Panics
    /// Same as [`DistributedProverBuilder::build`].
    pub async fn new() -> Self {
        DistributedProverBuilder::new().build().await
    }
}
