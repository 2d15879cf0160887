//! The figures of all attacks: a table for the terminal, and a file.

use super::{
    limits::{HostileLimits, LIMITS},
    plan::BenchPlan,
};
use crate::{
    attack::Party,
    pool::{HEARTBEAT, RECORD_BYTES, SHARD_TIME, WORKERS, budget_bytes},
};
use serde::Serialize;
use sp1d_figures::{FigureSpread, MachineFacts};
use std::{fmt, time::Duration};

/// Maximum number of texts of faults that are kept of a phase.
const MAX_FAULTS: usize = 5;

/// What honest peers saw in all phases of one kind: with or without an attack.
#[derive(Debug, Default)]
pub(super) struct PhaseFigures {
    pub(super) proofs: usize,
    pub(super) seconds: Vec<f64>,
    pub(super) lost: Vec<String>,
    pub(super) refused: Vec<String>,
    pub(super) longest_silence: Duration,
}

impl PhaseFigures {
    pub(super) fn add(&mut self, other: Self) {
        self.proofs += other.proofs;
        self.seconds.extend(other.seconds);
        self.lost.extend(other.lost);
        self.refused.extend(other.refused);
        self.longest_silence = self.longest_silence.max(other.longest_silence);
    }

    pub(super) fn spread(&self) -> Option<FigureSpread> {
        FigureSpread::of(self.seconds.iter().copied())
    }

    pub(super) fn summary(self) -> PhaseSummary {
        PhaseSummary {
            proofs: self.proofs,
            proofs_lost: self.lost.len(),
            requests_refused: self.refused.len(),
            seconds: self.spread(),
            longest_silence: self.longest_silence,
            faults: self.lost.into_iter().chain(self.refused).take(MAX_FAULTS).collect(),
        }
    }
}

/// What honest peers saw, for the file.
#[derive(Debug, Serialize)]
pub(super) struct PhaseSummary {
    proofs: usize,
    proofs_lost: usize,
    requests_refused: usize,
    /// Seconds of a proof, from its request to its end.
    seconds: Option<FigureSpread>,
    /// Longest time between two responses of `/healthz`, in seconds.
    #[serde(serialize_with = "super::plan::seconds")]
    longest_silence: Duration,
    /// The first faults, in words.
    faults: Vec<String>,
}

/// The figures of one attack.
#[derive(Debug, Serialize)]
pub(crate) struct AttackRow {
    pub(super) name: &'static str,
    pub(super) party: &'static str,
    pub(super) about: &'static str,
    /// Number of hostile messages, requests or connections.
    pub(super) acts: u64,
    pub(super) acts_per_second: f64,
    pub(super) refusals: u64,
    pub(super) last_refusal: String,
    pub(super) without: PhaseSummary,
    pub(super) beside: PhaseSummary,
    /// Growth of the time of a proof in each round, as a fraction.
    pub(super) growth: Option<FigureSpread>,
    /// Peak of the service before the first attack.
    pub(super) service_bytes_before: u64,
    pub(super) service_peak_bytes: u64,
    pub(super) worker_peak_bytes: u64,
    /// How much the peaks grew beside the attack.
    pub(super) service_growth_bytes: u64,
    pub(super) worker_growth_bytes: u64,
    /// What the service wrote to its log during the attack. Log lines about honest proofs are included.
    pub(super) log_bytes: u64,
    /// The limits that the attack has broken, in words.
    pub(super) misses: Vec<String>,
}

