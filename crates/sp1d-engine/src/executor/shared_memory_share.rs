//! The share that one execution has of the shared memory, until it ends.

use super::{
    machine_check::shared_memory_size,
    shared_memory::{SharedMemoryOverdraft, SharedMemoryShares, SharedMemoryShortage},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Global on purpose. All executions of the process use the same shared memory.
static SHARES: Mutex<SharedMemoryShares> = Mutex::new(SharedMemoryShares::new());

fn shares() -> MutexGuard<'static, SharedMemoryShares> {
    SHARES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A share of the shared memory. Dropping it gives the share back.
pub(super) struct SharedMemoryShare {
    /// `None` if the size of the shared memory is unknown. Then nothing is limited.
    number: Option<u64>,
}

impl SharedMemoryShare {
    /// Reserves a share for an execution whose trace uses up to `trace_bytes`.
    pub(super) fn reserve(trace_bytes: u64) -> Result<Self, SharedMemoryShortage> {
        let number = match shared_memory_size() {
            Some(size) => Some(shares().reserve(size, trace_bytes)?),
            None => None,
        };
        Ok(Self { number })
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
