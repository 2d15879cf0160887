//! Calls to the driver of a GPU, which may never return.

use std::{thread, time::Duration};
use tokio::{sync::oneshot, time::timeout};

/// Runs `call` on a thread of its own. Returns `None` if it has not returned after `limit`, or if it panicked.
///
/// A blocking task of a runtime would not do: some runtimes wait for it when they end.
///
/// # Cancel safety
/// Dropping the future has no effect on `call`. Its thread stays until the call returns.
pub async fn call_driver<T: Send + 'static>(limit: Duration, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let (sender, returned) = oneshot::channel();
    let run = move || {
        // If this fails, the caller no longer waits.
        let _ = sender.send(call());
    };
    if let Err(error) = thread::Builder::new().name("driver".to_owned()).spawn(run) {
        tracing::debug!(%error, "cannot start a thread for a call to the driver");
        return None;
    }
    timeout(limit, returned).await.ok()?.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn a_call_that_never_returns_is_given_up() {
        let (_release, hanging) = mpsc::channel::<()>();
        assert_eq!(call_driver(Duration::from_secs(10), move || hanging.recv().is_ok()).await, None);
    }

    #[tokio::test]
    async fn a_call_that_returns_counts() {
        let limit = Duration::from_secs(60);
        assert_eq!(call_driver(limit, || 7).await, Some(7));
        assert_eq!(call_driver(limit, || -> u32 { panic!("a defect of the driver") }).await, None);
    }
}
