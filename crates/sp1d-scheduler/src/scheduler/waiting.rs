//! Why tasks wait.

use super::state_machine::Scheduler;
use crate::{TaskId, TaskKind, TryId, WaitReason, queue::Exclusions, tasks::TaskState, workers::SessionState};
use std::collections::BTreeMap;

/// Numbers of ready workers that support a kind, seen by a task with some exclusions. If the task is only for
/// trusted workers, the others do not count.
#[derive(Debug, Default)]
struct WorkerTally {
    draining: usize,
    quarantined: usize,
    starting: usize,
    /// Quarantined or starting workers that the task does not exclude.
    unavailable_fit: usize,
    available: usize,
    on_probation: usize,
    /// Available workers that the task does not exclude.
    fit: usize,
    /// Those of `fit` that have a free slot.
    fit_free: usize,
    /// Available workers with too little memory for the task.
    too_small: usize,
    /// Available workers that failed at the task, refused it, or were lost with it.
    failed_before: usize,
    /// Those of `too_small` that have a free slot.
    too_small_free: usize,
    /// Those of `failed_before` that have a free slot.
    failed_before_free: usize,
}

impl Scheduler {
    /// Returns why `task` waits, or `None` if it does not wait.
    #[must_use]
    pub fn wait_reason(&self, task: TaskId) -> Option<WaitReason> {
        let scheduled = self.tasks.get(&task)?;
        matches!(scheduled.state, TaskState::Waiting { .. })
            .then(|| self.reason_for(scheduled.kind, &scheduled.excluded))
    }

    /// Returns why the tasks of `try_id` wait, with the number of tasks for each reason. Empty if none waits or
    /// `try_id` is unknown.
    ///
    /// Tasks with the same kind and exclusions are looked at together. The call takes time proportional to the number
    /// of such groups times the number of ready workers, however many tasks wait.
    #[must_use]
    pub fn waiting_of(&self, try_id: TryId) -> BTreeMap<WaitReason, usize> {
        let mut reasons = BTreeMap::new();
        let Some(waiting) = self.tries.get(&try_id).and_then(|running| self.queue.waiting_of(running.order)) else {
            return reasons;
        };
        for kind in TaskKind::ALL {
            for (excluded, tasks) in waiting.sizes(kind) {
                *reasons.entry(self.reason_for(kind, excluded)).or_default() += tasks;
            }
        }
        reasons
    }

    /// Returns why a task of `kind` with the exclusions `excluded` waits. It is in the queue, so no worker takes it.
    pub(super) fn reason_for(&self, kind: TaskKind, excluded: &Exclusions) -> WaitReason {
        let ready = self.sessions.len();
        if ready == 0 {
            return WaitReason::NoWorkerReady;
        }
        let supporting = self.sessions.iter().filter(|session| session.supported_kinds().contains(kind));
        let untrusted = supporting.filter(|session| excluded.excludes_trust(session.is_trusted())).count();
        // A task that failed on every worker may return to any of them that has enough memory.
        let excludes_all = self.sessions.all_excluded(kind, excluded);
        let tally = if excludes_all { self.tally(kind, &excluded.lasting()) } else { self.tally(kind, excluded) };
        let WorkerTally { draining, quarantined, starting, available, on_probation, fit, fit_free, .. } = tally;
        let eligible = available + quarantined + starting;
        if eligible + draining == 0 && untrusted > 0 {
            WaitReason::NoTrustedWorker { kind, untrusted }
        } else if eligible + draining == 0 {
            WaitReason::KindUnsupported { kind, ready }
        } else if excluded.excludes_by_memory() && eligible > 0 && fit + tally.unavailable_fit == 0 {
            WaitReason::TooLittleMemory { kind, workers: eligible }
        } else if available == 0 {
            WaitReason::AllUnavailable { kind, draining, quarantined, starting }
        } else if fit == 0 {
            let WorkerTally { failed_before, too_small, unavailable_fit: unavailable, .. } = tally;
            WaitReason::AllAvailableExcluded { kind, failed_before, too_small, unavailable }
        } else if fit_free > 0 {
            // A free worker that the task does not exclude gets it in the same event, unless placement leaves it free.
            WaitReason::OutsidePackPlan { kind, plan_size: self.pack_plans.plan_for(kind).size(), free: fit_free }
        } else if tally.failed_before_free + tally.too_small_free > 0 {
            let (failed_before, too_small) = (tally.failed_before_free, tally.too_small_free);
            WaitReason::AllFreeExcluded { kind, failed_before, too_small, full: fit }
        } else {
            WaitReason::AllFull { kind, workers: available, on_probation }
        }
    }

    fn tally(&self, kind: TaskKind, excluded: &Exclusions) -> WorkerTally {
        let mut tally = WorkerTally::default();
        let may_get_it = |session: &&SessionState| {
            session.supported_kinds().contains(kind) && !excluded.excludes_trust(session.is_trusted())
        };
        for session in self.sessions.iter().filter(may_get_it) {
            let free = usize::from(session.has_free_slot(kind));
            let is_quarantined = session.quarantined().contains(kind);
            let fits = !session.is_excluded(excluded);
            if session.is_draining() {
                tally.draining += 1;
            } else if is_quarantined || session.is_starting() {
                let state = if is_quarantined { &mut tally.quarantined } else { &mut tally.starting };
                *state += 1;
                tally.unavailable_fit += usize::from(fits);
            } else {
                tally.available += 1;
                tally.on_probation += usize::from(session.on_probation().contains(kind));
                let (all, with_free) = if fits {
                    (&mut tally.fit, &mut tally.fit_free)
                } else if excluded.excludes_size(session.comparable_bytes(), session.shard_room()) {
                    (&mut tally.too_small, &mut tally.too_small_free)
                } else {
                    (&mut tally.failed_before, &mut tally.failed_before_free)
                };
                *all += 1;
                *with_free += free;
            }
        }
        tally
    }
}
