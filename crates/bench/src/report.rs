//! Figures and ratios.

use crate::run::{Configuration, Round};
use serde::Serialize;
use std::fmt;

/// The middle of several figures, and their ends.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len();
        let median = (sorted[(count - 1) / 2] + sorted[count / 2]) / 2.0;
        Self { median, least: sorted[0], most: sorted[count - 1] }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3} ({:.3} to {:.3})", self.median, self.least, self.most)
    }
}

/// What is written.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Medians of the ratios of each round.
    one_worker_over_cpu_prover: f64,
    two_workers_over_cpu_prover: f64,
    ratios: Ratios,
    /// Seconds of a proof by configuration.
    seconds: Vec<(&'static str, Spread)>,
    /// Processor time of the process that asks, execution of the program included, over that of all processes together. The workers' includes the
    /// warm-up, so it is counted in proportion to the shards.
    orchestrator_share: Spread,
    /// Peak memory in bytes: of the process that asks, and of each worker.
    peak_bytes: Vec<(&'static str, u64, Vec<u64>)>,
    steps: u32,
    shards: usize,
    processor: String,
    rounds: Vec<Round>,
}

#[derive(Debug, Serialize)]
struct Ratios {
    one_worker: Spread,
    two_workers: Spread,
}

/// Shards of the warm-up proof, beside those that are measured.
const WARM_UP_SHARDS: f64 = 3.0;

impl Report {
    pub(crate) fn of(steps: u32, rounds: &[Round]) -> Self {
        let find = |round: &'_ Round, configuration: Configuration| {
            let found = round.iter().find(|outcome| outcome.configuration == configuration.name());
            found.expect("a round has every configuration").clone()
        };
        let seconds = |configuration| rounds.iter().map(move |round| find(round, configuration).proof.seconds);
        let ratio = |configuration| {
            Spread::of(seconds(configuration).zip(seconds(Configuration::CpuProver)).map(|(one, other)| one / other))
        };
        let share = |outcome: crate::run::Outcome| {
            if outcome.worker_peak_bytes.is_empty() {
                return None;
            }
            let shards = outcome.proof.shards as f64;
            let workers = outcome.worker_cpu_seconds * shards / (shards + WARM_UP_SHARDS);
            Some(outcome.proof.cpu_seconds / (workers + outcome.proof.cpu_seconds))
        };
        let peak = |configuration: Configuration| {
            let of_prover = rounds.iter().map(|round| find(round, configuration).proof.peak_bytes).max();
            let workers = rounds.iter().map(|round| find(round, configuration).worker_peak_bytes);
            let most = workers.reduce(|one, other| one.into_iter().zip(other).map(|(a, b)| a.max(b)).collect());
            (configuration.name(), of_prover.unwrap_or(0), most.unwrap_or_default())
        };
        let (one_worker, two_workers) = (ratio(Configuration::OneWorker), ratio(Configuration::TwoWorkers));
        Self {
            one_worker_over_cpu_prover: one_worker.median,
            two_workers_over_cpu_prover: two_workers.median,
            ratios: Ratios { one_worker, two_workers },
            seconds: Configuration::ALL
                .map(|configuration| (configuration.name(), Spread::of(seconds(configuration))))
                .to_vec(),
            orchestrator_share: Spread::of(rounds.iter().flatten().cloned().filter_map(share)),
            peak_bytes: Configuration::ALL.map(peak).to_vec(),
            steps,
            shards: rounds[0][0].proof.shards,
            processor: processor(),
            rounds: rounds.to_vec(),
        }
    }
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    model.trim_start_matches([' ', '\t', ':']).to_owned()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} steps, {} shards, {} rounds, {}", self.steps, self.shards, self.rounds.len(), self.processor)?;
        for (name, seconds) in &self.seconds {
            writeln!(f, "{name:12} {seconds} s")?;
        }
        writeln!(f, "one worker / CPU prover:  {}", self.ratios.one_worker)?;
        writeln!(f, "two workers / CPU prover: {}", self.ratios.two_workers)?;
        writeln!(f, "orchestrator's share of processor time, with execution: {}", self.orchestrator_share)?;
        let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
        for (name, prover, workers) in &self.peak_bytes {
            let workers: Vec<String> = workers.iter().map(|bytes| gigabytes(*bytes)).collect();
            writeln!(f, "{name:12} peak memory {}; workers: {}", gigabytes(*prover), workers.join(", "))?;
        }
        Ok(())
    }
}
