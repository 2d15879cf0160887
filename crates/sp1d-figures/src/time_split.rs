//! Where the time of a proof went.

use serde::Serialize;

/// The time of a proof, by how many of its shards were being proven. In seconds; the parts add up to the whole time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TimeSplit {
    /// Before the start of the first shard.
    pub before: f64,
    /// While no shard was being proven, between the first and the last one.
    pub between: f64,
    /// After the end of the last shard. Without shards, the whole time.
    pub after: f64,
    /// While some provers proved a shard and others did not.
    pub partly: f64,
    /// While all provers proved a shard.
    pub busy: f64,
}

impl TimeSplit {
    /// Splits the time from 0 to `end`. `spans` are the start and the end of each shard. Time outside of the proof does
    /// not count: a second attempt of a shard may end after the proof.
    #[must_use]
    pub fn of(spans: &[(f64, f64)], end: f64, provers: usize) -> Self {
        let end = end.max(0.0);
        let mut edges: Vec<(f64, bool)> = spans
            .iter()
            .map(|(start, stop)| (start.clamp(0.0, end), stop.clamp(0.0, end)))
            // Otherwise, a shard that starts after the end would look like the first one.
            .filter(|(start, stop)| start < stop)
            .flat_map(|(start, stop)| [(start, true), (stop, false)])
            .collect();
        edges.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut split = Self { before: 0.0, between: 0.0, after: 0.0, partly: 0.0, busy: 0.0 };
        let (mut last, mut running, mut is_first) = (0.0, 0_usize, true);
        for (time, is_start) in edges {
            let part = match running {
                0 if is_first => &mut split.before,
                0 => &mut split.between,
                running if running < provers => &mut split.partly,
                _ => &mut split.busy,
            };
            *part += time - last;
            running = if is_start { running + 1 } else { running.saturating_sub(1) };
            (last, is_first) = (time, false);
        }
        split.after = end - last;
        split
    }

    /// Returns the time in which no shard was being proven: the part of a proof that further provers do not shorten.
    #[must_use]
    pub fn serial(&self) -> f64 {
        self.before + self.between + self.after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks the split of ten seconds: before, between, after, partly, busy.
    #[track_caller]
    fn check(spans: &[(f64, f64)], provers: usize, expected: [f64; 5]) {
        let split = TimeSplit::of(spans, 10.0, provers);
        assert_eq!([split.before, split.between, split.after, split.partly, split.busy], expected);
        assert_eq!(expected.iter().sum::<f64>(), 10.0);
        assert_eq!(split.serial(), expected[..3].iter().sum::<f64>());
    }

    #[test]
    fn time_is_split_by_the_number_of_busy_provers() {
        check(&[(2.0, 5.0), (1.0, 3.0), (7.0, 8.0)], 2, [1.0, 2.0, 2.0, 4.0, 1.0]);
        check(&[(2.0, 5.0), (1.0, 3.0), (7.0, 8.0)], 1, [1.0, 2.0, 2.0, 0.0, 5.0]);
    }

    #[test]
    fn shards_that_follow_each_other_at_once_leave_no_time_between_them() {
        check(&[(1.0, 5.0), (5.0, 9.0)], 1, [1.0, 0.0, 1.0, 0.0, 8.0]);
    }

    #[test]
    fn time_outside_of_the_proof_does_not_count() {
        check(&[(1.0, 5.0), (8.0, 12.0)], 1, [1.0, 3.0, 0.0, 0.0, 6.0]);
        check(&[(-1.0, 5.0), (11.0, 12.0)], 1, [0.0, 0.0, 5.0, 0.0, 5.0]);
        check(&[(11.0, 12.0)], 1, [0.0, 0.0, 10.0, 0.0, 0.0]);
    }

    #[test]
    fn time_without_shards_is_serial() {
        check(&[], 2, [0.0, 0.0, 10.0, 0.0, 0.0]);
    }
}
