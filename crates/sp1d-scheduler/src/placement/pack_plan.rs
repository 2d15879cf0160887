//! The pack plan: how many workers share the tasks of each kind, so that the other workers stay free.

use crate::{AttemptId, TaskKind, queue::TaskQueue, workers::WorkerSessions};

/// The plan for each task kind. [`crate::Placement::Pack`] explains its purpose.
#[derive(Debug)]
pub(crate) struct PackPlans([PackPlan; TaskKind::ALL.len()]);

/// The plan for the tasks of one kind. It stays in force until tasks or workers come or go. The delivery of a result is
/// expected and does not replace the plan.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackPlan {
    /// Tasks that needed a worker when the plan was made.
    planned_tasks: usize,
    /// Tasks that need a worker now: `planned_tasks` less one for each result delivered since.
    remaining_tasks: usize,
    /// Workers available for the kind, with or without a free slot.
    available: usize,
    /// The newest attempt assigned before the plan was made.
    last_before: AttemptId,
}

impl PackPlans {
    /// Creates plans for no tasks and no workers.
    pub(crate) const fn new() -> Self {
        Self(
            [PackPlan { planned_tasks: 0, remaining_tasks: 0, available: 0, last_before: AttemptId(0) };
                TaskKind::ALL.len()],
        )
    }

    pub(crate) const fn plan_for(&self, kind: TaskKind) -> PackPlan {
        self.0[kind.index()]
    }

    /// Notes that a held attempt of `kind` has delivered its result.
    pub(crate) const fn note_delivery(&mut self, kind: TaskKind) {
        self.0[kind.index()].remaining_tasks -= 1;
    }

    /// Makes a new plan for each kind whose tasks or workers changed. `newest` is the newest attempt assigned so far.
    pub(crate) fn update(&mut self, queue: &TaskQueue, sessions: &WorkerSessions, newest: AttemptId) {
        for kind in TaskKind::ALL {
            let (tasks, available) = (tasks_that_need_a_worker(queue, sessions, kind), sessions.available(kind));
            let plan = &mut self.0[kind.index()];
            if (plan.remaining_tasks, plan.available) != (tasks, available) {
                *plan = PackPlan { planned_tasks: tasks, remaining_tasks: tasks, available, last_before: newest };
            }
        }
    }

    /// Checks each plan against the current tasks and workers.
    pub(crate) fn check_invariants(&self, queue: &TaskQueue, sessions: &WorkerSessions, newest: AttemptId) {
        for kind in TaskKind::ALL {
            let plan = self.plan_for(kind);
            let now = (tasks_that_need_a_worker(queue, sessions, kind), sessions.available(kind));
            assert_eq!(
                (plan.remaining_tasks, plan.available),
                now,
                "the plan for {kind} was made for other tasks and workers"
            );
            assert!(plan.remaining_tasks <= plan.planned_tasks, "more {kind} tasks remain than were planned");
            assert!(plan.last_before <= newest, "the plan for {kind} is newer than the newest attempt");
        }
    }
}

impl PackPlan {
    /// Returns the smallest number of workers that needs as many rounds as all available workers would. It is at most
    /// the number of tasks and the number of workers, and at least 1 if there are both.
    pub(crate) const fn size(self) -> usize {
        if self.planned_tasks == 0 || self.available == 0 {
            return 0;
        }
        let rounds = self.planned_tasks.div_ceil(self.available);
        self.planned_tasks.div_ceil(rounds)
    }

    /// Returns true if the plan was made after `attempt` was assigned.
    pub(crate) fn is_newer_than(self, attempt: AttemptId) -> bool {
        attempt <= self.last_before
    }
}

/// Returns the number of waiting and held tasks of `kind`. Those of a failed try count until the try ends. A task
/// whose result is being verified needs no worker and does not count.
fn tasks_that_need_a_worker(queue: &TaskQueue, sessions: &WorkerSessions, kind: TaskKind) -> usize {
    queue.len_of(kind) + sessions.held_by_available(kind)
}
