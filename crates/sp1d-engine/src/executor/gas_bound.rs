//! Bounds an execution that counts the gas of a program.

use sp1d_orchestrator::ProofFailure;

/// Cycles after which a program has certainly used more than one gas: the cheapest instruction costs more than half a
/// gas.
const CYCLES_PER_GAS: u64 = 2;

/// The limits of a request that bound the execution for counting gas.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GasBound {
    /// Gas that the program may use.
    pub(crate) gas_limit: u64,
    /// Cycles that the program may run; `None` for no limit.
    pub(crate) cycle_limit: Option<u64>,
}

/// The limit that a run with too many cycles has exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExceededLimit {
    /// The gas limit.
    Gas,
    /// The cycle limit, which is this number.
    Cycles(u64),
}

impl GasBound {
    /// Returns the cycles above which a run has certainly used more gas than its limit.
    const fn cycles_by_gas(self) -> u64 {
        // The figure of SP1 is rounded down. The added cycles make up for that.
        self.gas_limit.saturating_mul(CYCLES_PER_GAS).saturating_add(CYCLES_PER_GAS)
    }

    /// Returns the maximum number of cycles of a run that may be within both limits. A longer run is stopped.
    pub(crate) fn max_cycles(self) -> u64 {
        self.cycle_limit.unwrap_or(u64::MAX).min(self.cycles_by_gas())
    }

    /// Returns the limit that a run has exceeded with more than [`GasBound::max_cycles`].
    pub(crate) fn exceeded(self) -> ExceededLimit {
        match self.cycle_limit {
            Some(limit) if limit <= self.cycles_by_gas() => ExceededLimit::Cycles(limit),
            _ => ExceededLimit::Gas,
        }
    }

    /// Returns `gas`, the figure of the whole run.
    ///
    /// # Errors
    /// Fails if the run used more than the limit.
    pub(crate) fn check(self, gas: u64) -> Result<u64, ProofFailure> {
        let limit = self.gas_limit;
        if gas <= limit { Ok(gas) } else { Err(ProofFailure::GasLimit { limit, gas: Some(gas) }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the cycles at which a run with these limits is stopped, and why.
    #[track_caller]
    fn check_stop(gas_limit: u64, cycle_limit: Option<u64>, cycles: u64, exceeded: ExceededLimit) {
        let bound = GasBound { gas_limit, cycle_limit };
        assert_eq!((bound.max_cycles(), bound.exceeded()), (cycles, exceeded), "{bound:?}");
    }

    #[test]
    fn long_run_is_stopped_by_the_lower_limit() {
        check_stop(100, None, 202, ExceededLimit::Gas);
        check_stop(100, Some(203), 202, ExceededLimit::Gas);
        check_stop(100, Some(202), 202, ExceededLimit::Cycles(202));
        check_stop(100, Some(7), 7, ExceededLimit::Cycles(7));
        check_stop(u64::MAX, None, u64::MAX, ExceededLimit::Gas);
    }

    #[test]
    fn run_may_use_exactly_its_limit() {
        let bound = GasBound { gas_limit: 100, cycle_limit: None };
        assert_eq!(bound.check(100), Ok(100));
        assert_eq!(bound.check(101), Err(ProofFailure::GasLimit { limit: 100, gas: Some(101) }));
    }
}
