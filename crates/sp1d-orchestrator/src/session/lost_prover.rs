//! Ends the session of a worker whose last prover ended and is not loaded again.

use super::worker_session::{ReportedProvers, WorkerSession};
use crate::state::shared_state::MAX_UNREADY_TIME;
use tokio::time::timeout;

impl WorkerSession {
    /// Notes whether the worker has a loaded prover now. Returns what it had reported before.
    pub(super) fn note_provers(&self, is_loaded: bool) -> ReportedProvers {
        let after = self.reported_provers.borrow().after(is_loaded);
        self.reported_provers.send_replace(after)
    }

    /// Resolves when the worker was ready in this session, and then had no loaded prover for [`MAX_UNREADY_TIME`]. A
    /// task that failed on all other workers waits for such a worker. In its next session, the scheduler does not know
    /// the worker until it is ready, so the task can go to another worker.
    pub(super) async fn prover_stays_lost(&self) {
        let mut reported = self.reported_provers.subscribe();
        loop {
            // The sender exists as long as this session, so no wait fails.
            let _ = reported.wait_for(|provers| *provers == ReportedProvers::AllLost).await;
            let is_loaded = reported.wait_for(|provers| *provers != ReportedProvers::AllLost);
            if timeout(MAX_UNREADY_TIME, is_loaded).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{test_state::TestState, workers::worker_address::WorkerAddress};
    use sp1d_protocol::Connection;
    use tokio::{sync::oneshot, time::sleep};

    /// The worker sends `reports`, each of which says whether it has a loaded prover, and waits 20 minutes after each.
    /// Checks whether its session ends.
    async fn check(reports: &[bool], should_end: bool) {
        let state = TestState::new();
        let (_, closer) = Connection::new(tokio::io::empty());
        let session =
            WorkerSession::new(WorkerAddress::Local, None, closer, state.shared.clone(), oneshot::channel().0);
        let reporting = async {
            for is_loaded in reports {
                session.note_provers(*is_loaded);
                sleep(MAX_UNREADY_TIME * 2 / 3).await;
            }
        };
        let has_ended = tokio::select! {
            () = session.prover_stays_lost() => true,
            () = reporting => false,
        };
        assert_eq!(has_ended, should_end, "{reports:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_whose_prover_is_not_loaded_again_loses_its_session() {
        check(&[true, false, false], true).await;
        check(&[false, true, false, true, false, false], true).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_whose_prover_is_loaded_again_keeps_its_session() {
        check(&[true, true, true], false).await;
        check(&[true, false, true, false, true], false).await;
    }

    /// The scheduler does not know such a worker, so no task waits for it.
    #[tokio::test(start_paused = true)]
    async fn a_worker_whose_first_prover_is_never_loaded_keeps_its_session() {
        check(&[false, false, false], false).await;
    }
}
