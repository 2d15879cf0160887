//! The clock of the service.
//!
//! The service reads the system's clock when it starts, and then counts monotonic time. A later change of the system's
//! clock therefore ends no deadline and removes no proof. Only tokens also expire by the system's time, see
//! [`ServiceClock::latest`].
//!
//! Between two runs, only the system's clock passes. If it has moved back by more than [`MAX_BACK_MS`], or forward by
//! more than [`MAX_GAP_MS`], the step is *unconfirmed*. Then the service uses the new time for what is new, but judges
//! older proofs by the older of the two times: nothing ends or disappears because of the step. The step is confirmed
//! when the next start finds a plausible time after it, or when the service has run for [`CONFIRMED_AFTER`].

use sp1d_model::Moment;
use std::{
    cmp::min,
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// Longest plausible time between the last record of one run and the start of the next, in milliseconds: a day.
const MAX_GAP_MS: i64 = 24 * 60 * 60 * 1000;

/// How far the system's clock may plausibly move back, in milliseconds: five minutes. A machine corrects its clock
/// after its start.
const MAX_BACK_MS: i64 = 5 * 60 * 1000;

/// A step of the clock counts as confirmed after the service has run for this time, in which people could see the
/// warning.
const CONFIRMED_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What the database keeps of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockRecord {
    /// The last time that is trusted.
    pub(crate) trusted: Moment,
    /// The last time after an unconfirmed step.
    pub(crate) unconfirmed: Option<Moment>,
}

/// An unconfirmed step of the system's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClockStep {
    /// The last time before the step.
    pub(crate) from: Moment,
    /// The time at the start of the service.
    pub(crate) to: Moment,
}

impl fmt::Display for ClockStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to } = self;
        write!(
            f,
            "the system clock was at {from} when the service last ran, and at {to} when it started: no proof expires or is removed because of this step, until the service starts again at a plausible time or has run for 7 days"
        )
    }
}

/// The times by which proofs are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProofTimes {
    /// The time for proofs that were accepted at `since` or later.
    pub(crate) now: Moment,
    pub(crate) since: Moment,
    /// The time for older proofs.
    pub(crate) cautious: Moment,
}

impl ProofTimes {
    /// Returns the time by which a proof that was accepted at `created` is judged.
    pub(crate) fn of(&self, created: Moment) -> Moment {
        if created < self.since { self.cautious } else { self.now }
    }
}

/// The time of one run as a function of the monotonic time since its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RunTime {
    start: Moment,
    step: Option<ClockStep>,
}

fn later(moment: Moment, elapsed: Duration) -> Moment {
    Moment(moment.0.saturating_add(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)))
}

/// Returns true if a run may start at `to` when the last record before it is from `from`.
fn is_plausible(from: Moment, to: Moment) -> bool {
    (-MAX_BACK_MS..=MAX_GAP_MS).contains(&to.0.saturating_sub(from.0))
}

impl RunTime {
    /// Returns the time of a run that starts when the system's clock shows `start`.
    fn new(record: Option<ClockRecord>, start: Moment) -> Self {
        let step = record.and_then(|ClockRecord { trusted, unconfirmed }| {
            // Either the clock has passed on after its step, or the step was undone.
            let is_known = is_plausible(trusted, start) || unconfirmed.is_some_and(|from| is_plausible(from, start));
            (!is_known).then_some(ClockStep { from: trusted, to: start })
        });
        Self { start, step }
    }

    fn now(&self, elapsed: Duration) -> Moment {
        later(self.start, elapsed)
    }

    fn unconfirmed(&self, elapsed: Duration) -> Option<ClockStep> {
        self.step.filter(|_| elapsed < CONFIRMED_AFTER)
    }

    fn proof_times(&self, elapsed: Duration) -> ProofTimes {
        let now = self.now(elapsed);
        match self.unconfirmed(elapsed) {
            Some(ClockStep { from, to }) => ProofTimes { now, since: to, cautious: later(min(from, to), elapsed) },
            None => ProofTimes { now, since: Moment(i64::MIN), cautious: now },
        }
    }

    fn record(&self, elapsed: Duration) -> ClockRecord {
        let now = self.now(elapsed);
        match self.unconfirmed(elapsed) {
            Some(ClockStep { from, .. }) => ClockRecord { trusted: later(from, elapsed), unconfirmed: Some(now) },
            None => ClockRecord { trusted: now, unconfirmed: None },
        }
    }
}

/// Returns the time since the machine was started, with the time for which it slept.
fn uptime() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    Duration::from_secs(seconds) + Duration::from_nanos(nanos)
}

/// The clock of a running service.
#[derive(Debug)]
pub(crate) struct ServiceClock {
    time: RunTime,
    started: Duration,
}

impl ServiceClock {
    /// Starts the clock of a run from the system's clock and the `record` of the earlier runs.
    pub(crate) fn start(record: Option<ClockRecord>) -> Self {
        Self { time: RunTime::new(record, Moment::now()), started: uptime() }
    }

    fn elapsed(&self) -> Duration {
        uptime().saturating_sub(self.started)
    }

    /// Returns the current time.
    pub(crate) fn now(&self) -> Moment {
        self.time.now(self.elapsed())
    }

