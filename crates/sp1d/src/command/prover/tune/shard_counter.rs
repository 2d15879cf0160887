//! Counts the shards of a measurement, from the events of its proof.

use super::search::TuneFigures;
use sp1d_engine::CutOptions;
use sp1d_model::{AttemptInfo, ProofEvent, TaskId, cut_sentence};
use std::{collections::BTreeMap, time::Instant};

/// Counts the first shards of a proof.
#[derive(Debug, Default)]
pub(super) struct ShardCounter {
    /// Number of shards to count.
    wanted: usize,
    cut: Option<u64>,
    /// The first shards that started.
    shards: BTreeMap<TaskId, CountedShard>,
    failure: Option<String>,
}

#[derive(Debug)]
struct CountedShard {
    cycles: u64,
    start: Instant,
    end: Option<Instant>,
}

impl ShardCounter {
    /// Creates a counter of `wanted` shards. `cut` is the setting's cut, if it has one.
    pub(super) fn new(wanted: usize, cut: Option<u64>) -> Self {
        Self { wanted, cut, ..Self::default() }
    }

    /// Processes an event. Returns a message if there is progress to report.
    pub(super) fn on_event(&mut self, event: ProofEvent, now: Instant) -> Option<String> {
        match event {
            ProofEvent::Cut { setting, reason, options } => {
                self.cut = CutOptions::decode(&options).ok().map(|options| options.threshold());
                Some(cut_sentence(&setting, &reason))
            }
            // Shards of precompiles and of memory have no cycles.
            ProofEvent::Proving(AttemptInfo { task, cycles, .. }) if cycles > 0 => {
                if self.shards.len() < self.wanted {
                    self.shards.entry(task).or_insert(CountedShard { cycles, start: now, end: None });
                }
                None
            }
            ProofEvent::Done(AttemptInfo { task, cycles, .. }) if cycles > 0 => {
                let shard = self.shards.get_mut(&task)?;
                shard.end.get_or_insert(now);
                let seconds = now.duration_since(shard.start).as_secs_f64();
                let done = self.shards.values().filter(|shard| shard.end.is_some()).count();
                Some(format!("{done} of {} shards proven ({cycles} cycles in {seconds:.1} s)", self.wanted))
            }
            ProofEvent::AttemptFailed { attempt, reason } if attempt.cycles > 0 => {
                self.failure.get_or_insert(reason);
                None
            }
            ProofEvent::WorkerLost { reason, .. } | ProofEvent::Restarted { reason } => {
                self.failure.get_or_insert(reason);
                None
            }
            _ => None,
        }
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.shards.len() == self.wanted && self.shards.values().all(|shard| shard.end.is_some())
    }

    /// Returns the figures of all shards that are done. A program may have fewer shards than wanted.
    pub(super) fn figures(self, peak_bytes: u64, gpu_peak_bytes: Option<u64>) -> Result<TuneFigures, String> {
        if let Some(reason) = self.failure {
            return Err(reason);
        }
        let done = || self.shards.values().filter_map(|shard| Some((shard, shard.end?)));
        let start = done().map(|(shard, _)| shard.start).min();
        let end = done().map(|(_, end)| end).max();
        let (Some(start), Some(end)) = (start, end) else {
            return Err("the program has no shard that can be measured".to_owned());
        };
        Ok(TuneFigures {
            cut: self.cut.unwrap_or_default(),
            shards: done().count(),
            cycles: done().map(|(shard, _)| shard.cycles).sum(),
            seconds: end.duration_since(start).as_secs_f64(),
            peak_bytes,
            gpu_peak_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_model::{AttemptId, TaskKind};
    use std::time::Duration;

    type MakeEvent = fn(AttemptInfo) -> ProofEvent;

    const STARTED: MakeEvent = ProofEvent::Proving;
    const DONE: MakeEvent = ProofEvent::Done;
    const FAILED: MakeEvent = |attempt| ProofEvent::AttemptFailed { attempt, reason: "out of memory".to_owned() };

    /// Handles events of attempts, given as task, cycles, event and second, and counts `wanted` shards. Expects the
    /// number of shards, their cycles and their seconds.
    #[track_caller]
    fn check(wanted: usize, events: &[(u64, u64, MakeEvent, u64)], expected: Result<(usize, u64, f64), &str>) {
        let mut counter = ShardCounter::new(wanted, Some(1));
        let start = Instant::now();
        for (task, cycles, make, second) in events {
            assert!(!counter.is_complete());
            let attempt = AttemptInfo {
                task: TaskId(*task),
                attempt: AttemptId(*task),
                kind: TaskKind::ProveShard,
                cycles: *cycles,
                worker: "worker".to_owned(),
            };
            counter.on_event(make(attempt), start + Duration::from_secs(*second));
        }
        let found = counter.figures(0, None).map(|figures| (figures.shards, figures.cycles, figures.seconds));
        assert_eq!(found, expected.map_err(str::to_owned));
    }

    #[test]
    fn figures_cover_the_first_shards_from_first_start_to_last_end() {
        let two =
            [(1, 10, STARTED, 5), (2, 30, STARTED, 6), (1, 10, DONE, 15), (3, 50, STARTED, 15), (2, 30, DONE, 25)];
        check(2, &two, Ok((2, 40, 20.0)));
        let precompiles = [(1, 0, STARTED, 1), (1, 0, DONE, 2), (2, 10, STARTED, 5), (2, 10, DONE, 6)];
        check(1, &precompiles, Ok((1, 10, 1.0)));
        // The program ends before the second shard.
        check(2, &[(1, 10, STARTED, 0), (1, 10, DONE, 5)], Ok((1, 10, 5.0)));
        check(1, &[], Err("the program has no shard that can be measured"));
        check(1, &[(1, 10, STARTED, 0), (1, 10, FAILED, 5)], Err("out of memory"));
    }
}
