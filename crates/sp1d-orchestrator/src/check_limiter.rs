//! Runs the checks of workers' outputs, and limits how many run and how long each may take.
//!
//! A check runs code of SP1 on bytes of a worker, and it cannot be interrupted. So it gets a thread that runs no other
//! check meanwhile, and after a maximum time its caller stops waiting for the thread. A slow check does not delay the
//! checks of other workers for long, and the checks of one worker never use more than one thread. The caller is
//! notified of a check that takes much longer than usual, or that waits behind such a check of the same worker. The
//! task then need not wait.
//!
//! The wait for a slot has no limit, and the caller is not notified of it. It is short, because every check gives up
//! its slot after `MAX_SLOT_TIME` at the latest.
//!
//! A test whether a result is present does not run code of SP1. It needs neither a thread nor a slot.

use crate::{check_threads::CheckThreads, lock::lock};
use sp1d_scheduler::{TaskKind, WorkerId};
use std::{
    collections::{BTreeMap, HashMap},
    future, io,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, Weak},
    thread,
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::{Instant, sleep_until, timeout_at},
};

// After each value: its unit, and the peer that can reach the limit. See `sp1d_model::limits`.
sp1d_model::limits! {
    /// Maximum time for which a check keeps its slot: ten times `MIN_SLOW_TIME`. A check that takes `SLOW_FACTOR` times
    /// as long as usual gives it up earlier. Afterwards it continues without a slot. Each worker has at most one check,
    /// so the number of threads without a slot is at most that of the workers.
    const MAX_SLOT_TIME: Duration = Duration::from_secs(2); Time by Worker;
    /// No check of a result is slow before this time. Usual checks take 50 ms. Checks of deferred events differ more.
    /// None of them is slow before `MAX_SLOT_TIME`.
    const MIN_SLOW_TIME: Duration = Duration::from_millis(200); Time by Worker;
    /// Maximum duration of a check. Usual checks take 50 ms on one core, and some seconds on a busy machine. A check
    /// that takes longer counts as failed. Its thread continues until the check returns. Until then, the other checks
    /// of the worker also count as failed, and do not start.
    const MAX_CHECK_TIME: Duration = Duration::from_secs(120); Time by Worker;
}

/// A check that takes this many times as long as usual is slow. Another worker may then prove its task.
const SLOW_FACTOR: u32 = 10;

/// What is checked. Each has its own usual duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CheckedOutput {
    Result(TaskKind),
    /// A result of which only the presence is checked. The look-up itself does not block, but it waits for the worker's
    /// other check.
    ResultPresence,
    DeferredEvents,
}

/// Tells the caller of a check at most once that the check is delayed: it is slow, or it waits behind a slow one of the
/// same worker.
struct DelayReport(Option<oneshot::Sender<()>>);

impl DelayReport {
    fn send(&mut self) {
        if let Some(sender) = self.0.take() {
            // The caller may have stopped waiting.
            let _ = sender.send(());
        }
    }
}

/// How a check ended.
#[derive(Debug)]
pub(crate) enum CheckEnd<T> {
    /// It returned, after this time.
    Returned(T, Duration),
    /// It panicked.
    Panicked,
    /// It took longer than this time. Its thread continues.
    TimedOut(Duration),
    /// It did not start, because the worker has another check that takes longer than this time.
    Blocked(Duration),
    /// There was no thread for it.
    NotStarted(io::Error),
}

/// Runs checks within three limits: one check at a time for each worker, one check at a time in each slot, and a
/// maximum time.
pub(crate) struct CheckLimiter {
    /// One permit for each slot. A slot stands for a core.
    slots: Arc<Semaphore>,
    threads: CheckThreads,
    /// The workers whose checks run or wait.
    workers: Mutex<HashMap<WorkerId, Weak<WorkerChecks>>>,
    /// How long checks usually take, a moving average.
    usual_durations: Mutex<BTreeMap<CheckedOutput, Duration>>,
    slot_time: Duration,
    check_time: Duration,
}

/// The checks of one worker, which run one after another.
#[derive(Debug)]
struct WorkerChecks {
    /// Its only permit belongs to the check that runs.
    permit: Arc<Semaphore>,
    /// The check that runs.
    running: watch::Sender<Option<RunningCheck>>,
}

#[derive(Debug, Clone, Copy)]
struct RunningCheck {
    /// When it counts as failed.
    deadline: Instant,
    /// When it is slow.
    slow_at: Instant,
}

