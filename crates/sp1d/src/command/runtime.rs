//! The asynchronous runtime of a command.

use anyhow::{Context, Result};
use std::future::Future;
use tokio::runtime::Runtime;

/// A runtime that shuts down without waiting for its threads, also after a panic. Executions are killed first:
/// otherwise they would continue, and so would the threads that wait for them.
struct RuntimeGuard(Option<Runtime>);

impl Drop for RuntimeGuard {
    fn drop(&mut self) {
        #[cfg(feature = "prover")]
        sp1d_engine::kill_executions();
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Runs `work` on a new runtime until it ends.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = RuntimeGuard(Some(Runtime::new().context("cannot start the asynchronous runtime")?));
    runtime.0.as_ref().expect("only `drop` takes the runtime").block_on(work)
}
