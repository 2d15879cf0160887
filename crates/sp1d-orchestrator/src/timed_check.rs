//! Runs the check of a worker's output on a thread of its own.
//!
//! The check runs code of SP1 on bytes of a worker, and it cannot be interrupted. So its caller only waits for a
//! limited time.

use std::{io, thread, time::Duration};
use tokio::sync::oneshot;

sp1d_model::limits! {
    /// Maximum duration of a check. Usual checks take 50 ms on one core, and some seconds on a busy machine. A check
    /// that takes longer counts as failed. Its thread continues until the check returns.
    pub(crate) const MAX_CHECK_TIME: Duration = Duration::from_secs(120); Time by Worker;
}

/// Starts `check` on a new thread, and returns the receiver of its outcome. If the check panics, the receiver fails.
///
/// It is not a thread of the runtime, because the end of a runtime waits for the runtime's threads.
///
/// # Errors
/// Fails if the system has no thread left.
pub(crate) fn start_check<T: Send + 'static>(
    check: impl FnOnce() -> T + Send + 'static,
) -> io::Result<oneshot::Receiver<T>> {
    let (sender, outcome) = oneshot::channel();
    let run = move || {
        // The caller may have stopped waiting.
        let _ = sender.send(check());
    };
    thread::Builder::new().name("check".to_owned()).spawn(run)?;
    Ok(outcome)
}
