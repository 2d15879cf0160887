//! Pauses between tries to connect, the same on both sides.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A connection that lasted at least this long was a working one: the next failure is a new one.
const STEADY: Duration = Duration::from_secs(5);

/// Pauses that grow from failure to failure, up to ten seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(FIRST_PAUSE)
    }
}

impl Backoff {
    /// How long to wait after a try that lasted `lasted`: between half of the pause and all of it, so that many do not
    /// knock at the same moment.
    pub fn pause(&mut self, lasted: Duration) -> Duration {
        self.0 = if lasted >= STEADY { FIRST_PAUSE } else { (self.0 * 2).min(LONGEST_PAUSE) };
        let dice = RandomState::new().hash_one(0_u8) % 1024;
        self.0 / 2 + self.0.mul_f64(dice as f64 / 2048.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(backoff: &mut Backoff, lasted: Duration, pause: Duration) {
        let found = backoff.pause(lasted);
        assert!((pause / 2..=pause).contains(&found), "{found:?}, not about {pause:?}");
    }

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_connection_that_worked() {
        let mut backoff = Backoff::default();
        for milliseconds in [400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            check(&mut backoff, Duration::ZERO, Duration::from_millis(milliseconds));
        }
        check(&mut backoff, STEADY, FIRST_PAUSE);
        check(&mut backoff, Duration::ZERO, 2 * FIRST_PAUSE);
    }
}
