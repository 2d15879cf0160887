//! Keeps attempts from starting once the worker leaves.

use std::{future, sync::Arc};
use tokio::sync::RwLock;

/// Lets attempts start until it is closed. Cheap to clone.
///
/// When the orchestrator learns that the worker leaves, it gives all attempts that have not started to other workers.
/// So the reports of all started attempts must be sent before.
#[derive(Debug, Clone, Default)]
pub(crate) struct AttemptGate {
    is_closed: Arc<RwLock<bool>>,
}

impl AttemptGate {
    /// Closes the gate. When this resolves, the reports of all attempts that have started are sent, and no other
    /// attempt starts.
    ///
    /// # Cancel safety
    /// If the future is dropped, the gate is still open.
    pub(crate) async fn close(&self) {
        *self.is_closed.write().await = true;
    }

    /// Returns true if [`AttemptGate::close`] has resolved.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.try_read().is_ok_and(|is_closed| *is_closed)
    }

    /// Lets an attempt start, and sends its `report`. Never resolves if the gate is closed.
    pub(super) async fn pass(&self, report: impl Future<Output = ()>) {
        let is_closed = self.is_closed.read().await;
        if *is_closed {
            drop(is_closed);
            return future::pending().await;
        }
        report.await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn no_attempt_starts_after_the_gate_is_closed() {
        let gate = AttemptGate::default();
        gate.pass(async {}).await;
        gate.close().await;
        assert!(gate.pass(async { panic!("a report of an attempt that must not start") }).now_or_never().is_none());
    }

    #[tokio::test]
    async fn the_gate_closes_when_the_reports_of_started_attempts_are_sent() {
        let gate = AttemptGate::default();
        let (sent, sending) = oneshot::channel::<()>();
        let mut starting = Box::pin(gate.pass(async { sending.await.unwrap() }));
        assert!(starting.as_mut().now_or_never().is_none());
        let mut closing = Box::pin(gate.close());
        assert!(closing.as_mut().now_or_never().is_none());
        sent.send(()).unwrap();
        starting.await;
        closing.await;
    }
}
