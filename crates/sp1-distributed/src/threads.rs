//! The client's own threads. With them a client works from every runtime of its user, even a blocked one.

use futures::future::BoxFuture;
use std::{future::Future, panic::resume_unwind};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// Two runtimes. Sessions and scheduler run on one, so that heartbeats continue while SP1's controller is busy on the
/// other.
pub(crate) struct ClientThreads {
    /// Both runtimes are `Some` until drop.
    sessions: Option<Runtime>,
    work: Option<Runtime>,
}

impl ClientThreads {
    pub(crate) fn start() -> Self {
        let build = |threads: usize, name: &str| {
            let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build();
            // The same behavior as tokio's own runtimes: without threads, nothing can run.
            runtime.expect("the system can create threads")
        };
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { sessions: Some(build(2, "sp1d-sessions")), work: Some(build(cores.clamp(2, 16), "sp1d-controller")) }
    }

    /// Runs `future` on the runtime of the sessions.
    pub(crate) fn spawn_session<T, F>(&self, future: F) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        Box::pin(joined(self.sessions.as_ref().expect("the runtime exists until drop").spawn(future)))
    }

    /// Runs `future` on the runtime of SP1's controller. It continues if the returned future is dropped.
    pub(crate) fn spawn<T, F>(&self, future: F) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        Box::pin(joined(self.work.as_ref().expect("the runtime exists until drop").spawn(future)))
    }

    /// Runs `future` and blocks until it ends. Can be called from any thread, even from a thread of another runtime.
    #[cfg(feature = "blocking")]
    pub(crate) fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let work = self.spawn(future);
        let waiter = self.work.as_ref().expect("the runtime exists until drop").spawn(async move {
            let outcome = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work)).await;
            // This cannot fail: the receiver waits below.
            let _ = sender.send(outcome);
        });
        let outcome = receiver.recv().expect("the runtime runs as long as this client exists");
        drop(waiter);
        outcome.unwrap_or_else(|panic| resume_unwind(panic))
    }
}

async fn joined<T>(handle: JoinHandle<T>) -> T {
    match handle.await {
        Ok(output) => output,
        Err(error) => resume_unwind(error.into_panic()),
    }
}

impl Drop for ClientThreads {
    fn drop(&mut self) {
        // The last client may be dropped on an asynchronous thread, which must not block.
        for runtime in [self.work.take(), self.sessions.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}
