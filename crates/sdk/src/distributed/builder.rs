//! Building a distributed prover.

use super::{DistributedError, DistributedProver, Inner};
use crate::{
    distributed::config::{Config, Overrides, environment},
    threads::Threads,
};
use engine::{Controller, ControllerSettings, CutOptions, OptionsError};
use orchestrator::{Placement, Verify};
use sp1_core_executor::SP1CoreOpts;
use std::{path::Path, sync::Arc, time::Duration};
use tokio::sync::OnceCell;

/// Where a prover's configuration comes from, once it is asked for.
#[derive(Default)]
pub(super) struct ConfigSource {
    overrides: Overrides,
    cut: Option<SP1CoreOpts>,
    /// The client was built with a machine of its own.
    foreign_machine: bool,
}

impl ConfigSource {
    pub(super) fn load(&self) -> Result<Config, DistributedError> {
        if self.foreign_machine {
            return Err(DistributedError::Machine);
        }
        let mut overrides = self.overrides.clone();
        overrides.allow_service();
        if let Some(options) = &self.cut {
            let cut = CutOptions::from_sp1(options.clone());
            overrides.cut(cut.map_err(|error: OptionsError| DistributedError::Config(error.into()))?);
        }
        Ok(Config::load(&overrides, environment)?)
    }
}

/// What is set here counts more than the environment, that more than the list's file. Mistakes are the error of the
/// first call that needs the configuration.
#[derive(Default)]
pub struct DistributedProverBuilder {
    source: ConfigSource,
}

impl DistributedProverBuilder {
    /// Nothing is set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn for_machine(foreign_machine: bool) -> Self {
        Self { source: ConfigSource { foreign_machine, ..ConfigSource::default() } }
    }

    fn set(mut self, change: impl FnOnce(&mut Overrides)) -> Self {
        change(&mut self.source.overrides);
        self
    }

    /// Reads the list of workers from `path` instead of `distributed.json`.
    #[must_use]
    pub fn workers_file(self, path: impl AsRef<Path>) -> Self {
        self.set(|overrides| overrides.workers_file(path.as_ref()))
    }

    /// These are the workers, as `HOST:PORT`; no file is read.
    #[must_use]
    pub fn workers<A: ToString>(self, workers: impl IntoIterator<Item = A>) -> Self {
        let workers = workers.into_iter().map(|worker| worker.to_string()).collect();
        self.set(|overrides| overrides.workers(workers))
    }

    /// Has proofs made by the service at `url` (`http://HOST:PORT`, see `sp1d serve`), which has the workers; no list
    /// is read. What comes back is verified here.
    ///
    /// The service's own settings count there: placement, verification, and how runs are cut. It checks the proofs in
    /// an input always, and proves runs that end with exit code 0.
    #[must_use]
    pub fn url(self, url: impl ToString) -> Self {
        self.set(|overrides| overrides.url(&url.to_string()))
    }

    /// This process proves too, beside the workers of the list; without a list it is the only worker.
    #[must_use]
    pub fn local_worker(self) -> Self {
        self.set(Overrides::local_worker)
    }

    /// Proving threads of the local worker; by default one core is left to the executor.
    #[must_use]
    pub fn local_threads(self, threads: usize) -> Self {
        self.set(|overrides| overrides.local_threads(threads))
    }

    /// Shards that a worker may hold at a time for each of its provers, 1 to 128; a worker holds at most 128.
    #[must_use]
    pub fn shard_batch_size(self, shards: u32) -> Self {
        self.set(|overrides| overrides.shard_batch_size(shards))
    }

    /// Whether all workers share the work, or as few as finish as early.
    #[must_use]
    pub fn placement(self, placement: Placement) -> Self {
        self.set(|overrides| overrides.placement(placement))
    }

    /// Time between signs of life, 50 ms to a minute.
    #[must_use]
    pub fn heartbeat(self, interval: Duration) -> Self {
        self.set(|overrides| overrides.heartbeat(interval))
    }

    /// Signs of life that may be missed, 1 to 1000.
    #[must_use]
    pub fn missed_heartbeats(self, count: u32) -> Self {
        self.set(|overrides| overrides.missed_heartbeats(count))
    }

    /// How long a proof waits for a worker when none is connected, in whole seconds.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        self.set(|overrides| overrides.patience(patience))
    }

    /// Which results are verified before anything is built on them.
    #[must_use]
    pub fn verify(self, verify: Verify) -> Self {
        self.set(|overrides| overrides.verify(verify))
    }

    /// Failed attempts and wrong results after which a task fails for good, 1 to 100.
    #[must_use]
    pub fn max_failures(self, failures: u32) -> Self {
        self.set(|overrides| overrides.max_failures(failures))
    }

    /// Workers lost with a task after which it fails for good, 1 to 1000.
    #[must_use]
    pub fn max_losses(self, losses: u32) -> Self {
        self.set(|overrides| overrides.max_losses(losses))
    }

    /// What the artifacts of running proofs may take of memory, and beyond that of disk, in a folder of their own in
    /// `folder`. In whole megabytes.
    #[must_use]
    pub fn store(self, memory_bytes: u64, disk_bytes: u64, folder: impl AsRef<Path>) -> Self {
        self.set(|overrides| overrides.store(memory_bytes, disk_bytes, folder.as_ref()))
    }

    /// Longest time that a proof may take, in whole seconds.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        self.set(|overrides| overrides.timeout(timeout))
    }

    /// How runs are cut into shards. They travel to the workers with each proof.
    #[must_use]
    pub fn core_opts(mut self, options: SP1CoreOpts) -> Self {
        self.source.cut = Some(options);
        self
    }

    /// As [`DistributedProverBuilder::core_opts`], under the name that SP1's builders have too.
    #[must_use]
    pub fn with_opts(self, options: SP1CoreOpts) -> Self {
        self.core_opts(options)
    }

    /// Builds the prover: starts its threads and SP1's verifier, half a second. Nothing of the configuration is looked
    /// at yet.
    #[must_use]
    pub async fn build(self) -> DistributedProver {
        self.start_proving_threads();
        let threads = Threads::start();
        let controller = threads.spawn(Controller::new(ControllerSettings::default())).await;
        self.finish(threads, controller)
    }

    #[cfg(feature = "blocking")]
    pub(crate) fn build_blocking(self) -> DistributedProver {
        self.start_proving_threads();
        let threads = Threads::start();
        let controller = threads.block_on(Controller::new(ControllerSettings::default()));
        self.finish(threads, controller)
    }

    /// Before anything of SP1 makes them. What is wrong with the configuration is told when it is needed.
    fn start_proving_threads(&self) {
        if let Ok(config) = self.source.load() {
            crate::worker::start_proving_threads(&config);
        }
    }

    fn finish(self, threads: Threads, controller: Controller) -> DistributedProver {
        DistributedProver {
            inner: Arc::new(Inner {
                controller: Arc::new(controller),
                source: self.source,
                config: OnceCell::new(),
                way: OnceCell::new(),
                threads,
            }),
        }
    }
}
