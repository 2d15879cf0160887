//! The share that one execution has of the shared memory, until it ends.

use super::{
    machine_check::shared_memory_size,
    shared_memory::{SharedMemoryOverdraft, SharedMemoryShares, SharedMemoryShortage, SharedMemorySize},
};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::{Instant, sleep};

/// Global on purpose. All executions of the process use the same shared memory.
static SHARES: Mutex<SharedMemoryShares> = Mutex::new(SharedMemoryShares::new());

fn shares() -> MutexGuard<'static, SharedMemoryShares> {
    SHARES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Interval between two tries to reserve a share. Not only executions of this process give memory back.
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

/// Interval between two warnings about an execution that waits.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// How long a shortage that executions of this process do not cause must last before it fails an execution. What the
/// others use is measured every 0.1 s.
const MAX_LASTING_SHORTAGE: Duration = Duration::from_secs(5);

/// What an execution does that has found too little memory.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ShortageStep {
    Wait,
    /// Waits, and warns before.
    Warn,
    Fail,
}

/// The wait of one execution for its share.
#[derive(Debug, Default)]
pub(super) struct ShareWait {
    warned_at: Option<Instant>,
    /// Since when the memory would not suffice even if all other executions ended.
    lasting_since: Option<Instant>,
}

impl ShareWait {
    /// Returns what the execution does after `shortage` at `now`.
    pub(super) fn step(&mut self, now: Instant, shortage: &SharedMemoryShortage) -> ShortageStep {
        let lasting_since = shortage.is_lasting().then(|| self.lasting_since.unwrap_or(now));
        self.lasting_since = lasting_since;
        if shortage.others == 0 || lasting_since.is_some_and(|since| now - since >= MAX_LASTING_SHORTAGE) {
            return ShortageStep::Fail;
        }
        if self.warned_at.is_some_and(|warned_at| now - warned_at < WARNING_INTERVAL) {
            return ShortageStep::Wait;
        }
        self.warned_at = Some(now);
        ShortageStep::Warn
    }
}

fn warn(size: SharedMemorySize, shortage: SharedMemoryShortage) {
    let SharedMemoryShortage { needed_bytes, free_bytes, promised_bytes, used_bytes, others } = shortage;
    let foreign_bytes = size.total_bytes.saturating_sub(free_bytes).saturating_sub(used_bytes);
    tracing::warn!(
        needed_mb = needed_bytes >> 20,
        free_mb = free_bytes >> 20,
        promised_mb = promised_bytes >> 20,
        executions = others,
        executions_mb = used_bytes >> 20,
        other_programs_mb = foreign_bytes >> 20,
        "an execution waits for shared memory at /dev/shm, and later executions wait too"
    );
}

/// A share of the shared memory. Dropping it gives the share back.
pub(super) struct SharedMemoryShare {
    /// `None` if the size of the shared memory is unknown. Then nothing is limited.
    number: Option<u64>,
}

impl SharedMemoryShare {
    /// Reserves a share for an execution whose trace uses up to `trace_bytes`. Waits while other executions of this
    /// process have the memory, and warns every minute.
    ///
    /// # Errors
    /// Fails if the memory would not suffice even if this process ran no other execution.
    ///
    /// # Cancel safety
    /// The future can be dropped at any time.
    pub(super) async fn reserve(trace_bytes: u64) -> Result<Self, SharedMemoryShortage> {
        Self::reserve_with(move |shares, size| shares.reserve(size, trace_bytes)).await
    }

    /// Does the same for an execution that needs room for its whole trace. Waits until the room is there, or until this
    /// process runs no other execution.
    ///
    /// # Errors
    /// Fails if the memory would not suffice even if this process ran no other execution.
    ///
    /// # Cancel safety
    /// The future can be dropped at any time.
    pub(super) async fn reserve_whole(trace_bytes: u64) -> Result<Self, SharedMemoryShortage> {
        Self::reserve_with(move |shares, size| shares.reserve_whole(size, trace_bytes)).await
    }

    async fn reserve_with(
        reserve: impl Fn(&mut SharedMemoryShares, SharedMemorySize) -> Result<u64, SharedMemoryShortage>,
    ) -> Result<Self, SharedMemoryShortage> {
        let mut wait = ShareWait::default();
        loop {
            let Some(size) = shared_memory_size() else { return Ok(Self { number: None }) };
            let reserved = reserve(&mut shares(), size);
            let shortage = match reserved {
                Ok(number) => return Ok(Self { number: Some(number) }),
                Err(shortage) => shortage,
            };
            match wait.step(Instant::now(), &shortage) {
                ShortageStep::Wait => {}
                ShortageStep::Warn => warn(size, shortage),
                ShortageStep::Fail => return Err(shortage),
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
