//! Decides which setting to measure next and which setting is the fastest, from the measurements so far. This module
//! measures nothing itself.

use crate::args::MAX_PROVERS;
use serde::Serialize;
use sp1d_engine::smaller_cut;

/// How a machine is divided among provers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct TuneSetting {
    /// Number of prover processes. On GPUs, each of them has one.
    pub(super) provers: u16,
    /// Threads of each prover. `None` on GPUs: the processor does little there.
    pub(super) threads: Option<u16>,
    /// Shards that each prover proves at the same time.
    pub(super) parallel_shards: u16,
    /// Trace cells after which a shard ends; `None` for the automatic choice.
    pub(super) cut: Option<u64>,
}

/// Results of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct TuneFigures {
    /// Trace cells after which a shard ended.
    #[serde(rename = "element_threshold")]
    pub(super) cut: u64,
    /// Number of shards that were measured.
    pub(super) shards: usize,
    /// Total cycles of these shards.
    pub(super) cycles: u64,
    /// Seconds from the start of the first shard to the end of the last.
    pub(super) seconds: f64,
    /// Peak of the live memory of all provers together, in bytes.
    pub(super) peak_bytes: u64,
    /// Peak of the used memory of a GPU in bytes, the highest of all GPUs. `None` if the driver does not report it, and
    /// without GPUs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) gpu_peak_bytes: Option<u64>,
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
    /// Number of GPUs that may be used. 0: the provers compute on the processor.
    pub(super) gpus: u16,
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

/// Shards that are measured on GPUs, for each one that is proven at the same time. GPUs prove shards fast, so the time
/// of the proving key would decide the measurement of a single one.
const SHARDS_PER_GPU_PLACE: usize = 4;

impl TuneSetting {
    /// Returns the default setting of a worker with `provers` on `cores`.
    fn of_provers(cores: u16, provers: u16) -> Self {
        let threads = (cores / provers).max(1);
        Self { provers, threads: Some(threads), parallel_shards: if threads > 1 { 2 } else { 1 }, cut: None }
    }

    /// Returns the default setting of a worker with `gpus`.
    const fn of_gpus(gpus: u16) -> Self {
        Self { provers: gpus, threads: None, parallel_shards: 2, cut: None }
    }

    /// Number of shards to measure. On the processor, these are the shards that are proven at the same time.
    pub(super) fn shards(&self) -> usize {
        let at_a_time = usize::from(self.provers) * usize::from(self.parallel_shards);
        if self.threads.is_none() { SHARDS_PER_GPU_PLACE * at_a_time } else { at_a_time }
    }
}

impl TuneLimits {
    /// Returns the default setting of a worker with `provers`.
    fn default_of(&self, provers: u16) -> TuneSetting {
        if self.gpus == 0 { TuneSetting::of_provers(self.cores, provers) } else { TuneSetting::of_gpus(provers) }
    }

    /// Returns the number of shards that the largest setting measures.
    pub(super) fn max_shards(&self) -> usize {
        let largest = self.default_of(if self.gpus == 0 { self.cores } else { self.gpus });
        TuneSetting { parallel_shards: 2, ..largest }.shards()
    }

    /// Returns the maximum number of provers to measure.
    fn max_measured_provers(&self) -> u16 {
        let places = if self.gpus == 0 { self.cores } else { self.gpus };
        self.max_provers.min(places).min(MAX_PROVERS)
    }

