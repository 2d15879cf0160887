//! Runs asynchronous code without threads and without waiting.

use tokio::runtime::Builder;

/// Runs `work` to its end. While it only waits for a time, the clock moves to that time.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without I/O can be built").block_on(work)
}
