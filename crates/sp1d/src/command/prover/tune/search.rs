//! Decides which setting to measure next and which setting is the fastest, from the measurements so far. This module
//! measures nothing itself.

use crate::args::MAX_PROVERS;
use serde::Serialize;
use sp1d_engine::smaller_cut;

/// How a machine is divided among provers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct TuneSetting {
    /// Number of prover processes.
    pub(super) provers: u16,
    /// Threads of each prover.
    pub(super) threads: u16,
    /// Shards that each prover proves at the same time.
    pub(super) parallel_shards: u16,
    /// Trace elements after which a shard ends; `None` for the automatic choice.
    pub(super) cut: Option<u64>,
}

/// Results of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct TuneFigures {
    /// Trace elements after which a shard ended.
    pub(super) element_threshold: u64,
    /// Number of shards that were measured.
    pub(super) shards: usize,
    /// Total cycles of these shards.
    pub(super) cycles: u64,
    /// Seconds from the start of the first shard to the end of the last.
    pub(super) seconds: f64,
    /// Peak of the live memory of all provers together, in bytes.
    pub(super) peak_bytes: u64,
}

impl TuneFigures {
    pub(super) fn cycles_per_second(&self) -> f64 {
        self.cycles as f64 / self.seconds.max(0.001)
    }
}

/// A setting with its figures, or with the reason why it could not be measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TuneMeasurement {
    pub(super) setting: TuneSetting,
    pub(super) outcome: Result<TuneFigures, String>,
}