    /// Returns the number of provers to measure after `provers`. All GPUs are measured, even if their number is not a
    /// power of two.
    fn more_provers(&self, provers: u16) -> u16 {
        let (doubled, max) = (provers.saturating_mul(2), self.max_measured_provers());
        if self.gpus > 0 && provers < max { doubled.min(max) } else { doubled }
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

    /// Returns the setting of a worker without flags. A worker on GPUs always has a flag that selects them.
    pub(super) fn automatic(&self) -> Option<TuneSetting> {
        (self.limits.gpus == 0).then(|| TuneSetting::of_provers(self.limits.cores, 1))
    }

    /// Like [`TuneLimits::default_of`], with the number of parallel shards that the limits ask for.
    fn of_provers(&self, provers: u16) -> TuneSetting {
        let setting = self.limits.default_of(provers);
        TuneSetting { parallel_shards: self.limits.parallel_shards.unwrap_or(setting.parallel_shards), ..setting }
    }

    /// Returns the setting to measure next; `None` when the search has ended.
    pub(super) fn next(&self) -> Option<TuneSetting> {
        let TuneLimits { provers: wanted, parallel_shards, every_cut, .. } = self.limits;
        // Double the number of provers while that is clearly faster.
        let first = wanted.unwrap_or(1);
        let (mut provers, mut best) = (first, 0.0);
        while provers == first || (wanted.is_none() && provers <= self.limits.max_measured_provers()) {
            let setting = self.of_provers(provers);
            let Some(found) = self.find(setting) else { return Some(setting) };
            if best > 0.0 && found.rate() <= best * MIN_SPEEDUP {
                break;
            }
            (provers, best) = (self.limits.more_provers(provers), found.rate());
        }
        // Try the other number of parallel shards per prover.
        let fastest = self.fastest().map_or(self.of_provers(first), |measured| measured.setting);
        let other = TuneSetting { parallel_shards: 3 - fastest.parallel_shards.clamp(1, 2), ..fastest };
        if parallel_shards.is_none() && fastest.cut.is_none() && self.find(other).is_none() {
            return Some(other);
        }
        // Try smaller cuts while they are clearly faster.
        let fastest = self.fastest()?;
        let mut cut = smaller_cut(fastest.outcome.as_ref().ok()?.cut);
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
    /// setting that fails. Checks the measured settings and the fastest one, which includes the threads per prover: 0
    /// on GPUs.
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
                cut,
                shards: setting.shards(),
                cycles: (rate * 10.0) as u64,
                seconds: 10.0,
                peak_bytes: 0,
                gpu_peak_bytes: None,
            });
            search.record(TuneMeasurement { setting, outcome: outcome.ok_or_else(|| "out of memory".to_owned()) });
            assert!(search.measured().len() < 20, "the search does not end");
        }
        let short = |setting: &TuneSetting| (setting.provers, setting.parallel_shards, setting.cut);
        let found: Vec<_> = search.measured().iter().map(|measured| short(&measured.setting)).collect();
        assert_eq!(found, measured);
        let found = search.fastest().map(|measured| measured.setting);
        let in_full =
            |found: TuneSetting| (found.provers, found.threads.unwrap_or(0), found.parallel_shards, found.cut);
        assert_eq!(found.map(in_full), fastest);
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
    fn more_gpus_are_tried_while_they_are_clearly_faster() {
        let limits = |gpus, max_provers| TuneLimits { gpus, ..(64, max_provers).into() };
        let each_helps = |gpus: u16, shards: u16, _| Some(f64::from(gpus) * 100.0 + f64::from(shards) * 10.0);
        let measured = [(1, 2, None), (2, 2, None), (4, 2, None), (6, 2, None), (6, 1, None), (6, 2, Some(MIDDLE))];
        check(limits(6, 64), each_helps, &measured, Some((6, 0, 2, None)));
        // The processor makes traces for two GPUs at most.
        let two_help = |gpus: u16, _, _| Some(f64::from(gpus.min(2)) * 100.0);
        let measured = [(1, 2, None), (2, 2, None), (4, 2, None), (2, 1, None), (2, 2, Some(MIDDLE))];
        check(limits(8, 64), two_help, &measured, Some((2, 0, 2, None)));
        // Memory to pin for three.
        let measured = [(1, 2, None), (2, 2, None), (3, 2, None), (3, 1, None), (3, 2, Some(MIDDLE))];
        check(limits(8, 3), each_helps, &measured, Some((3, 0, 2, None)));
        check(limits(1, 64), each_helps, &[(1, 2, None), (1, 1, None), (1, 2, Some(MIDDLE))], Some((1, 0, 2, None)));
    }

    #[test]
    fn several_shards_are_measured_for_each_place_of_a_gpu() {
        let limits = |gpus| TuneLimits { gpus, ..(4, 4).into() };
        let shards = |gpus| TuneSearch::new(limits(gpus)).next().map(|setting| setting.shards());
        assert_eq!((shards(0), limits(0).max_shards()), (Some(2), 8));
        assert_eq!((shards(3), limits(3).max_shards()), (Some(8), 24));
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
