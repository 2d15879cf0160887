//! A value that many clients ask for, read once for all of them.

use std::time::Duration;
use tokio::{sync::Mutex, time::Instant};

/// A value that is read.
#[derive(Debug)]
struct ReadValue<T> {
    version: u64,
    at: Instant,
    value: T,
}

/// Keeps the last read value. While one client reads it, the other clients wait for the same value.
#[derive(Debug)]
pub(crate) struct SharedRead<T> {
    last: Mutex<Option<ReadValue<T>>>,
    max_age: Duration,
}

impl<T: Clone> SharedRead<T> {
    /// Values are read again when they are older than `max_age`.
    pub(crate) fn new(max_age: Duration) -> Self {
        Self { last: Mutex::new(None), max_age }
    }

    /// Returns the last value if it has this `version` and is not too old, and otherwise the result of `read`.
    ///
    /// # Errors
    /// Returns the error of `read`. The next call reads again.
    pub(crate) async fn get<E>(&self, version: u64, read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let mut last = self.last.lock().await;
        if let Some(known) = &*last
            && known.version == version
            && known.at.elapsed() < self.max_age
        {
            return Ok(known.value.clone());
        }
        let value = read.await?;
        *last = Some(ReadValue { version, at: Instant::now(), value: value.clone() });
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[tokio::test(start_paused = true)]
    async fn many_clients_cause_one_read() {
        let (shared, reads) = (SharedRead::new(Duration::from_secs(1)), AtomicU32::new(0));
        let read = |version| {
            shared.get(version, async {
                tokio::time::sleep(Duration::from_millis(100)).await;
                Ok::<_, ()>(reads.fetch_add(1, Ordering::Relaxed))
            })
        };
        let values = futures::future::join_all((0..1000).map(|_| read(1))).await;
        assert!(values.iter().all(|value| *value == Ok(0)));
        assert_eq!(read(2).await, Ok(1), "the version has changed");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(read(2).await, Ok(2), "the value is too old");
    }

    #[tokio::test]
    async fn failed_read_is_not_kept() {
        let shared = SharedRead::new(Duration::from_secs(1));
        assert_eq!(shared.get(1, async { Err("full") }).await, Err("full"));
        assert_eq!(shared.get(1, async { Ok::<_, &str>(7) }).await, Ok(7));
    }
}
