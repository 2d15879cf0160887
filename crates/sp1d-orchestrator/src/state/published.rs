//! State that one part of the orchestrator writes, and that the other parts only read: the registered attempts, the
//! running tries, and the scheduler's view of the workers.
//!
//! Each writer is a type of its own. The other parts have [`SharedState`](super::shared_state::SharedState), with which
//! they can borrow the present state and cannot change it.
//!
//! No part waits for a change of these states. So they are plain locks and not `watch` channels, which look for waiting
//! receivers at every change.

use crate::{
    lock::{read, write},
    tries::{attempt_rights::AttemptRights, running::RunningTry},
    workers::snapshot::PoolSnapshot,
};
use sp1d_protocol::TaskOutputs;
use sp1d_scheduler::{AttemptId, SessionId, TryId, WorkerChanges, WorkerId};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, RwLock, RwLockReadGuard},
};

/// A registered attempt: it was given to a worker, and it is neither accepted nor discarded. Its worker may fetch and
/// upload artifacts.
#[derive(Clone)]
pub(crate) struct RegisteredAttempt {
    /// The session that holds it, or held it last.
    pub(crate) session: SessionId,
    /// The worker that got it. The worker may be disconnected when the result of the attempt is accepted, so its name
    /// and its address are kept here.
    pub(crate) worker_id: WorkerId,
    pub(crate) worker_name: Arc<str>,
    pub(crate) worker_address: Arc<str>,
    pub(crate) running_try: Arc<RunningTry>,
    /// Names of the outputs that it was asked to upload.
    pub(crate) outputs: TaskOutputs,
    /// What it may read and upload.
    pub(crate) rights: Arc<AttemptRights>,
    /// The attempt from before the orchestrator restarted that it may resume. If it does, the names of the artifacts
    /// that it makes contain the number of that attempt.
    pub(crate) resumes: Option<AttemptId>,
}

/// The registered attempts.
pub(crate) type RegisteredAttempts = HashMap<AttemptId, Arc<RegisteredAttempt>>;

/// The running tries.
pub(crate) type RunningTries = BTreeMap<TryId, Arc<RunningTry>>;

/// Reads a state that another part writes.
pub(crate) struct StateReader<T>(Arc<RwLock<T>>);

impl<T> StateReader<T> {
    /// Returns the present state. The writer cannot change it while the returned value exists.
    pub(crate) fn borrow(&self) -> RwLockReadGuard<'_, T> {
        read(&self.0)
    }
}

/// Writes the registered attempts and the scheduler's view of the workers. Only the dispatcher has this value.
#[derive(Default)]
pub(crate) struct DispatchWriter {
    attempts: Arc<RwLock<RegisteredAttempts>>,
    pool: Arc<RwLock<PoolSnapshot>>,
}

impl DispatchWriter {
    /// Returns readers of the registered attempts and of the scheduler's view of the workers.
    pub(crate) fn readers(&self) -> (StateReader<RegisteredAttempts>, StateReader<PoolSnapshot>) {
        (StateReader(self.attempts.clone()), StateReader(self.pool.clone()))
    }

    /// Publishes what the scheduler changed about the workers. Call this after each event and before its commands are
    /// carried out, so that a caller whom a command notifies finds the change.
    pub(crate) fn publish_workers(&self, changes: WorkerChanges) {
        if !changes.is_empty() {
            write(&self.pool).apply(changes);
        }
    }

    /// Registers an attempt.
    pub(crate) fn add_attempt(&self, id: AttemptId, attempt: RegisteredAttempt) {
        let attempt = Arc::new(attempt);
        write(&self.attempts).insert(id, attempt);
    }

    /// Moves the attempt `id` to `session`, a new session of its worker. Returns false if the attempt is unknown.
    pub(crate) fn continue_attempt(&self, id: AttemptId, session: SessionId) -> bool {
        let mut attempts = write(&self.attempts);
        let Some(found) = attempts.get_mut(&id) else { return false };
        Arc::make_mut(found).session = session;
        true
    }

    /// Removes and returns the attempt `id`.
    pub(crate) fn remove_attempt(&self, id: AttemptId) -> Option<Arc<RegisteredAttempt>> {
        write(&self.attempts).remove(&id)
    }
}

/// Writes the running tries. The orchestrator has this value, and gives a copy to the cleanup of each try, which adds
/// the try at its start and removes it at its end.
#[derive(Clone, Default)]
pub(crate) struct TryWriter(Arc<RwLock<RunningTries>>);

impl TryWriter {
    /// Returns a reader of the running tries.
    pub(crate) fn reader(&self) -> StateReader<RunningTries> {
        StateReader(self.0.clone())
    }

    /// Adds a try, which starts now.
    pub(crate) fn add_try(&self, running_try: Arc<RunningTry>) {
        write(&self.0).insert(running_try.id, running_try);
    }

    /// Removes the try `id`, which has ended.
    pub(crate) fn remove_try(&self, id: TryId) {
        write(&self.0).remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_scheduler::{KindSet, TaskKind, WorkerStanding};

    #[test]
    fn readers_see_what_the_dispatcher_publishes() {
        let writer = DispatchWriter::default();
        let (_, pool) = writer.readers();
        assert_eq!(pool.borrow().quarantine(WorkerId(7)), None);
        let standing =
            WorkerStanding::Quarantined { kinds: KindSet::only(TaskKind::ProveShard), reason: "faults".to_owned() };
        writer
            .publish_workers(WorkerChanges { standings: [(WorkerId(7), standing)].into(), ..WorkerChanges::default() });
        assert_eq!(pool.borrow().quarantine(WorkerId(7)).as_deref(), Some("prove_shard: faults"));
        drop(writer);
        assert!(pool.borrow().quarantine(WorkerId(7)).is_some(), "readers keep the last state");
    }

    #[test]
    fn an_attempt_that_is_not_registered_does_not_continue() {
        let writer = DispatchWriter::default();
        let (attempts, _) = writer.readers();
        assert!(!writer.continue_attempt(AttemptId(1), SessionId(1)));
        assert!(writer.remove_attempt(AttemptId(1)).is_none());
        assert!(attempts.borrow().is_empty());
    }
}
