//! Tests for the supervision of executions. The children here are small programs of the system. The files are compiled
//! separately here, because tests of the whole crate would link SP1's prover again.

#![allow(dead_code, reason = "the engine uses them")]

#[path = "../src/executor/child_limits.rs"]
mod child_limits;
#[path = "../src/executor/child_use.rs"]
mod child_use;
#[path = "../src/executor/child_watch.rs"]
mod child_watch;
#[path = "../src/executor/control_group.rs"]
mod control_group;
#[path = "../src/executor/execution_bound.rs"]
mod execution_bound;
#[path = "../src/executor/executor_error.rs"]
mod executor_error;
#[path = "../src/executor/failures.rs"]
mod failures;
#[path = "../src/executor/line_limit.rs"]
#[allow(unreachable_pub, reason = "the engine exports them")]
mod line_limit;
#[path = "../src/executor/processes.rs"]
mod processes;
#[path = "../src/executor/resources.rs"]
mod resources;
#[path = "../src/executor/segments.rs"]
mod segments;
#[path = "../src/executor/shared_memory.rs"]
mod shared_memory;
#[path = "../src/executor/shared_memory_share.rs"]
mod shared_memory_share;
#[path = "../src/executor/supervisor.rs"]
mod supervisor;

use execution_bound::ExecutionBound;
use rustix::process::Signal;
use std::{
    fs,
    future::pending,
    os::unix::process::ExitStatusExt as _,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};
use supervisor::{ExecutionEnd, supervise};
use tokio::{sync::oneshot, task::spawn_blocking, time::timeout};
use tokio_util::sync::CancellationToken;

/// In place of the engine's file: a machine whose shared memory is not limited.
mod machine_check {
    use crate::shared_memory::SharedMemorySize;

    pub(crate) fn little_shared_memory() -> Option<u64> {
        None
    }

    pub(crate) fn shared_memory_size() -> Option<SharedMemorySize> {
        None
    }
}

/// In place of the engine's file: nothing removes the helper program.
mod helper {
    use sp1d_orchestrator::ProofFailure;
    use std::path::Path;

    pub(crate) fn remember(_: i32) {}

    pub(crate) fn remember_in(_: &Path) {}

    pub(crate) fn restore() -> Result<(), ProofFailure> {
        Ok(())
    }
}

/// Much longer than an execution takes to stop.
const LONG: Duration = Duration::from_secs(30);

fn bound() -> ExecutionBound {
    ExecutionBound {
        cycle_limit: None,
        progress: Arc::default(),
        min_cycles_per_second: 20_000_000,
        memory_bytes: 1 << 30,
        trace_bytes: 0,
        needs_whole_trace: false,
        input_bytes: 0,
    }
}

/// Checks that an execution ends when `stop` is cancelled as `work` starts. `work` does not end by itself.
async fn check_stops(work: impl Future<Output = ()> + Send + 'static, stop: CancellationToken) {
    let stopping = stop.clone();
    let work = async move {
        stopping.cancel();
        work.await;
    };
    let end = timeout(LONG, supervise(work, &stop, bound())).await.expect("the execution has not stopped");
    assert!(matches!(end, ExecutionEnd::Stopped));
}

#[tokio::test]
async fn an_execution_is_stopped_while_it_starts() {
    check_stops(pending(), CancellationToken::new()).await;
    // The next execution can start.
    let end = timeout(LONG, supervise(async { 7 }, &CancellationToken::new(), bound())).await;
    assert!(matches!(end, Ok(ExecutionEnd::Done(7))));
}

#[tokio::test]
async fn a_child_that_appears_after_the_stop_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join(processes::CHILD_NAME);
    fs::copy("/bin/sleep", &program).unwrap();
    let stop = CancellationToken::new();
    let (started, child) = oneshot::channel::<Child>();
    let is_stopped = stop.clone();
    // The thread runs when the work is aborted, as one of SP1's threads may do.
    let start = move || {
        assert!(is_stopped.is_cancelled());
        let _ = started.send(Command::new(program).arg("60").stdin(Stdio::null()).spawn().unwrap());
    };
    let work = async move {
        spawn_blocking(start).await.unwrap();
        pending().await
    };
    check_stops(work, stop).await;
    let status = spawn_blocking(move || child.blocking_recv().unwrap().wait().unwrap()).await.unwrap();
    assert_eq!(status.signal(), Some(Signal::KILL.as_raw()));
}
