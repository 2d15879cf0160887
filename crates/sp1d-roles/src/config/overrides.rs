//! The settings that a program or flags set.

use super::{
    error::ConfigError,
    setting::{
        CA_FILE, HEARTBEAT, LOCAL_THREADS, MAX_FAILURES, MAX_LOSSES, MISSED_HEARTBEATS, NONE, PATIENCE, PLACEMENT,
        SHARD_BATCH_SIZE, SPILL_FOLDER, STORE_DISK, STORE_MEMORY, TIMEOUT, TLS, TOKEN_FILE, TRUSTED_ONLY, URL, VERIFY,
        WORKER_ORIGINS, WORKERS,
    },
    source::{EffectiveSetting, ValueSource},
};
use sp1_core_executor::SP1CoreOpts;
use sp1d_client::redacted;
use sp1d_engine::{CutOptions, OptionsError, ReplacedValue};
use sp1d_orchestrator::{Placement, Verify, WorkerOrigins};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

/// The settings that a program or flags set. They take precedence over all other sources.
#[derive(Debug, Clone, Default)]
pub struct ConfigOverrides {
    pub(super) values: BTreeMap<&'static str, String>,
    pub(super) workers: Option<Vec<String>>,
    pub(super) local: bool,
    pub(super) joined: bool,
    service: bool,
    flags: bool,
    pub(super) default_spill_folder: Option<PathBuf>,
    pub(super) cut: Option<CutOptions>,
    /// The numbers that `cut` contains instead of the program's own.
    pub(super) replaced: Vec<ReplacedValue>,
}

impl ConfigOverrides {
    /// Reads the worker list from `path`.
    pub fn workers_file(&mut self, path: &Path) {
        self.values.insert(WORKERS, path.display().to_string());
    }

    /// Sets the workers. No worker list file is read.
    pub fn workers(&mut self, workers: Vec<String>) {
        self.workers = Some(workers);
    }

    /// Makes the worker list optional, because workers dial this orchestrator.
    pub fn joined_workers(&mut self) {
        self.joined = true;
    }

    /// Names the values by their flags in messages: the flag of a setting is its name, with hyphens for underscores.
    pub fn name_flags(&mut self) {
        self.flags = true;
    }

    /// Returns the value of the setting `name`, and its source.
    pub(super) fn value(&self, name: &str) -> Option<(String, ValueSource)> {
        let value = self.values.get(name)?.clone();
        let flag = || ValueSource::Flag(format!("--{}", name.replace('_', "-")));
        Some((value, if self.flags { flag() } else { ValueSource::Program }))
    }

    /// Allows a service to create the proofs instead of workers.
    pub fn allow_service(&mut self) {
        self.service = true;
    }

    /// Sets the address of the service, as `http://HOST:PORT` or `https://HOST:PORT`, with an optional path.
    pub fn url(&mut self, url: &str) {
        self.values.insert(URL, url.to_owned());
    }

    /// Sets `ca_file`, see [`settings`](super::settings).
    pub fn ca_file(&mut self, path: &Path) {
        self.values.insert(CA_FILE, path.display().to_string());
    }

    /// Sets `token_file`, see [`settings`](super::settings).
    pub fn token_file(&mut self, path: &Path) {
        self.values.insert(TOKEN_FILE, path.display().to_string());
    }

    /// Sets `tls`, see [`settings`](super::settings).
    pub fn tls(&mut self, path: &Path) {
        self.values.insert(TLS, path.display().to_string());
    }

    /// Returns true if the service at `url` makes the proofs. Workers set by the program take precedence over a service
    /// from the environment or the worker list file.
    ///
    /// # Errors
    /// If the program sets both workers and a service.
    pub(super) fn asks_service(&self, url: &EffectiveSetting) -> Result<bool, ConfigError> {
        let names_workers = self.workers.is_some() || self.local || self.values.contains_key(WORKERS);
        match (url.value.as_str(), &url.source) {
            (NONE, _) => Ok(false),
            (_, ValueSource::Program | ValueSource::Flag(_)) if names_workers => Err(ConfigError::Setting {
                name: URL.to_owned(),
                value: redacted(&url.value),
                source_text: url.source.to_string(),
                reason: "the program also sets workers\nhint: set either the workers or `url`, not both".to_owned(),
            }),
            _ => Ok(self.service && !names_workers),
        }
    }

