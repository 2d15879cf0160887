//! Figures and ratios.

use crate::{
    prover::Measured,
    run::{Configuration, Outcome, Round},
};
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
    /// Processor time of the process that asks over that of all processes together, the executor's child left out. What is executed in the process
    /// itself (cutting shards, writing their records) is part of it.
    orchestrator_share: Spread,
    /// Peak memory in bytes during the measured proofs: of the process that asks, and of each worker.
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
        let share = |outcome: Outcome| {
            let Measured { asker, workers, .. } = outcome.proof;
            let of_workers: f64 = workers.iter().map(|worker| worker.cpu_seconds).sum();
            (!workers.is_empty()).then(|| asker.cpu_seconds / (of_workers + asker.cpu_seconds))
        };
        let peak = |configuration: Configuration| {
            let outcomes = || rounds.iter().map(move |round| find(round, configuration).proof);
            let of_asker = outcomes().map(|proof| proof.asker.peak_bytes).max();
            let of_workers = outcomes().map(|proof| proof.workers.iter().map(|worker| worker.peak_bytes).collect());
            let most =
                of_workers.reduce(|one: Vec<u64>, other| one.into_iter().zip(other).map(|(a, b)| a.max(b)).collect());
            (configuration.name(), of_asker.unwrap_or(0), most.unwrap_or_default())
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
        writeln!(f, "orchestrator's share of processor time: {}", self.orchestrator_share)?;
        let gigabytes = |bytes: u64| format!("{:.1} GB", bytes as f64 / 1e9);
        for (name, prover, workers) in &self.peak_bytes {
            let workers: Vec<String> = workers.iter().map(|bytes| gigabytes(*bytes)).collect();
            writeln!(f, "{name:12} peak memory {}; workers: {}", gigabytes(*prover), workers.join(", "))?;
        }
        Ok(())
    }
}
