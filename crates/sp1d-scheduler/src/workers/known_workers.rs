//! What the scheduler remembers about workers beyond one session.

use super::pace::Paces;
use crate::{SessionId, TaskKind, Timestamp, WorkerId};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// When and for how long a worker is quarantined.
///
/// - One fault: a failed or overdue attempt, an attempt that was never started, or the loss of the worker while it
///   proves.
/// - Two faults: a result that does not verify.
/// - Enough faults for any limit: a result or claim that turns out to be wrong after other tasks have used it.
///
/// An accepted result removes one fault. If a task fails for good, the faults that it caused are removed, because the
/// task itself is the cause. A worker is not quarantined if no other worker is available for one of its task kinds.
///
/// After the quarantine, the worker is on probation: it gets one task at a time. An accepted result ends the probation,
/// and a single fault starts the next quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuarantineRules {
    /// Number of faults that lead to quarantine, at least 1.
    pub max_faults: u32,
    /// Duration of the first quarantine. Each further quarantine lasts twice as long as the one before. Each accepted
    /// result of a worker without faults takes back one doubling.
    pub first: Duration,
    /// Maximum duration of a quarantine.
    pub longest: Duration,
}

impl Default for QuarantineRules {
    /// Quarantine after three faults, first for one minute, at most for one hour.
    fn default() -> Self {
        Self { max_faults: 3, first: Duration::from_secs(60), longest: Duration::from_secs(3600) }
    }
}

impl QuarantineRules {
    fn duration(&self, earlier: u32) -> Duration {
        self.first.saturating_mul(1_u32.checked_shl(earlier).unwrap_or(u32::MAX)).min(self.longest)
    }
}

/// What a worker did wrong. The value is the number of faults that it counts as.
#[derive(Debug, Clone, Copy)]
pub(crate) enum WorkerFault {
    /// An attempt failed, was overdue or was never started.
    Failed = 1,
    /// A result does not verify. Claiming work that was not done is worse than reporting a failure.
    Wrong = 2,
    /// A result that other tasks already used turned out to be wrong. One such fault exceeds any limit.
    Proven = 1000,
}

/// How far the scheduler trusts a worker, with the time that a quarantine ends. [`crate::WorkerStanding`] is the same
/// for the driver, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Standing {
    #[default]
    Normal,
    /// The worker gets nothing until this time on the lease clock.
    Quarantined(Timestamp),
    /// The worker gets one task at a time.
    Probation,
}

/// A worker across all its sessions.
#[derive(Debug, Default)]
pub(crate) struct KnownWorker {
    /// The current session; `None` while the worker is disconnected.
    pub(crate) session: Option<SessionId>,
    pub(crate) standing: Standing,
    pub(crate) paces: Paces,
    /// The reason for the last quarantine.
    pub(crate) reason: String,
    /// The last loss of the worker counts as a fault. The fault is removed if the worker returns with its attempts.
    lost: bool,
    faults: u32,
    quarantines: u32,
}

/// Maximum number of disconnected workers that are remembered.
const MAX_DISCONNECTED: usize = 4096;

/// All workers that are or were connected.
#[derive(Debug, Default)]
pub(crate) struct KnownWorkers {
    workers: BTreeMap<WorkerId, KnownWorker>,
    /// Quarantines by their end.
    ends: BTreeSet<(Timestamp, WorkerId)>,
    /// The disconnected workers.
    disconnected: BTreeSet<WorkerId>,
    /// The workers whose standing changed since the last call of [`KnownWorkers::take_changed`].
    changed: BTreeSet<WorkerId>,
}

impl KnownWorkers {
    pub(crate) fn get(&self, id: WorkerId) -> Option<&KnownWorker> {
        self.workers.get(&id)
    }

    /// Notes that `id` has connected with `session`. Returns its earlier session if that has not ended.
    pub(crate) fn join(&mut self, id: WorkerId, session: SessionId) -> Option<SessionId> {
        self.disconnected.remove(&id);
        self.workers.entry(id).or_default().session.replace(session)
    }

    /// Notes that `session` of `id` has ended.
    pub(crate) fn leave(&mut self, id: WorkerId, session: SessionId) {
        let Some(worker) = self.workers.get_mut(&id).filter(|worker| worker.session == Some(session)) else { return };
        worker.session = None;
        self.disconnected.insert(id);
        if self.disconnected.len() > MAX_DISCONNECTED
            && let Some(first) = self.disconnected.pop_first()
            && let Some(forgotten) = self.workers.remove(&first)
        {
            self.changed.insert(first);
            if let Standing::Quarantined(end) = forgotten.standing {
                self.ends.remove(&(end, first));
            }
        }
    }

