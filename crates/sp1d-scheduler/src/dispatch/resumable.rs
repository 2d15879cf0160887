//! Attempts from before the orchestrator restarted that workers can resume.

use crate::{AttemptId, SessionId, WorkerId};
use std::{collections::BTreeMap, fmt};

/// Digest of everything on which the result of a task depends. Tasks with the same key have the same results, even in
/// different tries and after a restart of the orchestrator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResultKey(pub [u8; 32]);

impl fmt::Display for ResultKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An attempt from before the orchestrator restarted that a worker can resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResumableAttempt {
    /// Key of the attempt's task.
    pub key: ResultKey,
    /// The number of the attempt before the restart.
    pub attempt: AttemptId,
}

/// The session that can resume an attempt.
#[derive(Debug, Clone, Copy)]
struct Resumer {
    session: SessionId,
    worker: WorkerId,
    attempt: AttemptId,
}

/// The attempts from before the orchestrator restarted that a ready worker can resume and no task has used yet. At most
/// one for each key.
#[derive(Debug, Default)]
pub(super) struct ResumableAttempts(BTreeMap<ResultKey, Resumer>);

impl ResumableAttempts {
    /// Records what `worker` reports in its new `session`. The worker reports again everything that it can still
    /// resume, so its earlier reports are dropped. If two workers can resume the same task, the first report is used.
    pub(super) fn record(&mut self, session: SessionId, worker: WorkerId, reported: Vec<ResumableAttempt>) {
        self.0.retain(|_, resumer| resumer.worker != worker);
        for ResumableAttempt { key, attempt } in reported {
            self.0.entry(key).or_insert(Resumer { session, worker, attempt });
        }
    }

    /// Drops what `session` reported.
    pub(super) fn forget(&mut self, session: SessionId) {
        self.0.retain(|_, resumer| resumer.session != session);
    }

    /// Returns the session that can resume the task with `key`.
    pub(super) fn session_for(&self, key: ResultKey) -> Option<SessionId> {
        self.0.get(&key).map(|resumer| resumer.session)
    }

    /// Returns the attempt that `session` resumes when it gets the task with `key`. Each attempt is returned only once.
    pub(super) fn take(&mut self, session: SessionId, key: ResultKey) -> Option<AttemptId> {
        let attempt = self.0.get(&key).filter(|resumer| resumer.session == session)?.attempt;
        self.0.remove(&key);
        Some(attempt)
    }

    /// Returns the sessions that can resume attempts.
    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.0.values().map(|resumer| resumer.session)
    }
}
