//! Workers: how they come, stay and go.

use super::Scheduler;
use crate::{Command, Failure, KindSet, WorkerId};

impl Scheduler {
    pub(super) fn on_worker_joined(&mut self, worker: WorkerId, slots: u32, kinds: KindSet) {
        if self.workers.contains(worker) {
            return;
        }
        self.workers.insert(worker, slots, kinds);
        self.on_leases_renewed(worker);
    }

    pub(super) fn on_leases_renewed(&mut self, worker: WorkerId) {
        if self.workers.contains(worker) {
            self.leases.set(worker, self.clock.lease_time() + self.config.lease_ttl);
        }
    }

    /// Requeues all that `worker` holds. What it has delivered is no longer its own, and is verified all the same.
    pub(super) fn on_worker_lost(&mut self, worker: WorkerId, commands: &mut Vec<Command>) {
        let Some(held) = self.workers.get(worker).map(|worker| worker.held().clone()) else { return };
        for attempt in held {
            let task = self.attempt(attempt).task;
            let past = self.past(attempt, Failure::WorkerLost);
            self.lapse(attempt, commands);
            self.requeue(task, past, commands);
        }
        self.workers.remove(worker);
        self.leases.remove(worker);
    }

    /// Parts with the workers that were silent for longer than a lease.
    pub(super) fn expire_leases(&mut self, commands: &mut Vec<Command>) {
        while let Some((expiry, worker)) = self.leases.earliest()
            && expiry <= self.clock.lease_time()
        {
            self.on_worker_lost(worker, commands);
            commands.push(Command::ExpireWorker { worker });
        }
    }
}