impl AttackRow {
    /// Compares the figures with the limits.
    pub(super) fn judge(&mut self, party: Party, compares_times: bool, violations: Vec<String>) {
        let mut misses = violations;
        let mut miss = |is_missed: bool, text: String| {
            if is_missed {
                misses.push(text);
            }
        };
        let (lost, refused) = (self.beside.proofs_lost, self.beside.requests_refused);
        let first = self.beside.faults.first().cloned().unwrap_or_default();
        miss(lost > 0, format!("{lost} proofs lost: {first}"));
        miss(refused > 0, format!("{refused} honest requests refused: {first}"));
        let lost_before = self.without.proofs_lost + self.without.requests_refused;
        miss(lost_before > 0, format!("{lost_before} faults without an attack: {:?}", self.without.faults.first()));
        miss(self.acts == 0, "the attack did nothing, so the figures show nothing".to_owned());
        for (who, found, limit) in [
            ("the service", self.service_peak_bytes, LIMITS.service_bytes),
            ("a worker", self.worker_peak_bytes, LIMITS.worker_bytes),
        ] {
            miss(found > limit, format!("{who} used {}, and the limit is {}", megabytes(found), megabytes(limit)));
        }
        for (who, found) in [("the service", self.service_growth_bytes), ("a worker", self.worker_growth_bytes)] {
            let is_large = party == Party::Connections && found > LIMITS.flood_bytes;
            let (found, limit) = (megabytes(found), megabytes(LIMITS.flood_bytes));
            miss(is_large, format!("{who} grew by {found} beside the flood, and the limit is {limit}"));
        }
        if compares_times {
            let growth = self.growth.map_or(f64::INFINITY, |growth| growth.median);
            let percent = |fraction: f64| format!("{:.1} %", 100.0 * fraction);
            let (found, limit) = (percent(growth), percent(LIMITS.growth));
            miss(growth >= LIMITS.growth, format!("a proof takes {found} longer, and the limit is {limit}"));
            let silence = self.beside.longest_silence;
            miss(silence >= LIMITS.silence, format!("`/healthz` was silent for {:.2} s", silence.as_secs_f64()));
            let rate = self.acts_per_second;
            let is_slow = party == Party::Connections && rate < LIMITS.flood_rate;
            miss(is_slow, format!("the flood reached only {rate:.0} connections in a second"));
        }
        self.misses = misses;
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

impl fmt::Display for AttackRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let growth = self.growth.map_or("-".to_owned(), |growth| format!("{:+.1} %", 100.0 * growth.median));
        write!(
            f,
            "{:22} {:>9} {:>9} {:>4}/{:<4} {:>7} {:>9} {:>7.2} s {:>8} {:>8} {:>7} kB  {}",
            self.name,
            self.acts,
            self.refusals,
            self.beside.proofs_lost,
            self.beside.proofs,
            self.beside.requests_refused,
            growth,
            self.beside.longest_silence.as_secs_f64(),
            megabytes(self.service_peak_bytes),
            megabytes(self.worker_peak_bytes),
            self.log_bytes / 1000,
            if self.misses.is_empty() { "ok" } else { "MISSED" },
        )
    }
}

/// The settings of the processes under measurement.
#[derive(Debug, Serialize)]
struct PoolFacts {
    workers: u32,
    shards: u64,
    #[serde(serialize_with = "super::plan::seconds")]
    shard_time: Duration,
    record_bytes: usize,
    #[serde(serialize_with = "super::plan::seconds")]
    heartbeat: Duration,
    /// Memory that the settings of the service allow.
    budget_bytes: u64,
}

/// The content of the output file. All times are in seconds.
#[derive(Debug, Serialize)]
pub(crate) struct HostileReport {
    machine: MachineFacts,
    pub(crate) plan: BenchPlan,
    pool: PoolFacts,
    limits: HostileLimits,
    pub(crate) attacks: Vec<AttackRow>,
}

impl HostileReport {
    pub(crate) fn new(plan: BenchPlan) -> Self {
        let pool = PoolFacts {
            workers: WORKERS,
            shards: plan.shards(),
            shard_time: SHARD_TIME,
            record_bytes: RECORD_BYTES,
            heartbeat: HEARTBEAT,
            budget_bytes: budget_bytes(),
        };
        let machine = MachineFacts::this(None, env!("CARGO_PKG_VERSION").to_owned());
        Self { machine, plan, pool, limits: LIMITS, attacks: Vec::new() }
    }

    /// Returns the head of the table.
    pub(crate) fn head() -> String {
        format!(
            "{:22} {:>9} {:>9} {:>9} {:>7} {:>9} {:>9} {:>8} {:>8} {:>10}",
            "attack", "acts", "refusals", "lost/all", "refused", "time", "silence", "service", "worker", "log"
        )
    }

    /// Returns the limits that attacks have broken, in words.
    pub(crate) fn misses(&self) -> impl Iterator<Item = String> {
        self.attacks.iter().flat_map(|row| row.misses.iter().map(move |miss| format!("{}: {miss}", row.name)))
    }
}
