//! Settings for the prover processes of a worker.

use std::{path::PathBuf, time::Duration};

/// Settings for the prover processes of a worker.
#[derive(Debug, Clone)]
pub struct ProverRules {
    /// Maximum number of attempts in a process at the same time. At least 1; 0 counts as 1.
    pub places: usize,
    /// Number of proving threads in each process, for the log. `ProverCommand` must pass it to the process.
    pub threads: usize,
    /// Bytes of memory that must be free before a process starts.
    pub needed_bytes: u64,
    /// How long the first start waits for enough free memory. Later starts wait for up to 24 hours.
    pub wait_memory: Duration,
    /// Estimated loading time. It is replaced by the measured time after the first load.
    pub load_estimate: Duration,
    /// The lock file that makes the provers of a user load one after another. Only this user may be able to open its
    /// folder.
    pub start_lock: PathBuf,
}

#[cfg(test)]
impl ProverRules {
    /// Returns rules for processes with two places that are never started.
    pub(super) const fn example() -> Self {
        Self {
            places: 2,
            threads: 1,
            wait_memory: Duration::ZERO,
            needed_bytes: 0,
            load_estimate: Duration::ZERO,
            start_lock: PathBuf::new(),
        }
    }
}