impl TuneMeasurement {
    fn rate(&self) -> f64 {
        self.outcome.as_ref().map_or(0.0, TuneFigures::cycles_per_second)
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct TuneLimits {
    /// Cores of the machine.
    pub(super) cores: u16,
    /// Provers that fit into the machine's memory.
    pub(super) max_provers: u16,
    /// Measure only this number of provers.
    pub(super) provers: Option<u16>,
    /// Measure only this number of parallel shards per prover.
    pub(super) parallel_shards: Option<u16>,
    /// Measure every smaller cut, even if smaller cuts are slower.
    pub(super) every_cut: bool,
}

#[derive(Debug)]
pub(super) struct TuneSearch {
    limits: TuneLimits,
    measured: Vec<TuneMeasurement>,
}

/// A setting counts as faster only if its rate is higher by this factor. A smaller difference is noise.
const MIN_SPEEDUP: f64 = 1.03;

impl TuneSetting {
    /// Returns the default setting of a worker with `provers` on `cores`.
    fn of_provers(cores: u16, provers: u16) -> Self {
        let threads = (cores / provers).max(1);
        Self { provers, threads, parallel_shards: if threads > 1 { 2 } else { 1 }, cut: None }
    }

    /// Number of shards that are proven at the same time.
    pub(super) fn shards(&self) -> usize {
        usize::from(self.provers) * usize::from(self.parallel_shards)
    }
}

impl TuneSearch {
    pub(super) fn new(limits: TuneLimits) -> Self {
        Self { limits, measured: Vec::new() }
    }

    pub(super) fn record(&mut self, measured: TuneMeasurement) {
        self.measured.push(measured);
    }

    pub(super) fn measured(&self) -> &[TuneMeasurement] {
        &self.measured
    }

    fn find(&self, setting: TuneSetting) -> Option<&TuneMeasurement> {
        self.measured.iter().find(|measured| measured.setting == setting)
    }

    /// Returns the setting of a worker without flags.
    pub(super) fn automatic(&self) -> TuneSetting {
        TuneSetting::of_provers(self.limits.cores, 1)
    }

    /// Like [`TuneSetting::of_provers`], with the number of parallel shards that the limits ask for.
    fn of_provers(&self, provers: u16) -> TuneSetting {
        let setting = TuneSetting::of_provers(self.limits.cores, provers);
        TuneSetting { parallel_shards: self.limits.parallel_shards.unwrap_or(setting.parallel_shards), ..setting }
    }

    /// Returns the setting to measure next; `None` when the search has ended.
    pub(super) fn next(&self) -> Option<TuneSetting> {
        let TuneLimits { cores, max_provers, provers: wanted, parallel_shards, every_cut } = self.limits;
        // Double the number of provers while that is clearly faster.
        let first = wanted.unwrap_or(1);
        let (mut provers, mut best) = (first, 0.0);
        while provers == first || (wanted.is_none() && provers <= max_provers.min(cores).min(MAX_PROVERS)) {
            let setting = self.of_provers(provers);
            let Some(found) = self.find(setting) else { return Some(setting) };
            if best > 0.0 && found.rate() <= best * MIN_SPEEDUP {
                break;
            }
            (provers, best) = (provers.saturating_mul(2), found.rate());
        }
        // Try the other number of parallel shards per prover.
        let fastest = self.fastest().map_or(self.of_provers(first), |measured| measured.setting);
        let other = TuneSetting { parallel_shards: 3 - fastest.parallel_shards.clamp(1, 2), ..fastest };
        if parallel_shards.is_none() && fastest.cut.is_none() && self.find(other).is_none() {
            return Some(other);
        }
        // Try smaller cuts while they are clearly faster.
        let fastest = self.fastest()?;
        let mut cut = smaller_cut(fastest.outcome.as_ref().ok()?.element_threshold);
        while let Some(smaller) = cut {
            let setting = TuneSetting { cut, ..fastest.setting };
            if self.find(setting).is_none() {
                return Some(setting);
            }
            cut = smaller_cut(smaller).filter(|_| every_cut);
        }
        None
    }

    /// Returns the fastest setting. A later one wins only if it is clearly faster, so the automatic setting, which is
    /// first, is preferred.
    pub(super) fn fastest(&self) -> Option<&TuneMeasurement> {
        let worked = self.measured.iter().filter(|measured| measured.outcome.is_ok());
        worked.reduce(|best, next| if next.rate() > best.rate() * MIN_SPEEDUP { next } else { best })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: u64 = (1 << 28) - (1 << 22);
    const MIDDLE: u64 = (1 << 27) - (1 << 22);

    impl From<(u16, u16)> for TuneLimits {
        fn from((cores, max_provers): (u16, u16)) -> Self {
            Self { cores, max_provers, ..Self::default() }
        }
    }

    /// Runs a search. `rate` returns cycles per second for provers, parallel shards per prover and cut, or `None` for a
    /// setting that fails. Checks the measured settings and the fastest one, which includes the threads per prover.
    #[track_caller]
    fn check(
        limits: impl Into<TuneLimits>,
        rate: impl Fn(u16, u16, u64) -> Option<f64>,
        measured: &[(u16, u16, Option<u64>)],
        fastest: Option<(u16, u16, u16, Option<u64>)>,
    ) {
        let mut search = TuneSearch::new(limits.into());
        while let Some(setting) = search.next() {
            let cut = setting.cut.unwrap_or(LARGE);
            let outcome = rate(setting.provers, setting.parallel_shards, cut).map(|rate| TuneFigures {
                element_threshold: cut,
                shards: setting.shards(),
                cycles: (rate * 10.0) as u64,
                seconds: 10.0,
                peak_bytes: 0,
            });
            search.record(TuneMeasurement { setting, outcome: outcome.ok_or_else(|| "out of memory".to_owned()) });
            assert!(search.measured().len() < 20, "the search does not end");
        }
        let short = |setting: &TuneSetting| (setting.provers, setting.parallel_shards, setting.cut);
        let found: Vec<_> = search.measured().iter().map(|measured| short(&measured.setting)).collect();
        assert_eq!(found, measured);
        let found = search.fastest().map(|measured| measured.setting);
        assert_eq!(found.map(|found| (found.provers, found.threads, found.parallel_shards, found.cut)), fastest);
    }

    #[test]
    fn more_provers_are_tried_while_they_are_clearly_faster() {
        let rate =
            |provers: u16, shards, _| Some([100.0, 150.0, 200.0, 190.0][provers.ilog2() as usize] + f64::from(shards));
        let measured = [(1, 2, None), (2, 2, None), (4, 2, None), (8, 2, None), (4, 1, None), (4, 2, Some(MIDDLE))];
        check((16, 16), rate, &measured, Some((4, 4, 2, None)));
        // Memory for three provers.
        check((16, 3), rate, &[(1, 2, None), (2, 2, None), (2, 1, None), (2, 2, Some(MIDDLE))], Some((2, 8, 2, None)));
        check((1, 16), rate, &[(1, 1, None), (1, 2, None), (1, 1, Some(MIDDLE))], Some((1, 1, 1, None)));
    }

    #[test]
    fn a_slightly_faster_setting_is_not_chosen() {
        let rate = |provers: u16, _, _| Some(if provers == 2 { 102.0 } else { 100.0 });
        let measured = [(1, 2, None), (2, 1, None), (1, 1, None), (1, 2, Some(MIDDLE))];
        check((2, 2), rate, &measured, Some((1, 2, 2, None)));
    }

    #[test]
    fn a_failing_setting_is_skipped() {
        let rate = |provers, shards, _| (provers != 1 || shards != 2).then_some(100.0);
        let measured = [(1, 2, None), (2, 1, None), (2, 2, None), (2, 1, Some(MIDDLE))];
        check((2, 2), rate, &measured, Some((2, 1, 1, None)));
        check((2, 2), |_, _, _| None, &[(1, 2, None), (2, 1, None), (1, 1, None)], None);
    }

    #[test]
    fn smaller_cuts_are_tried_while_they_are_clearly_faster() {
        let rate = |_, _, cut| Some(if cut < LARGE { 200.0 } else { 100.0 });
        let smaller = Some((1 << 26) - (1 << 22));
        let measured = [(1, 1, None), (1, 2, None), (1, 1, Some(MIDDLE)), (1, 1, smaller)];
        check((1, 1), rate, &measured, Some((1, 1, 1, Some(MIDDLE))));
    }

    #[test]
    fn given_values_are_not_searched() {
        let rate = |provers: u16, shards: u16, _| Some(f64::from(provers) + f64::from(shards));
        let one = TuneLimits { provers: Some(1), parallel_shards: Some(1), ..(8, 8).into() };
        check(one, rate, &[(1, 1, None), (1, 1, Some(MIDDLE))], Some((1, 8, 1, None)));
        let six = TuneLimits { provers: Some(6), ..(8, 4).into() };
        check(six, rate, &[(6, 1, None), (6, 2, None), (6, 2, Some(MIDDLE))], Some((6, 1, 2, None)));
    }

    #[test]
    fn every_cut_is_measured_on_request() {
        let limits = TuneLimits { parallel_shards: Some(1), every_cut: true, ..(1, 1).into() };
        let smaller = [26, 25].map(|power| (1, 1, Some((1 << power) - (1 << 22))));
        let measured = [&[(1, 1, None), (1, 1, Some(MIDDLE))], &smaller[..]].concat();
        check(limits, |_, _, _| Some(100.0), &measured, Some((1, 1, 1, None)));
    }
}
