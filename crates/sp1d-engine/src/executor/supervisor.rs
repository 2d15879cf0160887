//! Supervises executions and the child processes that they run in.
//!
//! SP1 runs a program in a child process of this process and does not report its process id. A program that makes
//! no progress can only be stopped by killing that child, so the child has to be found. Executions therefore start one
//! at a time, and a child that appears during a start belongs to the execution that starts.

use super::{child_watch::ChildWatch, execution_bound::ExecutionBound, helper, resources::ExecutionResources};
use sp1d_orchestrator::ProofFailure;
use std::{env, sync::atomic::Ordering, time::Duration};
use tokio::{
    sync::Mutex,
    task::{JoinError, JoinHandle},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

/// Global on purpose. Child processes belong to the whole process, so executions must start one at a time in all of it.
static START_LOCK: Mutex<()> = Mutex::const_new(());

/// How an execution ended.
pub(crate) enum ExecutionEnd<T> {
    /// The execution returned a result.
    Done(T),
    /// The execution panicked. The panic message is in the log.
    Panicked(JoinError),
    /// The child was killed because it took too long without progress.
    RanAway,
    /// The child was killed on request.
    Stopped,
    /// The execution exceeded a limit, or could not start.
    Failed(ProofFailure),
}

/// How the start of an execution ended.
enum ExecutionStart<T> {
    /// The child was found, or the execution has made progress.
    Running,
    /// The execution ended before its child was seen.
    Ended(Result<T, JoinError>),
    /// The execution was stopped before its child was seen.
    Stopped,
}

/// The time between two looks for the child of an execution that starts.
const START_LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Runs `work`, which executes one program, until it ends, `stop` is cancelled, or it exceeds `bound`. Dropping the
/// future stops the execution.
pub(crate) async fn supervise<T, F>(work: F, stop: &CancellationToken, bound: ExecutionBound) -> ExecutionEnd<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let stop = stop.child_token();
    let _stop_on_drop = stop.clone().drop_guard();
    // A separate task kills the child and waits for its end even if the caller drops this future.
    tokio::spawn(watch_over(work, stop, bound)).await.unwrap_or_else(ExecutionEnd::Panicked)
}

async fn watch_over<T, F>(work: F, stop: CancellationToken, bound: ExecutionBound) -> ExecutionEnd<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    if stop.is_cancelled() {
        return ExecutionEnd::Stopped;
    }
    // The lock is held while the execution waits for its shared memory: later executions need as much.
    let prepared = async {
        let starting = START_LOCK.lock().await;
        ChildWatch::prepare(&bound).await.map(|watch| (starting, watch))
    };
    let prepared = tokio::select! {
        prepared = prepared => prepared,
        () = stop.cancelled() => return ExecutionEnd::Stopped,
    };
    let (starting, mut watch) = match prepared {
        Ok(prepared) => prepared,
        Err(shortage) => return ExecutionEnd::Failed(ProofFailure::Machine(shortage.to_string())),
    };
    let share = tokio::select! {
        share = watch.wait_for_share() => share,
        () = stop.cancelled() => return ExecutionEnd::Stopped,
    };
    if let Err(failure) = share {
        return ExecutionEnd::Failed(failure);
    }
    if let Err(failure) = helper::restore() {
        return ExecutionEnd::Failed(failure);
    }
    let mut resources = ExecutionResources::before();
    let mut work = tokio::spawn(work);
    let progress = bound.progress.load(Ordering::Relaxed);
    let start = loop {
        tokio::select! {
            outcome = &mut work => break ExecutionStart::Ended(outcome),
            () = stop.cancelled() => break ExecutionStart::Stopped,
            () = sleep(START_LOOK_INTERVAL) => {}
        }
        // A child that started and ended between two looks is not seen, but its progress is counted. Stop looking in
        // that case, so that other executions can start.
        if resources.look() || bound.progress.load(Ordering::Relaxed) != progress {
            break ExecutionStart::Running;
        }
    };
    if matches!(start, ExecutionStart::Stopped) {
        abort_start(&mut work, &mut resources).await;
    }
    resources.look();
    if let (ExecutionStart::Running, Some(child)) = (&start, resources.child()) {
        watch.limit(child);
    }
    // The execution may wait for workers for a long time, and the file may be removed meanwhile.
    helper::remember_in(&env::temp_dir());
    drop(starting);
    let ended = match start {
        ExecutionStart::Running => wait_for_end(&mut work, &resources, &stop, &bound, &mut watch).await,
        ExecutionStart::Ended(outcome) => outcome.map_or_else(ExecutionEnd::Panicked, ExecutionEnd::Done),
        ExecutionStart::Stopped => ExecutionEnd::Stopped,
    };
    let ended = watch.killed_by_limit().map_or(ended, ExecutionEnd::Failed);
    // Clean up even after a normal end. The parts of SP1's executor do not wait for each other, and a part that failed
    // leaves the child running.
    resources.remove().await;
    work.abort();
    ended
}

/// Aborts the start of an execution. Returns when its child is found, or can no longer appear. Until then, no other
/// execution may start, because the child would count as that of the other one.
async fn abort_start<T>(work: &mut JoinHandle<T>, resources: &mut ExecutionResources) {
    /// A thread of SP1 that runs at the abort continues. It creates its shared memory within this time. The child
    /// follows at once, or SP1 removes the shared memory.
    const MAX_CREATION_TIME: Duration = Duration::from_millis(500);
    /// A child with a large input may follow some seconds later.
    const MAX_WAIT: Duration = Duration::from_secs(10);
    work.abort();
    // The work ends at its next await.
    let _ = work.await;
    let aborted_at = Instant::now();
    while !resources.look() {
        let waited = aborted_at.elapsed();
        let max_wait = if resources.has_segments() { MAX_WAIT } else { MAX_CREATION_TIME };
        if waited >= max_wait {
            return;
        }
        sleep(START_LOOK_INTERVAL).await;
    }
}

async fn wait_for_end<T>(
    work: &mut JoinHandle<T>,
    resources: &ExecutionResources,
    stop: &CancellationToken,
    bound: &ExecutionBound,
    watch: &mut ChildWatch,
) -> ExecutionEnd<T> {
    /// Short, because a line that the program writes grows in the memory of this process meanwhile, by a gigabyte per
    /// second.
    const LOOK_INTERVAL: Duration = Duration::from_millis(25);
    /// The processor time is read at every tenth look.
    const LOOKS_PER_TIME: u64 = 10;
    let max_time = bound.max_time_without_progress();
    let (mut progress, mut processor_time_then) = (bound.progress.load(Ordering::Relaxed), Duration::ZERO);
    let mut looks: u64 = 0;
    loop {
        tokio::select! {
            outcome = &mut *work => return outcome.map_or_else(ExecutionEnd::Panicked, ExecutionEnd::Done),
            () = stop.cancelled() => return ExecutionEnd::Stopped,
            () = sleep(LOOK_INTERVAL) => {}
        }
        if let Some(failure) = watch.look(resources) {
            return ExecutionEnd::Failed(failure);
        }
        looks += 1;
        if !looks.is_multiple_of(LOOKS_PER_TIME) {
            continue;
        }
        let Some((child, processor_time)) = resources.child().zip(resources.processor_time()) else { continue };
        watch.renew(child, processor_time);
        let Some(max_time) = max_time else { continue };
        let now = bound.progress.load(Ordering::Relaxed);
        if now != progress {
            (progress, processor_time_then) = (now, processor_time);
        } else if processor_time.saturating_sub(processor_time_then) > max_time {
            return ExecutionEnd::RanAway;
        }
    }
}
