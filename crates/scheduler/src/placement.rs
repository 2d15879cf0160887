//! Choosing, apart from applying: what is done next with the free slots.

use crate::{
    AttemptId, TaskId, TaskKind, WorkerId,
    lanes::{Excluded, Lanes},
    queue::Queue,
    workers::Workers,
};
use std::cmp::Reverse;

/// Attempts that can be taken back for an idle worker, the newest first: held, not started, and not the only one of their worker.
pub(crate) type Stealable = Lanes<Reverse<AttemptId>>;

/// The most useful waiting task that a worker with a free slot may take, and which worker takes it.
pub(crate) fn next_assignment(queue: &Queue, workers: &Workers) -> Option<(TaskId, WorkerId)> {
    let kinds = TaskKind::ALL.into_iter().filter(|kind| workers.anyone_free(*kind));
    let first_of_each = kinds.filter_map(|kind| {
        queue.heads(kind).find_map(|(rank, excluded)| Some((rank, choose_worker(workers, kind, excluded)?)))
    });
    let (rank, worker) = first_of_each.min_by_key(|(rank, _)| *rank)?;
    Some((rank.task(), worker))
}

/// The newest attempt that waits behind another while a worker that may take it holds nothing, and that worker.
pub(crate) fn next_steal(stealable: &Stealable, workers: &Workers) -> Option<(AttemptId, WorkerId)> {
    let kinds = TaskKind::ALL.into_iter().filter(|kind| workers.anyone_free(*kind));
    let newest_of_each = kinds.filter_map(|kind| {
        // The least busy is idle, or nobody is. A worker that the task failed on is no help even when all others are excluded too:
        // the task is better off waiting for its turn than failing at once.
        stealable.heads(kind).find_map(|(attempt, excluded)| match workers.least_busy(kind, excluded)? {
            (worker, 0) => Some((attempt, worker)),
            _ => None,
        })
    });
    let (Reverse(attempt), worker) = newest_of_each.min_by_key(|(attempt, _)| *attempt)?;
    Some((attempt, worker))
}

/// Who takes a task of `kind` that failed on `excluded`. Someone else, if there is someone else at all, even if they are busy now: then
/// nobody takes it yet.
fn choose_worker(workers: &Workers, kind: TaskKind, excluded: &Excluded) -> Option<WorkerId> {
    let chosen = workers.least_busy(kind, excluded).or_else(|| {
        let anyone = || workers.least_busy(kind, &Excluded::new());
        workers.all_excluded(kind, excluded).then(anyone).flatten()
    });
    chosen.map(|(worker, _)| worker)
}
