//! Ends a worker.

use std::{convert::Infallible, future, time::Duration};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// Tells a worker to end: at once, or after the attempts that it has started. Clones tell the same worker.
#[derive(Debug, Clone, Default)]
pub struct WorkerStop {
    pub(crate) leave: CancellationToken,
    pub(crate) now: CancellationToken,
}

impl From<CancellationToken> for WorkerStop {
    /// The worker ends at once when `now` is cancelled.
    fn from(now: CancellationToken) -> Self {
        Self { leave: CancellationToken::new(), now }
    }
}

impl WorkerStop {
    /// Returns a value for a worker that continues until a method is called.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets the worker leave: it starts no further attempt, finishes the attempts that it has started, and ends. A
    /// worker that has not ended after `grace` ends at once. Without grace, it ends at once.
    ///
    /// Resolves when the grace is over.
    ///
    /// # Cancel safety
    /// If the future is dropped, the worker leaves and has no time limit.
    pub async fn leave_within(&self, grace: Duration) {
        if !grace.is_zero() {
            self.leave.cancel();
            tokio::select! {
                () = self.now.cancelled() => return,
                () = sleep(grace) => {}
            }
        }
        self.now.cancel();
    }

    /// Returns the token that ends the worker at once.
    #[must_use]
    pub fn now(&self) -> &CancellationToken {
        &self.now
    }

    /// Returns the token that is cancelled when the worker leaves: it takes no new tasks from then on.
    #[must_use]
    pub fn leaving(&self) -> &CancellationToken {
        &self.leave
    }

    /// Ends the worker when `other` does, and in the same way. Never resolves.
    pub async fn follow(&self, other: &Self) -> Infallible {
        tokio::select! {
            () = other.leave.cancelled() => self.leave.cancel(),
            () = other.now.cancelled() => {}
        }
        other.now.cancelled().await;
        self.now.cancel();
        future::pending().await
    }

    /// Returns a value for a part of the worker. The part ends with the worker, and can also end alone.
    pub(crate) fn child(&self) -> Self {
        Self { leave: self.leave.child_token(), now: self.now.child_token() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    /// Checks when a worker ends that leaves with `grace`, and whether it may finish its attempts.
    async fn check(grace: Duration, may_finish: bool) {
        let (stop, started) = (WorkerStop::new(), Instant::now());
        stop.leave_within(grace).await;
        assert_eq!((stop.leave.is_cancelled(), stop.now.is_cancelled()), (may_finish, true));
        assert_eq!(started.elapsed().as_secs(), grace.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_ends_when_its_grace_is_over() {
        check(Duration::ZERO, false).await;
        check(Duration::from_secs(120), true).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_follows_another_value() {
        let (worker, caller) = (WorkerStop::new(), WorkerStop::new());
        let both = async {
            tokio::select! {
                never = worker.follow(&caller) => match never {},
                () = worker.now.cancelled() => {}
            }
        };
        let started = Instant::now();
        tokio::join!(both, caller.leave_within(Duration::from_secs(5)));
        assert!(worker.leave.is_cancelled());
        assert_eq!(started.elapsed().as_secs(), 5);
    }
}
