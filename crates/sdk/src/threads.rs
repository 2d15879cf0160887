//! Threads of our own: a client works from whatever runtime its user has, also when that is blocked.

use futures::future::BoxFuture;
use std::{future::Future, panic::resume_unwind};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

/// Two runtimes: sessions and scheduler on one, so that heartbeats go out whatever SP1's controller does on the other.
pub(crate) struct Threads {
    /// There until dropped.
    sessions: Option<Runtime>,
    work: Option<Runtime>,
}

impl Threads {
    pub(crate) fn start() -> Self {
        let build = |threads: usize, name: &str| {
            let runtime = Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build();
            // As tokio's own runtimes do: a system that refuses threads runs nothing.
            runtime.expect("the system gives threads")
        };
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Self { sessions: Some(build(2, "sp1d-sessions")), work: Some(build(cores.clamp(2, 16), "sp1d-controller")) }
    }

    /// Runs `future` among the sessions.
    pub(crate) fn spawn_session<T, F>(&self, future: F) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        Box::pin(joined(self.sessions.as_ref().expect("there until dropped").spawn(future)))
    }

    /// Runs `future` where SP1's controller runs. It goes on when nobody waits for it.
    pub(crate) fn spawn<T, F>(&self, future: F) -> BoxFuture<'static, T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        Box::pin(joined(self.work.as_ref().expect("there until dropped").spawn(future)))
    }

    /// Runs `future` and waits for it, from any thread, of another runtime too.
    #[cfg(feature = "blocking")]
    pub(crate) fn block_on<T: Send + 'static>(&self, future: impl Future<Output = T> + Send + 'static) -> T {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let work = self.spawn(future);
        let waiter = self.work.as_ref().expect("there until dropped").spawn(async move {
            let outcome = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(work)).await;
            // The receiver waits below.
            let _ = sender.send(outcome);
        });
        let outcome = receiver.recv().expect("the runtime lives as long as this client");
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

impl Drop for Threads {
    fn drop(&mut self) {
        // Waiting is not allowed on an asynchronous thread, where the last client may be dropped.
        for runtime in [self.work.take(), self.sessions.take()].into_iter().flatten() {
            runtime.shutdown_background();
        }
    }
}
