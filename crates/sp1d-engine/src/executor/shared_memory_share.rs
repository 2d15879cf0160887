//! The share that one execution has of the shared memory, until it ends.

use super::{
    machine_check::shared_memory_size,
    shared_memory::{SharedMemoryOverdraft, SharedMemoryShares, SharedMemoryShortage},
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::sleep;

/// Global on purpose. All executions of the process use the same shared memory.
static SHARES: Mutex<SharedMemoryShares> = Mutex::new(SharedMemoryShares::new());

fn shares() -> MutexGuard<'static, SharedMemoryShares> {
    SHARES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Interval between two tries to reserve a share. Not only executions of this process give memory back.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// A share of the shared memory. Dropping it gives the share back.
pub(super) struct SharedMemoryShare {
    /// `None` if the size of the shared memory is unknown. Then nothing is limited.
    number: Option<u64>,
}

impl SharedMemoryShare {
    /// Reserves a share for an execution whose trace uses up to `trace_bytes`. Waits while other executions of this
    /// process have the memory.
    ///
    /// # Errors
    /// Fails if the memory does not suffice although this process runs no other execution.
    ///
    /// # Cancel safety
    /// The future can be dropped at any time.
    pub(super) async fn reserve(trace_bytes: u64) -> Result<Self, SharedMemoryShortage> {
        let mut is_reported = false;
        loop {
            let Some(size) = shared_memory_size() else { return Ok(Self { number: None }) };
            let reserved = shares().reserve(size, trace_bytes);
            match reserved {
                Ok(number) => return Ok(Self { number: Some(number) }),
                Err(shortage) if shortage.others == 0 => return Err(shortage),
                Err(shortage) if !is_reported => {
                    is_reported = true;
                    let SharedMemoryShortage { free_bytes, promised_bytes, others } = shortage;
                    let (free_mb, promised_mb) = (free_bytes >> 20, promised_bytes >> 20);
                    tracing::warn!(free_mb, promised_mb, others, "an execution waits for shared memory at /dev/shm");
                }
                Err(_) => {}
            }
            sleep(RETRY_INTERVAL).await;
        }
    }

    /// Returns true if the share is free. It may not be free while executions that exceed their shares end.
    pub(super) fn is_free(&self) -> bool {
        match self.number.and_then(|_| shared_memory_size()) {
            Some(size) => shares().are_covered(size.free_bytes),
            None => true,
        }
    }

    /// Fails if the execution uses `used_bytes` and must therefore end.
    pub(super) fn check(&self, used_bytes: u64) -> Result<(), SharedMemoryOverdraft> {
        match self.number.zip(shared_memory_size()) {
            Some((number, size)) => shares().check(number, used_bytes, size.free_bytes),
            None => Ok(()),
        }
    }
}

impl Drop for SharedMemoryShare {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            shares().release(number);
        }
    }
}