    /// Makes this process a worker too.
    pub fn local_worker(&mut self) {
        self.local = true;
    }

    /// Sets `shard_batch_size`, see [`settings`](super::settings).
    pub fn shard_batch_size(&mut self, shards: u32) {
        self.values.insert(SHARD_BATCH_SIZE, shards.to_string());
    }

    /// Sets `placement`, see [`settings`](super::settings).
    pub fn placement(&mut self, placement: Placement) {
        self.values.insert(PLACEMENT, placement.name().to_owned());
    }

    /// Sets `heartbeat_ms`, see [`settings`](super::settings).
    pub fn heartbeat(&mut self, interval: Duration) {
        self.values.insert(HEARTBEAT, interval.as_millis().to_string());
    }

    /// Sets `missed_heartbeats`, see [`settings`](super::settings).
    pub fn missed_heartbeats(&mut self, count: u32) {
        self.values.insert(MISSED_HEARTBEATS, count.to_string());
    }

    /// Sets `patience_s`, see [`settings`](super::settings). Rounded down to whole seconds.
    pub fn patience(&mut self, patience: Duration) {
        self.values.insert(PATIENCE, patience.as_secs().to_string());
    }

    /// Sets `timeout_s`, see [`settings`](super::settings). Rounded down to whole seconds, at least 1.
    pub fn timeout(&mut self, timeout: Duration) {
        self.values.insert(TIMEOUT, timeout.as_secs().max(1).to_string());
    }

    /// Sets `verify`, see [`settings`](super::settings).
    pub fn verify(&mut self, verify: Verify) {
        self.values.insert(VERIFY, verify.name().to_owned());
    }

    /// Sets `max_failures`, see [`settings`](super::settings).
    pub fn max_failures(&mut self, failures: u32) {
        self.values.insert(MAX_FAILURES, failures.to_string());
    }

    /// Sets `max_losses`, see [`settings`](super::settings).
    pub fn max_losses(&mut self, losses: u32) {
        self.values.insert(MAX_LOSSES, losses.to_string());
    }

    /// Sets `worker_origins`, see [`settings`](super::settings).
    pub fn worker_origins(&mut self, origins: WorkerOrigins) {
        self.values.insert(WORKER_ORIGINS, origins.name().to_owned());
    }

    /// Sets `trusted_only`, see [`settings`](super::settings).
    pub fn trusted_only(&mut self, is_set: bool) {
        self.values.insert(TRUSTED_ONLY, is_set.to_string());
    }

    /// Sets `store_memory_mb`, `store_disk_mb` and `spill_folder`, see [`settings`](super::settings). Rounds sizes down
    /// to whole MiB.
    pub fn store(&mut self, memory_bytes: u64, disk_bytes: u64, folder: &Path) {
        self.values.insert(STORE_MEMORY, (memory_bytes >> 20).to_string());
        self.values.insert(STORE_DISK, (disk_bytes >> 20).to_string());
        self.values.insert(SPILL_FOLDER, folder.display().to_string());
    }

    /// Sets the folder that `auto` means in the setting `spill_folder`. A program that changes `TMPDIR` calls
    /// [`default_spill_folder`](sp1d_orchestrator::default_spill_folder) before, and passes the folder on.
    pub fn default_spill_folder(&mut self, folder: &Path) {
        self.default_spill_folder = Some(folder.to_owned());
    }

    /// Sets `local_threads`, see [`settings`](super::settings).
    pub fn local_threads(&mut self, threads: usize) {
        self.values.insert(LOCAL_THREADS, threads.to_string());
    }

    /// Sets how runs are cut into shards. Replaces all individual settings for that. The nearest allowed number
    /// replaces a number that SP1 accepts and workers do not.
    ///
    /// # Errors
    /// If SP1 panics with an option.
    pub fn cut(&mut self, options: SP1CoreOpts) -> Result<(), OptionsError> {
        let (cut, replaced) = CutOptions::from_sp1(options)?;
        (self.cut, self.replaced) = (Some(cut), replaced);
        Ok(())
    }
}
