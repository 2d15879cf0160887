//! Percentiles of delays, and spreads over rounds.

use anyhow::{Context, Result};
use sp1d_figures::FigureSpread;

/// Percentiles of many delays, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LatencySummary {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

impl LatencySummary {
    /// Summarizes delays in seconds.
    ///
    /// # Errors
    /// Fails if there are no delays.
    pub(crate) fn of(mut seconds: Vec<f64>) -> Result<Self> {
        seconds.sort_by(f64::total_cmp);
        let last = seconds.len().checked_sub(1).context("no task was measured")?;
        let at = |percent: usize| seconds[last * percent / 100] * 1e3;
        Ok(Self { p50_ms: at(50), p99_ms: at(99) })
    }
}

/// Returns the spread of one figure over all rounds.
///
/// # Errors
/// Fails if there are no rounds.
pub(crate) fn spread_of<T>(rounds: &[T], figure: impl Fn(&T) -> f64) -> Result<FigureSpread> {
    FigureSpread::of(rounds.iter().map(figure)).context("no round was measured")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_delays() {
        let summary = LatencySummary::of((0..=100).rev().map(|number| f64::from(number) / 1e3).collect()).unwrap();
        assert_eq!((summary.p50_ms.round(), summary.p99_ms.round()), (50.0, 99.0));
        assert!(LatencySummary::of(Vec::new()).is_err());
    }
}
