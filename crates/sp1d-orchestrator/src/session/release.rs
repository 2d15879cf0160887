//! Releases a worker for which other orchestrators wait, or which is stopping.

use super::{turn_end::TurnEnd, worker_session::WorkerSession};
use crate::state::dispatcher_input::DispatcherInput;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

impl WorkerSession {
    /// Resolves when this orchestrator's turn is over and the worker holds no attempt. Attempts that have started end
    /// first, and the other ones go to other workers, or wait.
    pub(super) async fn turn_over(&self) {
        let (mut others, mut demand) = (self.waiting_orchestrators.subscribe(), self.shared.demand.subscribe());
        let mut end = TurnEnd::default();
        loop {
            let waiting = *others.borrow_and_update();
            if end.observe(waiting, demand.borrow_and_update().numbers()) {
                tracing::info!(worker = %self.address, others = waiting, "releasing a worker for other orchestrators");
                break;
            }
            tokio::select! {
                // Both senders exist as long as this session, so neither call fails.
                _ = others.changed() => {}
                _ = demand.changed() => {}
            }
        }
        self.drain().await;
    }

    /// Resolves when the worker has reported that it leaves, and holds no attempt. Attempts that have started end
    /// first, and the other ones go to other workers, or wait.
    pub(super) async fn worker_left(&self) {
        self.leaving.cancelled().await;
        tracing::info!(worker = %self.address, "worker is stopping: it finishes the attempts that it has started");
        self.drain().await;
    }

    /// Resolves when `when_idle` is cancelled, and the worker holds no attempt. Attempts that have started end first,
    /// and the other ones go to other workers, or wait.
    pub(super) async fn retired(&self, when_idle: &CancellationToken) {
        when_idle.cancelled().await;
        self.drain().await;
    }

    /// Drains the worker. A caller that resumes it meanwhile only delays the release.
    async fn drain(&self) {
        loop {
            let (wait_ended, wait) = oneshot::channel();
            if self.shared.inbox.send(DispatcherInput::Drain { session: self.session_id, wait_ended }).await.is_err() {
                // The dispatcher has ended, and no worker gets tasks any more.
                return;
            }
            // If the dispatcher ends, it drops `wait_ended`, which ends the wait.
            let _ = wait.await;
            if self.shared.snapshot().held(self.session_id) == 0 {
                return;
            }
        }
    }
}
