//! Limits how often something happens, for each of many keys. This module performs no I/O.

use sp1d_model::Rate;
use std::collections::BTreeMap;
use tokio::time::Instant;

sp1d_model::limits! {
    /// Maximum number of keys that are remembered. If there are more, nothing is allowed for new keys until others have
    /// been quiet. It exceeds the largest pool: 10,000 workers of the list and 4,096 that join.
    const MAX_RATE_KEYS: usize = 16_384; Count by EitherSide;
}

/// What is remembered of a key.
#[derive(Debug)]
struct RateEntry {
    /// When the whole burst is available again.
    full_at: Instant,
    suppressed: u64,
}

/// Limits how often something happens, separately for each key. A key that has been quiet for long takes no memory.
#[derive(Debug)]
pub struct RateLimiter<K> {
    rate: Rate,
    entries: BTreeMap<K, RateEntry>,
}

impl<K: Ord> RateLimiter<K> {
    /// Creates a limiter for which nothing has happened.
    #[must_use]
    pub const fn new(rate: Rate) -> Self {
        Self { rate, entries: BTreeMap::new() }
    }

    /// Decides whether it may happen for `key` at `now`. Returns how often it was not allowed since the last time it
    /// was, or `None` if it is not allowed now.
    pub fn take(&mut self, key: K, now: Instant) -> Option<u64> {
        if self.entries.len() >= MAX_RATE_KEYS && !self.entries.contains_key(&key) {
            self.entries.retain(|_, entry| entry.full_at > now);
            if self.entries.len() >= MAX_RATE_KEYS {
                return None;
            }
        }
        let entry = self.entries.entry(key).or_insert(RateEntry { full_at: now, suppressed: 0 });
        let full_at = entry.full_at.max(now) + self.rate.interval;
        if full_at > now + self.rate.interval * self.rate.burst {
            entry.suppressed += 1;
            return None;
        }
        entry.full_at = full_at;
        Some(std::mem::take(&mut entry.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const RATE: Rate = Rate { burst: 2, interval: Duration::from_secs(10) };

    #[test]
    fn a_burst_is_allowed_and_then_one_for_each_interval() {
        let (mut limiter, start) = (RateLimiter::new(RATE), Instant::now());
        let steps =
            [(0, Some(0)), (0, Some(0)), (0, None), (5, None), (10, Some(2)), (10, None), (60, Some(1)), (60, Some(0))];
        for (seconds, expected) in steps {
            assert_eq!(limiter.take("one", start + Duration::from_secs(seconds)), expected, "after {seconds} s");
        }
        assert_eq!(limiter.take("other", start), Some(0));
    }

    #[test]
    fn each_worker_of_the_largest_pool_has_its_own_limit() {
        let (mut limiter, start) = (RateLimiter::new(RATE), Instant::now());
        for worker in 0..10_000 + 4096 {
            assert_eq!(limiter.take(worker, start), Some(0), "worker {worker}");
        }
    }

    #[test]
    fn quiet_keys_make_room_for_others() {
        let (mut limiter, start) = (RateLimiter::new(RATE), Instant::now());
        for key in 0..MAX_RATE_KEYS {
            assert_eq!(limiter.take(key, start), Some(0));
        }
        assert_eq!(limiter.take(MAX_RATE_KEYS, start), None);
        assert_eq!(limiter.take(MAX_RATE_KEYS, start + RATE.interval), Some(0));
        assert_eq!(limiter.entries.len(), 1);
    }
}