    /// Returns the workers whose standing changed since the last call.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<WorkerId> {
        std::mem::take(&mut self.changed)
    }

    /// Notes that a task of `kind` took `took` on `id`. Returns the expected duration of the next one.
    pub(crate) fn learn(&mut self, id: WorkerId, kind: TaskKind, took: Duration) -> Option<Duration> {
        let worker = self.workers.get_mut(&id)?;
        worker.paces.learn(kind).learn(took);
        worker.paces.expected(kind)
    }

    /// Records a success of `id`. Returns true if that ends its probation.
    pub(crate) fn record_success(&mut self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get_mut(&id) else { return false };
        if worker.faults > 0 {
            worker.faults -= 1;
        } else {
            worker.quarantines = worker.quarantines.saturating_sub(1);
        }
        let ends = worker.standing == Standing::Probation;
        if ends {
            worker.standing = Standing::Normal;
            self.changed.insert(id);
        }
        ends
    }

    /// Records `faults` faults of `id`. If that reaches the limit and `may` is true, `id` is quarantined from `now` on.
    /// Returns the duration of the quarantine.
    pub(crate) fn record_fault(
        &mut self,
        id: WorkerId,
        faults: u32,
        rules: &QuarantineRules,
        may: bool,
        now: Timestamp,
    ) -> Option<Duration> {
        let worker = self.workers.get_mut(&id)?;
        if let Standing::Quarantined(_) = worker.standing {
            return None;
        }
        worker.faults = worker.faults.saturating_add(faults);
        if !may || worker.faults < rules.max_faults.max(1) && worker.standing != Standing::Probation {
            return None;
        }
        let duration = rules.duration(worker.quarantines);
        worker.quarantines += 1;
        worker.faults = 0;
        worker.standing = Standing::Quarantined(now + duration);
        self.ends.insert((now + duration, id));
        self.changed.insert(id);
        Some(duration)
    }

    /// Records the loss of `id` while it proved. If that reaches the limit of faults and `may` is true, `id` is
    /// quarantined from `now` on.
    pub(crate) fn lose(&mut self, id: WorkerId, rules: &QuarantineRules, may: bool, now: Timestamp) {
        let quarantined = self.record_fault(id, 1, rules, may, now).is_some();
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.lost = true;
            if quarantined {
                worker.reason = "the worker was lost while it was proving".to_owned();
            }
        }
    }

    /// Removes the fault of the last loss: `id` has returned with an attempt that it held.
    pub(crate) fn undo_loss(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && std::mem::take(&mut worker.lost)
        {
            worker.faults = worker.faults.saturating_sub(1);
        }
    }

    /// Sets the reason for the quarantine of `id`.
    pub(crate) fn set_reason(&mut self, id: WorkerId, reason: &str) {
        if let Some(worker) = self.workers.get_mut(&id) {
            reason.clone_into(&mut worker.reason);
        }
    }

    /// Removes `faults` faults of `id`.
    pub(crate) fn forgive(&mut self, id: WorkerId, faults: u32) {
        if let Some(worker) = self.workers.get_mut(&id) {
            worker.faults = worker.faults.saturating_sub(faults);
        }
    }

    /// Ends the quarantine of `id` early, because it is needed. `id` is then on probation.
    pub(crate) fn release(&mut self, id: WorkerId) {
        if let Some(worker) = self.workers.get_mut(&id)
            && let Standing::Quarantined(end) = worker.standing
        {
            self.ends.remove(&(end, id));
            worker.standing = Standing::Probation;
            self.changed.insert(id);
        }
    }

    /// Returns the first worker whose quarantine has ended at `now`, and puts it on probation.
    pub(crate) fn next_on_probation(&mut self, now: Timestamp) -> Option<WorkerId> {
        let (_, id) = *self.ends.first().filter(|(end, _)| *end <= now)?;
        self.ends.pop_first();
        let worker = self.workers.get_mut(&id).expect("the index of quarantines contains only known workers");
        worker.standing = Standing::Probation;
        self.changed.insert(id);
        Some(id)
    }

    /// Checks the indexes against the workers. Returns the connected workers by session.
    pub(crate) fn check_invariants(&self) -> BTreeMap<SessionId, WorkerId> {
        let ends = self.workers.iter().filter_map(|(id, worker)| match worker.standing {
            Standing::Quarantined(end) => Some((end, *id)),
            Standing::Normal | Standing::Probation => None,
        });
        assert_eq!(self.ends, ends.collect(), "the index of quarantines is wrong");
        let disconnected = self.workers.iter().filter(|(_, worker)| worker.session.is_none()).map(|(id, _)| *id);
        assert_eq!(self.disconnected, disconnected.collect(), "the index of disconnected workers is wrong");
        self.workers.iter().filter_map(|(id, worker)| Some((worker.session?, *id))).collect()
    }
}
