//! Runs the checks of workers' outputs, each on a thread of its own.
//!
//! A check runs code of SP1 on bytes of a worker, and it cannot be interrupted. So its caller only waits for a limited
//! time. A slow check does not delay the checks of other workers for long, and the checks of one worker never use more
//! than one thread.

use crate::lock::lock;
use sp1d_scheduler::WorkerId;
use std::{
    collections::HashMap,
    future, io,
    sync::{Arc, Mutex, Weak},
    thread,
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

sp1d_model::limits! {
    /// Time for which a check keeps its place, ten times as long as slow checks take. Afterwards it continues without a
    /// place. Each worker has at most one check, so the number of threads without a place is at most that of the
    /// workers.
    const MAX_PLACE_TIME: Duration = Duration::from_secs(2); Time by Worker;
    /// Maximum duration of a check. Usual checks take 50 ms on one core, and some seconds on a busy machine. A check
    /// that takes longer counts as failed. Its thread continues until the check returns. Until then, the other checks
    /// of the worker also count as failed, and do not start.
    const MAX_CHECK_TIME: Duration = Duration::from_secs(120); Time by Worker;
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

/// The places for checks. One place serves one check at a time.
#[derive(Debug)]
pub(crate) struct CheckPlaces {
    places: Semaphore,
    /// The workers whose checks run or wait.
    workers: Mutex<HashMap<WorkerId, Weak<WorkerChecks>>>,
    place_time: Duration,
    check_time: Duration,
}

/// The checks of one worker, which run one after another.
#[derive(Debug)]
struct WorkerChecks {
    /// Its only permit belongs to the check that runs.
    thread: Arc<Semaphore>,
    /// When the check that runs counts as failed. `None` if no check runs.
    deadline: watch::Sender<Option<Instant>>,
}

/// Allows a check of a worker to run. It belongs to the thread of the check, so it exists until the check returns.
struct CheckPermit {
    worker: Arc<WorkerChecks>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for CheckPermit {
    fn drop(&mut self) {
        // The next check gets the permit afterwards, and must not see the deadline of this one.
        self.worker.deadline.send_replace(None);
    }
}

impl WorkerChecks {
    fn new() -> Self {
        Self { thread: Arc::new(Semaphore::new(1)), deadline: watch::Sender::new(None) }
    }

    /// Returns a permit when no other check of the worker runs. Returns `None` if another check runs after its
    /// deadline.
    async fn permit(self: Arc<Self>) -> Option<CheckPermit> {
        let mut deadline = self.deadline.subscribe();
        let acquired = self.thread.clone().acquire_owned();
        tokio::pin!(acquired);
        loop {
            let present = *deadline.borrow_and_update();
            let passed = async {
                match present {
                    Some(at) => sleep_until(at).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                biased;
                permit = &mut acquired => {
                    let permit = permit.expect("the semaphore is never closed");
                    return Some(CheckPermit { worker: self, _permit: permit });
                }
                changed = deadline.changed() => changed.expect("`self` holds the sender"),
                () = passed => return None,
            }
        }
    }
}

impl CheckPlaces {
    /// Returns places for half of the cores. A check uses one core for about 50 ms. The other half is left to the
    /// executor.
    pub(crate) fn for_this_machine() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self::with_times(cores.div_ceil(2), MAX_PLACE_TIME, MAX_CHECK_TIME)
    }

    fn with_times(places: usize, place_time: Duration, check_time: Duration) -> Self {
        Self { places: Semaphore::new(places), workers: Mutex::default(), place_time, check_time }
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

    /// Runs `check` on an output of `worker`, when there is a place and no other output of the worker is checked.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait. A check that has started continues on its thread, and the next check of the
    /// worker waits for it.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        worker: WorkerId,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> CheckEnd<T> {
        let Some(permit) = self.checks_of(worker).permit().await else { return CheckEnd::Blocked(self.check_time) };
        let place = self.places.acquire().await.expect("the semaphore is never closed");
        let start = Instant::now();
        permit.worker.deadline.send_replace(Some(start + self.check_time));
        let run = move || {
            let _permit = permit;
            check()
        };
        let mut outcome = match start_check(run) {
            Ok(outcome) => outcome,
            Err(error) => return CheckEnd::NotStarted(error),
        };
        let ended = match timeout(self.place_time.min(self.check_time), &mut outcome).await {
            Ok(ended) => Ok(ended),
            Err(_) => {
                drop(place);
                timeout(self.check_time.saturating_sub(self.place_time), outcome).await
            }
        };
        match ended {
            Ok(Ok(returned)) => CheckEnd::Returned(returned, start.elapsed()),
            Ok(Err(_)) => CheckEnd::Panicked,
            Err(_) => CheckEnd::TimedOut(self.check_time),
        }
    }
}

/// Starts `check` on a new thread, and returns the receiver of its outcome. If the check panics, the receiver fails.
///
/// It is not a thread of the runtime, because the end of a runtime waits for the runtime's threads.
///
/// # Errors
/// Fails if the system has no thread left.
fn start_check<T: Send + 'static>(check: impl FnOnce() -> T + Send + 'static) -> io::Result<oneshot::Receiver<T>> {
    let (sender, outcome) = oneshot::channel();
    let run = move || {
        // The caller may have stopped waiting.
        let _ = sender.send(check());
    };
    thread::Builder::new().name("check".to_owned()).spawn(run)?;
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use std::sync::mpsc;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

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
        let places = Arc::new(CheckPlaces::with_times(1, SHORT, LONG));
        let (release, started, check) = hanging();
        let hangs = tokio::spawn({
            let places = places.clone();
            async move { places.run(WorkerId(1), check).await }
        });
        started.await.unwrap();
        let other = timeout(LONG / 2, places.run(WorkerId(2), || 7)).await;
        assert!(matches!(other, Ok(CheckEnd::Returned(7, _))), "{other:?}");
        assert!(!hangs.is_finished());
        drop(release);
        let hung = hangs.await.unwrap();
        assert!(matches!(hung, CheckEnd::Returned((), _)), "{hung:?}");
    }

    #[tokio::test]
    async fn a_check_that_hangs_counts_as_failed_and_blocks_its_worker_until_it_returns() {
        let places = CheckPlaces::with_times(1, SHORT, LONG);
        let (release, _started, check) = hanging();
        // The paused clock ends each wait at once.
        tokio::time::pause();
        let ended = places.run(WorkerId(1), check).await;
        assert!(matches!(ended, CheckEnd::TimedOut(time) if time == LONG), "{ended:?}");
        let next = places.run(WorkerId(1), || 7).await;
        assert!(matches!(next, CheckEnd::Blocked(time) if time == LONG), "{next:?}");
        // The threads of the other checks take real time.
        tokio::time::resume();
        let other = places.run(WorkerId(2), || 7).await;
        assert!(matches!(other, CheckEnd::Returned(7, _)), "{other:?}");
        let mut deadline = places.checks_of(WorkerId(1)).deadline.subscribe();
        drop(release);
        deadline.wait_for(Option::is_none).await.unwrap();
        let last = places.run(WorkerId(1), || 7).await;
        assert!(matches!(last, CheckEnd::Returned(7, _)), "{last:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_waits_behind_one_that_hangs_never_starts() {
        let places = CheckPlaces::with_times(4, SHORT, LONG);
        let (_release, _started, check) = hanging();
        let first = places.run(WorkerId(1), check);
        tokio::pin!(first);
        assert!(first.as_mut().now_or_never().is_none(), "the first check has the permit");
        let (first, second) = tokio::join!(first, places.run(WorkerId(1), || 7));
        assert!(matches!(first, CheckEnd::TimedOut(_)), "{first:?}");
        assert!(matches!(second, CheckEnd::Blocked(_)), "{second:?}");
    }

    #[tokio::test]
    async fn a_check_whose_caller_has_left_still_blocks_its_worker() {
        let places = CheckPlaces::with_times(4, SHORT, LONG);
        let (release, started, check) = hanging();
        tokio::select! {
            biased;
            ended = places.run(WorkerId(1), check) => panic!("{ended:?}"),
            started = started => started.unwrap(),
        }
        let next = places.run(WorkerId(1), || 7);
        tokio::pin!(next);
        assert!(next.as_mut().now_or_never().is_none(), "the thread of the first check still runs");
        drop(release);
        let next = next.await;
        assert!(matches!(next, CheckEnd::Returned(7, _)), "{next:?}");
    }

    #[tokio::test]
    async fn a_worker_has_one_check_at_a_time() {
        let places = CheckPlaces::with_times(4, SHORT, LONG);
        let (release, _started, check) = hanging();
        let first = places.run(WorkerId(1), check);
        let second = places.run(WorkerId(1), || ());
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
        assert_eq!(lock(&places.workers).len(), 1);
        places.run(WorkerId(2), || ()).await;
        assert_eq!(lock(&places.workers).len(), 1, "a worker without checks is forgotten");
    }

    #[tokio::test]
    async fn a_check_that_panics_is_reported() {
        let places = CheckPlaces::with_times(1, SHORT, LONG);
        let ended = places.run(WorkerId(1), || panic!("planted")).await;
        assert!(matches!(ended, CheckEnd::<()>::Panicked), "{ended:?}");
        let next = places.run(WorkerId(1), || 7).await;
        assert!(matches!(next, CheckEnd::Returned(7, _)), "{next:?}");
    }
}
