//! How many workers share the work when the others are to be left free.

use crate::{AttemptId, TaskKind, queue::Queue, workers::Workers};

/// For each kind, the plan for its tasks. [`crate::Placement::Pack`] says what for.
#[derive(Debug)]
pub(crate) struct Crews([Crew; TaskKind::ALL.len()]);

/// The plan for the tasks of one kind. It holds until tasks or workers come or go; that a result is delivered is part
/// of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Crew {
    /// Tasks that were open when it was made.
    planned: usize,
    /// Tasks that are open still: `planned`, less one for each result delivered since.
    open: usize,
    /// Workers that can do them, free or not.
    able: usize,
    /// The newest attempt that is older than the plan.
    last_before: AttemptId,
}

impl Crews {
    /// Plans for no tasks and no workers.
    pub(crate) const fn new() -> Self {
        Self([Crew { planned: 0, open: 0, able: 0, last_before: AttemptId(0) }; TaskKind::ALL.len()])
    }

    pub(crate) const fn of(&self, kind: TaskKind) -> Crew {
        self.0[kind.index()]
    }

    /// A held task of `kind` is held no more, as its result was delivered.
    pub(crate) const fn deliver(&mut self, kind: TaskKind) {
        self.0[kind.index()].open -= 1;
    }

    /// Makes a new plan for each kind of which tasks or workers have come or gone. `newest` is the newest attempt there
    /// is.
    pub(crate) fn update(&mut self, queue: &Queue, workers: &Workers, newest: AttemptId) {
        for kind in TaskKind::ALL {
            let (open, able) = (open_tasks(queue, workers, kind), workers.able(kind));
            let crew = &mut self.0[kind.index()];
            if (crew.open, crew.able) != (open, able) {
                *crew = Crew { planned: open, open, able, last_before: newest };
            }
        }
    }

    /// Compares the plans with what they are for.
    pub(crate) fn check_invariants(&self, queue: &Queue, workers: &Workers, newest: AttemptId) {
        for kind in TaskKind::ALL {
            let crew = self.of(kind);
            let now = (open_tasks(queue, workers, kind), workers.able(kind));
            assert_eq!((crew.open, crew.able), now, "the plan for {kind} is for other tasks and workers");
            assert!(crew.open <= crew.planned, "more tasks of {kind} are open than are planned");
            assert!(crew.last_before <= newest, "the plan for {kind} is newer than the newest attempt");
        }
    }
}

impl Crew {
    /// How many workers are enough for as many rounds as all that are able would need. Never more than either tasks or
    /// workers; at least 1 when there are both.
    pub(crate) const fn size(self) -> usize {
        if self.planned == 0 || self.able == 0 {
            return 0;
        }
        let rounds = self.planned.div_ceil(self.able);
        self.planned.div_ceil(rounds)
    }

    /// True when `attempt` was assigned before the plan was made.
    pub(crate) fn is_newer_than(self, attempt: AttemptId) -> bool {
        attempt <= self.last_before
    }
}

/// The tasks of `kind` that wait, and those that workers hold: also for a proof that has failed, as long as that has
/// not ended. One whose result is being verified needs no worker any more.
fn open_tasks(queue: &Queue, workers: &Workers, kind: TaskKind) -> usize {
    queue.len_of(kind) + workers.held_of(kind)
}
