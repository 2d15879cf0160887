//! Bounds how many shards of a proof are in flight.
//!
//! SP1 holds a permit from the upload of a shard's record until the shard's task ends. So shards in the queue, at
//! workers and in checks count. Without a free permit, the executor waits.

/// How many shards may be in flight, however few provers there are. The number is low enough that the records (5 to 16
/// MB each, compressed) of a proof on few workers do not fill the memory.
pub(super) const MIN_SHARDS_IN_FLIGHT: usize = 128;

/// Maximum number of shards in flight, whatever number of provers the workers report.
const MAX_SHARDS_IN_FLIGHT: usize = 2048;

/// Number of shards that keep one prover busy: one in progress, the next one at its worker, and one in the queue or in
/// the check of its result.
const SHARDS_PER_PROVER: usize = 3;

/// Returns how many shards of a proof may be in flight when this number of provers can prove them.
pub(super) fn max_in_flight(provers: usize) -> usize {
    provers.saturating_mul(SHARDS_PER_PROVER).clamp(MIN_SHARDS_IN_FLIGHT, MAX_SHARDS_IN_FLIGHT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(provers: usize, expected: usize) {
        assert_eq!(max_in_flight(provers), expected);
    }

    #[test]
    fn each_prover_has_three_shards_within_the_bounds() {
        check(0, MIN_SHARDS_IN_FLIGHT);
        check(42, MIN_SHARDS_IN_FLIGHT);
        check(43, 129);
        check(100, 300);
        check(683, MAX_SHARDS_IN_FLIGHT);
        check(usize::MAX, MAX_SHARDS_IN_FLIGHT);
    }
}
