//! Pauses between attempts to connect, the same on both sides.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// A connection that lasted at least this long was working, so the next failure starts with the first pause again.
const STEADY: Duration = Duration::from_secs(5);

/// Pauses that start at 200 ms and double with each failed connection, up to 10 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST_PAUSE }
    }
}

impl Backoff {
    /// Returns how long to wait after a connection attempt that lasted `lasted`. The result is [`spread_out`].
    pub fn pause(&mut self, lasted: Duration) -> Duration {
        let pause = if lasted >= STEADY { FIRST_PAUSE } else { self.next };
        self.next = (pause * 2).min(MAX_PAUSE);
        spread_out(pause)
    }
}

/// Returns a random time between half of `pause` and all of it, so that peers do not act at the same moment.
#[must_use]
pub fn spread_out(pause: Duration) -> Duration {
    let dice = RandomState::new().hash_one(0_u8) % 1024;
    pause / 2 + pause.mul_f64(dice as f64 / 2048.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(backoff: &mut Backoff, lasted: Duration, pause: Duration) {
        let found = backoff.pause(lasted);
        assert!((pause / 2..=pause).contains(&found), "the pause is {found:?}, expected {:?} to {pause:?}", pause / 2);
    }

    #[test]
    fn pauses_grow_to_a_maximum_and_reset_after_a_working_connection() {
        let mut backoff = Backoff::default();
        for milliseconds in [200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            check(&mut backoff, Duration::ZERO, Duration::from_millis(milliseconds));
        }
        check(&mut backoff, STEADY, FIRST_PAUSE);
        check(&mut backoff, Duration::ZERO, 2 * FIRST_PAUSE);
    }
}
