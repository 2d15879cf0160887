//! The callers that wait for the drains of workers.

use sp1d_scheduler::SessionId;
use std::collections::HashMap;
use tokio::sync::oneshot;

/// The callers that wait for the drain of a session. An HTTP client can drain a busy worker again and again, and stops
/// waiting long before the drain ends, so the callers that left are removed.
#[derive(Default)]
pub(super) struct DrainCallers {
    sessions: HashMap<SessionId, Vec<oneshot::Sender<()>>>,
}

impl DrainCallers {
    /// Adds a caller, and removes the callers of this session that have stopped waiting.
    pub(super) fn add(&mut self, session: SessionId, wait_ended: oneshot::Sender<()>) {
        let callers = self.sessions.entry(session).or_default();
        callers.retain(|caller| !caller.is_closed());
        callers.push(wait_ended);
    }

    /// Ends the wait of all callers of `session`.
    pub(super) fn end_wait(&mut self, session: SessionId) {
        for wait_ended in self.sessions.remove(&session).unwrap_or_default() {
            // The caller may have stopped waiting.
            let _ = wait_ended.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_that_stopped_waiting_are_removed() {
        let mut callers = DrainCallers::default();
        let session = SessionId(1);
        let (first, mut waiting) = oneshot::channel();
        callers.add(session, first);
        for _ in 0..10 {
            // This caller stops waiting at once.
            callers.add(session, oneshot::channel().0);
        }
        assert_eq!(callers.sessions[&session].len(), 2, "the first caller waits, and the last one is not yet removed");
        callers.end_wait(session);
        assert_eq!(waiting.try_recv(), Ok(()));
        assert!(callers.sessions.is_empty());
    }
}
