//! Corrects estimates of memory by what attempts on this worker took.

use crate::engine::MemoryUse;
use scheduler::TaskKind;
use std::collections::{BTreeMap, VecDeque};

/// Attempts of a kind that are remembered.
const REMEMBERED: usize = 16;

/// So many attempts must have taken less before estimates are lowered: a peak is short, and a look can miss it.
const ENOUGH: usize = 8;

/// What lowered estimates keep above all that was seen.
const HEADROOM: f64 = 1.1;

/// Bounds of a correction.
const LEAST: f64 = 0.6;
const MOST: f64 = 2.0;

/// What attempts took, as a part of their estimates, by kind.
#[derive(Debug, Default)]
pub(crate) struct Corrections(BTreeMap<TaskKind, VecDeque<f64>>);

impl Corrections {
    /// Notes what an attempt of `kind` took. Without an estimate it says nothing.
    pub(crate) fn observe(&mut self, kind: TaskKind, memory: MemoryUse) {
        if memory.estimated_bytes == 0 {
            return;
        }
        let seen = self.0.entry(kind).or_default();
        if seen.len() == REMEMBERED {
            seen.pop_front();
        }
        seen.push_back(memory.part());
    }

    /// By what estimates of `kind` are multiplied: raised at once, lowered only when enough attempts took less.
    pub(crate) fn factor(&self, kind: TaskKind) -> f64 {
        let Some(seen) = self.0.get(&kind) else { return 1.0 };
        let most = seen.iter().copied().fold(0.0, f64::max);
        let factor = if seen.len() < ENOUGH || most > 1.0 { most.max(1.0) } else { (most * HEADROOM).min(1.0) };
        factor.clamp(LEAST, MOST)
    }

    /// The larger factor of the two kinds of shards, at least 1: what a worker says of its memory is never made larger,
    /// because an attempt alone can take a larger part of its estimate than several together.
    pub(crate) fn factor_of_shards(&self) -> f64 {
        self.factor(TaskKind::ProveShard).max(self.factor(TaskKind::NormalizeShard)).max(1.0)
    }
}

/// `bytes` times `factor`.
pub(crate) fn scaled(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Shards that took so many percent of their estimates lead to a factor in percent.
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
            "other kinds are as they were"
        );
    }

    #[test]
    fn estimates_are_raised_at_once_and_lowered_late() {
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
    fn what_is_long_ago_does_not_count() {
        let percents: Vec<u64> = [150].into_iter().chain([70; 16]).collect();
        check(&percents, 77);
    }

    #[test]
    fn without_an_estimate_nothing_is_learned() {
        let mut corrections = Corrections::default();
        corrections.observe(TaskKind::ProveShard, MemoryUse { used_bytes: 5, estimated_bytes: 0 });
        assert!((corrections.factor(TaskKind::ProveShard) - 1.0).abs() < f64::EPSILON);
    }
}
