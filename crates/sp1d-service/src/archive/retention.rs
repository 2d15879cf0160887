//! Which copies and blobs of an archive are removed.

use super::copy_name::CopyName;
use crate::state::ProofTimes;
use serde::{Deserialize, Serialize};
use sp1d_model::Moment;
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// Copies that are always kept: the latest one, and those that a reader of an earlier manifest may be reading.
const KEPT_NEWEST: usize = 3;

const HOUR_MS: i64 = 60 * 60 * 1000;

/// Hours for which the archive keeps one copy each.
const KEPT_HOURS: i64 = 24;

/// How long a blob must have been unused before it is removed, in milliseconds. The copies of the last hours still need
/// it.
const MIN_UNUSED_MS: i64 = (KEPT_HOURS + 1) * HOUR_MS;

/// Returns the copies that are no longer needed at `now`. Keeps the newest ones, the newest one of each of the last
/// hours, and the newest one of each hour after `now`: until a step of the clock is confirmed, `now` is the older time.
pub(super) fn superseded(copies: &[CopyName], now: Moment) -> Vec<CopyName> {
    let mut newest_first: Vec<&CopyName> = copies.iter().collect();
    newest_first.sort_unstable();
    newest_first.reverse();
    let mut hours = BTreeSet::new();
    let removed = newest_first.into_iter().enumerate().filter(|(place, copy)| {
        let hour = copy.at.0.div_euclid(HOUR_MS);
        let is_recent = hour > now.0.div_euclid(HOUR_MS) - KEPT_HOURS;
        let is_first_of_hour = hours.insert(hour);
        !(*place < KEPT_NEWEST || is_recent && is_first_of_hour)
    });
    removed.map(|(_, copy)| copy.clone()).collect()
}

/// Since when the blobs of the archive are unused, as far as the state folder knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct UnusedBlobs(BTreeMap<String, Moment>);

impl UnusedBlobs {
    /// Compares the `archived` blobs with those that the latest copy has `needed`. Returns the blobs to remove. A blob
    /// with a time in the future, before the clock was set back, is unused since now.
    pub(super) fn collect<'a>(
        &mut self,
        archived: impl Iterator<Item = &'a String>,
        needed: &HashSet<String>,
        times: &ProofTimes,
    ) -> Vec<String> {
        let since = |digest: &String| self.0.get(digest).map_or(times.now, |since| times.now.min(*since));
        let unused: BTreeMap<String, Moment> =
            archived.filter(|digest| !needed.contains(*digest)).map(|digest| (digest.clone(), since(digest))).collect();
        let is_old = |since: Moment| times.of(since).0.saturating_sub(since.0) >= MIN_UNUSED_MS;
        let old = unused.iter().filter(|(_, since)| is_old(**since)).map(|(digest, _)| digest.clone()).collect();
        self.0 = unused;
        old
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::position::ArchivePosition;

    fn copy(sequence: u64, at: i64) -> CopyName {
        let position = ArchivePosition { generation: 1, sequence };
        CopyName { position, at: Moment(at), digest: "0a".repeat(32) }
    }

    /// Checks which copies are removed, by their sequence numbers. `copies` are sequence numbers and minutes.
    #[track_caller]
    fn check(copies: &[(u64, i64)], now_minutes: i64, removed: &[u64]) {
        let minute = 60_000;
        let all: Vec<CopyName> = copies.iter().map(|(sequence, at)| copy(*sequence, at * minute)).collect();
        let mut found: Vec<u64> =
            superseded(&all, Moment(now_minutes * minute)).iter().map(|copy| copy.position.sequence).collect();
        found.sort_unstable();
        assert_eq!(found, removed, "{copies:?}");
    }

    #[test]
    fn the_newest_copies_and_one_of_each_hour_are_kept() {
        check(&[], 0, &[]);
        check(&[(1, 0), (2, 1), (3, 2)], 2, &[]);
        check(&[(1, 0), (2, 1), (3, 2), (4, 3), (5, 4)], 4, &[1, 2]);
        // The third copy is the newest one of its hour, and the sixth is of this hour.
        check(&[(1, 0), (2, 1), (3, 59), (4, 60), (5, 61), (6, 62)], 62, &[1, 2]);
        check(&[(1, 0), (2, 61), (3, 121), (4, 181), (5, 241)], 241, &[]);
        // A day later.
        check(&[(1, 0), (2, 61), (3, 1441), (4, 1442), (5, 1443)], 1443, &[1]);
    }

    /// Returns the times of a run with a trusted clock.
    fn hours(hours: i64) -> ProofTimes {
        let now = Moment(hours * HOUR_MS);
        ProofTimes { now, since: Moment(i64::MIN), cautious: now }
    }

    #[test]
    fn blobs_are_removed_a_day_after_their_last_use() {
        let archived = ["one".to_owned(), "two".to_owned()];
        let needed = HashSet::from(["one".to_owned()]);
        let mut unused = UnusedBlobs::default();
        assert!(unused.collect(archived.iter(), &needed, &hours(1)).is_empty());
        assert!(unused.collect(archived.iter(), &needed, &hours(25)).is_empty());
        // Needed once more: its time starts again.
        assert!(unused.collect(archived.iter(), &archived.iter().cloned().collect(), &hours(25)).is_empty());
        assert!(unused.collect(archived.iter(), &needed, &hours(26)).is_empty());
        assert!(unused.collect(archived.iter(), &needed, &hours(50)).is_empty());
        assert_eq!(unused.collect(archived.iter(), &needed, &hours(51)), ["two"]);
    }

    #[test]
    fn time_of_an_unused_blob_follows_no_step_of_the_clock() {
        let (archived, needed) = (["blob".to_owned()], HashSet::new());
        let mut unused = UnusedBlobs::default();
        assert!(unused.collect(archived.iter(), &needed, &hours(100)).is_empty());
        // The clock has moved forward by 1000 hours, and one hour has passed.
        let step = ProofTimes { since: Moment(1100 * HOUR_MS), cautious: Moment(101 * HOUR_MS), ..hours(1101) };
        assert!(unused.collect(archived.iter(), &needed, &step).is_empty());
        // It was set back.
        assert!(unused.collect(archived.iter(), &needed, &hours(50)).is_empty());
        assert!(unused.collect(archived.iter(), &needed, &hours(74)).is_empty());
        assert_eq!(unused.collect(archived.iter(), &needed, &hours(75)), ["blob"]);
    }
}
