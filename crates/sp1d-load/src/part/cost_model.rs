//! How long shards take, and what they cost the executor and the hub.

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;
use std::{fs, path::Path};

/// The costs of shards on one kind of worker.
#[derive(Debug, Clone, Serialize)]
pub(super) struct CostModel {
    pub(super) name: &'static str,
    /// Where the figures come from.
    source: String,
    /// Time of a shard on one worker.
    pub(super) shard_seconds: f64,
    /// Cycles of a shard.
    cycles: f64,
}

/// What one orchestrator can do in a second.
#[derive(Debug, Clone, Serialize)]
pub(super) struct HubModel {
    source: String,
    /// Cycles that one executor runs in a second.
    executor_cycles_per_second: f64,
    cores: f64,
    /// Processor time for a shard.
    cpu_seconds_per_shard: f64,
    link_bytes_per_second: f64,
    /// Bytes of a record as it is sent.
    sent_bytes: f64,
}

/// Numbers of workers from which a part of the orchestrator is the limit.
#[derive(Debug, Serialize)]
pub(super) struct WorkerLimits {
    model: &'static str,
    pub(super) executor: f64,
    pub(super) hub_processor: f64,
    pub(super) hub_link: f64,
}

/// The cut whose figures are used: the largest one that fits the machine that measured them.
const CPU_CUT: u64 = 130_023_424;

/// Cycles of a shard at SP1's largest cut, 264,241,152, for the program `evm`. GPUs prove at this cut.
const GPU_SHARD_CYCLES: f64 = 5.4e6;

/// Reads a file with figures, if it is there.
fn read(folder: &Path, name: &str) -> Option<Value> {
    serde_json::from_slice(&fs::read(folder.join(name)).ok()?).ok()
}

impl CostModel {
    /// Returns the model of workers with two cores, from `cuts.json` in `folder`.
    ///
    /// # Errors
    /// Fails if the file does not have the figures.
    pub(super) fn of_cpu(folder: &Path) -> Result<Self> {
        let found = || {
            let cuts = read(folder, "cuts.json")?;
            let programs = cuts["programs"].as_array()?;
            let evm = programs.iter().find(|program| program["program"] == "evm")?;
            let cut = evm["cuts"].as_array()?.iter().find(|cut| cut["element_threshold"] == CPU_CUT)?;
            Some((cut["seconds"].as_f64()?, cut["cycles"].as_f64()?))
        };
        let (shard_seconds, cycles) = found().with_context(|| {
            let file = folder.join("cuts.json");
            format!(
                "{} has no figures of `evm` at the cut {CPU_CUT}\nhint: `./x bench cuts` measures them",
                file.display()
            )
        })?;
        let source = format!("docs/bench/cuts.json: evm at the cut {CPU_CUT}, one prover with two threads");
        Ok(Self { name: "cpu", source, shard_seconds, cycles })
    }

    /// Returns a model of GPUs. The time of a shard is a parameter.
    pub(super) fn of_gpu(shard_seconds: f64) -> Self {
        let source = format!(
            "assumption: {shard_seconds} s for a shard of 5.4 million cycles. No time of a shard is published. Succinct \
             publishes 10.3 s for an average Ethereum block (https://blog.succinct.xyz/sp1-hypercube), and others \
             give 160 RTX 4090 for it: at most 1,650 GPU seconds for a block"
        );
        Self { name: "gpu", source, shard_seconds, cycles: GPU_SHARD_CYCLES }
    }

    /// Returns the time in which one executor makes a record, in seconds.
    pub(super) fn record_seconds(&self, hub: &HubModel) -> f64 {
        self.cycles / hub.executor_cycles_per_second
    }
}

impl HubModel {
    /// Returns a model from `hub.json` in `folder`, with records of 16 MB and the most connections. Without the file,
    /// uses an earlier measurement.
    pub(super) fn new(folder: &Path, cores: f64, gigabits: f64, executor_cycles_per_second: f64) -> Self {
        let found = || {
            let hub = read(folder, "hub.json")?;
            let rows = hub["rows"].as_array()?;
            let row = rows.iter().rev().find(|row| row["record_bytes"] == 16_000_000_u64)?;
            Some((row["cpu_seconds_per_shard"]["median"].as_f64()?, row["sent_bytes"].as_f64()?))
        };
        let (source, (cpu_seconds_per_shard, sent_bytes)) = match found() {
            Some(figures) => ("docs/bench/hub.json: records of 16 MB, the most connections", figures),
            None => ("an earlier measurement: 200 records of 16 MB that do not compress, 0.154 s each", (0.154, 16e6)),
        };
        Self {
            source: source.to_owned(),
            executor_cycles_per_second,
            cores,
            cpu_seconds_per_shard,
            link_bytes_per_second: gigabits * 1e9 / 8.0,
            sent_bytes,
        }
    }

    /// Returns how many shards the processor of the hub can handle in a second.
    fn processor_rate(&self) -> f64 {
        self.cores / self.cpu_seconds_per_shard
    }

    /// Returns how many records fit through the link in a second.
    fn link_rate(&self) -> f64 {
        self.link_bytes_per_second / self.sent_bytes
    }

    /// Returns how many shards the hub can handle in a second.
    pub(super) fn rate(&self) -> f64 {
        self.processor_rate().min(self.link_rate())
    }

    /// Returns from how many workers on each part is the limit.
    pub(super) fn limits(&self, model: &CostModel) -> WorkerLimits {
        let seconds = model.shard_seconds;
        WorkerLimits {
            model: model.name,
            executor: seconds / model.record_seconds(self),
            hub_processor: seconds * self.processor_rate(),
            hub_link: seconds * self.link_rate(),
        }
    }
}
