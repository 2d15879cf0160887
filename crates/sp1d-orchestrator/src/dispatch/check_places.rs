//! How many checks run at the same time, so that a slow one does not delay the checks of other workers.

use crate::{
    lock::lock,
    timed_check::{MAX_CHECK_TIME, start_check},
};
use sp1d_scheduler::WorkerId;
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout},
};

sp1d_model::limits! {
    /// Time for which a check keeps its place, ten times as long as slow checks take. Afterwards it continues without a
    /// place. One worker has one check at a time, so the number of checks without a place is at most that of the
    /// workers.
    const MAX_PLACE_TIME: Duration = Duration::from_secs(2); Time by Worker;
}

/// How a check ended.
#[derive(Debug)]
pub(super) enum CheckEnd<T> {
    /// It returned, after this time.
    Returned(T, Duration),
    /// It panicked.
    Panicked,
    /// It took longer than this time.
    TimedOut(Duration),
    /// There was no thread for it.
    NotStarted(io::Error),
}

/// The places for checks. One place serves one check at a time.
#[derive(Debug)]
pub(super) struct CheckPlaces {
    places: Semaphore,
    /// The turns of the workers whose checks run or wait. Each worker has one check at a time.
    turns: Mutex<HashMap<WorkerId, Weak<Semaphore>>>,
    place_time: Duration,
    check_time: Duration,
}

impl CheckPlaces {
    /// Returns `places` free places.
    pub(super) fn new(places: usize) -> Self {
        Self::with_times(places, MAX_PLACE_TIME, MAX_CHECK_TIME)
    }

    fn with_times(places: usize, place_time: Duration, check_time: Duration) -> Self {
        Self { places: Semaphore::new(places), turns: Mutex::default(), place_time, check_time }
    }

    fn turn_of(&self, worker: WorkerId) -> Arc<Semaphore> {
        let mut turns = lock(&self.turns);
        if let Some(turn) = turns.get(&worker).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(Semaphore::new(1));
        turns.insert(worker, Arc::downgrade(&turn));
        turn
    }

    /// Runs `check` on an output of `worker`, when there is a place and no other output of the worker is checked.
    ///
    /// # Cancel safety
    /// Dropping the future ends the wait. A check that has started continues on its thread.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        worker: WorkerId,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> CheckEnd<T> {
        let turn = self.turn_of(worker);
        let _turn = turn.acquire().await.expect("the semaphore is never closed");
        let place = self.places.acquire().await.expect("the semaphore is never closed");
        let start = Instant::now();
        let mut outcome = match start_check(check) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use tokio::sync::oneshot;

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
    async fn a_check_that_hangs_ends_after_its_time() {
        let places = CheckPlaces::with_times(1, SHORT, LONG);
        let (_release, _started, check) = hanging();
        // The paused clock ends each wait at once.
        tokio::time::pause();
        let ended = places.run(WorkerId(1), check).await;
        assert!(matches!(ended, CheckEnd::TimedOut(time) if time == LONG), "{ended:?}");
        // Its worker has its turn again. The thread of this check takes real time.
        tokio::time::resume();
        let next = places.run(WorkerId(1), || 7).await;
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
            // The first check takes the turn first.
            tokio::select! { biased; _ = &mut first => 1, _ = &mut second => 2 }
        })
        .await;
        assert!(waits.is_err(), "{waits:?} ended");
        drop(release);
        first.await;
        second.await;
        assert_eq!(lock(&places.turns).len(), 1);
        places.run(WorkerId(2), || ()).await;
        assert_eq!(lock(&places.turns).len(), 1, "the turn of a worker without checks is forgotten");
    }

    #[tokio::test]
    async fn a_check_that_panics_is_reported() {
        let ended = CheckPlaces::new(1).run(WorkerId(1), || panic!("planted")).await;
        assert!(matches!(ended, CheckEnd::<()>::Panicked), "{ended:?}");
    }
}