/// Allows a check of a worker to run. It belongs to the thread of the check, so it exists until the check returns.
struct CheckPermit {
    worker: Arc<WorkerChecks>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for CheckPermit {
    fn drop(&mut self) {
        // The next check gets the permit afterwards, and must not see this one.
        self.worker.running.send_replace(None);
    }
}

/// The slot of a check. The check's thread and its caller both hold it, and the first that drops it frees it:
///
/// - the thread, when the check returns. The next check then need not wait until the caller runs again.
/// - the caller, when the check has had the slot for long, or when the caller stops waiting.
struct SharedSlot(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl SharedSlot {
    fn pair(permit: OwnedSemaphorePermit) -> (Self, Self) {
        let slot = Arc::new(Mutex::new(Some(permit)));
        (Self(slot.clone()), Self(slot))
    }
}

impl Drop for SharedSlot {
    fn drop(&mut self) {
        let _permit = lock(&self.0).take();
    }
}

impl WorkerChecks {
    fn new() -> Self {
        Self { permit: Arc::new(Semaphore::new(1)), running: watch::Sender::new(None) }
    }

    /// Returns a permit when no other check of the worker runs. Returns `None` if another check runs after its
    /// deadline. Reports a delay if the running check is slow.
    async fn permit(self: Arc<Self>, report: &mut DelayReport) -> Option<CheckPermit> {
        let mut running = self.running.subscribe();
        let acquired = self.permit.clone().acquire_owned();
        tokio::pin!(acquired);
        loop {
            let present = *running.borrow_and_update();
            let is_slow = present.is_some_and(|check| check.slow_at <= Instant::now());
            if is_slow {
                report.send();
            }
            let passed = async {
                match present {
                    Some(check) if is_slow => sleep_until(check.deadline).await,
                    Some(check) => sleep_until(check.slow_at).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                biased;
                permit = &mut acquired => {
                    let permit = permit.expect("the semaphore is never closed");
                    return Some(CheckPermit { worker: self, _permit: permit });
                }
                changed = running.changed() => changed.expect("`self` holds the sender"),
                () = passed => if is_slow { return None },
            }
        }
    }
}

impl CheckLimiter {
    /// Returns a limiter with slots for half of the cores. A check uses one core for about 50 ms. The other half is
    /// left to the executor.
    pub(crate) fn for_this_machine() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::with_times(cores.div_ceil(2), MAX_SLOT_TIME, MAX_CHECK_TIME)
    }

    fn with_times(slots: usize, slot_time: Duration, check_time: Duration) -> Self {
        let (workers, usual_durations) = (Mutex::default(), Mutex::default());
        let slots = Arc::new(Semaphore::new(slots));
        Self { slots, threads: CheckThreads::default(), workers, usual_durations, slot_time, check_time }
    }

    fn checks_of(&self, worker: WorkerId) -> Arc<WorkerChecks> {
        let mut workers = lock(&self.workers);
        if let Some(found) = workers.get(&worker).and_then(Weak::upgrade) {
            return found;
        }
        workers.retain(|_, other| other.strong_count() > 0);
        let added = Arc::new(WorkerChecks::new());
        workers.insert(worker, Arc::downgrade(&added));
        added
    }

    /// Returns the time after which a check of `output` is slow.
    fn slow_time(&self, output: CheckedOutput) -> Duration {
        let floor = match output {
            CheckedOutput::Result(_) | CheckedOutput::ResultPresence => MIN_SLOW_TIME,
            CheckedOutput::DeferredEvents => MAX_SLOT_TIME,
        };
        let usual = lock(&self.usual_durations).get(&output).copied();
        let slow = usual.map_or(MAX_SLOT_TIME, |usual| usual.saturating_mul(SLOW_FACTOR));
        slow.max(floor).min(self.check_time)
    }

    /// Updates the usual duration of a check of `output`, after a check that passed. A check counts with at most twice
    /// the usual duration, and the first one with at most `MIN_SLOW_TIME`, so that a worker with slow checks hardly
    /// changes what is usual.
    fn learn(&self, output: CheckedOutput, took: Duration) {
        let mut known = lock(&self.usual_durations);
        let usual = known.entry(output).or_insert(took.min(MIN_SLOW_TIME));
        let counted = took.min(usual.saturating_mul(2));
        *usual = (*usual * 3 + counted) / 4;
    }

    /// Runs `check` on an output of `worker`, when there is a slot and no other output of the worker is checked.
    /// `output` says which it is. Sends to `delayed` if the check is slow, or if it waits behind a slow one of the same
    /// worker. A check of [`CheckedOutput::ResultPresence`] needs no slot and no thread. `check` returns an error if
    /// the output did not pass.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait. A check that has started continues on its thread, and the next check of the
    /// worker waits for it.
    pub(crate) async fn run<T: Send + 'static, E: Send + 'static>(
        &self,
        worker: WorkerId,
        output: CheckedOutput,
        delayed: oneshot::Sender<()>,
        check: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> CheckEnd<Result<T, E>> {
        let (checks, mut report) = (self.checks_of(worker), DelayReport(Some(delayed)));
        let Some(permit) = checks.clone().permit(&mut report).await else { return CheckEnd::Blocked(self.check_time) };
        if output == CheckedOutput::ResultPresence {
            // The look-up takes less time than a switch to another thread.
            let start = Instant::now();
            return match panic::catch_unwind(AssertUnwindSafe(check)) {
                Ok(returned) => CheckEnd::Returned(returned, start.elapsed()),
                Err(_) => CheckEnd::Panicked,
            };
        }
        let slot = self.slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let (slot, slot_of_thread) = SharedSlot::pair(slot);
        let start = Instant::now();
        let slow_time = self.slow_time(output);
        let (deadline, slow_at) = (start + self.check_time, start + slow_time);
        checks.running.send_replace(Some(RunningCheck { deadline, slow_at }));
        let mut outcome = match self.threads.start(check, (permit, slot_of_thread)) {
            Ok(outcome) => outcome,
            Err(error) => return CheckEnd::NotStarted(error),
        };
        let mut ended = timeout_at(start + slow_time.min(self.slot_time), &mut outcome).await;
        drop(slot);
        if ended.is_err() {
            ended = timeout_at(slow_at, &mut outcome).await;
        }
        if ended.is_err() {
            report.send();
            ended = timeout_at(deadline, &mut outcome).await;
        }
        let took = start.elapsed();
        match ended {
            Ok(Ok(returned)) => {
                // Other checks say nothing about the usual duration: they may refuse an output at once, or hang.
                if returned.is_ok() {
                    self.learn(output, took);
                }
                CheckEnd::Returned(returned, took)
            }
            Ok(Err(_)) => CheckEnd::Panicked,
            Err(_) => CheckEnd::TimedOut(self.check_time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::{convert::Infallible, sync::mpsc};
    use tokio::time::timeout;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);
    const OUTPUT: CheckedOutput = CheckedOutput::Result(TaskKind::ProveShard);

    impl CheckLimiter {
        /// Runs `check`, which passes if it returns.
        async fn run_passing<T: Send + 'static>(
            &self,
            worker: WorkerId,
            output: CheckedOutput,
            delayed: oneshot::Sender<()>,
            check: impl FnOnce() -> T + Send + 'static,
        ) -> CheckEnd<T> {
            match self.run(worker, output, delayed, move || Ok::<T, Infallible>(check())).await {
                CheckEnd::Returned(Ok(returned), took) => CheckEnd::Returned(returned, took),
                CheckEnd::Panicked => CheckEnd::Panicked,
                CheckEnd::TimedOut(limit) => CheckEnd::TimedOut(limit),
                CheckEnd::Blocked(limit) => CheckEnd::Blocked(limit),
                CheckEnd::NotStarted(error) => CheckEnd::NotStarted(error),
            }
        }

        /// Does the same without a receiver of the delay.
        async fn run_quietly<T: Send + 'static>(
            &self,
            worker: WorkerId,
            check: impl FnOnce() -> T + Send + 'static,
        ) -> CheckEnd<T> {
            self.run_passing(worker, OUTPUT, oneshot::channel().0, check).await
        }

        fn usual_duration(&self) -> Option<Duration> {
            lock(&self.usual_durations).get(&OUTPUT).copied()
        }
    }

    /// Returns a check that hangs until the returned sender is dropped, and a receiver that returns when it starts.
    fn hanging() -> (mpsc::Sender<()>, oneshot::Receiver<()>, impl FnOnce() + Send + 'static) {
        let (release, released) = mpsc::channel::<()>();
        let (start, started) = oneshot::channel();
        let check = move || {
            start.send(()).unwrap();
            _ = released.recv();
        };
        (release, started, check)
    }

    #[tokio::test]
    async fn a_check_that_hangs_does_not_block_the_checks_of_others() {
        let limiter = Arc::new(CheckLimiter::with_times(1, SHORT, LONG));
        let (release, started, check) = hanging();
        let hangs = tokio::spawn({
            let limiter = limiter.clone();
            async move { limiter.run_quietly(WorkerId(1), check).await }
        });
        started.await.unwrap();
        let other = timeout(LONG / 2, limiter.run_quietly(WorkerId(2), || 7)).await;
        assert!(matches!(other, Ok(CheckEnd::Returned(7, _))), "{other:?}");
        assert!(!hangs.is_finished());
        drop(release);
        let hung = hangs.await.unwrap();
        assert!(matches!(hung, CheckEnd::Returned((), _)), "{hung:?}");
    }

    #[tokio::test]
    async fn a_check_that_hangs_counts_as_failed_and_blocks_its_worker_until_it_returns() {
        let limiter = CheckLimiter::with_times(1, SHORT, LONG);
        let (release, _started, check) = hanging();
        // The paused clock ends each wait at once.
        tokio::time::pause();
        let ended = limiter.run_quietly(WorkerId(1), check).await;
        assert!(matches!(ended, CheckEnd::TimedOut(time) if time == LONG), "{ended:?}");
        let next = limiter.run_quietly(WorkerId(1), || 7).await;
        assert!(matches!(next, CheckEnd::Blocked(time) if time == LONG), "{next:?}");
        // The threads of the other checks take real time.
        tokio::time::resume();
        let other = limiter.run_quietly(WorkerId(2), || 7).await;
        assert!(matches!(other, CheckEnd::Returned(7, _)), "{other:?}");
        let mut running = limiter.checks_of(WorkerId(1)).running.subscribe();
        drop(release);
        running.wait_for(Option::is_none).await.unwrap();
        let last = limiter.run_quietly(WorkerId(1), || 7).await;
        assert!(matches!(last, CheckEnd::Returned(7, _)), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_waits_behind_one_that_hangs_never_starts() {
        let limiter = CheckLimiter::with_times(4, SHORT, LONG);
        let (_release, _started, check) = hanging();
        let first = limiter.run_quietly(WorkerId(1), check);
        tokio::pin!(first);
        assert!(first.as_mut().now_or_never().is_none(), "the first check has the permit");
        let (first, second) = tokio::join!(first, limiter.run_quietly(WorkerId(1), || 7));
        assert!(matches!(first, CheckEnd::TimedOut(_)), "{first:?}");
        assert!(matches!(second, CheckEnd::Blocked(_)), "{second:?}");
    }

    #[tokio::test]
    async fn a_check_whose_caller_has_left_still_blocks_its_worker() {
        let limiter = CheckLimiter::with_times(4, SHORT, LONG);
        let (release, started, check) = hanging();
        tokio::select! {
            biased;
            ended = limiter.run_quietly(WorkerId(1), check) => panic!("{ended:?}"),
            started = started => started.unwrap(),
        }
        let next = limiter.run_quietly(WorkerId(1), || 7);
        tokio::pin!(next);
        assert!(next.as_mut().now_or_never().is_none(), "the thread of the first check still runs");
        drop(release);
        let next = next.await;
        assert!(matches!(next, CheckEnd::Returned(7, _)), "{next:?}");
    }

    #[tokio::test]
    async fn a_worker_has_one_check_at_a_time() {
        let limiter = CheckLimiter::with_times(4, SHORT, LONG);
        let (release, _started, check) = hanging();
        let first = limiter.run_quietly(WorkerId(1), check);
        let second = limiter.run_quietly(WorkerId(1), || ());
        tokio::pin!(first, second);
        let waits = timeout(3 * SHORT, async {
            // The first check takes the permit first.
            tokio::select! { biased; _ = &mut first => 1, _ = &mut second => 2 }
        })
        .await;
        assert!(waits.is_err(), "{waits:?} ended");
        drop(release);
        first.await;
        second.await;
        assert_eq!(lock(&limiter.workers).len(), 1);
        limiter.run_quietly(WorkerId(2), || ()).await;
        assert_eq!(lock(&limiter.workers).len(), 1, "a worker without checks is forgotten");
    }

    #[tokio::test]
    async fn a_check_that_returns_frees_its_slot_before_its_caller_is_polled() {
        let limiter = CheckLimiter::with_times(1, LONG, LONG);
        let (release, _started, check) = hanging();
        let first = limiter.run_quietly(WorkerId(1), check);
        tokio::pin!(first);
        assert!(first.as_mut().now_or_never().is_none(), "the check has not returned");
        let second = limiter.run_quietly(WorkerId(2), || 7);
        tokio::pin!(second);
        assert!(second.as_mut().now_or_never().is_none(), "the only slot is taken");
        drop(release);
        let second = timeout(LONG / 2, second).await;
        assert!(matches!(second, Ok(CheckEnd::Returned(7, _))), "{second:?}");
        let first = first.await;
        assert!(matches!(first, CheckEnd::Returned((), _)), "{first:?}");
    }

    #[tokio::test]
    async fn a_check_whose_caller_has_left_has_no_slot() {
        let limiter = CheckLimiter::with_times(1, LONG, LONG);
        let (_release, _started, check) = hanging();
        assert!(limiter.run_quietly(WorkerId(1), check).now_or_never().is_none(), "the check has not returned");
        for _ in 0..2 {
            let other = timeout(LONG / 2, limiter.run_quietly(WorkerId(2), || 7)).await;
            assert!(matches!(other, Ok(CheckEnd::Returned(7, _))), "{other:?}");
        }
    }

    #[tokio::test]
    async fn each_slot_serves_one_check_at_a_time() {
        let limiter = CheckLimiter::with_times(1, SHORT, LONG);
        let (release, _started, check) = hanging();
        tokio::time::pause();
        // The check gives up its slot when it is slow. Its end must not free a second one.
        let slow = limiter.run_quietly(WorkerId(1), check).await;
        assert!(matches!(slow, CheckEnd::TimedOut(_)), "{slow:?}");
        let mut running = limiter.checks_of(WorkerId(1)).running.subscribe();
        tokio::time::resume();
        drop(release);
        running.wait_for(Option::is_none).await.unwrap();
        limiter.run_quietly(WorkerId(1), || ()).await;
        assert_eq!(limiter.slots.available_permits(), 1);
    }

    /// Runs a check of a result's presence for the worker that has the hanging check.
    async fn run_presence<T: Send + 'static>(
        limiter: &CheckLimiter,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> CheckEnd<T> {
        limiter.run_passing(WorkerId(1), CheckedOutput::ResultPresence, oneshot::channel().0, check).await
    }

    #[tokio::test]
    async fn the_presence_of_a_result_is_checked_on_the_thread_of_the_caller() {
        let limiter = CheckLimiter::with_times(1, SHORT, LONG);
        let ended = run_presence(&limiter, || thread::current().id()).await;
        assert!(matches!(ended, CheckEnd::Returned(id, _) if id == thread::current().id()), "{ended:?}");
        let ended = run_presence(&limiter, || panic!("planted")).await;
        assert!(matches!(ended, CheckEnd::<()>::Panicked), "{ended:?}");
        let (_release, _started, check) = hanging();
        assert!(limiter.run_quietly(WorkerId(1), check).now_or_never().is_none(), "the check has not returned");
        tokio::time::pause();
        let ended = run_presence(&limiter, || 7).await;
        assert!(matches!(ended, CheckEnd::Blocked(_)), "{ended:?}");
    }

    #[tokio::test]
    async fn a_check_that_panics_is_reported() {
        let limiter = CheckLimiter::with_times(1, SHORT, LONG);
        let ended = limiter.run_quietly(WorkerId(1), || panic!("planted")).await;
        assert!(matches!(ended, CheckEnd::<()>::Panicked), "{ended:?}");
        let next = limiter.run_quietly(WorkerId(1), || 7).await;
        assert!(matches!(next, CheckEnd::Returned(7, _)), "{next:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_check_and_one_that_waits_behind_it_are_reported() {
        let limiter = CheckLimiter::with_times(4, SHORT, LONG);
        limiter.learn(OUTPUT, Duration::from_millis(50));
        let (_release, _started, check) = hanging();
        let ((slow, is_slow), (behind, is_behind)) = (oneshot::channel(), oneshot::channel());
        let first = limiter.run_passing(WorkerId(1), OUTPUT, slow, check);
        tokio::pin!(first);
        assert!(first.as_mut().now_or_never().is_none(), "the first check has the permit");
        let start = Instant::now();
        let reports = async {
            assert_eq!((is_slow.await, is_behind.await), (Ok(()), Ok(())));
            let delay = Duration::from_millis(500);
            assert!((delay..2 * delay).contains(&start.elapsed()));
        };
        tokio::join!(first, limiter.run_passing(WorkerId(1), OUTPUT, behind, || ()), reports);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_waits_behind_one_whose_caller_has_left_is_reported() {
        let limiter = CheckLimiter::with_times(4, SHORT, LONG);
        let (_release, _started, check) = hanging();
        let first = limiter.run_quietly(WorkerId(1), check);
        assert!(first.now_or_never().is_none(), "the check runs, and its caller leaves");
        let (behind, is_behind) = oneshot::channel();
        let (_, reported) = tokio::join!(limiter.run_passing(WorkerId(1), OUTPUT, behind, || ()), is_behind);
        assert!(reported.is_ok());
    }

    #[tokio::test]
    async fn a_quick_check_is_not_reported() {
        let limiter = CheckLimiter::with_times(1, LONG, LONG);
        for _ in 0..10 {
            limiter.learn(OUTPUT, LONG);
        }
        let (sender, delayed) = oneshot::channel();
        let ended = limiter.run_passing(WorkerId(1), OUTPUT, sender, || 7).await;
        assert!(matches!(ended, CheckEnd::Returned(7, _)), "{ended:?}");
        assert!(delayed.await.is_err());
    }

    #[tokio::test]
    async fn only_a_check_that_passes_changes_what_is_usual() {
        let limiter = CheckLimiter::with_times(4, SHORT, LONG);
        let refused = limiter.run(WorkerId(1), OUTPUT, oneshot::channel().0, || Err::<(), _>("refused")).await;
        assert!(matches!(refused, CheckEnd::Returned(Err("refused"), _)), "{refused:?}");
        let panicked = limiter.run_quietly(WorkerId(1), || panic!("planted")).await;
        assert!(matches!(panicked, CheckEnd::<()>::Panicked), "{panicked:?}");
        let (_release, _started, check) = hanging();
        // The paused clock ends each wait at once.
        tokio::time::pause();
        let hung = limiter.run_quietly(WorkerId(2), check).await;
        assert!(matches!(hung, CheckEnd::TimedOut(_)), "{hung:?}");
        tokio::time::resume();
        assert_eq!(limiter.usual_duration(), None);
        limiter.run_quietly(WorkerId(1), || ()).await;
        let usual = limiter.usual_duration();
        assert!(usual.is_some());
        let refused = limiter.run(WorkerId(1), OUTPUT, oneshot::channel().0, || Err::<(), _>("refused")).await;
        assert!(matches!(refused, CheckEnd::Returned(..)), "{refused:?}");
        assert_eq!(limiter.usual_duration(), usual);
    }

    #[test]
    fn a_check_is_slow_if_it_takes_ten_times_as_long_as_usual() {
        let limiter = CheckLimiter::with_times(1, MAX_SLOT_TIME, MAX_CHECK_TIME);
        let slow_time = |output| limiter.slow_time(output).as_millis();
        assert_eq!(limiter.slow_time(OUTPUT), MAX_SLOT_TIME, "nothing is known yet");
        // A long check counts with twice the usual time.
        for (took, slow) in [(1, 200), (9000, 200)] {
            limiter.learn(OUTPUT, Duration::from_millis(took));
            assert_eq!(slow_time(OUTPUT), slow, "after {took} ms");
        }
        for _ in 0..100 {
            limiter.learn(OUTPUT, Duration::from_millis(64));
        }
        for (took, slow) in [(64, 640), (9000, 800), (32, 680)] {
            limiter.learn(OUTPUT, Duration::from_millis(took));
            let found = slow_time(OUTPUT);
            assert!((slow - 10..=slow).contains(&found), "{found} ms after {took} ms");
        }
        limiter.learn(CheckedOutput::DeferredEvents, Duration::from_millis(1));
        assert_eq!(limiter.slow_time(CheckedOutput::DeferredEvents), MAX_SLOT_TIME);
        let rare = CheckedOutput::Result(TaskKind::ShrinkWrap);
        limiter.learn(rare, MAX_CHECK_TIME);
        assert_eq!(slow_time(rare), 2500, "one check decides little");
    }
}
