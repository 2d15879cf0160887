//! The scheduler's view of the workers, published by the dispatcher for all parts that only read it.

use sp1d_scheduler::{SessionId, TaskKind, WorkerChanges, WorkerId, WorkerStanding, WorkerStatus};
use std::{collections::BTreeMap, time::Duration};

/// The scheduler's view of the workers. After each event, the dispatcher applies the changes that the scheduler
/// returns. Nothing else changes the snapshot, and nothing else keeps the same facts.
#[derive(Debug, Default)]
pub(crate) struct PoolSnapshot {
    /// The sessions that the scheduler knows. A worker whose prover was never loaded in its session is among them only
    /// while it is draining.
    sessions: BTreeMap<SessionId, WorkerStatus>,
    /// The standings that are not normal, of connected and disconnected workers.
    standings: BTreeMap<WorkerId, WorkerStanding>,
}

impl PoolSnapshot {
    pub(crate) fn apply(&mut self, changes: WorkerChanges) {
        for (session, status) in changes.sessions {
            match status {
                Some(status) => _ = self.sessions.insert(session, status),
                None => _ = self.sessions.remove(&session),
            }
        }
        for (worker, standing) in changes.standings {
            match standing {
                WorkerStanding::Normal => _ = self.standings.remove(&worker),
                WorkerStanding::Quarantined { .. } | WorkerStanding::Probation { .. } => {
                    self.standings.insert(worker, standing);
                }
            }
        }
    }

    /// Returns true while a prover of a worker is loaded in its `session`.
    pub(crate) fn has_loaded_prover(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|status| status.has_loaded_prover)
    }

    /// Returns the number of attempts that a worker holds in its `session`.
    pub(crate) fn held(&self, session: SessionId) -> usize {
        self.sessions.get(&session).map_or(0, |status| status.held)
    }

    /// Returns how long a task of `kind` takes on a worker, as learned; `None` if that is unknown.
    pub(crate) fn pace(&self, session: SessionId, kind: TaskKind) -> Option<Duration> {
        self.sessions.get(&session)?.paces[kind.index()]
    }

    /// Returns true while a worker is draining or drained in its `session`.
    pub(crate) fn is_draining(&self, session: SessionId) -> bool {
        self.sessions.get(&session).is_some_and(|status| status.draining)
    }

    /// Returns why a worker cannot prove in its `session` now, for people: no prover is loaded, or it is draining and
    /// holds no attempt. `None` if it can, or if only a quarantine prevents it, which ends by itself.
    pub(crate) fn obstacle(&self, session: SessionId) -> Option<&'static str> {
        match self.sessions.get(&session) {
            None => Some("its prover is not loaded yet"),
            Some(status) if status.draining && status.held == 0 => Some("it is draining"),
            Some(status) if !status.has_loaded_prover => Some("its last prover ended, and none is loaded again"),
            Some(_) => None,
        }
    }

    /// Returns for which kinds `worker` is quarantined and why; `None` if it is not quarantined. The result is the same
    /// in all its sessions, and before the prover is loaded.
    pub(crate) fn quarantine(&self, worker: WorkerId) -> Option<String> {
        match self.standings.get(&worker) {
            Some(WorkerStanding::Quarantined { kinds, reason }) => Some(format!("{kinds}: {reason}")),
            Some(WorkerStanding::Normal | WorkerStanding::Probation { .. }) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sp1d_scheduler::KindSet;

    fn session(id: u64, status: Option<WorkerStatus>) -> WorkerChanges {
        WorkerChanges { sessions: vec![(SessionId(id), status)], ..WorkerChanges::default() }
    }

    fn standing(id: u64, standing: WorkerStanding) -> WorkerChanges {
        WorkerChanges { standings: [(WorkerId(id), standing)].into(), ..WorkerChanges::default() }
    }

    #[test]
    fn quarantine_outlives_the_session() {
        let mut pool = PoolSnapshot::default();
        let (available_kinds, on_probation) = (KindSet::default(), KindSet::default());
        let mut paces = [None; TaskKind::ALL.len()];
        paces[TaskKind::ProveShard.index()] = Some(Duration::from_secs(9));
        pool.apply(session(
            1,
            Some(WorkerStatus {
                has_loaded_prover: true,
                slots: 1,
                available_kinds,
                on_probation,
                held: 1,
                draining: true,
                paces,
            }),
        ));
        assert_eq!(pool.pace(SessionId(1), TaskKind::ProveShard), Some(Duration::from_secs(9)));
        assert_eq!(pool.pace(SessionId(1), TaskKind::ShrinkWrap), None);
        let kinds = KindSet::only(TaskKind::ProveShard);
        pool.apply(standing(7, WorkerStanding::Quarantined { kinds, reason: "out of order".to_owned() }));
        assert_eq!((pool.held(SessionId(1)), pool.is_draining(SessionId(1))), (1, true));
        assert!(pool.has_loaded_prover(SessionId(1)) && !pool.has_loaded_prover(SessionId(2)));
        pool.apply(session(1, None));
        assert_eq!((pool.held(SessionId(1)), pool.is_draining(SessionId(1))), (0, false));
        assert_eq!(pool.quarantine(WorkerId(7)).as_deref(), Some("prove_shard: out of order"));
        pool.apply(standing(7, WorkerStanding::Probation { kinds }));
        assert_eq!(pool.quarantine(WorkerId(7)), None);
        pool.apply(standing(7, WorkerStanding::Normal));
        assert!(pool.standings.is_empty());
    }
}
