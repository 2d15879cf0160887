//! The outcome of seeds.

use std::{collections::BTreeMap, fmt};

/// The outcome of one seed, or the sum of several.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SimReport {
    /// Seeds that were run.
    pub seeds: u64,
    /// Events that the scheduler received.
    pub steps: u64,
    /// Simulated time in seconds.
    pub virtual_seconds: u64,
    /// Proofs that completed.
    pub complete: u64,
    /// Proofs that failed because a task reached its limit of failures or losses, or because it ran out of memory.
    pub failed: u64,
    /// Failed proofs that contain a task that fails on every worker.
    pub failed_of_poison: u64,
    /// Proofs that were cancelled.
    pub cancelled: u64,
    /// Faults that struck, by name.
    pub faults: BTreeMap<&'static str, u64>,
    /// Situations that occurred, by name. See [`MARKS`](crate::MARKS).
    pub marks: BTreeMap<&'static str, u64>,
    /// Digest of all commands and their times.
    pub digest: u64,
}

impl SimReport {
    /// Adds the report of other seeds.
    pub fn add(&mut self, other: Self) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.virtual_seconds += other.virtual_seconds;
        self.complete += other.complete;
        self.failed += other.failed;
        self.failed_of_poison += other.failed_of_poison;
        self.cancelled += other.cancelled;
        self.digest = self.digest.rotate_left(1) ^ other.digest;
        for (name, count) in other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in other.marks {
            *self.marks.entry(name).or_default() += count;
        }
    }

    /// Returns the number of faults that struck.
    #[must_use]
    pub fn faults_struck(&self) -> u64 {
        self.faults.values().sum()
    }
}

impl fmt::Display for SimReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.virtual_seconds / 3600;
        writeln!(f, "{} seeds, {} events, {hours} h of simulated time", self.seeds, self.steps)?;
        let Self { complete, failed, failed_of_poison, cancelled, .. } = self;
        writeln!(
            f,
            "proofs: {complete} finished, {cancelled} cancelled, {failed} failed ({failed_of_poison} by poison tasks)"
        )?;
        writeln!(f, "faults: {}", self.faults_struck())?;
        for (name, count) in &self.faults {
            writeln!(f, "  {count:>8} {name}")?;
        }
        writeln!(f, "situations:")?;
        for (name, count) in &self.marks {
            writeln!(f, "  {count:>8} {name}")?;
        }
        write!(f, "digest: {:016x}", self.digest)
    }
}

/// A seed under which an invariant broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// The invariant that broke.
    pub invariant: String,
    /// What was found instead.
    pub what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, invariant, what } = self;
        writeln!(f, "seed {seed} breaks the invariant \"{invariant}\": {what}")?;
        write!(f, "hint: replay it with `./x sim --seed {seed} --trace`")
    }
}
