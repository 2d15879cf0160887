//! Lets this process decode and set up one program at a time.

use sp1d_orchestrator::ProofFailure;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The only place for work on a new program. Decoding and setting up a program take up to 2 GB.
pub(super) struct SetupPlace(Arc<Semaphore>);

impl SetupPlace {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Waits for the place, and then runs the work that `start` returns. Neither decoding nor a setup can be
    /// interrupted, so the place belongs to the work, and not to the caller.
    ///
    /// # Cancel safety
    /// If the future is dropped while it waits, the work does not start. If it is dropped later, the work runs to its
    /// end, and keeps the place until then.
    ///
    /// # Errors
    /// Fails if the work fails or panics.
    pub(super) async fn run<T, F>(&self, start: impl FnOnce() -> F) -> Result<T, ProofFailure>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ProofFailure>> + Send + 'static,
    {
        let place = self.0.clone().acquire_owned().await.expect("the semaphore is never closed");
        let work = start();
        let ended = tokio::spawn(async move {
            let outcome = work.await;
            drop(place);
            outcome
        });
        ended.await.unwrap_or_else(|error| {
            Err(ProofFailure::Internal(format!("the work on a new program was aborted: {error}")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::pin,
        sync::atomic::{AtomicBool, Ordering},
        time::Duration,
    };
    use tokio::{sync::oneshot, time::timeout};

    /// As long as no work ends, the clock of these tests jumps over this time.
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test(start_paused = true)]
    async fn work_keeps_the_place_when_its_caller_leaves() {
        let place = SetupPlace::new();
        let (finish, finished) = oneshot::channel::<()>();
        let first = place.run(|| async {
            finished.await.expect("the test finishes the work");
            Ok(())
        });
        assert!(timeout(LONG, first).await.is_err(), "the work has ended too early");
        let mut second = pin!(place.run(|| async { Ok(7) }));
        assert!(timeout(LONG, second.as_mut()).await.is_err(), "two programs are set up at the same time");
        finish.send(()).expect("the work continues without its caller");
        assert_eq!(second.await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn work_does_not_start_after_its_caller_has_left() {
        let place = SetupPlace::new();
        let (finish, finished) = oneshot::channel::<()>();
        let mut first = pin!(place.run(|| async { finished.await.map_err(|_| ProofFailure::Cancelled) }));
        assert!(timeout(LONG, first.as_mut()).await.is_err(), "the work has ended too early");
        let has_started = Arc::new(AtomicBool::new(false));
        let noted = has_started.clone();
        let second = place.run(move || async move {
            noted.store(true, Ordering::Relaxed);
            Ok(())
        });
        assert!(timeout(LONG, second).await.is_err(), "two programs are set up at the same time");
        finish.send(()).expect("the work waits");
        assert_eq!(first.await, Ok(()));
        assert_eq!(place.run(|| async { Ok(7) }).await, Ok(7));
        assert!(!has_started.load(Ordering::Relaxed));
    }

    fn defect() -> Result<(), ProofFailure> {
        panic!("a defect")
    }

    #[tokio::test]
    async fn work_that_panics_gives_the_place_back() {
        let place = SetupPlace::new();
        let outcome = place.run(|| async { defect() }).await;
        assert!(matches!(outcome, Err(ProofFailure::Internal(_))), "{outcome:?}");
        assert_eq!(place.run(|| async { Ok(7) }).await, Ok(7));
    }
}
