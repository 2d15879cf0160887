//! Corrects memory estimates by the memory that attempts on this worker used.

use crate::engine::MemoryUse;
use sp1d_model::TaskKind;
use std::collections::{BTreeMap, VecDeque};

/// Number of recent attempts of each kind that are considered.
const MAX_SAMPLES: usize = 16;

/// Number of attempts that must be measured before estimates are lowered. A peak is short, so a measurement can miss
/// it.
const MIN_SAMPLES_TO_LOWER: usize = 8;

/// Lowered estimates stay above the highest measured use by this factor.
const HEADROOM: f64 = 1.1;

/// Lower and upper bound of a correction factor.
const MIN_FACTOR: f64 = 0.6;
const MAX_FACTOR: f64 = 2.0;

/// Ratios of used to estimated memory of recent attempts, by task kind.
#[derive(Debug, Default)]
pub(crate) struct Corrections(BTreeMap<TaskKind, VecDeque<f64>>);

impl Corrections {
    /// Records the memory use of an attempt of `kind`. Ignores it if there was no estimate.
    pub(crate) fn observe(&mut self, kind: TaskKind, memory: MemoryUse) {
        if memory.estimated_bytes == 0 {
            return;
        }
        let seen = self.0.entry(kind).or_default();
        if seen.len() == MAX_SAMPLES {
            seen.pop_front();
        }
        seen.push_back(memory.ratio());
    }

    /// Returns the factor by which estimates of `kind` are multiplied. One attempt that used more than its estimate
    /// raises the factor above 1. Only `MIN_SAMPLES_TO_LOWER` attempts that used less lower it below 1.
    pub(crate) fn factor(&self, kind: TaskKind) -> f64 {
        let Some(seen) = self.0.get(&kind) else { return 1.0 };
        let highest = seen.iter().copied().fold(0.0, f64::max);
        let factor = if seen.len() < MIN_SAMPLES_TO_LOWER || highest > 1.0 {
            highest.max(1.0)
        } else {
            (highest * HEADROOM).min(1.0)
        };
        factor.clamp(MIN_FACTOR, MAX_FACTOR)
    }

    /// Returns the larger factor of the two shard kinds, at least 1. The memory that a worker reports is divided by
    /// this factor. Because the factor is at least 1, the report never exceeds the machine's memory: an attempt that
    /// runs alone can use a larger part of its estimate than several attempts together.
    pub(crate) fn factor_of_shards(&self) -> f64 {
        self.factor(TaskKind::ProveShard).max(self.factor(TaskKind::NormalizeShard)).max(1.0)
    }
}

pub(crate) fn scaled(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Records shards that used `percents` of their estimates, and checks the resulting factor in percent.
    #[track_caller]
    fn check(percents: &[u64], factor: u64) {
        let mut corrections = Corrections::default();
        for percent in percents {
            let memory = MemoryUse { used_bytes: *percent, estimated_bytes: 100 };
            corrections.observe(TaskKind::ProveShard, memory);
        }
        assert_eq!((corrections.factor(TaskKind::ProveShard) * 100.0).round() as u64, factor);
        assert_eq!((corrections.factor_of_shards() * 100.0).round() as u64, factor.max(100));
        assert!(
            (corrections.factor(TaskKind::RecursionReduce) - 1.0).abs() < f64::EPSILON,
            "a factor of another kind changed"
        );
    }

    #[test]
    fn estimates_rise_at_once_and_fall_after_enough_attempts() {
        check(&[], 100);
        check(&[130], 130);
        check(&[130, 90], 130);
        check(&[70; 7], 100);
        check(&[70; 8], 77);
        check(&[70, 80, 70, 70, 70, 70, 70, 70], 88);
        check(&[95; 8], 100);
        check(&[10; 8], 60);
        check(&[500], 200);
    }

    #[test]
    fn old_attempts_do_not_count() {
        let percents: Vec<u64> = [150].into_iter().chain([70; 16]).collect();
        check(&percents, 77);
    }

    #[test]
    fn attempts_without_an_estimate_are_ignored() {
        let mut corrections = Corrections::default();
        corrections.observe(TaskKind::ProveShard, MemoryUse { used_bytes: 5, estimated_bytes: 0 });
        assert!((corrections.factor(TaskKind::ProveShard) - 1.0).abs() < f64::EPSILON);
    }
}