    /// Returns the later one of the current time and the system's time. The system's clock may have been behind when
    /// the service started, and a token must not be valid for longer because of that.
    pub(crate) fn latest(&self) -> Moment {
        self.now().max(Moment::now())
    }

    /// Returns the current time for the modification time of a file.
    pub(crate) fn file_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(u64::try_from(self.now().0).unwrap_or(0))
    }

    /// Returns the times by which proofs are judged.
    pub(crate) fn proof_times(&self) -> ProofTimes {
        self.time.proof_times(self.elapsed())
    }

    /// Returns what the database must keep for the next run.
    pub(crate) fn record(&self) -> ClockRecord {
        self.time.record(self.elapsed())
    }

    /// Returns the step of the system's clock before this run, as long as it is unconfirmed.
    pub(crate) fn unconfirmed(&self) -> Option<ClockStep> {
        self.time.unconfirmed(self.elapsed())
    }

    /// Returns how far the system's clock is from this clock, which does not follow its changes.
    pub(crate) fn drift(&self) -> Duration {
        Duration::from_millis(Moment::now().0.abs_diff(self.now().0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * 60 * 1000;
    const DAY: i64 = 24 * HOUR;
    /// The last trusted time in these tests.
    const TRUSTED: i64 = 1_800_000_000_000;

    /// Checks whether a start at `TRUSTED + start` after the record with an unconfirmed time at `TRUSTED + unconfirmed`
    /// is a step.
    #[track_caller]
    fn check(unconfirmed: Option<i64>, start: i64, is_step: bool) {
        let unconfirmed = unconfirmed.map(|at| Moment(TRUSTED + at));
        let record = ClockRecord { trusted: Moment(TRUSTED), unconfirmed };
        let time = RunTime::new(Some(record), Moment(TRUSTED + start));
        let expected = is_step.then_some(ClockStep { from: Moment(TRUSTED), to: Moment(TRUSTED + start) });
        assert_eq!(time.unconfirmed(Duration::ZERO), expected);
    }

    #[test]
    fn only_an_implausible_step_is_unconfirmed() {
        for start in [0, 1, DAY, -MAX_BACK_MS] {
            check(None, start, false);
        }
        for start in [DAY + 1, 30 * DAY, -MAX_BACK_MS - 1, -30 * DAY] {
            check(None, start, true);
        }
        assert_eq!(RunTime::new(None, Moment(TRUSTED)).step, None, "the first start has nothing to compare");
    }

    #[test]
    fn next_plausible_start_confirms_a_step_or_undoes_it() {
        let step = Some(30 * DAY);
        check(step, 30 * DAY + HOUR, false);
        check(step, HOUR, false);
        check(step, 15 * DAY, true);
        check(step, 60 * DAY, true);
    }

    #[test]
    fn forward_step_ends_nothing_that_is_older() {
        let record = ClockRecord { trusted: Moment(TRUSTED), unconfirmed: None };
        let time = RunTime::new(Some(record), Moment(TRUSTED + 30 * DAY));
        let hour = Duration::from_secs(3600);
        let times = time.proof_times(hour);
        // For a proof from before the step, only the hour of this run has passed.
        assert_eq!(times.of(Moment(TRUSTED - HOUR)), Moment(TRUSTED + HOUR));
        assert_eq!(times.of(Moment(TRUSTED + 30 * DAY)), Moment(TRUSTED + 30 * DAY + HOUR));
        let kept = time.record(hour);
        assert_eq!(kept.trusted, Moment(TRUSTED + HOUR));
        assert_eq!(kept.unconfirmed, Some(Moment(TRUSTED + 30 * DAY + HOUR)));
    }

    #[test]
    fn backward_step_keeps_new_proofs() {
        let record = ClockRecord { trusted: Moment(TRUSTED), unconfirmed: None };
        let time = RunTime::new(Some(record), Moment(TRUSTED - 30 * DAY));
        let times = time.proof_times(Duration::from_secs(3600));
        // A proof that ends now has a time far before `TRUSTED`, and must not count as old.
        assert_eq!(times.cautious, Moment(TRUSTED - 30 * DAY + HOUR));
        assert_eq!(times.now, times.cautious);
    }

    #[test]
    fn long_run_confirms_a_step() {
        let record = ClockRecord { trusted: Moment(TRUSTED), unconfirmed: None };
        let time = RunTime::new(Some(record), Moment(TRUSTED + 30 * DAY));
        let times = time.proof_times(CONFIRMED_AFTER);
        assert_eq!((time.unconfirmed(CONFIRMED_AFTER), times.cautious), (None, times.now));
        assert_eq!(time.record(CONFIRMED_AFTER), ClockRecord { trusted: times.now, unconfirmed: None });
    }

    #[test]
    fn clock_starts_at_the_time_of_the_system_and_passes() {
        let clock = ServiceClock::start(None);
        let first = clock.now();
        assert!(clock.drift() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(5));
        assert!(clock.now() > first);
    }

    #[test]
    fn latest_time_is_not_behind_the_clock_of_the_system() {
        let starting_at = |start| ServiceClock { time: RunTime::new(None, start), started: uptime() };
        let before = Moment::now();
        assert!(starting_at(Moment(0)).latest() >= before, "the clock of the service is behind");
        let ahead = Moment(before.0 + DAY);
        assert!(starting_at(ahead).latest() >= ahead, "the clock of the service is ahead");
    }
}
